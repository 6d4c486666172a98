"""Decode folders of an experiment in; a section of RESULTS.md out, with every number's counts, interval and origin.

    python -m espnet_vivit.evaluation.results --exp exp/avsr_TAG --data dump/raw --out exp/avsr_TAG/RESULTS.md \\
        [--inference_tag TAG] [--corpus mini_av | --chance_wer 86.1] [--target test_seen:video:30]... \\
        [--command "./run.sh --stage 1"] [--missing delete] [--seed 0] [--strict]

Reads `exp/avsr_TAG/decode_<inference tag>/<test set>_<modality>[_<condition>]/1best_recog/text` (which names there are
says decoded.py); without `--inference_tag`, every decode folder. Each gets `score/` with what
`espnet_vivit.score` writes. A section stands between markers that name the experiment and replaces its predecessor in
the file; other sections stay. It is printed as well. `--corpus` asks
`espnet_vivit.corpora.<corpus>_grammar.chance_wer(texts)` for the chance level of each test set. Several experiments
after `--exp` give a section each and one that compares them; of those that differ in their seed only, the means. Exit
codes: 0 written (a check that failed says NO), 1 an error, 2 with `--strict` if a check failed.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from espnet_vivit.bootstrap import RESAMPLES
from espnet_vivit.command_parser import CommandParser
from espnet_vivit.error_rates import MISSING_POLICIES
from espnet_vivit.errors import ConfigError, DataError, EspnetVivitError, unknown_name
from espnet_vivit.evaluation.comparison import Trained, comparison
from espnet_vivit.evaluation.decoded import Result, collect
from espnet_vivit.evaluation.provenance import provenance, training_config
from espnet_vivit.evaluation.result_checks import Check, Target, check_controls, check_fusion, check_targets
from espnet_vivit.evaluation.result_tables import (
    align_table,
    class_table,
    cost_lines,
    notes,
    speed_lines,
    table,
)
from espnet_vivit.evaluation.training_log import read_training_history
from espnet_vivit.whole_file import make_folder, write_whole


def section(
    title: str,
    results: Sequence[Result],
    *,
    chance: dict[str, float],
    checks: Sequence[Check],
    origin: Sequence[tuple[str, str]],
) -> str:
    """The Markdown of one experiment: tables, checks, notes, origin (name and value of each line)."""
    parts = [f"## {title}", table(results, chance)]
    if (classes := class_table(results)) is not None:
        parts.append(classes)
    if checks:
        header = ("check", "found", "wanted", "holds")
        parts.append(
            align_table(
                [header, *((c.name, c.found, c.wanted, "yes" if c.holds else "NO") for c in checks)], right_from=4
            )
        )
    lines = notes(results)
    if lines:
        parts.append("\n".join(f"- note: {line}" for line in lines))
    parts.append("\n".join(f"- {name}: {value}" for name, value in origin))
    return "\n\n".join(parts) + "\n"


def replace_section(path: Path, key: str, text: str) -> None:
    """Put `text` between the markers of `key` in the Markdown file, or at its end; the file is replaced whole."""
    begin, end = f"<!-- begin {key} -->", f"<!-- end {key} -->"
    path = Path(path)
    old = path.read_text(encoding="utf-8") if path.is_file() else "# Results\n"
    block = f"{begin}\n{text}{end}"
    if begin in old and end in old:
        new = old[: old.index(begin)] + block + old[old.index(end) + len(end) :]
    else:
        new = old.rstrip("\n") + f"\n\n{block}\n"
    make_folder(path.parent)
    write_whole(path, new)


def chance_levels(results: Sequence[Result], *, corpus: str | None, chance_wer: float | None) -> dict[str, float]:
    """Chance WER (0..1) of each test set: what `corpus` computes from its references, or the stated percentage."""
    references = {result.test_set: list(result.score.references.values()) for result in results}
    if corpus is None:
        return {} if chance_wer is None else dict.fromkeys(references, chance_wer / 100)
    if chance_wer is not None:
        raise ConfigError(
            "--corpus computes the chance level", found="--chance_wer as well", fix="Give one of the two."
        )
    modules = {path.stem for path in (Path(__file__).parents[1] / "corpora").glob("[!_]*.py")}
    known = {name for name in modules if f"{name}_grammar" in modules}  # only a grammar has a chance level
    if corpus not in known:
        raise unknown_name("corpus with a grammar", corpus, known)
    grammar = import_module(f"espnet_vivit.corpora.{corpus}_grammar")
    return {test_set: grammar.chance_wer(texts) for test_set, texts in references.items()}


def find_decode_dirs(experiment: Path, inference_tag: str | None) -> list[Path]:
    pattern = f"decode_{inference_tag}" if inference_tag else "decode_*"
    found = sorted(path for path in experiment.glob(pattern) if path.is_dir())
    if not found:
        raise DataError(f"no {pattern} in {experiment}", fix="Run stage 12 first.")
    return found


def parse_options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser(
        prog="python -m espnet_vivit.evaluation.results",
        description="Score all decode folders of an experiment and write the table into RESULTS.md.",
        epilog="example: python -m espnet_vivit.evaluation.results --exp exp/avsr_vivit --data dump/raw "
        "--out RESULTS.md --corpus mini_av --target test_seen:video:30",
    )
    parser.add_argument("--exp", type=Path, nargs="+", required=True, help="experiment(s), exp/avsr_TAG")
    parser.add_argument("--data", type=Path, required=True, help="folder of the data directories, dump/raw")
    parser.add_argument("--out", type=Path, required=True, help="Markdown file; this experiment's section is replaced")
    parser.add_argument("--inference_tag", help="only exp/avsr_TAG/decode_<this>")
    parser.add_argument("--corpus", help="corpus that computes the chance level, for example mini_av")
    parser.add_argument("--chance_wer", type=float, help="chance level in percent, where no corpus computes it")
    parser.add_argument("--target", action="append", default=[], help="TEST_SET:MODALITY:PERCENT, clean; repeatable")
    parser.add_argument("--command", help="the command to state as the origin (default: this one)")
    parser.add_argument("--missing", default="error", choices=MISSING_POLICIES, help="utterances without hypothesis")
    parser.add_argument("--seed", type=int, default=0, help="seed of the bootstrap")
    parser.add_argument("--resamples", type=int, default=RESAMPLES)
    parser.add_argument("--strict", action="store_true", help="exit with 2 if a check fails")
    return parser.parse_args(argv)


def write_results(options: argparse.Namespace) -> bool:
    """Score, print and write the sections; returns whether all checks hold."""
    drawing = {"seed": options.seed, "resamples": options.resamples}
    targets = [Target.parse(target) for target in options.target]
    data = sorted(path.parent for path in options.data.glob("*/text"))
    compared, all_hold = [], True
    for experiment in options.exp:
        history = read_training_history(experiment)
        config = training_config(experiment)
        for decode_dir in find_decode_dirs(experiment, options.inference_tag):
            results = collect(decode_dir, options.data, missing=options.missing, **drawing)
            chance = chance_levels(results, corpus=options.corpus, chance_wer=options.chance_wer)
            checks = [*check_targets(results, targets), *check_fusion(results, **drawing)]
            checks += check_controls(results, chance)
            origin = provenance(
                experiment, data=data, history=history, command=options.command, bootstrap_seed=options.seed
            )
            origin += [("model", line) for line in cost_lines(experiment)] + speed_lines(results)
            title = f"{experiment.name}, {decode_dir.name}"
            text = section(title, results, chance=chance, checks=checks, origin=origin)
            replace_section(options.out, f"{experiment.name}/{decode_dir.name}", text)
            sys.stdout.write(text)
            compared.append(Trained(experiment.name, decode_dir.name, config, history, results))
            all_hold = all_hold and all(check.holds for check in checks)
    if len(options.exp) > 1:
        text = comparison(compared, **drawing)
        replace_section(options.out, "comparison", text)
        sys.stdout.write("\n" + text)
    return all_hold


def main(argv: Sequence[str] | None = None) -> int:
    options = parse_options(argv)
    try:
        all_hold = write_results(options)
    except EspnetVivitError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 2 if options.strict and not all_hold else 0


if __name__ == "__main__":
    sys.exit(main())
