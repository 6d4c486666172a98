"""Compare several experiments in one Markdown section: each alone, and groups that differ only in their seed.

A pair of experiments is compared on the same utterances by the paired bootstrap. Where trainings were repeated with
other seeds, the mean over the seeds is compared: the errors of an utterance are the mean over the repetitions, and
utterances are drawn. That says how sure the difference is on other sentences, with these trainings; how far seeds are
apart stands beside it as lowest and highest.
"""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import mean

import numpy as np

from espnet_vivit.evaluation.bootstrap import Comparison, compare_error_rates
from espnet_vivit.evaluation.decoded import CLEAN, Result
from espnet_vivit.evaluation.result_tables import align_table
from espnet_vivit.evaluation.training_log import TrainingHistory

Row = tuple[str, str, str]  # test set, modality, condition
_OF_ONE_RUN = ("seed", "output_dir", "config", "training_facts")  # what may differ between repetitions


@dataclass(frozen=True)
class Trained:
    """The experiment: its name, its config.yaml, how it was trained, and the results of one of its decode folders."""

    name: str
    decoding: str
    config: Mapping
    history: TrainingHistory
    results: Sequence[Result]

    @property
    def encoder(self) -> str:
        return str(self.config.get("vision_encoder"))

    @property
    def minutes(self) -> float:
        return self.history.seconds / 60

    @property
    def recipe(self) -> str:
        """The key that is equal for experiments that were decoded alike and differ only in their seed."""
        kept = {key: value for key, value in self.config.items() if key not in _OF_ONE_RUN}
        return json.dumps([kept, self.history.epochs, self.decoding], sort_keys=True, default=str)

    def rows(self) -> dict[Row, Result]:
        return {(r.test_set, r.modality, r.condition): r for r in self.results}


def comparison(trained: Sequence[Trained], *, seed: int, resamples: int) -> str:
    """Write the WER with its interval of every clean row, in percent, then the first experiment against each other
    one.

    With experiments that differ in nothing but their seed, means over them are given and compared instead.
    """
    drawing = {"seed": seed, "resamples": resamples}
    if len({one.decoding for one in trained}) > 1:  # then an experiment's name alone would not say which
        trained = [replace(one, name=f"{one.name}, {one.decoding}") for one in trained]
    columns = list(dict.fromkeys(row for one in trained for row in one.rows() if row[2] == CLEAN))
    names = [f"{test_set} {modality}" for test_set, modality, _ in columns]
    table = [("experiment", "vision encoder", "seed", "epochs", "minutes", *names)]
    for one in trained:
        found = one.rows()
        rates = (_rate_with_interval(found[column]) if column in found else "" for column in columns)
        numbers = (str(one.config.get("seed", "")), str(one.history.epochs), f"{one.minutes:.1f}")
        table.append((one.name, one.encoder, *numbers, *rates))
    parts = ["## Comparison, WER % on clean input", align_table(table, right_from=2)]
    groups = _repetitions(trained)
    if len(groups) < len(trained):
        table = [("mean over seeds, lowest – highest", "seeds", "minutes", *names)]
        table += [_mean_row(group, columns) for group in groups]
        parts += [align_table(table, right_from=1)]
    first, *others = groups
    pairs = [
        f"- {', '.join(row)}: {_title(first)} against {_title(other)}: {difference}"
        for other in others
        for row, difference in _paired(first, other, **drawing)
    ]
    if pairs:
        parts += ["Paired bootstrap over the utterances, 95 % intervals:", "\n".join(pairs)]
    return "\n\n".join(parts) + "\n"


def _repetitions(trained: Sequence[Trained]) -> list[list[Trained]]:
    """Group the experiments by recipe, in the order in which each recipe first appears."""
    groups: dict[str, list[Trained]] = {}
    for one in trained:
        groups.setdefault(one.recipe, []).append(one)
    return list(groups.values())


def _title(group: Sequence[Trained]) -> str:
    return group[0].name if len(group) == 1 else f"{group[0].name} ({len(group)} seeds)"


def _mean_row(group: Sequence[Trained], columns: Sequence[Row]) -> tuple[str, ...]:
    cells = []
    for column in columns:
        rates = [100 * one.rows()[column].score.wer for one in group if column in one.rows()]
        if not rates:
            cells.append("")
        elif len(rates) < 2:
            cells.append(f"{rates[0]:.1f}")
        else:
            cells.append(f"{mean(rates):.1f}, {min(rates):.1f} – {max(rates):.1f}")
    seeds = ", ".join(str(one.config.get("seed", "?")) for one in group)
    return group[0].name, seeds, f"{mean(one.minutes for one in group):.1f}", *cells


def _paired(
    ours: Sequence[Trained], theirs: Sequence[Trained], *, seed: int, resamples: int
) -> Iterator[tuple[Row, Comparison]]:
    """The rows that all of both groups have, of the same utterances."""
    for row, result in ours[0].rows().items():
        scores = [[one.rows()[row].score for one in group if row in one.rows()] for group in (ours, theirs)]
        complete = [len(found) == len(group) for found, group in zip(scores, (ours, theirs), strict=True)]
        if not all(complete) or any(s.references != result.score.references for s in itertools.chain(*scores)):
            continue
        a, b = (np.sum([score.errors_per_utterance for score in group], axis=0) for group in scores)
        # as whole numbers: both means with the product of the two counts as denominator
        words = result.score.words_per_utterance * len(ours) * len(theirs)
        yield row, compare_error_rates(a * len(theirs), b * len(ours), words, seed=seed, resamples=resamples)


def _rate_with_interval(result: Result) -> str:
    low, high = result.interval.low, result.interval.high
    return f"{100 * result.score.wer:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
