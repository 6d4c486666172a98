"""What transcribing a file gives: its pieces, their words at the file's own times, and what could not be read.

A piece whose picture or sound is no speech that the model knows, or of whose words it is not sure enough, is `unclear`:
it says why, keeps what the search found in `nbest`, and adds no word to the text.
"""

from dataclasses import asdict, dataclass, field

from espnet_vivit.decode.word_times import Word

OK, WARN, UNCLEAR = "ok", "warn", "unclear"


@dataclass(frozen=True)
class Hypothesis:
    """One of the n best of a piece: its text, the score of the search, and its words at the file's times."""

    text: str
    score: float  # log-probability; to be compared within one piece only
    words: tuple[Word, ...]


@dataclass(frozen=True)
class Piece:
    """A stretch of the recording that was decoded by itself: words from `start_s` to `end_s` are its own."""

    start_s: float
    end_s: float
    status: str  # OK, WARN (read, but the picture is poor), or UNCLEAR (not believed: no words)
    reasons: tuple[str, ...]  # why it is not OK
    confidence: float  # 0..1, mean over the words of the best hypothesis; 0 where there is none
    modality: str  # the streams it was read from
    words: tuple[Word, ...]
    nbest: tuple[Hypothesis, ...]


@dataclass(frozen=True)
class Transcription:
    """A file's words in the order of time.

    `seconds`: what each stage took, by name; `remarks`: what a person should know about the file and its tracks.
    """

    path: str
    duration_s: float
    pieces: tuple[Piece, ...]
    seconds: dict[str, float] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    @property
    def words(self) -> tuple[Word, ...]:
        return tuple(word for piece in self.pieces for word in piece.words)

    @property
    def text(self) -> str:
        """The words that are believed, and nothing for what is unclear."""
        return " ".join(word.text for word in self.words)

    @property
    def nbest(self) -> tuple[tuple[Hypothesis, ...], ...]:
        """For each piece its n best, best first."""
        return tuple(piece.nbest for piece in self.pieces)

    @property
    def unclear(self) -> tuple[Piece, ...]:
        return tuple(piece for piece in self.pieces if piece.status == UNCLEAR)

    @property
    def verdict(self) -> str:
        """OK if every piece is; UNCLEAR if none could be read; else WARN."""
        states = {piece.status for piece in self.pieces}
        if states <= {OK} and states:
            return OK
        return UNCLEAR if states <= {UNCLEAR} else WARN

    @property
    def confidence(self) -> float:
        """Mean over the words; 0 where there are none."""
        return sum(word.confidence for word in self.words) / len(self.words) if self.words else 0.0

    def as_dict(self) -> dict:
        """All of it in JSON's types."""
        head = {"path": self.path, "text": self.text, "verdict": self.verdict, "confidence": self.confidence}
        return {**head, **asdict(self), "words": [asdict(word) for word in self.words]}
