"""`espnet-vivit score`: word and character error rates of a hypothesis file against a reference."""

import sys

from espnet_vivit.bin.command_parser import CommandParser
from espnet_vivit.data.transcripts import read_transcripts
from espnet_vivit.evaluation.bootstrap import RESAMPLES
from espnet_vivit.evaluation.error_rates import MISSING_POLICIES, score
from espnet_vivit.evaluation.score import write_report


def main(argv: list[str] | None = None) -> int:
    parser = CommandParser(
        prog="espnet-vivit score",
        description="Compute word and character error rates with alignments, bootstrap intervals and sclite files.",
        epilog="example: espnet-vivit score --ref data/test/text --hyp 1best_recog/text --out score",
    )
    parser.add_argument("--ref", required=True, help="reference file, `utterance-id words...` per line")
    parser.add_argument("--hyp", required=True, help="hypothesis file in the same format")
    parser.add_argument("--out", required=True, help="folder for result.txt, wer.json, ref.trn, hyp.trn")
    parser.add_argument("--compare", help="second hypothesis file for a paired bootstrap test of the WER difference")
    parser.add_argument(
        "--missing",
        default="error",
        choices=MISSING_POLICIES,
        help="utterances without a hypothesis: an error, or all words deleted (default: error)",
    )
    parser.add_argument("--seed", type=int, default=0, help="random seed of the bootstrap (default: 0)")
    parser.add_argument("--resamples", type=int, default=RESAMPLES, help="bootstrap resamples (default: %(default)s)")
    options = parser.parse_args(argv)
    references = read_transcripts(options.ref)
    scored = score(references, read_transcripts(options.hyp), missing=options.missing)
    drawing = {"resamples": options.resamples, "seed": options.seed}
    interval = scored.interval(**drawing)
    write_report(scored, options.out, interval=interval, **drawing)
    print(scored.summary(interval))
    if scored.collapse:
        print(f"warning: {scored.collapse}", file=sys.stderr)
    if options.compare:
        other = score(references, read_transcripts(options.compare), missing=options.missing)
        print(f"against {options.compare}: {scored.compare(other, **drawing)}")
    return 0
