"""What the speakers of `mini_av` say: sentences of six slots, as in the GRID corpus (Cooke et al. 2006), own words.

Within a slot no two words look alike on the lips (a test holds them against the viseme table), so that a sentence can
be read from the video alone; the ten letters are among those of the alphabet that stay apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np

from espnet_vivit.errors import ConfigError, DataError

SLOTS: dict[str, tuple[str, ...]] = {
    "command": ("bring", "fetch", "lay", "move", "open", "show", "take", "watch"),
    "color": ("amber", "blue", "green", "orange", "purple", "red", "white", "yellow"),
    "preposition": ("above", "behind", "by", "from", "near", "over", "under", "with"),
    "letter": ("b", "f", "h", "l", "m", "o", "q", "r", "y", "z"),
    "digit": ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    "adverb": ("always", "before", "now", "outside", "please", "quickly", "soon", "tomorrow"),
}
WORDS = tuple(word for words in SLOTS.values() for word in words)
NUM_SENTENCES = int(np.prod([len(words) for words in SLOTS.values()]))


def draw_sentences(counts: Iterable[int], rng: np.random.Generator) -> list[list[str]]:
    """One list of sentences for each count, no sentence twice anywhere.

    Within a list every word of a slot occurs equally often (as nearly as the count allows), so that a constant answer
    earns nothing from a lucky draw.
    """
    counts = list(counts)
    if sum(counts) > NUM_SENTENCES // 10:
        raise ConfigError("too many sentences", found=sum(counts), expected=f"at most {NUM_SENTENCES // 10}")
    seen: set[str] = set()
    return [_draw_balanced(count, rng, seen) for count in counts]


def _draw_balanced(count: int, rng: np.random.Generator, seen: set[str]) -> list[str]:
    sentences: list[str] = []
    columns = [_balanced_column(words, count, rng) for words in SLOTS.values()]
    while len(sentences) < count:
        row = [column[len(sentences)] for column in columns]
        sentence = " ".join(row)
        if sentence in seen:  # exchange its letter with that of a later or the first row: the balance stays
            other = int(rng.integers(len(sentences), count))
            letters = columns[list(SLOTS).index("letter")]
            letters[len(sentences)], letters[other] = letters[other], letters[len(sentences)]
            if other == len(sentences):
                letters[other] = str(rng.choice(SLOTS["letter"]))
            continue
        seen.add(sentence)
        sentences.append(sentence)
    return sentences


def _balanced_column(words: tuple[str, ...], count: int, rng: np.random.Generator) -> list[str]:
    order = list(rng.permutation(words))  # which words get the one extra where count is not a multiple
    column = [str(order[index % len(order)]) for index in range(count)]
    return [column[index] for index in rng.permutation(count)]


def chance_wer(texts: Iterable[str] | None = None) -> float:
    """Word error rate (0..1) of the best answer that never looks at its input, on `texts` (None: all sentences).

    The slots share no word, so such an answer can only match slot by slot: the best one says the most frequent word of
    every slot, and its errors are substitutions. A recognizer that gets no information cannot be below this.
    """
    if texts is None:
        return 1 - sum(1 / len(words) for words in SLOTS.values()) / len(SLOTS)
    rows = [text.split() for text in texts]
    if not rows:
        raise DataError("no text to compute the chance level of")
    for row in rows:
        if len(row) != len(SLOTS) or any(w not in words for w, words in zip(row, SLOTS.values(), strict=True)):
            raise DataError("not a sentence of mini_av", found=repr(" ".join(row)), expected=" ".join(SLOTS))
    hits = sum(max(Counter(column).values()) for column in zip(*rows, strict=True))
    return 1 - hits / (len(rows) * len(SLOTS))
