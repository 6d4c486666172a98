"""Sentences of tokens in, an n-gram model out: interpolated Witten-Bell smoothing (Bell, Cleary and Witten 1990).

    P(w | h) = (c(h w) + t(h) P(w | h')) / (c(h) + t(h))

c counts, t(h) is how many different tokens followed h, h' is h without its first token; the last h' is uniform over
the tokens and the end of the sentence. Unlike Kneser-Ney, of which lmplz makes better models from large texts, it
cannot fail on small ones: a closed grammar has n-grams for which Kneser-Ney's discounts do not exist.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from espnet_vivit.decode.ngram import END, NEVER, START, Ngram, NgramModel
from espnet_vivit.errors import ConfigError, DataError


def train_witten_bell(sentences: Iterable[Sequence[str]], vocabulary: Sequence[str], *, order: int) -> NgramModel:
    """The model of all tokens of `vocabulary` (without blank, start and end) and the end of the sentence.

    Raises:
        ConfigError: order below 1. DataError: no sentence, or a token that the vocabulary lacks.
    """
    if order < 1:
        raise ConfigError("order of an n-gram model", found=order, expected="1 or more")
    known, counts = set(vocabulary), Counter()
    for sentence in sentences:
        if not known.issuperset(sentence):
            lacking = min(set(sentence) - known)
            raise DataError(f"the token {lacking!r} is not in the token list", fix="Count what it lacks as <unk>.")
        tokens = (START, *sentence, END)
        for size in range(1, order + 1):
            counts.update(tokens[i : i + size] for i in range(len(tokens) - size + 1))
    if not counts:
        raise DataError("no sentence to count n-grams in")
    del counts[(START,)]  # it never follows anything
    totals, kinds = Counter(), Counter()
    for ngram, count in counts.items():
        totals[ngram[:-1]] += count
        kinds[ngram[:-1]] += 1
    names = [*dict.fromkeys(vocabulary), END]
    probabilities: dict[Ngram, float] = {}
    for ngram in sorted({(name,) for name in names} | counts.keys(), key=len):  # shorter ones first
        history = ngram[:-1]
        lower = probabilities[ngram[1:]] if history else 1 / len(names)
        probabilities[ngram] = (counts[ngram] + kinds[history] * lower) / (totals[history] + kinds[history])
    log_probs = {ngram: math.log(probability) for ngram, probability in probabilities.items()}
    log_probs[(START,)] = NEVER
    backoffs = {history: math.log(kinds[history] / (totals[history] + kinds[history])) for history in kinds if history}
    return NgramModel(log_probs, backoffs, order)


def arpa_lines(model: NgramModel) -> list[str]:
    """The lines of the model's ARPA file; `read_arpa` gives the model back to seven digits."""
    by_size: dict[int, list[Ngram]] = {size: [] for size in range(1, model.order + 1)}
    for ngram in sorted(model.log_probs):
        by_size[len(ngram)].append(ngram)
    lines = ["\\data\\", *(f"ngram {size}={len(ngrams)}" for size, ngrams in by_size.items())]
    for size, ngrams in by_size.items():
        lines += ["", f"\\{size}-grams:"]
        for ngram in ngrams:
            backoff = f"\t{model.backoffs[ngram] / math.log(10):.7f}" if ngram in model.backoffs else ""
            lines.append(f"{model.log_probs[ngram] / math.log(10):.7f}\t{' '.join(ngram)}{backoff}")
    return [*lines, "", "\\end\\"]


def perplexity(model: NgramModel, sentences: Iterable[Sequence[str]]) -> float:
    """Per token, the end of the sentence counted as one. Raises DataError without sentences."""
    total, count = 0.0, 0
    for sentence in sentences:
        tokens = (START, *sentence, END)
        total += sum(model.log_prob(tokens[:i], tokens[i]) for i in range(1, len(tokens)))
        count += len(tokens) - 1
    if not count:
        raise DataError("no sentence to measure")
    return math.exp(-total / count)
