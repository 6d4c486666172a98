"""Which answers are not believed, and why."""

import pytest

from espnet_vivit.data.text_bounds import WORDS, TextBounds
from espnet_vivit.decode.word_times import Transcript, Word
from espnet_vivit.transcription.doubts import doubts

GRID = TextBounds(WORDS, per_s=5.3, repeats=1, count=3894)


def answer(text: str, *, confidence: float = 0.9, support: float | None = 0.8) -> Transcript:
    words = tuple(Word(word, 0.1 * i, 0.1 * i + 0.1, confidence) for i, word in enumerate(text.split()))
    return Transcript(text, tuple(text.split()), (), -1.0, words, support)


def why(found: Transcript, *, min_confidence: float = 0.5, bounds: TextBounds | None = GRID) -> str:
    return "; ".join(doubts(found, duration_s=3.0, min_confidence=min_confidence, bounds=bounds))


def test_a_likely_answer_is_believed_at_the_bounds():
    assert why(answer("bin blue at f two now", confidence=0.5, support=0.5)) == ""
    assert why(answer("bin blue at f two now", support=None)) == ""
    assert why(answer("", support=None)) == ""


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (answer("x eight x eight x eight"), "a loop: 'x eight' 3 times in a row"),
        (answer(" ".join(f"w{i}" for i in range(25))), "too fast for speech: 8.3 words per second, 6.6 is the most"),
        (answer("bin blue", confidence=0.49), "confidence 0.49 is below 0.50"),
        (answer("bin blue", support=0.49), "with a probability of 0.49 only, 0.50 is needed"),
    ],
)
def test_what_training_never_shows_is_doubted_however_sure_the_search_is(found, reason):
    assert reason in why(found) and ";" not in why(found)
    assert why(found, min_confidence=0) == "", "0 believes everything"


def test_without_known_texts_general_bounds_hold():
    assert why(answer("x eight x eight x eight"), bounds=None) == ""
    assert "'x eight' 4 times" in why(answer("x eight x eight x eight x eight"), bounds=None)
