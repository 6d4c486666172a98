"""A transcription as text, subtitles, or what scoring tools read.

    txt   one line, `[unclear]` where nothing is believed        json  everything, also the n best and why it is unclear
    srt   SubRip subtitles        vtt  WebVTT, each word at its time
    ctm   NIST's `file channel start duration word confidence`   trn   NIST's `words (file)`, as score.py writes it

A subtitle holds at most two lines of 42 characters and 7 seconds (Netflix's timed text guide), ends where the speaker
pauses, and stays long enough to be read if nothing follows at once.
"""

import dataclasses
import json
import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from espnet_vivit.base.whole_file import make_folder, write_whole
from espnet_vivit.data.transcripts import format_trn
from espnet_vivit.decode.word_times import Word
from espnet_vivit.errors import unknown_name
from espnet_vivit.transcription.result import UNCLEAR, Transcription

LINE_CHARACTERS, CUE_LINES = 42, 2
LONGEST_CUE_S, SHORTEST_CUE_S = 7.0, 1.0
PAUSE_S = 0.8  # between words: a new subtitle begins
MARK = "[unclear]"


@dataclass(frozen=True)
class Cue:
    """One subtitle. `words` is empty where nothing is believed, and `text` says so."""

    start_s: float
    end_s: float
    text: str  # lines separated by \n
    words: tuple[Word, ...]


def write_subtitles(result: Transcription, folder: str | Path, formats: Sequence[str], *, name: str) -> list[Path]:
    """Write `folder`/`name`.<format> for each of the formats; returns the paths.

    Raises ConfigError for another format, MediaError for what cannot be written.
    """
    for form in formats:
        if form not in FORMATS:
            raise unknown_name("output format", form, FORMATS)
    folder = make_folder(folder)
    paths = [folder / f"{name}.{form}" for form in formats]
    for form, path in zip(formats, paths, strict=True):
        write_whole(path, FORMATS[form](result, name))
    return paths


def cues(result: Transcription) -> list[Cue]:
    """The subtitles in the order of time; none overlaps the next."""
    unclear = _unclear_stretches(result)
    groups = _groups(result.words, [stretch.start_s for stretch in unclear])
    found = [Cue(words[0].start_s, words[-1].end_s, _wrapped(words), tuple(words)) for words in groups]
    found += [Cue(stretch.start_s, stretch.end_s, MARK, ()) for stretch in unclear]
    found.sort(key=lambda cue: cue.start_s)
    starts = [*(cue.start_s for cue in found), math.inf]
    return [
        dataclasses.replace(cue, end_s=min(max(cue.end_s, cue.start_s + SHORTEST_CUE_S), following_s))
        for cue, following_s in zip(found, starts[1:], strict=True)
    ]


def _groups(words: Sequence[Word], unclear_from_s: Sequence[float]) -> Iterator[list[Word]]:
    """The words of each subtitle; none goes on behind an unclear stretch."""
    group: list[Word] = []
    for word in words:
        if group:
            lines = _lines((*group, word), LINE_CHARACTERS)
            late = word.end_s - group[0].start_s > LONGEST_CUE_S
            apart = any(group[-1].start_s <= start_s < word.start_s for start_s in unclear_from_s)
            if len(lines) > CUE_LINES or late or apart or word.start_s - group[-1].end_s > PAUSE_S:
                yield group
                group = []
        group.append(word)
    if group:
        yield group


def _wrapped(words: Sequence[Word]) -> str:
    """One line if it fits, else two of about the same length; a word longer than a line has one to itself."""
    length = sum(len(word.text) + 1 for word in words) - 1
    if length <= LINE_CHARACTERS:
        return " ".join(word.text for word in words)
    for width in range(length // CUE_LINES, LINE_CHARACTERS + 1):
        lines = _lines(words, width)
        if len(lines) <= CUE_LINES and max(map(len, lines)) <= LINE_CHARACTERS:
            return "\n".join(lines)
    return "\n".join(_lines(words, LINE_CHARACTERS))


def _lines(words: Sequence[Word], width: int) -> list[str]:
    """Whole words, broken neither at hyphens nor for their length: each has a time of its own."""
    text = " ".join(word.text for word in words)
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)


@dataclass(frozen=True)
class _Stretch:
    start_s: float
    end_s: float
    reasons: tuple[str, ...]


