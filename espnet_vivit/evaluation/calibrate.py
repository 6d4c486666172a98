"""From which confidence on a model's words can be believed, measured on development data and kept beside the model.

    espnet-vivit calibrate exp/avsr_train --modality video --ref dump/raw/dev/text \\
        --hyp exp/avsr_train/decode_avsr/dev_video/1best_recog

The decoding is that of stage 12 with `--inference_args "--word_times true"`. Transcribing judges pieces, so the
threshold is on the mean confidence of an utterance: the lowest from which on the share `--accuracy` of all words is
right. Where all utterances are right often enough, nothing speaks against less sure ones: they are believed as without
calibration. `reliability.json` in the experiment folder gets it, one entry per modality, with the reliability curve of
single words; packing takes it along.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from espnet_vivit.evaluation.calibration import MIN_CONFIDENCE

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
    from espnet_vivit.evaluation.calibration import judged_words, reliability

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
