"""Which streams a training configuration needs, and how avsr_train is told where they are.

In: the mapping of a training YAML. Out: its modality and feature rate, and words of avsr_train's command line. Nothing
heavy is imported: recipes ask between two stages (espnet_vivit.bin.avsr_streams).

The first shape file is the one that `batch_type: length` and `numel` count: of the video alone where there is one, so
that `batch_bins` is a number of video frames (length) or of pixels (numel), and not a sum of frames and samples.
"""

from collections.abc import Mapping
from pathlib import Path

from espnet_vivit.data.mouth_view import VIEW_NAME, read_mouth_view
from espnet_vivit.errors import ConfigError, DataError, unknown_name
from espnet_vivit.model.options import named_modality
from espnet_vivit.units import FEATURE_RATES, STREAMS_OF

DATA_FILES = {  # data name -> (file of the data directory, ESPnet's type)
    "speech": ("wav.scp", "sound"),
    "video": ("video.scp", "video"),
    "text": ("text", "text"),
    "word_times": ("word_times", "text"),
}


def configured_modality(config: Mapping) -> str:
    """The model's modality; where the YAML does not say it, it follows from the encoders that it names."""
    return named_modality(*(config.get(name) for name in ("modality", "vision_encoder", "audio_encoder")))


def feature_rate_of(config: Mapping) -> str:
    rate = config.get("feature_rate") or "frame"
    if rate not in FEATURE_RATES:
        raise unknown_name("feature_rate", rate, FEATURE_RATES)
    return rate


def data_option(data: Path, name: str) -> str:
    """ESPnet's `path,name,type` of one stream; a path with a comma cannot be written that way."""
    file, kind = DATA_FILES[name]
    path = Path(data) / file
    if not path.is_file():
        raise DataError(f"the model takes {name}, but {data} has no {file}", fix="Choose another modality, or data.")
    if "," in str(path):
        raise ConfigError(
            f"ESPnet cannot read from a folder with a comma in its name: {path}", fix="Rename the folder."
        )
    return f"{path},{name},{kind}"


def view_options(config: Mapping, prepared: Path) -> list[str]:
    """avsr_train's --mouth_view where `prepared` notes one that `config` lacks. Raises ConfigError for another one."""
    view, configured = read_mouth_view(prepared), config.get("mouth_view")
    if view is None or "video" not in STREAMS_OF[configured_modality(config)]:
        return []
    if configured is None:
        return ["--mouth_view", str(view)]
    if str(configured) != str(view):
        raise ConfigError(
            "mouth_view is not that of the prepared pictures",
            found=f"{configured} in the configuration, {view} in {Path(prepared) / VIEW_NAME}",
            expected="the same number, or no mouth_view in the YAML, which then follows the pictures",
            fix=f"Set mouth_view: {view}, or run stages 1 to 5 again with another view (GRID: --mouth_view).",
        )
    return []


def train_options(config: Mapping, *, train: Path, valid: Path, stats: Path) -> list[str]:
    """avsr_train's options for the data of the model that `config` describes."""
    streams = STREAMS_OF[configured_modality(config)]
    names = [*streams, "text"]
    if all((Path(data) / DATA_FILES["word_times"][0]).is_file() for data in (train, valid)):
        names.append("word_times")
    shape = "video_shape" if "video" in streams else "speech_shape"
    options = []
    for split, data in (("train", train), ("valid", valid)):
        for name in names:
            options += [f"--{split}_data_path_and_name_and_type", data_option(data, name)]
        path = Path(stats) / split / shape
        if not path.is_file():
            raise DataError(f"no shapes of the {split} set", found=f"no {path}", fix="Run stage 10 first.")
        options += [f"--{split}_shape_file", str(path)]
    if (config.get("preprocessor_conf") or {}).get("noise_scp") == "train":
        sounds = Path(train) / DATA_FILES["speech"][0] if "speech" in streams else "null"
        options += ["--preprocessor_conf", f"noise_scp={sounds}"]
    return options
