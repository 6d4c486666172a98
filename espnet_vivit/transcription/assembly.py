"""Pieces in the order of time in, one transcription out, in which each word stands once."""

import dataclasses

from espnet_vivit.transcription.cutting import Cut
from espnet_vivit.transcription.joining import join_words
from espnet_vivit.transcription.reading import Gap
from espnet_vivit.transcription.result import UNCLEAR, Piece, Transcription
from espnet_vivit.units import seconds_of_frames


class Assembly:
    """`add` pieces and gaps, then ask for the `result`."""

    def __init__(self):
        self.pieces: list[Piece] = []
        self._heard_until_s = 0.0  # by the last piece, beyond the time that is its own

    def add(self, cut: Cut, piece: Piece) -> None:
        heard_from_s = seconds_of_frames(cut.stretch.first)
        if self.pieces and heard_from_s < self._heard_until_s:
            last = self.pieces.pop()
            shared = (heard_from_s, self._heard_until_s)
            left, right = join_words(last.words, piece.words, at_s=cut.start_s, shared=shared)
            self.pieces.append(dataclasses.replace(last, words=left))
            piece = dataclasses.replace(piece, words=right)
        self.pieces.append(piece)
        self._heard_until_s = heard_from_s + seconds_of_frames(len(cut.stretch))

    def add_gap(self, gap: Gap) -> None:
        self.pieces.append(Piece(gap.start_s, gap.end_s, UNCLEAR, (gap.reason,), 0.0, "none", (), ()))

    def result(self, path: str, seconds: dict[str, float]) -> Transcription:
        duration_s = max((piece.end_s for piece in self.pieces), default=0.0)
        return Transcription(path, duration_s, tuple(self.pieces), {k: round(v, 4) for k, v in seconds.items()})
