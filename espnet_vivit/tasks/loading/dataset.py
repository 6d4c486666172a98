"""ESPnet's datasets for uint8 video: decoded frames reach the model as bytes, a quarter of the memory of floats.

In: `--*_data_path_and_name_and_type path,name,type` with our type `video` (a media file or a `.npy` per utterance).
Out: `(utterance id, {name: array})`, floats and integers in ESPnet's precision, uint8 as it is.

ESPnet's own datasets refuse uint8; its iterable one needs every list in the same order, ours only the same utterances.
"""

import numbers
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import get_worker_info

from espnet_vivit.data.data_dir import read_scp
from espnet_vivit.errors import ConfigError, DataError, EspnetVivitError, MediaError
from espnet_vivit.espnet_compat import ESPnetDataset, IterableESPnetDataset, add_data_type
from espnet_vivit.media.files.containers import check_is_file
from espnet_vivit.media.files.video_file import read_video
from espnet_vivit.media.files.whole_recording import missing_bytes
from espnet_vivit.units import AUDIO_RATE_HZ


class VideoScp(Mapping):
    """utterance -> (T, H, W) uint8, decoded when asked for; made from a `video.scp`."""

    def __init__(self, path: str):
        self.paths = read_scp(path)

    def __getitem__(self, utt_id: str) -> np.ndarray:
        return read_video(self.paths[utt_id])

    def __len__(self) -> int:
        return len(self.paths)

    def __iter__(self) -> Iterator[str]:
        return iter(self.paths)

    def __repr__(self) -> str:
        return f"VideoScp({len(self)} utterances)"


add_data_type(
    "video",
    read_scp=VideoScp,
    read_value=read_video,
    help_text="Gray video at 25 frames per second: a media file, or a .npy with (T, H, W) uint8."
    "\n\n   utterance_id_a a.mkv\n   utterance_id_b b.npy\n   ...",
)


def check_no_commands(path_name_type_list: Sequence[tuple[str, str, str]]) -> None:
    """Raise DataError for a Kaldi list that would have a command run: `utterance sox x.wav -t wav - |`."""
    for path, name, kind in path_name_type_list:
        if not kind.startswith("kaldi"):
            continue
        for uid, value in read_scp(path).items():
            if value.endswith("|") or value.startswith("|"):
                fix = "Run it once, and list the files that it makes"
                raise DataError(f"{name} of utterance {uid!r} in {path} is a command", found=value[:80], fix=fix)


