"""From which confidence on a model's words can be believed, measured on development data and kept beside the model.

    espnet-vivit calibrate exp/avsr_train --modality video --ref dump/raw/dev/text \\
        --hyp exp/avsr_train/decode_avsr/dev_video/1best_recog

The decoding is that of stage 12 with `--inference_args "--word_times true"`. Transcribing judges pieces, so the
threshold is on the mean confidence of an utterance: the lowest from which on the share `--accuracy` of all words is
right. Where all utterances are right often enough, nothing speaks against less sure ones: they are believed as without
calibration. `reliability.json` in the experiment folder gets it, one entry per modality, with the reliability curve of
single words; packing takes it along.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from espnet_vivit.command_parser import CommandParser
from espnet_vivit.errors import DataError
from espnet_vivit.transcribe import MIN_CONFIDENCE
from espnet_vivit.whole_file import write_whole

MODALITIES = ("video", "audio", "multimodal")
ACCURACY = 0.8  # of the words of the pieces that are believed


def calibrate(
    references: Mapping[str, str],
    hypotheses: Mapping[str, str],
    confidences: Mapping[str, Sequence[float]],
    *,
    accuracy: float = ACCURACY,
) -> dict:
    """What is written for one modality. Raises DataError for lists that do not belong together.

    `min_confidence` is 1 where no threshold reaches the accuracy: nothing but certainty is believed then; where all
    utterances together reach it, it is at most `MIN_CONFIDENCE`, because nothing speaks against less sure ones.
    """
    from espnet_vivit.decode.calibration import judged_words, reliability

    words, correct = judged_words(references, hypotheses, confidences)
    means = {utt_id: sum(values) / len(values) for utt_id, values in confidences.items() if values}
    by_utterance = [means[utt_id] for utt_id in sorted(hypotheses) for _ in hypotheses[utt_id].split()]
    of_words = reliability(words, correct)
    found = reliability(by_utterance, correct).threshold(accuracy)
    threshold, kept = (1.0, 0.0) if found is None else found
    if kept == 1.0:
        threshold = min(threshold, MIN_CONFIDENCE)
    return {
        "min_confidence": math.floor(threshold * 1e4) / 1e4,
        "accuracy": accuracy,
        "kept_words": kept,
        "words": len(correct),
        "utterances": len(hypotheses),
        "right": sum(correct) / len(correct),
        "expected_calibration_error": of_words.expected_calibration_error,
        "separation": of_words.separation,
        "curve": [{k: None if v != v else v for k, v in asdict(part).items()} for part in of_words.bins],
    }


def main(argv: Sequence[str] | None = None) -> int:
    parser = CommandParser(
        prog="espnet-vivit calibrate",
        description="Measure from which confidence on transcribing shall believe a model's words.",
        epilog="example: espnet-vivit calibrate exp/avsr_train --ref dump/raw/dev/text "
        "--hyp exp/avsr_train/decode_avsr/dev_video/1best_recog --modality video",
    )
    parser.add_argument("experiment", type=Path, help="folder that gets reliability.json")
    parser.add_argument("--ref", type=Path, required=True, help="the true transcripts, `utterance words...`")
    parser.add_argument("--hyp", type=Path, required=True, help="1best_recog folder with text and confidence")
    parser.add_argument("--modality", required=True, choices=MODALITIES, help="streams that were decoded")
    parser.add_argument("--accuracy", type=float, default=ACCURACY, help="share of words to be right (%(default)s)")
    options = parser.parse_args(argv)

    from espnet_vivit.decode.calibration import read_confidences  # late: --help shall not wait for torch
    from espnet_vivit.package import RELIABILITY
    from espnet_vivit.score import read_transcripts

    if not (options.experiment / "config.yaml").is_file():
        raise DataError(f"{options.experiment} is no experiment", found="no config.yaml", fix="Name exp/avsr_…")
    hypotheses = read_transcripts(options.hyp / "text")
    references = {key: text for key, text in read_transcripts(options.ref).items() if key in hypotheses}
    found = calibrate(references, hypotheses, read_confidences(options.hyp), accuracy=options.accuracy)
    path = options.experiment / RELIABILITY
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
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
