"""`espnet-vivit calibrate`: the confidence threshold at which a given share of the words is correct."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from espnet_vivit.base.whole_file import write_whole
from espnet_vivit.bin.command_parser import CommandParser
from espnet_vivit.errors import DataError
from espnet_vivit.evaluation.calibration import ACCURACY, calibrate
from espnet_vivit.units import MODALITIES


def main(argv: Sequence[str] | None = None) -> int:
    parser = CommandParser(
        prog="espnet-vivit calibrate",
        description="Find the confidence threshold at which a given share of the words is correct, and store it.",
        epilog="example: espnet-vivit calibrate exp/avsr_train --ref dump/raw/dev/text "
        "--hyp exp/avsr_train/decode_avsr/dev_video/1best_recog --modality video",
    )
    parser.add_argument("experiment", type=Path, help="experiment folder; reliability.json is written into it")
    parser.add_argument("--ref", type=Path, required=True, help="reference transcripts, `utterance words...` per line")
    parser.add_argument("--hyp", type=Path, required=True, help="1best_recog folder with the files text and confidence")
    parser.add_argument("--modality", required=True, choices=MODALITIES, help="streams that were decoded")
    parser.add_argument(
        "--accuracy", type=float, default=ACCURACY, help="share of words that must be correct (default: %(default)s)"
    )
    options = parser.parse_args(argv)

    from espnet_vivit.data.transcripts import read_transcripts
    from espnet_vivit.decode.package import RELIABILITY, read_reliability
    from espnet_vivit.evaluation.calibration import read_confidences  # late: --help shall not wait for torch

    if not (options.experiment / "config.yaml").is_file():
        raise DataError(f"{options.experiment} is no experiment", found="no config.yaml", fix="Name exp/avsr_…")
    hypotheses = read_transcripts(options.hyp / "text")
    references = {key: text for key, text in read_transcripts(options.ref).items() if key in hypotheses}
    found = calibrate(references, hypotheses, read_confidences(options.hyp), accuracy=options.accuracy)
    path = options.experiment / RELIABILITY
    known = read_reliability(path) if path.is_file() else {}
    text = json.dumps({**known, options.modality: found}, indent=1)
    write_whole(path, text + "\n")
    print(report(found))
    return 0


def report(found: Mapping) -> str:
    """The curve and the threshold, as printed."""
    lines = ["confidence    words   mean  right"]
    for part in found["curve"]:
        shown = f"{part['confidence']:.3f}  {part['accuracy']:.3f}" if part["words"] else "    -      -"
        lines.append(f"{part['low']:.2f} to {part['high']:.2f} {part['words']:6d}  {shown}")
    if found["min_confidence"] == 1.0 and not found["kept_words"]:
        lines.append(f"no threshold reaches {found['accuracy']:g} right words: nothing will be believed")
    else:
        kept = (
            f"keeps {found['kept_words']:.1%} of {found['words']} words, {found['accuracy']:.0%} or more of them right"
        )
        lines.append(f"pieces with a mean confidence from {found['min_confidence']:.3f} on are believed: {kept}")
        if found["kept_words"] == 1.0:
            lines.append("all that was measured is right often enough; what is less sure has not been seen here")
    return "\n".join(lines)
