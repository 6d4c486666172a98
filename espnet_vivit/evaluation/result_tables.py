"""Write the tables and notes of a section of RESULTS.md, and what a model costs, as Markdown."""

import json
from collections.abc import Sequence
from pathlib import Path

from espnet_vivit.evaluation.decode_timing import TIMING, read_timing
from espnet_vivit.evaluation.decoded import CLEAN, CONTROLS, Result
from espnet_vivit.evaluation.error_breakdown import CLASSES, by_class


def table(results: Sequence[Result], chance: dict[str, float]) -> str:
    """The Markdown table; rates in percent. `chance` holds a WER (0..1) for test sets whose chance level is known."""
    rows: list[tuple[str, ...]] = [
        ("test set", "input", "condition", "utts", "words", "Sub", "Del", "Ins", "WER %", "95 % interval", "CER %")
    ]
    for test_set in dict.fromkeys(result.test_set for result in results):
        for result in (r for r in results if r.test_set == test_set):
            words, interval = result.score.words, result.interval
            counts = (
                len(result.score.references),
                words.reference,
                words.substitutions,
                words.deletions,
                words.insertions,
            )
            rows.append(
                (test_set, result.modality, result.condition, *map(str, counts), f"{100 * result.score.wer:.1f}",
                 f"{100 * interval.low:.1f} – {100 * interval.high:.1f}", f"{100 * result.score.cer:.1f}")
            )  # fmt: skip
        if test_set in chance:
            rows.append((test_set, "none", "chance level", *[""] * 5, f"{100 * chance[test_set]:.1f}", "", ""))
    return align_table(rows, right_from=3)


def align_table(rows: Sequence[Sequence[str]], *, right_from: int) -> str:
    """Format a Markdown table that is also readable as plain text; columns from `right_from` on are flush right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    justify = [str.rjust if column >= right_from else str.ljust for column in range(len(widths))]
    lines = [
        " | ".join(just(cell, width) for just, cell, width in zip(justify, row, widths, strict=True)) for row in rows
    ]
    rule = "|".join("-" * (width + 1) + (":" if c >= right_from else "-") for c, width in enumerate(widths))
    return "\n".join([f"| {lines[0]} |", f"|{rule}|", *(f"| {line} |" for line in lines[1:])])


def class_table(results: Sequence[Result]) -> str | None:
    """Write the wrong words of each class among those spoken, of the clean rows; None where all words are of one
    class.
    """
    clean = [(result, by_class(result.score)) for result in results if result.condition == CLEAN]
    names = [name for name in CLASSES if any(name in rates for _, rates in clean)]
    if len(names) < 2:
        return None
    rows = [("wrong words by class", "input", *(f"{name}s" for name in names))]
    for result, rates in clean:
        counts = (f"{rates[name].errors} of {rates[name].total}" if name in rates else "" for name in names)
        rows.append((result.test_set, result.modality, *counts))
    return align_table(rows, right_from=2)


def notes(results: Sequence[Result]) -> list[str]:
    """List what qualifies the table: counted deletions, empty references, collapsed hypotheses."""
    found = []
    for result in results:
        where = f"{result.test_set}, {result.modality}, {result.condition}"
        empty = sum(not text for text in result.score.references.values())
        if result.score.missing:
            found.append(f"{where}: {len(result.score.missing)} utterances without hypothesis, counted as deleted")
        if empty:
            found.append(f"{where}: {empty} empty references; what was said for them counts as inserted")
        if result.score.collapse and result.condition not in CONTROLS.values():  # black videos all look alike
            found.append(f"{where}: {result.score.collapse}")
    return found


def cost_lines(experiment: Path) -> list[str]:
    """List parameters and operations per frame, from the cost.json that bin/avsr_cost.py writes; empty without that
    file.
    """
    path = Path(experiment) / "cost.json"
    if not path.is_file():
        return []
    cost = json.loads(path.read_text(encoding="utf-8"))
    parameters, work = cost["parameters"], cost["gmacs_per_frame"]
    parts = [
        f"{name.replace('_', ' ')} {count / 1e6:.2f} M" + (f", {1000 * work[name]:.2f} MMACs" if name in work else "")
        for name, count in parameters.items()
        if name != "all"
    ]
    whole = f"{parameters['all'] / 1e6:.2f} million parameters, {1000 * work['all']:.2f} million multiply-accumulates"
    return [f"{whole} per 40 ms without decoder ({'; '.join(parts)})"]


def speed_lines(results: Sequence[Result]) -> list[tuple[str, str]]:
    """The real-time factor of decoding each clean row, where decoding left a `timing`."""
    factors = {}
    for result in results:
        timing = read_timing(result.folder / TIMING)
        if timing is not None and result.condition == CLEAN:
            factors[f"{result.test_set} {result.modality}"] = f"{timing.real_time_factor:.3f}"
    line = ", ".join(f"{name} {factor}" for name, factor in factors.items())
    return [("decoding", f"real-time factor {line}")] if factors else []
