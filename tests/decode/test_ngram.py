"""N-gram models: back-off by hand, smoothing by the formula, files that are none, and the scorer token by token."""

import gzip
import math
from itertools import product

import pytest
import torch

from espnet_vivit.decode.ngram import NEVER, NgramScorer, read_arpa
from espnet_vivit.decode.witten_bell import arpa_lines, perplexity, train_witten_bell
from espnet_vivit.errors import ConfigError, DataError

# Written by hand: P(b | a) is listed, P(a | a) backs off, P(c | a) is unknown.
ARPA = """made by hand

\\data\\
ngram 1=5
ngram 2=2

\\1-grams:
-99\t<s>\t-0.5
-0.4\t</s>
-1.5\t<unk>
-0.6\ta\t-0.2
-0.7\tb

\\2-grams:
-0.1\t<s> a
-0.3\ta b

\\end\\
"""
SENTENCES = [s.split() for s in ("a b b", "a b", "b a c", "c", "a b c a b")]
TOKEN_LIST = ["<blank>", "<unk>", "a", "b", "c", "<sos/eos>"]
VOCABULARY = TOKEN_LIST[1:-1]


@pytest.mark.parametrize("suffix", [".arpa", ".arpa.gz"])
def test_back_off_as_worked_out_by_hand(tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    path.write_bytes(gzip.compress(ARPA.encode()) if suffix.endswith("gz") else ARPA.encode())
    model = read_arpa(path)
    for history, token, log10 in (
        (("<s>",), "a", -0.1),
        (("<s>",), "b", -0.5 - 0.7),
        (("a",), "b", -0.3),
        (("b", "a"), "b", -0.3),  # a bigram sees one token back
        (("a",), "a", -0.2 - 0.6),
        (("b",), "a", -0.6),  # no backoff weight is a weight of one
        (("a",), "c", -0.2 - 1.5),
        (("c",), "</s>", -0.4),
    ):
        assert model.log_prob(history, token) == pytest.approx(log10 * math.log(10)), (history, token)
    assert perplexity(model, [["a", "b"]]) == pytest.approx(10 ** ((0.1 + 0.3 + 0.4) / 3))


def count(sentences, ngram):
    padded = [["<s>", *s, "</s>"] for s in sentences]
    return sum(tuple(s[i : i + len(ngram)]) == ngram for s in padded for i in range(len(s)))


def by_the_formula(history, token):
    """Witten-Bell straight from its definition, counting anew each time."""
    names = [*VOCABULARY, "</s>"]
    counts = {name: count(SENTENCES, (*history, name)) for name in names}
    total, kinds = sum(counts.values()), sum(number > 0 for number in counts.values())
    lower = by_the_formula(history[1:], token) if history else 1 / len(names)
    return lower if total == 0 else (counts[token] + kinds * lower) / (total + kinds)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_smoothing_is_the_formulas_and_sums_to_one(order, tmp_path):
    (tmp_path / "model.arpa").write_text("\n".join(arpa_lines(train_witten_bell(SENTENCES, VOCABULARY, order=order))))
    model = read_arpa(tmp_path / "model.arpa")
    names = [*VOCABULARY, "</s>"]
    for history in [("<s>",), ("<s>", "a"), *product("abc", repeat=2), *product("abc", repeat=3)]:
        found = [math.exp(model.log_prob(history, name)) for name in names]
        seen = history[max(0, len(history) - order + 1) :] if order > 1 else ()
        assert found == pytest.approx([by_the_formula(seen, name) for name in names], abs=1e-6)
        assert sum(found) == pytest.approx(1, abs=1e-5)


def test_a_longer_model_of_the_same_text_is_less_perplexed():
    found = [perplexity(train_witten_bell(SENTENCES, VOCABULARY, order=order), SENTENCES) for order in (1, 2, 3)]
    assert found[0] > found[1] > found[2] > 1


@pytest.mark.parametrize("hand_made", [True, False])
def test_the_scorer_gives_each_token_its_log_probability(tmp_path, hand_made):
    lines = ARPA if hand_made else "\n".join(arpa_lines(train_witten_bell(SENTENCES, VOCABULARY, order=3)))
    (tmp_path / "model.arpa").write_text(lines)
    model = read_arpa(tmp_path / "model.arpa")
    scorer = NgramScorer(model, TOKEN_LIST)
    hypotheses = [[5], [5, 2], [5, 2, 3], [5, 4, 2], [5, 3, 4, 2]]
    for ids in hypotheses:
        scores, states = scorer.batch_score(torch.tensor([ids]), [None], torch.zeros(1, 3, 4))
        history = ["<s>", *(TOKEN_LIST[number] for number in ids[1:])]
        expected = [model.log_prob(history, name) for name in [*TOKEN_LIST[1:-1], "</s>"]]
        assert scores[0, 1:].tolist() == pytest.approx(expected, abs=1e-4) and states == [None]
        assert scores[0, 0] == pytest.approx(NEVER)


def test_an_unlisted_token_has_the_probability_that_the_history_gives_unknown_ones(tmp_path):
    lines = ARPA.replace("ngram 2=2", "ngram 2=3").replace("-0.3\ta b", "-0.3\ta b\n-0.9\ta <unk>")
    (tmp_path / "model.arpa").write_text(lines)
    model = read_arpa(tmp_path / "model.arpa")
    scores, _ = NgramScorer(model, TOKEN_LIST).batch_score(torch.tensor([[5, 2]]), [None], torch.zeros(1))
    assert float(scores[0, 4]) == pytest.approx(-0.9 * math.log(10)) == model.log_prob(("a",), "c")


def test_n_grams_of_other_tokens_are_refused():
    words = train_witten_bell([["bin", "blue"]], ["bin", "blue"], order=2)
    with pytest.raises(ConfigError, match="of other tokens than the recognizer: found 0 of its 3 tokens"):
        NgramScorer(words, TOKEN_LIST)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no .data. section"),
        (b"\x6d\x6d\xff\xfe\x00 lm binary", "what is not text"),
        (ARPA.replace("\\end\\", "").encode(), r"no \\end\\"),
        (ARPA.replace("ngram 2=2", "ngram 2=9").encode(), "incomplete: found n-grams {1: 5, 2: 2}"),
        (ARPA.replace("-0.3\ta b", "-0.3\ta b c d").encode(), "among the 2-grams"),
        (ARPA.replace("-0.3\ta b", "x\ta b").encode(), "could not convert"),
        (ARPA.replace("ngram 2=2", "ngram 2=two").encode(), "invalid literal"),
    ],
)
def test_a_file_that_is_no_model_is_an_error(tmp_path, content, message):
    (tmp_path / "model.arpa").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_arpa(tmp_path / "model.arpa")
    (tmp_path / "model.arpa.gz").write_bytes(b"not gzip")
    (tmp_path / "half.arpa.gz").write_bytes(gzip.compress(ARPA.encode())[:-20])
    for name in ("model.arpa.gz", "half.arpa.gz", "gone"):
        with pytest.raises(DataError):
            read_arpa(tmp_path / name)


def test_what_cannot_be_counted_is_an_error():
    with pytest.raises(DataError, match="the token 'd' is not in the token list"):
        train_witten_bell([["a", "d"]], VOCABULARY, order=2)
    with pytest.raises(DataError, match="no sentence to count"):
        train_witten_bell([], VOCABULARY, order=2)
    with pytest.raises(ConfigError, match="order of an n-gram model: found 0"):
        train_witten_bell(SENTENCES, VOCABULARY, order=0)
