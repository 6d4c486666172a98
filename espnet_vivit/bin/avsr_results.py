"""Decode folders of an experiment in, a section of RESULTS.md out: `python -m espnet_vivit.bin.avsr_results`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from espnet_vivit.bin.command_parser import CommandParser, exit_status
from espnet_vivit.evaluation.bootstrap import RESAMPLES
from espnet_vivit.evaluation.comparison import Trained, comparison
from espnet_vivit.evaluation.decoded import collect
from espnet_vivit.evaluation.error_rates import MISSING_POLICIES
from espnet_vivit.evaluation.provenance import provenance, training_config
from espnet_vivit.evaluation.result_checks import Target, check_controls, check_fusion, check_targets
from espnet_vivit.evaluation.result_tables import cost_lines, speed_lines
from espnet_vivit.evaluation.results import chance_levels, find_decode_dirs, replace_section, section
from espnet_vivit.evaluation.training_log import read_training_history


def parse_options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser(
        prog="python -m espnet_vivit.bin.avsr_results",
        description="Score all decode folders of experiments and write the tables into a Markdown file.",
        epilog="example: python -m espnet_vivit.bin.avsr_results --exp exp/avsr_vivit --data dump/raw "
        "--out RESULTS.md --corpus mini_av --target test_seen:video:30",
    )
    parser.add_argument("--exp", type=Path, nargs="+", required=True, help="experiment folders, exp/avsr_TAG")
    parser.add_argument("--data", type=Path, required=True, help="folder of the test sets, dump/raw")
    parser.add_argument(
        "--out", type=Path, required=True, help="Markdown file; the sections of these experiments are replaced"
    )
    parser.add_argument("--inference_tag", help="score only exp/avsr_TAG/decode_INFERENCE_TAG")
    parser.add_argument("--corpus", help="corpus whose chance level is stated, such as mini_av")
    parser.add_argument("--chance_wer", type=float, help="chance level in percent, if --corpus has none")
    parser.add_argument(
        "--target", action="append", default=[], help="target for the clean WER, TEST_SET:MODALITY:PERCENT; repeatable"
    )
    parser.add_argument("--command", help="command to state as the origin (default: this one)")
    parser.add_argument(
        "--missing",
        default="error",
        choices=MISSING_POLICIES,
        help="utterances without a hypothesis: an error, or all words deleted (default: error)",
    )
    parser.add_argument("--seed", type=int, default=0, help="random seed of the bootstrap (default: 0)")
    parser.add_argument("--resamples", type=int, default=RESAMPLES, help="bootstrap resamples (default: %(default)s)")
    parser.add_argument(
        "--strict", action="store_true", help="exit with code 2 if a check (target, fusion, control) fails"
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    options = parse_options(argv)
    all_hold = write_results(options)
    return 2 if options.strict and not all_hold else 0


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


if __name__ == "__main__":
    sys.exit(exit_status(main))
