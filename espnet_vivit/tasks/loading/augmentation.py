"""`preprocessor_conf:` of a recipe's YAML: how training changes clips, as one checked object, and as it is in an epoch.

In: the mapping of the YAML. Out: an `Augmentation`, and by `at(epoch)` one whose values are plain numbers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

from espnet_vivit.base.option_types import check_option_types, check_value, check_values
from espnet_vivit.errors import unknown_name
from espnet_vivit.model.by_epoch import ByEpoch, read_by_epoch

SCHEDULED = ("flip_prob", "speed_prob", "word_crop_prob", "join_prob", "noise_prob", "noise_snr_db")
NOISE_SNR_DB = (-5, 0, 5, 10, 15, 20, None)  # None: clean. Ma et al., "Auto-AVSR", ICASSP 2023
_WHERE = "preprocessor_conf"


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """The options of `preprocessor_conf`.

    Each `*_prob` and `noise_snr_db` may be a schedule by epoch, such as {1: 0.0, 10: 0.8}; see
    `espnet_vivit.model.by_epoch`.

        random_crop: whether the crop's place is drawn for each clip; off, it is the centre, as in evaluation.
        flip_prob: how often a clip is mirrored.
        time_masks_per_s, time_mask_max_s: masks per second of video, longest mask in seconds; 0 switches them off.
        speed_prob, speed_range: how often a clip is played faster or slower, and between which speeds.
        word_crop_prob, word_crop_min: how often only a run of words is kept, at least how many (needs word_times).
        join_prob, join_max_s: how often another utterance follows in the same clip, and how long both may be together.
            What learns from single sentences only stops at the end of the first when it reads a recording. Batches are
            filled, and a curriculum chooses, by the lengths of single utterances: leave room in memory, and begin after
            the curriculum's epochs.
        noise_scp: sounds to mix in (a `wav.scp`; that of the training set makes babble of it).
        noise_prob, noise_snr_db: how often, and the ratios in dB to choose from; null among them is clean.
        noise_talkers: how many entries of `noise_scp` speak at once: 1 for recorded noise, 6 or more for babble; where
            there are no more entries than that, all but one of them.

    Raises:
        ConfigError: a value outside its range, or a schedule that is none.
    """

    random_crop: bool = True
    flip_prob: float | Mapping[int, float] = 0.5
    time_masks_per_s: float = 1.0
    time_mask_max_s: float = 0.4
    speed_prob: float | Mapping[int, float] = 0.0
    speed_range: Sequence[float] = (0.9, 1.1)
    word_crop_prob: float | Mapping[int, float] = 0.0
    word_crop_min: int = 2
    join_prob: float | Mapping[int, float] = 0.0
    join_max_s: float = 8.0
    noise_scp: str | None = None
    noise_prob: float | Mapping[int, float] = 1.0
    noise_snr_db: Sequence[float | None] | Mapping[int, Sequence[float | None]] = NOISE_SNR_DB
    noise_talkers: int = 1

    def __post_init__(self):
        for name, schedule in self.schedules().items():
            for value in schedule.values:
                check_value(_WHERE, name, value, where=f"{name} in {_WHERE}")
        plain = {name: value for name, value in vars(self).items() if name not in SCHEDULED}
        check_values(_WHERE, plain, where="{name} in " + _WHERE)

    def schedules(self) -> dict[str, ByEpoch]:
        """What may change with the epoch, by name."""
        return {name: read_by_epoch(f"{name} in {_WHERE}", getattr(self, name)) for name in SCHEDULED}

    def at(self, epoch: int) -> "Augmentation":
        """The same with the values of one epoch, from 1: numbers, and for noise_snr_db a tuple."""
        return replace(self, **{name: schedule(epoch) for name, schedule in self.schedules().items()})

    def __str__(self) -> str:
        shown = {name: str(schedule) for name, schedule in self.schedules().items()}
        shown |= {name: getattr(self, name) for name in ("random_crop", "time_masks_per_s", "time_mask_max_s")}
        return str(shown)


def check_preprocessor_conf(conf: Mapping) -> None:
    """Raise ConfigError for an option that `Augmentation` does not have, or a value that the option cannot have."""
    known = [field.name for field in fields(Augmentation)]
    for option in conf:
        if option not in known:
            raise unknown_name(f"option in {_WHERE}", option, known)
    check_option_types(_WHERE, conf, Augmentation)
    Augmentation(**conf)
