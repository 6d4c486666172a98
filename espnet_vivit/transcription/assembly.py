"""Pieces in the order of time in, one transcription out, in which each word stands once.

Neighbouring pieces were decoded by themselves and share some time. Where both contain the same word there at about the
same time (of a word that is repeated, each its own), the change is made at the one nearest to the cut; otherwise a word
belongs to the piece whose side of the cut its middle lies on, and a contradiction (a word in both pieces, or in
neither) is decided by the higher confidence.
"""

import dataclasses
from collections.abc import Iterable, Sequence

from espnet_vivit.decode.word_times import Word
from espnet_vivit.transcription.cutting import Cut
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

    def result(self, path: str, seconds: dict[str, float], remarks: Iterable[str] = ()) -> Transcription:
        duration_s = max((piece.end_s for piece in self.pieces), default=0.0)
        spent = {stage: round(spent_s, 4) for stage, spent_s in seconds.items()}
        return Transcription(path, duration_s, tuple(self.pieces), spent, tuple(remarks))


SAME_WORD_S = 0.3  # the middles of a word that both pieces heard differ by less
_OVERLAP_SHARE = 0.5  # two words that share this much of the shorter one are the same stretch of speech


def join_words(
    left: Sequence[Word], right: Sequence[Word], *, at_s: float, shared: tuple[float, float]
) -> tuple[tuple[Word, ...], tuple[Word, ...]]:
    """The words that each piece keeps. at_s: the cut; shared: the time that both decoded; all in the file's seconds.

    The words of either piece are in the order of time, and so is the result.
    """
    tail = [index for index, word in enumerate(left) if _middle(word) >= shared[0]]
    head = [index for index, word in enumerate(right) if _middle(word) <= shared[1]]
    same = [
        (abs(_middle(left[i]) + _middle(right[j]) - 2 * at_s), i, j) for i, j in _same_words(left, tail, right, head)
    ]
    if same:
        _, i, j = min(same)
        return tuple(left[: i + 1]), tuple(right[j + 1 :])
    return _by_side(left, right, at_s)


def _same_words(left, tail: Sequence[int], right, head: Sequence[int]) -> list[tuple[int, int]]:
    """(index in `left`, index in `right`) of words that both heard: each the other's nearest of the same spelling."""
    apart = {
        (i, j): abs(_middle(left[i]) - _middle(right[j])) for i in tail for j in head if left[i].text == right[j].text
    }
    nearest_right = {i: min((s, j) for (k, j), s in apart.items() if k == i)[1] for i, _ in apart}
    nearest_left = {j: min((s, i) for (i, k), s in apart.items() if k == j)[1] for _, j in apart}
    return [(i, j) for i, j in nearest_right.items() if nearest_left[j] == i and apart[i, j] < SAME_WORD_S]


def _by_side(left, right, at_s: float) -> tuple[tuple[Word, ...], tuple[Word, ...]]:
    kept_left = [word for word in left if _middle(word) < at_s]
    kept_right = [word for word in right if _middle(word) >= at_s]
    if kept_left and kept_right and _clash(kept_left[-1], kept_right[0]):  # both claim the word at the cut
        if kept_left[-1].confidence < kept_right[0].confidence:
            kept_left.pop()
        else:
            kept_right.pop(0)
        return tuple(kept_left), tuple(kept_right)
    strays = [(word, kept_left.append) for word in left[len(kept_left) : len(kept_left) + 1]]  # each put it on the
    lost = len(right) - len(kept_right)  # other's side of the cut
    strays += [(word, lambda found: kept_right.insert(0, found)) for word in right[max(0, lost - 1) : lost]]
    neighbours = [*kept_left[-1:], *kept_right[:1]]
    strays = [
        (word, keep)
        for word, keep in strays
        if abs(_middle(word) - at_s) < SAME_WORD_S and not any(_clash(word, other) for other in neighbours)
    ]
    if strays:
        word, keep = max(strays, key=lambda stray: stray[0].confidence)
        keep(word)
    return tuple(kept_left), tuple(kept_right)


def _middle(word: Word) -> float:
    return (word.start_s + word.end_s) / 2


def _clash(a: Word, b: Word) -> bool:
    """Whether both words are the same stretch of speech."""
    shared = min(a.end_s, b.end_s) - max(a.start_s, b.start_s)
    return shared > _OVERLAP_SHARE * min(a.end_s - a.start_s, b.end_s - b.start_s)
