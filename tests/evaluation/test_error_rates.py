"""Counts against jiwer's totals and torchaudio's edit distance, and what must not pass silently."""

import jiwer
import numpy as np
import pytest
from torchaudio.functional import edit_distance

from espnet_vivit.errors import ConfigError, DataError
from espnet_vivit.evaluation.error_rates import find_collapse, score

WORDS = "bin blue at f two now lay red by q".split()


def random_transcripts(seed: int, count: int = 60) -> tuple[dict[str, str], dict[str, str]]:
    """References and hypotheses of 0 to 8 words; each word of a hypothesis is kept, dropped, doubled or replaced."""
    rng = np.random.default_rng(seed)
    references, hypotheses = {}, {}
    for index in range(count):
        reference = list(rng.choice(WORDS, size=rng.integers(0, 9)))
        hypothesis = []
        for word in reference:
            action = rng.integers(6)
            hypothesis += [word] * min(action, 2) if action < 5 else [str(rng.choice(WORDS))]
        references[f"utt{index:03d}"], hypotheses[f"utt{index:03d}"] = " ".join(reference), " ".join(hypothesis)
    return references, hypotheses


@pytest.mark.parametrize("seed", range(3))
def test_totals_equal_jiwers(seed):
    references, hypotheses = random_transcripts(seed)
    assert "" in references.values()  # empty references are among them
    scored = score(references, hypotheses)
    words = jiwer.process_words(list(references.values()), list(hypotheses.values()))
    assert scored.words.errors > 0
    assert (scored.words.substitutions, scored.words.deletions, scored.words.insertions) == (
        words.substitutions,
        words.deletions,
        words.insertions,
    )
    assert scored.words.reference == sum(len(text.split()) for text in references.values())
    assert scored.wer == pytest.approx(words.wer)
    assert scored.cer == pytest.approx(jiwer.cer(list(references.values()), list(hypotheses.values())))


def test_counts_of_each_utterance_add_up_to_its_edit_distance():
    references, hypotheses = random_transcripts(7)
    scored = score(references, hypotheses)
    for row, utt in enumerate(scored.utt_ids):
        words, chars = scored.word_counts[row], scored.char_counts[row]
        assert words[1:].sum() == edit_distance(references[utt].split(), hypotheses[utt].split())
        assert chars[1:].sum() == edit_distance(references[utt], hypotheses[utt])
        assert words[:3].sum() == len(references[utt].split())
        assert words[[0, 1, 3]].sum() == len(hypotheses[utt].split())


def test_ids_are_matched_not_lines():
    references, hypotheses = {"a": "one two", "b": "three"}, {"b": "three", "a": "one two"}
    assert score(references, hypotheses).words.errors == 0


def test_missing_and_extra_utterances_are_named():
    references = {f"utt{i}": "one" for i in range(9)}
    with pytest.raises(DataError, match=r"without hypothesis: 8 \(utt1, utt2, utt3, utt4, utt5 and 3 more\)"):
        score(references, {"utt0": "one"})
    with pytest.raises(DataError, match=r"without reference: 1 \(stranger\)"):
        score(references, {**references, "stranger": "one"})


def test_missing_counted_as_deletions_when_asked():
    scored = score({"a": "one two", "b": "three four five"}, {"a": "one two"}, missing="delete")
    assert scored.missing == ("b",)
    assert (scored.words.deletions, scored.words.reference) == (3, 5)
    assert "1 without hypothesis counted as deleted" in scored.summary(scored.interval(resamples=10))


def test_unknown_policy_suggests_the_nearest():
    with pytest.raises(ConfigError, match="Did you mean 'delete'"):
        score({"a": "one"}, {}, missing="deletes")


def test_empty_reference_adds_insertions_but_no_words():
    with_empty = score({"a": "one two", "b": ""}, {"a": "one two", "b": "x y z"})
    assert (with_empty.words.insertions, with_empty.words.reference, with_empty.wer) == (3, 2, 1.5)


def test_only_empty_references_is_an_error_not_a_rate_of_zero():
    with pytest.raises(DataError, match="reference words"):
        score({"a": ""}, {"a": ""})
    with pytest.raises(DataError, match="reference words"):
        score({}, {})


def test_collapse_is_found_and_honest_repetition_is_not():
    distinct = {f"u{i}": f"word{i} other" for i in range(10)}
    constant = {utt: "bin blue" for utt in distinct}
    assert find_collapse(distinct, constant).count == 10
    assert "empty hypothesis" in str(find_collapse(distinct, dict.fromkeys(distinct, "")))
    halves = [
        {utt: "bin blue" if n < same else words for n, (utt, words) in enumerate(distinct.items())} for same in (5, 4)
    ]
    assert find_collapse(distinct, halves[0]).count == 5 and find_collapse(distinct, halves[1]) is None
    assert find_collapse(distinct, distinct) is None
    assert find_collapse(constant, constant) is None  # the references themselves repeat


def test_comparison_needs_the_same_references():
    with pytest.raises(DataError, match=r"1 \(b\) differing"):
        score({"a": "x", "b": "y"}, {"a": "x", "b": "y"}).compare(score({"a": "x", "b": "z"}, {"a": "x", "b": "y"}))
