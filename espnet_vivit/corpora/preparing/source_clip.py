"""What a corpus lists before anything is decoded: a span of a video file, who speaks in it, and what is said.

A corpus (grid_videos.py, lrs2.py, lrs3.py, folder.py, manifests.py) is a generator of these; prepare.py makes clips of
them. An entry that cannot be used is listed as well, with its `problem`: it becomes a row of the report.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from espnet_vivit.base.text_file import visible
from espnet_vivit.data.word_times import WordTime

MAX_ID_BYTES = 150  # an id becomes a file name, which may have 255


@dataclass(frozen=True)
class SourceClip:
    """A clip to be made. `word_times` count from `start_s`; `recording` is what may not be in two sets."""

    utt_id: str
    speaker: str
    text: str
    video: str
    split: str
    audio: str = ""  # a sound file; "": the video's own sound
    start_s: float = 0.0
    end_s: float | None = None  # None: to the end of the file
    word_times: tuple[WordTime, ...] | None = None
    recording: str = ""  # the talk or programme that it was cut from; "": known by its file alone
    problem: str = ""  # why it cannot be used

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, line: str) -> SourceClip:
        fields = json.loads(line)
        if fields["word_times"] is not None:
            fields["word_times"] = tuple(WordTime(*time) for time in fields["word_times"])
        return cls(**fields)


def make_id(*parts: str) -> str:
    """An utterance id, or a speaker's, from names: letters, digits and `._` stay, all else becomes `_`; joined by `-`.

    What would be too long for a file name ends in a hash of the whole instead.
    """
    cleaned = ("".join(_id_char(char) for char in unicodedata.normalize("NFC", part)) for part in parts)
    name = "-".join(part.lstrip(".") or "_" for part in cleaned)
    if len(name.encode()) <= MAX_ID_BYTES:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:12]
    return name.encode()[: MAX_ID_BYTES - 13].decode(errors="ignore") + "-" + digest


def _id_char(char: str) -> str:
    return char if char.isalnum() or char in "._-" or unicodedata.category(char).startswith("M") else "_"


def one_line(text: str) -> str:
    """A transcript as it stands in `text`: NFC, words separated by one space, nothing that is not seen."""
    return " ".join(visible(text).split())


def hash_rank(key: str, *, seed: int = 0) -> str:
    """What keys are sorted by for a random choice that is the same everywhere and does not depend on their order."""
    return hashlib.sha256(f"{seed}:{key}".encode()).hexdigest()


def choose(keys: Iterable[str], count: int, *, seed: int = 0) -> set[str]:
    """`count` of the keys at random (see `hash_rank`)."""
    return set(sorted(set(keys), key=lambda key: hash_rank(key, seed=seed))[:count])
