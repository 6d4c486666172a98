"""One entry of a corpus in; its mouth crop and sound on the disk, its measures and the verdict on it out.

This is what runs in every process of a preparation. Whatever is wrong with a file is an outcome, not an error: only
what would go wrong with every clip (an option, a missing package, a full disk) is raised and ends the run.
"""

from __future__ import annotations

import io
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from espnet_vivit.base.whole_file import is_disk_error
from espnet_vivit.corpora.preparing.source_clip import SourceClip, make_id
from espnet_vivit.data.data_dir import Utterance, check_utterance
from espnet_vivit.data.word_times import WordTime
from espnet_vivit.errors import ConfigError, EspnetVivitError, MediaError, MissingDependencyError
from espnet_vivit.media.faces.mouth_roi import middle, shrink
from espnet_vivit.media.files.audio_file import write_wav
from espnet_vivit.media.files.tracks import Tracks
from espnet_vivit.media.files.video_file import write_gray_video
from espnet_vivit.media.quality.verdict import Quality, assess_clip, refused_clip, with_remarks
from espnet_vivit.units import MOUTH_SIZE, SAMPLES_PER_FRAME, VIDEO_RATE_HZ, seconds_of_frames

if TYPE_CHECKING:
    from espnet_vivit.media.mouth_clip import MouthClip

_FASTEST_LETTERS_HZ = 30  # 6 words a second, which is twice as fast as people usually speak
CODECS = {"h264": ".mp4", "ffv1": ".mkv"}


