"""What the page lets in: files that are there, of at most so many bytes and seconds.

Seconds are not taken from the header alone: a live recording's says nothing of them, and others can say anything. So
the packets are gone through, undecoded; and while the file is read, `check_read` looks at how far that has come, for
packets need not say their times either.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from espnet_vivit.errors import ConfigError
from espnet_vivit.media.files.containers import (
    check_is_file,
    open_container,
    stated_duration_s,
)
from espnet_vivit.media.files.video_file import open_npy
from espnet_vivit.units import VIDEO_RATE_HZ, seconds_of_frames

if TYPE_CHECKING:
    from espnet_vivit.transcription.cutting import Stretch

_SLACK_S = 1.0  # what is read is counted in whole pictures, and a file's sound may go on a little after them


def check_upload(path: Path, *, max_mb: float, max_s: float) -> None:
    """Raises ConfigError: too large or too long; MediaError: not there, or not readable."""
    check_is_file(path)
    megabytes = path.stat().st_size / 1e6
    if megabytes > max_mb:
        raise ConfigError("the file is too large", found=f"{megabytes:.0f} MB", expected=f"at most {max_mb} MB")
    if path.suffix == ".npy":
        length_s: float | None = seconds_of_frames(len(open_npy(path)))
    else:
        length_s = stated_duration_s(path)
    if length_s is not None and length_s > max_s:
        raise _too_long(f"{length_s:.0f} s", max_s)
    if path.suffix != ".npy" and _lasts_longer(path, max_s):
        raise _too_long(f"more than {max_s:.0f} s", max_s)


def check_read(stretch: "Stretch", *, max_s: float) -> None:
    """Raises ConfigError if the file was read for longer than it may be; `stretch` was read last."""
    if stretch.first + len(stretch) > (max_s + _SLACK_S) * VIDEO_RATE_HZ:
        raise _too_long(f"more than {max_s:.0f} s", max_s)


def _lasts_longer(path: Path, max_s: float) -> bool:
    """By the times of its packets, from the first one on."""
    begin_s = None
    with open_container(path) as media:
        if media.video is None and media.sound is None:
            return False  # reading it will say that there is nothing
        for packet in media.packets():
            ticks = packet.dts if packet.pts is None else packet.pts
            if ticks is None or packet.time_base is None:
                continue
            shown_s = float(ticks * packet.time_base)
            begin_s = shown_s if begin_s is None else min(begin_s, shown_s)
            if shown_s + float((packet.duration or 0) * packet.time_base) - begin_s > max_s:
                return True
    return False


def _too_long(found: str, max_s: float) -> ConfigError:
    return ConfigError(
        "the video is too long for this page",
        found=found,
        expected=f"at most {max_s:.0f} s",
        fix="espnet-vivit transcribe takes any length.",
    )