class AVSRDataset(ESPnetDataset):
    """The map-style dataset: `dataset["utterance"]` is `("utterance", {name: array})`."""

    def __init__(
        self, path_name_type_list: Sequence[tuple[str, str, str]], *, max_cache_size: float = 0.0, **options: Any
    ):
        if max_cache_size:
            raise ConfigError(
                "max_cache_size keeps preprocessed samples, so augmentation would be drawn once and never again",
                found=f"max_cache_size={max_cache_size}",
                fix="Leave it out; keep the data on a fast disk, or videos as .npy, instead.",
            )
        check_no_commands(path_name_type_list)
        super().__init__(path_name_type_list, **options)

    def __getitem__(self, uid: str | int) -> tuple[str, dict[str, np.ndarray]]:
        utt_id = uid if isinstance(uid, str) else str(list(self)[uid])
        data = self.raw(utt_id)
        if self.preprocess is not None:
            data = self.preprocess(utt_id, data)
        return utt_id, {name: self._in_precision(name, utt_id, value) for name, value in data.items()}

    def raw(self, utt_id: str) -> dict[str, Any]:
        """An utterance as its lists have it, before preprocessing."""
        return {name: self._load(name, utt_id) for name in self.loader_dict}

    def _load(self, name: str, uid: str):
        loader = self.loader_dict[name]
        path, _ = self.debug_info[name]
        try:
            _check_sound_file(loader, uid)
            value = loader[uid]
        except KeyError:
            raise DataError(
                f"utterance {uid!r} has no {name}: it is not in {path}", fix="Validate the data directory."
            ) from None
        except MediaError as error:  # names the file
            raise MediaError(f"{name} of utterance {uid!r}: {error}") from error
        except EspnetVivitError:
            raise
        except (OSError, RuntimeError, ValueError, AssertionError) as error:  # libsndfile's is a RuntimeError
            reason = str(error).strip().split("\n")[0] or type(error).__name__
            raise DataError(
                f"{name} of utterance {uid!r}, listed in {path}, cannot be read ({reason})",
                fix="Check that the file is there, may be read and plays; or leave the utterance out of all lists.",
            ) from error
        rate_hz = getattr(loader, "rate", None)  # ESPnet's sound loader remembers the rate of what it has read
        if rate_hz not in (None, AUDIO_RATE_HZ):
            raise DataError(
                f"utterance {uid!r} of {path} has the wrong sampling rate",
                found=f"{rate_hz} Hz",
                expected=f"{AUDIO_RATE_HZ} Hz",
                fix="Resample it at data preparation.",
            )
        if isinstance(value, np.ndarray) and value.dtype.kind == "f" and not np.isfinite(value).all():
            raise DataError(
                f"{name} of utterance {uid!r}, listed in {path}, has values that are NaN or infinite",
                fix="Write the file again, or leave the utterance out of all lists.",
            )
        return np.atleast_1d(np.asarray(value)) if isinstance(value, list | numbers.Number) else value

    def _in_precision(self, name: str, uid: str, value) -> np.ndarray:
        kind = value.dtype.kind if isinstance(value, np.ndarray) else None
        if kind == "f":
            return value.astype(self.float_dtype)
        if kind == "i":
            return value.astype(self.int_dtype)
        if kind == "u" and value.dtype == np.uint8:
            return np.ascontiguousarray(value)  # torch takes no negative strides (a flipped view)
        raise DataError(
            f"{name} of utterance {uid!r} cannot go into a batch",
            found=f"{value.dtype} array" if kind else type(value).__name__,
            expected="a float, integer or uint8 array",
            fix="Is its type in --*_data_path_and_name_and_type right, and is use_preprocessor on?",
        )


def _check_sound_file(loader: Any, uid: str) -> None:
    """Of a list of sound files, as ESPnet reads it: it would wait for a pipe, and take half a WAV for a whole one.

    Raises KeyError, MediaError.
    """
    path_of = getattr(getattr(loader, "loader", None), "get_path", None)
    path = None if path_of is None else path_of(uid)
    if isinstance(path, str) and path != "None":  # ESPnet's word for a missing one
        check_is_file(Path(path))
        if path.lower().endswith(".wav") and missing_bytes(Path(path), {"wav"}) is not None:
            raise MediaError(f"{path} breaks off: it is shorter than its header says", fix="Copy it again.")


class AVSRIterableDataset(IterableESPnetDataset):
    """The streaming dataset of `collect_stats` and inference: `(utterance, {name: array})` in the key file's order."""

    def __init__(
        self,
        path_name_type_list: Sequence[tuple[str, str, str]],
        *,
        float_dtype: str = "float32",
        preprocess: Callable | None = None,
        key_file: str | None = None,
    ):
        check_no_commands(path_name_type_list)
        super().__init__(path_name_type_list, preprocess=preprocess, float_dtype=float_dtype, key_file=key_file)
        self.by_utterance = AVSRDataset(path_name_type_list, preprocess=preprocess, float_dtype=float_dtype)

    def __iter__(self) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
        keys = list(self.by_utterance) if self.key_file is None else _read_keys(self.key_file)
        worker = get_worker_info()
        if worker is not None:
            keys = keys[worker.id :: worker.num_workers]
        for key in keys:
            yield self.by_utterance[key]


def _read_keys(key_file: str) -> list[str]:
    with open(key_file, encoding="utf-8") as lines:
        keys = [line.split(maxsplit=1)[0] for line in lines if line.strip()]
    if not keys:
        raise DataError(f"{key_file} lists no utterance", expected="one utterance id per line")
    return keys
