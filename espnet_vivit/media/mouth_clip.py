"""FILE → MOUTH CLIP: pictures and sound of a talking face as models take them.

    clip = read_mouth_clip("talk.mp4")            # clip.frames (T, 96, 96) uint8, clip.speech (N,) float32, …
    for clip in stream_mouth_clips("lecture.mkv"): ...       # the same in pieces of 20 s, in bounded memory

The way of a picture: decoded and put on 25 per second (source.py) → faces (detectors/) → one face (tracking.py) → gaps
bridged, points smoothed (landmarks.py) → turned, scaled and cut out in one warp (mouth_roi.py).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from espnet_vivit.errors import ConfigError, MediaError
from espnet_vivit.media.faces.face_stream import FaceStream, Sighting, open_faces
from espnet_vivit.media.faces.landmarks import LANDMARKS, LandmarkStream, NoFaceError
from espnet_vivit.media.faces.mouth_roi import center_points, check_color, crop_center, crop_mouth
from espnet_vivit.media.faces.source_change import Shots, change_around
from espnet_vivit.media.files.frame_clock import PauseError, SpanError
from espnet_vivit.media.files.sound_track import SpeechReader
from espnet_vivit.media.files.source import Source, SourceInfo, open_source
from espnet_vivit.media.files.tracks import AS_PLAYERS, Tracks
from espnet_vivit.units import AUDIO_RATE_HZ, MOUTH_SIZE, SAMPLES_PER_FRAME, VIDEO_RATE_HZ, seconds_of_frames

__all__ = ["LANDMARKS", "MouthClip", "NoFaceError", "SourceInfo", "read_mouth_clip", "stream_mouth_clips"]

MAX_GAP_S = 1.0
CHUNK_S = 20.0
_SOUND_BEYOND_S = 10.0  # sound that goes on after the last picture is read no further than that


class NoPictureError(MediaError):
    """The file has no picture in the span that is asked for."""

    def __init__(self, info: SourceInfo, start_s: float, end_s: float | None):
        length = f", its pictures end at {info.duration_s:.2f} s" if np.isfinite(info.duration_s) else ""
        last = "" if end_s is None else f" to {end_s:g} s"
        what = f"{info.path} has no picture from {start_s:g} s on{last}: the first comes at "
        super().__init__(f"{what}{seconds_of_frames(info.lead_frames):.2f} s{length}")

    def __reduce__(self):  # so that workers can pickle it
        return (MediaError, self.args)


@dataclass(frozen=True)
class MouthClip:
    """A clip, or a piece of one: T pictures at 25 per second, and what was found out on the way."""

    frames: np.ndarray  # (T, size, size) uint8 gray, or (T, size, size, 3) RGB; full range
    landmarks: np.ndarray  # (T, 4, 2) float32 pixels of the upright source, as found; NaN where no face was
    mouth_opening: np.ndarray  # (T,) float32 lip opening / eye distance; NaN where the detector does not measure it
    num_faces: np.ndarray  # (T,) int16 faces seen in each picture
    source_change: np.ndarray  # (T,) float32 of the source since the picture before (source_change.py); NaN: unknown
    speech: np.ndarray | None  # (N,) float32 -1..1, 16 kHz mono, from the clip's first picture on; None without sound
    source: SourceInfo
    detector: str  # "mediapipe", "haar", "precomputed" or "centre"
    seconds: dict[str, float] = field(default_factory=dict)  # spent by stage: decode, detect, crop, audio
    start_s: float = 0.0  # when the first picture is shown, in seconds of the file


def read_mouth_clip(
    path: str | os.PathLike,
    *,
    detector: str = "auto",
    landmarks: np.ndarray | str | os.PathLike | None = None,
    size: int = MOUTH_SIZE,
    color: str = "gray",
    detect_every: int = 1,
    max_gap_s: float = MAX_GAP_S,
    face: str = "auto",
    start_s: float = 0.0,
    end_s: float | None = None,
    tracks: Tracks = AS_PLAYERS,
) -> MouthClip:
    """The mouth clip of a file, whole or from `start_s` to `end_s`.

    detector: one of media/detectors' DETECTORS, or a MediaPipe model file (`….task`).
    landmarks: (T, 4, 2) pixels (or a .npy of them) for all pictures of the file at 25 per second; NaN rows are gaps.
    detect_every: k > 1 looks for faces in each k-th picture and follows the points between them by optical flow.
    max_gap_s: a face may be missing that long; `inf` refuses nothing, and crops where the face was last.
    face: which of several, see FACES in media/tracking.py.
    start_s, end_s: seconds of the file as a player shows them, which may begin before the first picture.
    tracks: which tracks of the file; as they are: those that a player takes (media/files/tracks.py).

    Raises MediaError (unreadable), NoFaceError (with the span), ConfigError and InputError (options, landmarks),
    MissingDependencyError (the detector cannot be had here).
    """
    pieces = list(
        stream_mouth_clips(
            path,
            chunk_s=float("inf"),
            detector=detector,
            landmarks=landmarks,
            size=size,
            color=color,
            detect_every=detect_every,
            max_gap_s=max_gap_s,
            face=face,
            start_s=start_s,
            end_s=end_s,
            tracks=tracks,
        )
    )
    (clip,) = pieces
    return clip


def stream_mouth_clips(
    path: str | os.PathLike,
    *,
    chunk_s: float = CHUNK_S,
    detector: str = "auto",
    landmarks: np.ndarray | str | os.PathLike | None = None,
    size: int = MOUTH_SIZE,
    color: str = "gray",
    detect_every: int = 1,
    max_gap_s: float = MAX_GAP_S,
    face: str = "auto",
    start_s: float = 0.0,
    end_s: float | None = None,
    tracks: Tracks = AS_PLAYERS,
) -> Iterator[MouthClip]:
    """Consecutive pieces of `chunk_s` seconds, the last one shorter; joined, they are what `read_mouth_clip` gives.

    Memory holds one piece and some three seconds of pictures. Where no face is found for too long, what lies before is
    given out, then NoFaceError is raised with the whole span. Options and errors: see `read_mouth_clip`.
    """
    _check_options(chunk_s, size, detect_every, max_gap_s, start_s, end_s)
    with open_source(Path(path), tracks=tracks) as source:
        faces = open_faces(
            source.info, detector=detector, landmarks=landmarks, detect_every=detect_every, face=face, start_s=start_s
        )
        with closing(faces):
            reading = _Reading(source, faces, size=size, color=check_color(color), max_gap_s=max_gap_s)
            yield from reading.pieces(chunk_s, start_s, end_s)


def _check_options(chunk_s, size, detect_every, max_gap_s, start_s, end_s) -> None:
    for name, value, least in (
        ("chunk_s", chunk_s, 1 / VIDEO_RATE_HZ),
        ("size", size, 1),
        ("detect_every", detect_every, 1),
        ("max_gap_s", max_gap_s, 0),
        ("start_s", start_s, 0),
        ("end_s", end_s, start_s + 1 / VIDEO_RATE_HZ),
    ):
        if value is not None and not value >= least:  # NaN is refused, too
            raise ConfigError(f"bad {name}", found=value, expected=f">= {least:g}")


class _Reading:
    """One pass over a file: keeps the time by stage, and gathers pictures and sound into pieces."""

    def __init__(self, source: Source, faces: FaceStream, *, size: int, color: str, max_gap_s: float):
        self._source, self._faces = source, faces
        self._size, self._color, self._max_gap_s = size, color, max_gap_s
        self._seconds: dict[str, float] = dict.fromkeys(("decode", "detect", "crop", "audio"), 0.0)
        self._kept: list[tuple[np.ndarray, Sighting, float]] = []
        self._before: np.ndarray | None = None  # the last picture
        self._first = self._given = 0  # index in the file of the first picture, and of the next piece's first

    def pieces(self, chunk_s: float, start_s: float, end_s: float | None) -> Iterator[MouthClip]:
        chunk = chunk_s * VIDEO_RATE_HZ if chunk_s == float("inf") else round(chunk_s * VIDEO_RATE_HZ)
        self._first = self._given = self._source.first_index(start_s)
        speech, info, refusal = None, self._source.info, None
        if info.audio_codec is not None:
            begin_s = seconds_of_frames(self._first)
            speech = SpeechReader(Path(info.path), start_s=begin_s, zero_s=self._source.zero_s, tracks=info.tracks)
        try:
            try:
                for kept in self._crops(start_s, end_s):
                    # a full piece waits for its next picture: the last one takes the rest of the sound with it
                    if len(self._kept) >= chunk:
                        yield self._piece(speech, open_end=False)
                    self._kept.append(kept)
            except SpanError as error:  # what was read before the span is given out first
                refusal = error
            if self._kept and not (refusal and chunk_s == float("inf")):
                yield self._piece(speech, open_end=end_s is None and refusal is None)
            elif refusal is None:
                raise NoPictureError(self._source.info, start_s, end_s)
        finally:
            if speech is not None:
                speech.close()
        if refusal is not None:
            raise refusal

    def _crops(self, start_s: float, end_s: float | None) -> Iterator[tuple[np.ndarray, Sighting, float]]:
        """(crop, sighting, change) of each picture. Raises SpanError, after those before it, where there is no more."""
        info = self._source.info
        smoother: LandmarkStream = LandmarkStream(
            max_gap_s=self._max_gap_s, fallback=center_points(info.height, info.width)
        )
        try:
            yield from self._followed(smoother, start_s, end_s)
        except SpanError:
            yield from map(self._crop, smoother.finish())
            raise
        yield from map(self._crop, smoother.finish())

    def _followed(self, smoother: LandmarkStream, start_s: float, end_s: float | None) -> Iterator:
        """The same without those that the smoother still holds."""
        pictures = self._source.frames(start_s=start_s, end_s=end_s)
        index, shots = self._first, Shots()
        while (picture := self._timed("decode", next, pictures, None)) is not None:
            sighting = self._timed("detect", self._faces.look, picture, index)
            index += 1
            if self._faces.sees_mouths_only:
                crop = self._timed("crop", crop_center, picture, size=self._size, color=self._color)
                yield crop, sighting, float("nan")
                continue
            change = self._timed("detect", self._changed, picture, sighting.points)
            track = sighting.track + shots.see(sighting.points, change)
            done = smoother.push((picture, sighting, change), sighting.points, track=track)
            yield from map(self._crop, done)
            if smoother.refused:
                raise self._refusal(pictures, index, smoother.gap)
        self._faces.check_end(index, whole=end_s is None)

    def _changed(self, picture: np.ndarray, points: np.ndarray) -> float:
        before, self._before = self._before, picture
        return float("nan") if before is None else change_around(before, picture, points)

    def _crop(self, done) -> tuple[np.ndarray, Sighting, float]:
        (picture, sighting, change), points = done
        crop = self._timed("crop", crop_mouth, picture, points, size=self._size, color=self._color)
        return crop, sighting, change

    def _refusal(self, pictures: Iterator[np.ndarray], index: int, gap: int) -> NoFaceError:
        """The error with the whole span: reads on until a face is found again."""
        start_s = (index - gap) / VIDEO_RATE_HZ
        with suppress(PauseError):  # which begins where the span ends
            for picture in pictures:
                sighting = self._timed("detect", self._faces.look, picture, index)
                if np.isfinite(sighting.points).all():
                    break
                index += 1
        end_s = index / VIDEO_RATE_HZ
        return NoFaceError(
            f"{self._source.info.path} shows no face from {start_s:.2f} to {end_s:.2f} s: "
            f"more than {self._max_gap_s:g} s (detector {self._faces.name}). "
            "Leave the span out, allow a larger max_gap_s, try another detector; clips of mouths alone need 'centre'.",
            start_s,
            end_s,
        )

    def _piece(self, speech: SpeechReader | None, *, open_end: bool) -> MouthClip:
        kept, self._kept = self._kept, []
        begin, self._given = self._given, self._given + len(kept)
        sound = None
        if speech is not None:
            wanted = len(kept) * SAMPLES_PER_FRAME + (round(_SOUND_BEYOND_S * AUDIO_RATE_HZ) if open_end else 0)
            sound = self._timed("audio", speech.take, wanted)
        seconds, self._seconds = self._seconds, dict.fromkeys(self._seconds, 0.0)
        return MouthClip(
            frames=np.stack([crop for crop, _, _ in kept]),
            landmarks=np.stack([sighting.points for _, sighting, _ in kept]).astype(np.float32),
            mouth_opening=np.array([sighting.opening for _, sighting, _ in kept], np.float32),
            num_faces=np.array([sighting.num_faces for _, sighting, _ in kept], np.int16),
            source_change=np.array([change for _, _, change in kept], np.float32),
            speech=sound,
            source=self._info(speech),
            detector=self._faces.name,
            seconds=seconds,
            start_s=seconds_of_frames(begin),
        )

    def _info(self, speech: SpeechReader | None) -> SourceInfo:
        info = self._source.info
        heard = () if speech is None else tuple(remark for remark in speech.remarks if remark not in info.remarks)
        return replace(info, remarks=(*info.remarks, *heard))

    def _timed(self, stage: str, work, *arguments, **options):
        begun_s = time.perf_counter()
        try:
            return work(*arguments, **options)
        finally:
            self._seconds[stage] += time.perf_counter() - begun_s