@dataclass(frozen=True)
class ClipOptions:
    """How clips are made. `view`: pixels in the middle of the 96-pixel crop that are kept; `size`: shrunk to."""

    folder: str  # for the clips, absolute
    detector: str = "auto"
    modality: str = "multimodal"  # or "video": no sound is written
    codec: str = "h264"
    crf: int = 14
    view: int = MOUTH_SIZE
    size: int = MOUTH_SIZE
    max_s: float = 60.0  # longer clips are rejected
    detect_every: int = 1
    audio_track: int | None = None  # of each file, counted from 1; None: the one that a player takes
    video_track: int | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a clip: `files` are its path -> bytes; a rejected one has none."""

    utt_id: str
    verdict: str
    reasons: tuple[str, ...]
    measures: dict[str, float]
    facts: dict[str, object] = field(default_factory=dict)
    files: dict[str, int] = field(default_factory=dict)
    video: str | None = None
    wav: str | None = None
    num_frames: int = 0
    num_samples: int = 0
    shape: tuple[int, int] = (0, 0)  # (H, W)
    lead_s: float = 0.0  # from the clip's beginning to its first picture
    strip: bytes = b""  # JPEG of some pictures, for the report
    seconds: float = 0.0

    @classmethod
    def of(cls, utt_id: str, quality: Quality, **rest: Any) -> Outcome:
        return cls(utt_id, quality.verdict, tuple(quality.reasons), dict(quality.measures), **rest)


def make_clip(clip: SourceClip, options: ClipOptions) -> Outcome:
    """Read, judge and write one clip. Raises ConfigError, MissingDependencyError, and MediaError for a full disk."""
    started = time.perf_counter()
    try:
        return _make(clip, options, started)
    except (ConfigError, MissingDependencyError):
        raise
    except Exception as error:  # a decoder's or detector's troubles with a file are that file's row
        if is_disk_error(error):
            raise MediaError(f"cannot write into {options.folder} ({error})", fix="Make room and run again.") from error
        known = error if isinstance(error, EspnetVivitError) else MediaError(f"{type(error).__name__}: {error}")
        return Outcome.of(clip.utt_id, refused_clip(known), seconds=time.perf_counter() - started)


def lost_clip(clip: SourceClip, reason: str) -> Outcome:
    """The outcome of a clip whose process ended while it was being made."""
    error = MediaError(f"{clip.video}: {reason}", fix="Encode it again, or leave it out.")
    return Outcome.of(clip.utt_id, refused_clip(error))


def _make(clip: SourceClip, options: ClipOptions, started: float) -> Outcome:
    from espnet_vivit.media.quality.clip_report import facts_of
    from espnet_vivit.media.quality.contact_sheet import draw_strip

    mouth = read_clip(clip, options)
    remarks = (*mouth.source.remarks, *_too_many_words(clip.text, len(mouth.frames)))
    quality = with_remarks(assess_clip(mouth, modality=options.modality), remarks)
    lead_s = max(0.0, mouth.start_s - clip.start_s)
    word_times = seen_word_times(clip, lead_s)
    strip = io.BytesIO()
    draw_strip(mouth).save(strip, format="JPEG", quality=80)
    common = {"facts": facts_of(mouth), "strip": strip.getvalue()}
    if quality.verdict == "reject":
        return Outcome.of(clip.utt_id, quality, **common, seconds=time.perf_counter() - started)
    frames = shrink(middle(mouth.frames, options.view), options.size) if options.size != MOUTH_SIZE else mouth.frames
    speech = None
    if options.modality != "video":
        assert mouth.speech is not None  # else it is rejected
        speech = fit_speech(mouth.speech, len(frames))
    paths = clip_paths(clip, options)
    written = {"video": str(paths["video"])} | ({} if speech is None else {"wav": str(paths["wav"])})
    samples = 0 if speech is None else len(speech)
    utterance = Utterance(
        clip.utt_id,
        clip.speaker,
        clip.text,
        written.get("wav"),
        written["video"],
        len(frames),
        samples,
        word_times,
    )
    check_utterance(utterance)
    paths["video"].parent.mkdir(parents=True, exist_ok=True)
    write_gray_video(paths["video"], frames, codec=options.codec, crf=options.crf)
    if speech is not None:
        write_wav(paths["wav"], speech)
    return Outcome.of(
        clip.utt_id, quality, **common, **written, num_frames=len(frames), num_samples=samples, shape=frames.shape[1:],
        files={path: Path(path).stat().st_size for path in written.values()}, lead_s=lead_s,
        seconds=time.perf_counter() - started,
    )  # fmt: skip


def read_clip(clip: SourceClip, options: ClipOptions) -> MouthClip:
    """The mouth in a span of a file, with its sound. Raises MediaError; for a span longer than `max_s`, too."""
    from espnet_vivit.media.files.source import read_speech
    from espnet_vivit.media.mouth_clip import read_mouth_clip

    end_s = clip.start_s + options.max_s + 1  # never more than this is held, whatever the file's header says
    mouth = read_mouth_clip(
        clip.video, detector=options.detector, detect_every=options.detect_every, start_s=clip.start_s,
        end_s=end_s if clip.end_s is None else min(end_s, clip.end_s),
        tracks=Tracks(options.video_track, options.audio_track),
    )  # fmt: skip
    if len(mouth.frames) > options.max_s * VIDEO_RATE_HZ:
        raise MediaError(
            f"{clip.video} is longer than {options.max_s:g} s",
            fix="Cut it: give start_s and end_s of each utterance, or raise --max_s.",
        )
    if not clip.audio or options.modality == "video":
        return mouth
    return replace(mouth, speech=read_speech(clip.audio, start_s=mouth.start_s, end_s=clip.end_s))


def _too_many_words(text: str, num_frames: int) -> list[str]:
    """A remark on a transcript that nobody says so fast: of a file that broke off, formats such as .ts say nothing."""
    letters_hz = sum(char.isalnum() for char in text) / seconds_of_frames(num_frames)
    if letters_hz <= _FASTEST_LETTERS_HZ:
        return []
    return [
        f"its transcript has {letters_hz:.0f} letters for each second: is the file whole, and is it its transcript?"
    ]


def seen_word_times(clip: SourceClip, lead_s: float) -> tuple[WordTime, ...] | None:
    """The clip's word times, which count from its beginning, counted from its first picture.

    Raises MediaError if a word ends before that picture.
    """
    if clip.word_times is None or lead_s <= 0:
        return clip.word_times
    moved = [WordTime(max(0.0, start_s - lead_s), end_s - lead_s, word) for start_s, end_s, word in clip.word_times]
    unseen = [time.word for time in moved if time.end_s <= 0]
    if unseen:
        raise MediaError(
            f"{clip.video}: words are spoken before the first picture, {lead_s:.2f} s into the clip",
            found=" ".join(unseen),
            fix="Give a start_s behind them, and the words from there on.",
        )
    return tuple(moved)


def fit_speech(speech: np.ndarray, num_frames: int) -> np.ndarray:
    """(N,) as it is if it lasts as long as the pictures within one frame; otherwise cut, or followed by silence."""
    wanted = num_frames * SAMPLES_PER_FRAME
    if abs(len(speech) - wanted) <= SAMPLES_PER_FRAME:
        return speech
    return np.pad(speech[:wanted], (0, max(0, wanted - len(speech))))


def clip_paths(clip: SourceClip, options: ClipOptions) -> dict[str, Path]:
    """Where the crop and the sound go: one folder for each speaker."""
    stem = Path(options.folder) / make_id(clip.speaker) / clip.utt_id
    return {"video": Path(f"{stem}{CODECS[options.codec]}"), "wav": Path(f"{stem}.flac")}
