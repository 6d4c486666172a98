"""Damaged videos and sounds in several containers: every picture and sample, what is missing counted, or an error."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from espnet_vivit.media.files.source import open_source, read_speech
from espnet_vivit.media.files.video_file import read_video
from tests.faults.campaign import AS_IT_IS, COUNTED, RIGHT, UNTOLD, Fault
from tests.faults.damage import damaged
from tests.media.videos import numbered, write_sound, write_video

EACH = 4
PICTURES, SAMPLES = 50, 32_000
TOLERATED_S = 0.5  # by which headers and streams of sound files differ, see is_short in media/files/containers.py
CONTAINERS = {  # suffix -> its codec
    ".mp4": "libx264",
    ".mkv": "libx264",
    ".mov": "libx264",
    ".webm": "libvpx",
    ".avi": "mpeg4",
    ".mpg": "mpeg2video",
    ".ts": "libx264",
}
_HEADER = {".flac": 64}  # kept: it says how long the file is
_NO_LENGTH = (".mpg", ".ts", ".ogg", ".mp3")  # they state none, or by a page or frame that may be the damaged one


def videos(folder: Path) -> Iterator[Fault]:
    tone = 0.3 * np.sin(np.arange(SAMPLES) / 20).astype(np.float32)
    for suffix, codec in CONTAINERS.items():
        sound = {".webm": "libopus", ".avi": "mp2", ".mpg": "mp2", ".ts": "mp2"}.get(suffix)
        rate_hz = 16_000 if sound is None else 48_000
        speech = np.repeat(tone, rate_hz // 16_000)
        how = {"codec": codec, "sound_codec": sound, "speech_rate_hz": rate_hz, "speech": speech}
        path = write_video(folder / f"whole{suffix}", map(numbered, range(PICTURES)), **how)
        samples = len(_speech(path))
        for name, content in [(AS_IT_IS, path.read_bytes()), *damaged(path.read_bytes(), each=EACH)]:
            broken = folder / f"broken{suffix}"
            yield Fault(f"{suffix}, pictures, {name}", _written(broken, content, lambda broken=broken: _seen(broken)))
            listen = lambda broken=broken, expected=samples: _heard(broken, expected)  # noqa: E731
            yield Fault(f"{suffix}, sound, {name}", _written(broken, content, listen))


def _speech(path: Path) -> np.ndarray:
    speech = read_speech(path)
    assert speech is not None
    return speech


def _written(path: Path, content: bytes, check: Callable[[], str]) -> Callable[[], str]:
    def run() -> str:
        path.write_bytes(content)
        return check()

    return run


def _seen(path: Path) -> str:
    """A codec may show a wrong picture without knowing it; that one is missing has to be known."""
    with open_source(path) as source:
        found = sum(1 for _ in source.frames())
        if source.counts["broken"] or found > PICTURES:
            return COUNTED
    if found < PICTURES and path.suffix in _NO_LENGTH:
        return UNTOLD
    return RIGHT if found >= PICTURES - TOLERATED_S * 25 else f"{PICTURES - found} pictures are gone"


def _heard(path: Path, expected: int) -> str:
    speech = read_speech(path)
    if speech is None:  # with a warning, which a reader of many files counts
        return COUNTED
    if len(speech) < expected and path.suffix in _NO_LENGTH:
        return UNTOLD
    return RIGHT if len(speech) >= expected - TOLERATED_S * 16_000 else f"{expected - len(speech)} samples are gone"


def sounds(folder: Path) -> Iterator[Fault]:
    tone = 0.3 * np.sin(np.arange(SAMPLES) / 20).astype(np.float32)
    for suffix, codec in {".wav": "pcm_s16le", ".flac": "flac", ".mp3": "libmp3lame", ".ogg": "flac"}.items():
        path = write_sound(folder / f"whole{suffix}", tone, rate_hz=16_000, codec=codec)
        samples = len(_speech(path))
        whole, header = path.read_bytes(), _HEADER.get(suffix, 0)
        for name, content in [(AS_IT_IS, whole[header:]), *damaged(whole[header:], each=2 * EACH)]:
            broken = folder / f"broken{suffix}"
            listen = lambda broken=broken, expected=samples: _heard(broken, expected)  # noqa: E731
            yield Fault(f"{suffix}, {name}", _written(broken, whole[:header] + content, listen))


def arrays(folder: Path) -> Iterator[Fault]:
    """Clips as .npy: a header that is damaged, of another kind of number, or longer than its file."""
    path = folder / "clip.npy"
    rng = np.random.default_rng(0)
    np.save(path, rng.integers(0, 256, (12, 8, 8), dtype=np.uint8))
    content, header = path.read_bytes(), 128
    for name, changed in [(AS_IT_IS, content[:header]), *damaged(content[:header], each=2 * EACH)]:
        yield Fault(f"header, {name}", _written(path, changed + content[header:], lambda: _clip(path)))
    for array in (np.zeros((12, 8)), np.zeros(0), np.zeros((0, 8, 8), np.uint8), np.full((4, 8, 8), np.nan)):
        yield Fault(f"{array.dtype} {array.shape}", lambda array=array: np.save(path, array) or _clip(path))


def _clip(path: Path) -> str:
    frames = read_video(path)
    return RIGHT if frames.shape == (12, 8, 8) and frames.dtype == np.uint8 else f"{frames.dtype} {frames.shape}"
