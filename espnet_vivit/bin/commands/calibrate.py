"""`espnet-vivit calibrate`: the confidence threshold at which a given share of the words is correct."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from espnet_vivit.base.whole_file import write_whole
from espnet_vivit.bin.command_parser import CommandParser
from espnet_vivit.data.transcripts import read_transcripts
from espnet_vivit.errors import ConfigError, DataError
from espnet_vivit.evaluation.calibration import ACCURACY, DecodedSet, calibrate, curve_rows, read_confidences
from espnet_vivit.units import MODALITIES


def main(argv: Sequence[str] | None = None) -> int:
    parser = CommandParser(
        prog="espnet-vivit calibrate",
        description="Find the confidence threshold at which a given share of the words is correct, and store it.",
        epilog="example: espnet-vivit calibrate exp/avsr_train --ref dump/raw/dev/text "
        "--hyp exp/avsr_train/decode_avsr/dev_video/1best_recog --modality video",
    )
    parser.add_argument("experiment", type=Path, help="experiment folder; reliability.json is written into it")
    parser.add_argument(
        "--ref", type=Path, nargs="+", required=True, help="reference transcripts, `utterance words...` per line"
    )
    parser.add_argument(
        "--hyp",
        type=Path,
        nargs="+",
        required=True,
        help="1best_recog folders with the files text and confidence, one for each --ref; speakers outside the "
        "training set belong among them",
    )
    parser.add_argument("--modality", required=True, choices=MODALITIES, help="streams that were decoded")
    parser.add_argument(
        "--accuracy", type=float, default=ACCURACY, help="share of words that must be correct (default: %(default)s)"
    )
    options = parser.parse_args(argv)

    from espnet_vivit.decode.package import RELIABILITY, read_reliability  # late: --help shall not wait for torch

    if not (options.experiment / "config.yaml").is_file():
        raise DataError(f"{options.experiment} is no experiment", found="no config.yaml", fix="Name exp/avsr_…")
    if len(options.ref) != len(options.hyp):
        found = f"{len(options.ref)} --ref, {len(options.hyp)} --hyp"
        raise ConfigError("each decoded set needs its references", found=found, expected="as many of both")
    names = [hyp.resolve().parent.name for hyp in options.hyp]
    if len(set(names)) < len(names):
        raise ConfigError("two sets have one name", found=", ".join(names), fix="Decode each into a folder of its own")
    sets = dict(zip(names, map(_decoded_set, options.ref, options.hyp), strict=True))
    found = calibrate(sets, accuracy=options.accuracy)
    path = options.experiment / RELIABILITY
    known = read_reliability(path) if path.is_file() else {}
    text = json.dumps({**known, options.modality: found}, indent=1)
    write_whole(path, text + "\n")
    print(report(found))
    return 0


def _decoded_set(ref: Path, hyp: Path) -> DecodedSet:
    hypotheses = read_transcripts(hyp / "text")
    references = {key: text for key, text in read_transcripts(ref).items() if key in hypotheses}
    return DecodedSet(references, hypotheses, read_confidences(hyp))


def report(found: Mapping) -> str:
    """The curve and the threshold, as printed."""
    lines = [f"{'confidence':12} {'words':>6} {'mean':>6} {'right':>6}"]
    lines += ["{:12} {:>6} {:>6} {:>6}".format(*row) for row in curve_rows(found["curve"])]
    if found["min_confidence"] == 1.0 and not found["kept_words"]:
        lines.append(f"no threshold reaches {found['accuracy']:g} right words: nothing will be believed")
    else:
        words = f"{found['words']} words" if len(found["sets"]) == 1 else "the words, each set counted the same"
        kept = f"keeps {found['kept_words']:.1%} of {words}, {found['accuracy']:.0%} or more of them right"
        lines.append(f"pieces with a mean confidence from {found['min_confidence']:.3f} on are believed: {kept}")
        if found["kept_words"] == 1.0:
            lines.append("all that was measured is right often enough; what is less sure has not been seen here")
    for name, of_set in found["sets"].items() if len(found["sets"]) > 1 else ():
        right = "" if of_set["right_of_kept"] is None else f", {of_set['right_of_kept']:.1%} of them right"
        lines.append(f"{name}: keeps {of_set['kept_words']:.1%} of {of_set['words']} words{right}")
    return "\n".join(lines)
