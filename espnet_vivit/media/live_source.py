"""Where live pictures and sound come from: a file at its own pace, or a camera and a microphone through FFmpeg.

    with open_live("webcam") as source:           # or a file, or FORMAT:NAME, such as v4l2:/dev/video1
        for event in source.events(): ...         # Picture(time_s, picture), Sound(time_s, samples)

A device is read by a thread of its own. Where the reader is slower than the camera, the oldest pictures that wait are
dropped (and held by the clock of live_clip.py); sound never is. Times of both devices count from the same moment: when
the first of a device's frames arrived, and from there on by its own clock.
"""

from __future__ import annotations

import math
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from espnet_vivit.errors import MediaError
from espnet_vivit.media.files.containers import check_is_file, streams_of
from espnet_vivit.media.files.sound_track import SpeechReader
from espnet_vivit.media.files.source import SourceInfo, open_source
from espnet_vivit.media.files.tracks import AS_PLAYERS
from espnet_vivit.units import AUDIO_RATE_HZ, SAMPLES_PER_FRAME, seconds_of_frames, seconds_of_samples

WEBCAM = "webcam"
DEVICES = {  # sys.platform -> camera, microphone; the same name: one device gives both
    "linux": ("v4l2:/dev/video0", "alsa:default"),
    "darwin": ("avfoundation:0:0", "avfoundation:0:0"),
}
FORMATS = ("v4l2", "alsa", "pulse", "avfoundation", "dshow", "lavfi")
WAITING_PICTURES = 25


class Picture(NamedTuple):
    """(H, W, 3) uint8 RGB, shown from `time_s` on."""

    time_s: float
    picture: np.ndarray


class Sound(NamedTuple):
    """(n,) float32 at 16 kHz, heard from `time_s` on."""

    time_s: float
    samples: np.ndarray


@contextmanager
def open_live(source: str, *, microphone: str | None = None, as_fast: bool = False):
    """A `FileSource` or a `DeviceSource`, closed at the end.

    source: "webcam", a file, or FORMAT:NAME of an FFmpeg device. microphone: FORMAT:NAME (default: this system's with
    "webcam", else the sound of `source`). as_fast: a file is not read at its own pace.
    Raises MediaError for what cannot be opened.
    """
    if source.partition(":")[0] in FORMATS or source == WEBCAM:
        if source == WEBCAM:
            if sys.platform not in DEVICES:
                fix = 'Name it, as --source "dshow:video=Integrated Camera:audio=Microphone"'
                raise MediaError("no camera has a usual name on this system", found=sys.platform, fix=fix)
            source, usual = DEVICES[sys.platform]
            microphone = usual if microphone is None else microphone
        names = [source] if microphone in (None, source) else [source, microphone]
        opened = DeviceSource([name for name in names if name is not None])
        try:
            yield opened
        finally:
            opened.close()
    else:
        check_is_file(Path(source))
        yield FileSource(Path(source), as_fast=as_fast)


class FileSource:
    """A media file. `streams`: "video", "audio" or both."""

    def __init__(self, path: Path, *, as_fast: bool):
        self.path, self._as_fast = path, as_fast
        self.streams = streams_of(path, AS_PLAYERS)
        self.info: SourceInfo | None = None
        if "video" in self.streams:
            with open_source(path) as source:
                self.info = source.info

    def events(self) -> Iterator[Picture | Sound]:
        begun_s, first_s = time.monotonic(), None
        for event in self._pictures() if "video" in self.streams else self._sounds(0.0, None):
            first_s = event.time_s if first_s is None else first_s
            if not self._as_fast:
                time.sleep(max(0.0, begun_s + event.time_s - first_s - time.monotonic()))
            yield event

    def _pictures(self) -> Iterator[Picture | Sound]:
        with open_source(self.path) as source:
            first = source.first_index()
            sounds = self._sounds(seconds_of_frames(first), source.zero_s) if "audio" in self.streams else iter(())
            for index, picture in enumerate(source.frames(), first):
                yield Picture(seconds_of_frames(index), picture)
                sound = next(sounds, None)
                if sound is not None:
                    yield sound

    def _sounds(self, start_s: float, zero_s: float | None) -> Iterator[Sound]:
        reader = SpeechReader(self.path, start_s=start_s, zero_s=zero_s)
        try:
            while len(samples := reader.take(SAMPLES_PER_FRAME)):
                yield Sound(start_s, samples)
                start_s += seconds_of_samples(len(samples))
        finally:
            reader.close()