def _unclear_stretches(result: Transcription) -> list[_Stretch]:
    """Unclear pieces that follow each other, put together; what words of a neighbour reach into is theirs."""
    stretches: list[_Stretch] = []
    for piece in result.unclear:
        if stretches and piece.start_s <= stretches[-1].end_s + 1e-6:
            last = stretches.pop()
            reasons = tuple(dict.fromkeys((*last.reasons, *piece.reasons)))
            stretches.append(_Stretch(last.start_s, piece.end_s, reasons))
        else:
            stretches.append(_Stretch(piece.start_s, piece.end_s, piece.reasons))
    spoken_until_s = [max((w.end_s for w in result.words if w.start_s <= s.start_s), default=0.0) for s in stretches]
    trimmed = [
        dataclasses.replace(stretch, start_s=max(stretch.start_s, end_s))
        for stretch, end_s in zip(stretches, spoken_until_s, strict=True)
    ]
    return [stretch for stretch in trimmed if stretch.start_s < stretch.end_s]


def _txt(result: Transcription, name: str) -> str:
    """The pieces' texts on one line, with the mark where there are none to be believed."""
    parts: list[str] = []
    for piece in result.pieces:
        text = MARK if piece.status == UNCLEAR else " ".join(word.text for word in piece.words)
        if text and not (text == MARK and parts and parts[-1] == MARK):
            parts.append(text)
    return " ".join(parts) + "\n"


def _srt(result: Transcription, name: str) -> str:
    blocks = [
        f"{number}\n{_clock(cue.start_s, ',')} --> {_clock(cue.end_s, ',')}\n{_untagged(cue.text)}\n"
        for number, cue in enumerate(cues(result), 1)
    ]
    return "\n".join(blocks)


def _untagged(text: str) -> str:
    """SubRip knows no escape, and players drop what looks like a tag, such as <unk>: other brackets."""
    return text.translate({ord("<"): "‹", ord(">"): "›", ord("{"): "(", ord("}"): ")"})


def _vtt(result: Transcription, name: str) -> str:
    blocks = ["WEBVTT\n"]
    for cue in cues(result):
        body = _escaped(cue.text) if not cue.words else _timed(cue)
        blocks.append(f"{_clock(cue.start_s, '.')} --> {_clock(cue.end_s, '.')}\n{body}\n")
    return "\n".join(blocks)


def _timed(cue: Cue) -> str:
    """The cue's text with `<time>` before each word but the first, the line breaks where they were."""
    words, lines = iter(cue.words), []
    for line in cue.text.split("\n"):
        spelled = []
        for _ in line.split():
            word = next(words)
            inside = cue.start_s < word.start_s < cue.end_s  # WebVTT wants times strictly within the cue
            spelled.append((f"<{_clock(word.start_s, '.')}>" if inside else "") + _escaped(word.text))
        lines.append(" ".join(spelled))
    return "\n".join(lines)


def _ctm(result: Transcription, name: str) -> str:
    utt = name.replace(" ", "_")  # blanks separate the fields
    lines = [
        f"{utt} 1 {word.start_s:.3f} {word.end_s - word.start_s:.3f} {word.text} {word.confidence:.3f}"
        for word in result.words
    ]
    lines += [
        f";; {utt} {piece.start_s:.3f} {piece.end_s:.3f} unclear: {'; '.join(piece.reasons)}"
        for piece in _unclear_stretches(result)
    ]
    return "".join(f"{line}\n" for line in lines)


def _trn(result: Transcription, name: str) -> str:
    return format_trn({name.replace(" ", "_"): result.text})


def _json(result: Transcription, name: str) -> str:
    return json.dumps(_plain(result.as_dict()), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _plain(value):
    """Four digits are plenty; JSON has no infinity, which is the score of a search that found nothing: null."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float):
        return round(value, 4) if math.isfinite(value) else None
    return value


def _clock(time_s: float, mark: str) -> str:
    """Hours, minutes, seconds, `mark`, milliseconds."""
    ms = max(0, round(time_s * 1000))
    return f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02}{mark}{ms % 1000:03}"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


FORMATS = {"txt": _txt, "srt": _srt, "vtt": _vtt, "ctm": _ctm, "json": _json, "trn": _trn}
