"""Speech files in and out: mono, 16 kHz, as float samples in -1..1. FLAC and WAV, through libsndfile."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import soundfile

from espnet_vivit.base.whole_file import replacing
from espnet_vivit.errors import MediaError
from espnet_vivit.media.files.containers import check_is_file
from espnet_vivit.media.files.whole_recording import missing_bytes
from espnet_vivit.units import AUDIO_RATE_HZ


def read_wav(path: str | os.PathLike) -> np.ndarray:
    """(N,) float32 in -1..1 from a mono file at 16 kHz. Raises MediaError, which names the file."""
    check_is_file(Path(path))
    try:
        samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    except (OSError, soundfile.LibsndfileError) as error:
        raise MediaError(f"cannot read {path} ({error})", fix="Check that the file exists and plays.") from error
    if missing_bytes(Path(path), {Path(path).suffix[1:].lower()}) is not None:
        raise MediaError(
            f"{path} breaks off", found=f"{len(samples) / rate_hz:.2f} s", expected="more, as its header says",
            fix="Copy it again.",
        )  # fmt: skip
    if not np.isfinite(samples).all():
        raise MediaError(f"{path} has samples that are not numbers (NaN or infinite)", fix="Write it again.")
    if rate_hz != AUDIO_RATE_HZ or samples.shape[1] != 1:
        raise MediaError(
            f"{path} has the wrong format",
            found=f"{rate_hz} Hz, {samples.shape[1]} channels",
            expected=f"{AUDIO_RATE_HZ} Hz, 1 channel",
            fix=f"Convert it: ffmpeg -i IN -ac 1 -ar {AUDIO_RATE_HZ} OUT.flac",
        )
    return samples[:, 0]


def write_wav(path: str | os.PathLike, samples: np.ndarray) -> None:
    """Write (N,) float in -1..1 as 16-bit mono at 16 kHz, FLAC or WAV by the suffix; complete or not at all."""
    path = Path(path)
    coded = io.BytesIO()  # libsndfile says "System error" of a full disk, Python's files say what it was
    soundfile.write(coded, samples, AUDIO_RATE_HZ, subtype="PCM_16", format=path.suffix[1:].upper())
    with replacing(path) as temporary:
        temporary.write_bytes(coded.getbuffer())