class DeviceSource:
    """One or two FFmpeg devices, FORMAT:NAME each. `streams` as of `FileSource`."""

    def __init__(self, names: list[str]):
        self._arrived = threading.Condition()
        self._waiting: deque[Picture | Sound | Exception] = deque()
        self._pictures = self._open = 0
        self._closed = False
        self._devices = [(name, _open_device(name)) for name in names]
        self.streams, self.info = set[str](), None
        for name, container in self._devices:
            self.streams |= {stream.type for stream in container.streams if stream.type in ("video", "audio")}
            if self.info is None and container.streams.video:
                self.info = _info_of(name, container.streams.video[0])

    def events(self) -> Iterator[Picture | Sound]:
        """What arrives, until all devices have ended. Raises MediaError where one fails."""
        begun_s, self._open = time.monotonic(), len(self._devices)
        for name, container in self._devices:
            threading.Thread(target=self._read, args=(name, container, begun_s), daemon=True).start()
        while True:
            with self._arrived:
                self._arrived.wait_for(lambda: self._waiting or not self._open)
                if not self._waiting:
                    return
                event = self._waiting.popleft()
                self._pictures -= isinstance(event, Picture)
            if isinstance(event, Exception):
                raise event
            yield event

    def close(self) -> None:
        self._closed = True

    def _read(self, name: str, container, begun_s: float) -> None:
        import av

        try:
            for event in _device_events(container, begun_s):
                if self._closed:
                    break
                self._put(event)
        except av.FFmpegError as error:
            self._put(MediaError(f"the device {name} failed ({error.strerror})", fix="Is it still plugged in?"))
        finally:
            with self._arrived:
                self._open -= 1
                self._arrived.notify()
            container.close()

    def _put(self, event: Picture | Sound | Exception) -> None:
        with self._arrived:
            if isinstance(event, Picture):
                self._pictures += 1
                if self._pictures > WAITING_PICTURES:
                    oldest = next(waiting for waiting in self._waiting if isinstance(waiting, Picture))
                    self._waiting = deque(waiting for waiting in self._waiting if waiting is not oldest)
                    self._pictures -= 1
            self._waiting.append(event)
            self._arrived.notify()


def _open_device(name: str):
    import av

    form, _, device = name.partition(":")
    try:
        return av.open(device, format=form)
    except (av.FFmpegError, ValueError) as error:  # ValueError: a format that this FFmpeg was built without
        fix = "Is it plugged in, and may this user open it? Others are named FORMAT:NAME, as v4l2:/dev/video1"
        raise MediaError(f"cannot open the device {name} ({error})", fix=fix) from error


def _device_events(container, begun_s: float) -> Iterator[Picture | Sound]:
    import av

    resampler = av.AudioResampler(format="flt", layout="mono", rate=AUDIO_RATE_HZ)
    offset_s: float | None = None  # from the device's clock to ours
    for frame in container.decode(*container.streams.video[:1], *container.streams.audio[:1]):
        now_s = time.monotonic() - begun_s
        time_s = now_s if frame.time is None else frame.time
        offset_s = now_s - time_s if offset_s is None else offset_s
        if isinstance(frame, av.VideoFrame):
            yield Picture(time_s + offset_s, frame.to_ndarray(format="rgb24"))
        else:
            parts = [part.to_ndarray()[0] for part in resampler.resample(frame)]
            if parts:
                yield Sound(time_s + offset_s, np.concatenate(parts).astype(np.float32))


def _info_of(name: str, stream) -> SourceInfo:
    codec, rate = stream.codec_context, stream.average_rate or stream.guessed_rate or 0
    return SourceInfo(name, codec.height, codec.width, float(rate), 0, math.nan, 0, codec.name, None, None)
