"""Why the answer to a piece is not believed: an unsure search, words that the frames do not show, loops, haste.

Confidence alone does not tell a speaker unlike those of the training: search and CTC complete what they see to a
sentence of the training, and are sure of it. A frame head (`frame_loss_weight`) judges every step by itself. On GRID,
for a lip reader of one speaker, its support for right and wrong answers to that speaker was 0.57 or more in 150 clips,
and 0.44 or less for answers to other speakers of which more than half was wrong (benchmarks/nonsense.py).
"""

from collections.abc import Iterator

from espnet_vivit.data.text_bounds import TextBounds, general_bounds
from espnet_vivit.decode.word_times import Transcript

MIN_SUPPORT = 0.5


def doubts(found: Transcript, *, duration_s: float, min_confidence: float, bounds: TextBounds | None) -> Iterator[str]:
    """The reasons in words; none for an answer without words.

    min_confidence: of the words, mean; 0 believes every answer. bounds: what the training texts show, None if unknown.
    """
    if not found.words or min_confidence == 0:
        return
    confidence = mean_confidence(found)
    if confidence < min_confidence:
        yield f"confidence {confidence:.2f} is below {min_confidence:.2f}"
    if found.support is not None and found.support < MIN_SUPPORT:
        shown = f"frame by frame the model sees these words with a probability of {found.support:.2f} only"
        yield f"{shown}, {MIN_SUPPORT:.2f} is needed: a speaker unlike those of its training?"
    yield from (bounds or general_bounds(found.text)).exceeded(found.text, duration_s)


def mean_confidence(found: Transcript) -> float:
    """Over the words; 0 without any."""
    return sum(word.confidence for word in found.words) / len(found.words) if found.words else 0.0
