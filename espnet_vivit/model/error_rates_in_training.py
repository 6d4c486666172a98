"""Error rates in a training's log: ESPnet's calculator, whose distances come from rapidfuzz.

ESPnet counts edits with `editdistance`, which has no wheels for Python 3.13 and is no dependency of its releases from
202609 on. rapidfuzz, which jiwer uses, gives the same numbers.
"""

from itertools import groupby

from rapidfuzz.distance import Levenshtein

from espnet_vivit.espnet_compat import ErrorCalculator


class TrainingErrorCalculator(ErrorCalculator):
    """`calculator(predicted (B, L), tokens (B, L)) -> (CER, WER)`; with `is_ctc=True` the CER of frame-wise tokens."""

    def calculate_cer(self, seqs_hat: list[str], seqs_true: list[str]) -> float:
        return _rate([text.replace(" ", "") for text in seqs_hat], [text.replace(" ", "") for text in seqs_true])

    def calculate_wer(self, seqs_hat: list[str], seqs_true: list[str]) -> float:
        return _rate([text.split() for text in seqs_hat], [text.split() for text in seqs_true])

    def calculate_cer_ctc(self, ys_hat, ys_pad) -> float | None:
        hypotheses = [self._characters(token for token, _ in groupby(map(int, row))) for row in ys_hat]
        references = [self._characters(map(int, row)) for row in ys_pad]
        pairs = [(hyp, ref) for hyp, ref in zip(hypotheses, references, strict=True) if ref]
        return _rate(*zip(*pairs, strict=True)) if pairs else None

    def _characters(self, tokens) -> str:
        silent = (-1, self.idx_blank, self.idx_space)
        return "".join(self.char_list[token] for token in tokens if token not in silent)


def _rate(hypotheses, references) -> float:
    """Edits by the length of the references, over all pairs."""
    edits = sum(Levenshtein.distance(hyp, ref) for hyp, ref in zip(hypotheses, references, strict=True))
    return edits / sum(map(len, references))
