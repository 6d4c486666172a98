"""Evaluated models of isolated words in, a section of RESULTS.md out: `python -m espnet_vivit.bin.words_results`."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from espnet_vivit.bin.command_parser import CommandParser, exit_status
from espnet_vivit.errors import DataError
from espnet_vivit.evaluation.provenance import provenance, training_config
from espnet_vivit.evaluation.results import replace_section
from espnet_vivit.evaluation.training_log import read_training_history
from espnet_vivit.evaluation.words import FILE, Answers, accuracy_table, class_lines, compared, read_predictions

COLUMNS = ("model", "vision encoder", "parameters", "MMACs per frame", "minutes", "epochs")
EVALUATED = "evaluated"  # folder of an experiment, with one for each test set


def describe(experiment: Path, tests: Sequence[Answers]) -> list[str]:
    """The first cells of a model's rows, in the order of COLUMNS."""
    history = read_training_history(experiment)
    cost = json.loads((experiment / EVALUATED / tests[0].name / "cost.json").read_text(encoding="utf-8"))
    conf = training_config(experiment)
    kind = (conf.get("vision_encoder_conf") or {}).get("attention")
    encoder = conf["vision_encoder"] + (f", {kind.replace('_', ' ')}" if kind else "")
    numbers = (f"{cost['parameters'] / 1e6:.2f} M", f"{1e3 * cost['gmacs_per_frame']:.1f}")
    return [experiment.name, encoder, *numbers, f"{history.seconds / 60:.1f}", str(history.epochs)]


def results(experiments: Sequence[Path], *, data: Path, command: str | None, seed: int) -> str:
    """The section: a table of all models, each compared with the first, the words of each, and where it came from."""
    evaluated = [(experiment, tests_of(experiment)) for experiment in experiments]
    rows = [(describe(experiment, tests), test) for experiment, tests in evaluated for test in tests]
    lines = ["## Isolated words", "", accuracy_table(rows, COLUMNS, seed=seed), ""]
    (first, first_tests), *others = evaluated
    for experiment, tests in others:
        by_name = {test.name: test for test in tests}
        for test in first_tests:
            if test.name in by_name:
                difference, interval = compared(test, by_name[test.name], seed=seed)
                points = f"{100 * difference:+.1f} points [{100 * interval.low:+.1f}, {100 * interval.high:+.1f}]"
                lines.append(f"* {test.name}: {first.name} against {experiment.name} {points} (paired bootstrap)")
    for experiment, tests in evaluated:
        lines += ["", f"### {experiment.name}", ""]
        lines += [f"* {test.name}: {line}" for test in tests for line in class_lines(test)]
        sets = sorted(path.parent for path in data.glob("*/text"))
        history = read_training_history(experiment)
        origin = provenance(experiment, data=sets, history=history, command=command, bootstrap_seed=seed)
        lines += [f"* {name}: {value}" for name, value in origin]
    return "\n".join(lines) + "\n"


def tests_of(experiment: Path) -> list[Answers]:
    """What words_evaluate has left in an experiment. Raises DataError if it is nothing."""
    found = [read_predictions(path) for path in sorted((experiment / EVALUATED).glob(f"*/{FILE}"))]
    if not found:
        fix = f"Evaluate it with words_evaluate --out {experiment / EVALUATED}/TEST_SET"
        raise DataError(f"{experiment} has not been evaluated", found=f"no */{FILE} in {EVALUATED}", fix=fix)
    return found


def parse_options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser(
        prog="python -m espnet_vivit.bin.words_results",
        description="Compare evaluated models of isolated words in a Markdown table.",
        epilog="example: python -m espnet_vivit.bin.words_results --exp exp/words_vivit exp/words_resnet "
        "--data dump/raw --out RESULTS.md",
    )
    parser.add_argument("--exp", type=Path, nargs="+", required=True, help="experiment folders; all against the first")
    parser.add_argument("--data", type=Path, required=True, help="folder of the sets, dump/raw")
    parser.add_argument("--out", type=Path, required=True, help="Markdown file; its section is replaced")
    parser.add_argument("--command", help="command to state as the origin (default: this one)")
    parser.add_argument("--seed", type=int, default=0, help="random seed of the bootstrap (default: 0)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    options = parse_options(argv)
    text = results(options.exp, data=options.data, command=options.command, seed=options.seed)
    replace_section(options.out, "words", text)
    sys.stdout.write(text)


if __name__ == "__main__":
    sys.exit(exit_status(main))
