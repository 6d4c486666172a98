"""A `feature_cache` knows a clip by its pixels, so a training that draws them anew each epoch would find nothing in it.

In: the arguments of a training. Out: nothing, or ConfigError that says which options of preprocessor_conf to turn off.
How well the cache does then stands in the log as `cache_hits`, the share of an epoch's clips that were known.
"""

import argparse
from collections.abc import Mapping

from espnet_vivit.errors import ConfigError
from espnet_vivit.model.by_epoch import read_by_epoch
from espnet_vivit.tasks.loading.augmentation import Augmentation

# What changes the pixels of a clip from epoch to epoch, each off when it is false or 0.
_CHANGES = ("random_crop", "flip_prob", "time_masks_per_s", "speed_prob", "word_crop_prob", "join_prob")


def check_feature_cache(args: argparse.Namespace) -> None:
    """Raise ConfigError if a `feature_cache` meets random changes of the video; the sound may change as it likes."""
    cached = args.modality != "audio" and args.vision_encoder_conf.get("feature_cache") is not None
    if not cached or not args.use_preprocessor:
        return
    changes = random_changes(args.preprocessor_conf)
    if changes:
        off = {name: False if name == "random_crop" else 0 for name in changes}
        raise ConfigError(
            "feature_cache keeps the features of clips that come again unchanged, but training changes them at random",
            found=_yaml(changes),
            expected=f"preprocessor_conf: {{{_yaml(off)}}}",
            fix="Write this into the configuration, or leave feature_cache out",
        )


def random_changes(preprocessor_conf: Mapping) -> dict[str, object]:
    """The options, given or by default, by which the video of a clip differs between epochs, and their values."""
    default = Augmentation()
    conf = {name: preprocessor_conf.get(name, getattr(default, name)) for name in (*_CHANGES, "time_mask_max_s")}
    if not conf["time_mask_max_s"]:  # masks of no length
        conf["time_masks_per_s"] = 0
    return {name: conf[name] for name in _CHANGES if _is_on(name, conf[name])}


def _is_on(name: str, value: object) -> bool:
    if isinstance(value, bool):
        return value
    return any(read_by_epoch(f"{name} in preprocessor_conf", value).values)  # in any epoch


def _yaml(options: Mapping) -> str:
    return ", ".join(f"{name}: {str(v).lower() if isinstance(v, bool) else v}" for name, v in options.items())
