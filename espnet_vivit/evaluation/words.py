"""How well single words are told apart: predictions of a test set in, top-1 with intervals, classes and confusions out.

A prediction is a row of `predictions.tsv`: utterance, speaker, word, the word guessed, its probability, and the rank of
the right word among all (1: right). Several seeds or models are compared on the same clips (paired bootstrap).
"""

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np

from espnet_vivit.base.whole_file import make_folder, write_lines
from espnet_vivit.errors import DataError
from espnet_vivit.evaluation.bootstrap import Interval, compare_error_rates, error_rate_interval
from espnet_vivit.evaluation.error_plots import plot_confusions
from espnet_vivit.evaluation.result_tables import align_table

FILE = "predictions.tsv"
MOST = 5  # top-5 accuracy; of five words or fewer it would be 100 %
LISTED = 8  # pairs of words most often confused


@dataclass(frozen=True)
class Prediction:
    """The answer for one clip; `probability` is that of the guess, `rank` counts from 1."""

    utt_id: str
    speaker: str
    word: str
    guess: str
    probability: float
    rank: int


@dataclass(frozen=True)
class Answers:
    """The predictions of one model on one test set; `num_words` is the number of words it can answer."""

    name: str
    predictions: tuple[Prediction, ...]
    num_words: int

    def wrong(self, top: int = 1) -> np.ndarray:
        """(U,) 0 or 1: whether the right word is not among the first `top`."""
        return np.array([prediction.rank > top for prediction in self.predictions], dtype=np.int64)

    def accuracy(self, top: int = 1) -> float:
        return 1 - float(self.wrong(top).mean())

    def interval(self, *, seed: int = 0) -> Interval:
        """The 95 % interval of top-1 accuracy: bootstrap over clips."""
        wrong = self.wrong()
        errors = error_rate_interval(wrong, np.ones_like(wrong), seed=seed)
        return Interval(1 - errors.high, 1 - errors.low)


def write_predictions(path: Path, predictions: Sequence[Prediction], *, num_words: int) -> None:
    header = [field.name for field in fields(Prediction)]
    rows = [[f"{value:.4f}" if isinstance(value, float) else str(value) for value in astuple(p)] for p in predictions]
    make_folder(path.parent)
    write_lines(path, ["\t".join(row) for row in (["#words", str(num_words)], header, *rows)])


def read_predictions(path: Path) -> Answers:
    """The test set whose name is that of the file's folder. Raises DataError for a file of another kind."""
    if not path.is_file():
        raise DataError(f"{path} does not exist", fix="Evaluate the model first: espnet_vivit.bin.words_evaluate")
    with open(path, encoding="utf-8", newline="") as lines:
        rows = list(csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    header = [field.name for field in fields(Prediction)]
    if len(rows) < 3 or rows[0][0] != "#words" or rows[1] != header:
        raise DataError(f"{path} holds no predictions", found=rows[:2], expected=f"#words, then {' '.join(header)}")
    predictions = tuple(
        Prediction(utt_id, speaker, word, guess, float(probability), int(rank))
        for utt_id, speaker, word, guess, probability, rank in rows[2:]
    )
    return Answers(path.parent.name, predictions, int(rows[0][1]))


def accuracy_table(models: Sequence[tuple[Sequence[str], Answers]], columns: Sequence[str], *, seed: int = 0) -> str:
    """A row for each model and test set; `columns` name what each model's row begins with."""
    rows: list[tuple[str, ...]] = [(*columns, "test set", "clips", "top-1 %", "95 % interval", "top-5 %")]
    for about, test in models:
        interval = test.interval(seed=seed)
        top5 = f"{100 * test.accuracy(MOST):.1f}" if test.num_words > MOST else ""
        rows.append(
            (*about, test.name, str(len(test.predictions)), f"{100 * test.accuracy():.1f}",
             f"{100 * interval.low:.1f} – {100 * interval.high:.1f}", top5)
        )  # fmt: skip
    return align_table(rows, right_from=len(columns) + 1)


def compared(first: Answers, second: Answers, *, seed: int = 0) -> tuple[float, Interval]:
    """Top-1 of `first` minus that of `second`, and its 95 % interval. Raises DataError for other clips."""
    if [p.utt_id for p in first.predictions] != [p.utt_id for p in second.predictions]:
        raise DataError(f"{first.name} and {second.name} are not the same clips", fix="Evaluate both on one test set.")
    wrong = first.wrong()
    errors = compare_error_rates(wrong, second.wrong(), np.ones_like(wrong), seed=seed)
    interval = errors.difference_interval
    return -errors.difference, Interval(-interval.high, -interval.low)


def class_lines(test: Answers) -> list[str]:
    """`word right/clips` of every word, worst first, and the pairs that were confused most often."""
    clips = Counter(p.word for p in test.predictions)
    right = Counter(p.word for p in test.predictions if p.guess == p.word)
    worst = sorted(clips, key=lambda word: (right[word] / clips[word], word))
    pairs = Counter((p.word, p.guess) for p in test.predictions if p.guess != p.word).most_common(LISTED)
    lines = ["right of each word, worst first: " + ", ".join(f"{w} {right[w]}/{clips[w]}" for w in worst)]
    if pairs:
        lines.append("most often confused: " + ", ".join(f"{a} as {b} ({n})" for (a, b), n in pairs))
    return lines


def confusions(test: Answers) -> tuple[list[str], np.ndarray]:
    """(words, counts): `counts[i, j]` is how often word i was taken for word j."""
    names = sorted({name for p in test.predictions for name in (p.word, p.guess)})
    place = {name: index for index, name in enumerate(names)}
    counts = np.zeros((len(names), len(names)), dtype=np.int64)
    for prediction in test.predictions:
        counts[place[prediction.word], place[prediction.guess]] += 1
    return names, counts


def plot_words(test: Answers, path: Path) -> None:
    """Draw the confusions of a test set as PNG: a row for each word said."""
    labels = {"said": "word said", "read": "word read"}
    plot_confusions(*confusions(test), path, title=f"words of {test.name}", **labels)
