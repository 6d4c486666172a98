"""Video files of a drawn mouth that talks, with sound, under any name; each is made once and copied."""

from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.media.talking_mouth import talking
from tests.recordings import write_recording


def write_talking(path: Path, *, seconds: float = 1.2, seed: int = 0, sound: bool = True) -> Path:
    """A recording of 96 x 96 pixels at `path`, whose folders are made; FFmpeg does not mind its suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_recording(seconds, seed, sound))
    return path


@lru_cache
def _recording(seconds: float, seed: int, sound: bool) -> bytes:
    clip = talking(seconds, seed=seed)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mkv"
        return write_recording(path, clip.frames, clip.speech if sound else None).read_bytes()
