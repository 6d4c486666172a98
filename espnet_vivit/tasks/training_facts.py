"""What a model can be given and can answer, known from what it was trained on: mouth pictures, longest clip, texts.

In: a training configuration, and where its experiment lies. Out: `TrainingFacts`. A training notes them in its
config.yaml (`noted_facts`), because the data directories that the configuration names may be gone or elsewhere later;
they are asked where an older experiment has no note. What cannot be known is None, and the user of it takes a default.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from espnet_vivit.data.scp import read_scp
from espnet_vivit.data.text_bounds import FAST_PER_S, TextBounds, measure_texts
from espnet_vivit.errors import DataError
from espnet_vivit.frontend.presets import trained_preset
from espnet_vivit.media.files.video_file import probe_video
from espnet_vivit.units import seconds_of_frames, seconds_of_samples

NOTE = "training_facts"  # key of config.yaml
STARTED_FROM = "started_from"  # key of config.yaml: the terms of published weights that a training began with
FEW_SPEAKERS = 5  # are named
MOUTH_SIZES = (48, 64, 96)  # pixels: what the corpora here are prepared with


@dataclass(frozen=True)
class TrainingFacts:
    """mouth_size: side in pixels of the clips before the frontend's own crop; longest_clip_s: of the training set;
    mouth_view: pixels in the middle of the aligned 96-pixel crop that those clips show, None for all; texts: what its
    transcripts show at most.
    """

    mouth_size: int | None
    longest_clip_s: float | None
    mouth_view: int | None = None
    texts: TextBounds | None = None


def training_facts(config: Mapping, experiment: Path) -> TrainingFacts:
    """Paths in `config` are relative to where the training was started: here, or a folder above the experiment."""
    noted = config.get(NOTE) or {}
    lists = {name: Path(path) for path, name, _ in config.get("train_data_path_and_name_and_type") or ()}
    roots = [Path.cwd(), *experiment.resolve().parents]
    found = {name: path for name, path in ((name, find_under(path, roots)) for name, path in lists.items()) if path}
    return TrainingFacts(
        noted.get("mouth_size") or _mouth_size(config, found.get("video"), roots),
        noted.get("longest_clip_s") or _longest_clip_s(found),
        config.get("mouth_view"),
        noted_texts(noted) or (measure_texts(found["text"]) if "text" in found else None),
    )


def noted_texts(noted: Mapping) -> TextBounds | None:
    """The bounds among facts that were written to a file. Raises DataError for anything else in their place."""
    fields = noted.get("texts")
    if fields is None:
        return None
    kinds = {"unit": str, "per_s": (int, float), "repeats": int, "count": int}
    if not (
        isinstance(fields, dict)
        and fields.keys() == kinds.keys()
        and all(isinstance(fields[name], kind) for name, kind in kinds.items())
        and fields["unit"] in FAST_PER_S
    ):
        expected = f"unit ({' or '.join(FAST_PER_S)}), per_s, repeats and count"
        raise DataError(f"{NOTE}: texts", found=repr(fields)[:80], expected=expected, fix="Train or pack again")
    return TextBounds(**fields)


def training_set(config: Mapping, experiment: Path) -> str | None:
    """How many clips of how many speakers, in words; None where the data directory is gone. Paths: as above."""
    folders = [Path(path).parent for path, *_ in config.get("train_data_path_and_name_and_type") or ()]
    roots = [Path.cwd(), *experiment.resolve().parents]
    listed = next(filter(None, (find_under(folder / "utt2spk", roots) for folder in folders)), None)
    if listed is None:
        return None
    speakers = list(read_scp(listed).values())
    names = sorted(set(speakers))
    named = f" ({', '.join(names)})" if len(names) <= FEW_SPEAKERS else ""
    return f"{len(speakers)} clips of {len(names)} speaker{'s' * (len(names) > 1)}{named}"


def noted_facts(config: Mapping) -> dict:
    """What a training that begins here writes into its config.yaml under `NOTE`."""
    return asdict(training_facts({**config, NOTE: None}, Path.cwd()))


def find_under(path: Path, roots: list[Path]) -> Path | None:
    """`path` as it lies under the first of the `roots` that has it."""
    return next((root / path for root in roots if (root / path).is_file()), None)


def _mouth_size(config: Mapping, video_scp: Path | None, roots: list[Path]) -> int | None:
    if config.get("modality") == "audio" or config.get("vision_encoder") is None:
        return None
    first = None if video_scp is None else find_under(Path(next(iter(read_scp(video_scp).values()))), roots)
    if first is not None:
        return probe_video(first).height
    crop = trained_preset(config).crop
    side = max(crop) if isinstance(crop, tuple) else crop
    return next((size for size in MOUTH_SIZES if side is not None and size >= side), None)


def _longest_clip_s(lists: Mapping[str, Path]) -> float | None:
    for name, counts, seconds_of in (
        ("video", "utt2num_frames", seconds_of_frames),
        ("speech", "utt2num_samples", seconds_of_samples),
    ):
        path = lists[name].parent / counts if name in lists else None
        if path is not None and path.is_file():
            return round(seconds_of(max(map(int, read_scp(path).values()))), 2)
    return None
