"""Our beam search against ESPnet's BatchBeamSearch: the same hypotheses, scores and ends, whatever the options."""

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from espnet_vivit.decode import decoder_scorer, prefix_tree
from espnet_vivit.decode.beam_search import BeamSearch
from espnet_vivit.decode.ngram import NgramScorer, read_arpa
from espnet_vivit.decode.witten_bell import arpa_lines, train_witten_bell
from tests.decode.espnet_search import (
    assert_same,
    both,
    clips,
    random_lm,
    random_scorers,
    search_espnet,
    search_ours,
)

RATIOS = [(0.0, 0.0), (-4.0, 0.0), (0.5, 0.2), (0.0, 0.3), (-6.0, -2.0)]
LENGTHS = (9, 5, 13)
SIZES = [(1, 12), (3, 40), (8, 12), (6, 40)]  # beam, vocabulary


@pytest.mark.parametrize("ratios", RATIOS, ids=str)
@pytest.mark.parametrize("ctc_weight", [0.0, 0.1, 0.5, 1.0])
def test_the_same_n_best_as_espnets_search_alone_and_in_a_batch(ctc_weight, ratios):
    """Beams narrower than 2/3 of the vocabulary have CTC score a part of it, others all."""
    for number, (beam_size, vocabulary) in enumerate(SIZES):
        decoder, ctc = random_scorers(vocabulary, seed=number)
        weights = {"decoder": 1 - ctc_weight, "ctc": ctc_weight, "length_bonus": 0.5 * (number % 2)}
        options = {"vocabulary": vocabulary, "beam_size": beam_size, "normalize_length": number % 3 == 0}
        ours, espnet = both({"decoder": decoder, "ctc": ctc}, weights, **options)
        states = clips(*LENGTHS, seed=number)
        expected = search_espnet(espnet, states, ratios)
        assert_same(search_ours(ours, states, ratios), expected)
        for clip, wanted in zip(states, expected, strict=True):
            assert_same(search_ours(ours, [clip], ratios), [wanted])


@pytest.mark.parametrize(
    "options",
    [{"normalize_before": False}, {"concat_after": True}, {"qk_norm": True}, {"num_blocks": 1, "attention_heads": 4}],
    ids=str,
)
def test_every_form_of_decoder_is_espnets(options):
    decoder, ctc = random_scorers(30, **options)
    assert decoder_scorer.DecoderScorer.takes(decoder)
    ours, espnet = both({"decoder": decoder, "ctc": ctc}, {"decoder": 0.7, "ctc": 0.3}, vocabulary=30, beam_size=5)
    states = clips(*LENGTHS)
    assert_same(search_ours(ours, states), search_espnet(espnet, states))


@pytest.mark.parametrize("position", [None, "sinusoidal"])
@pytest.mark.parametrize("ctc_weight", [0.0, 0.3, 1.0])
def test_with_a_transformer_language_model(position, ctc_weight):
    decoder, ctc = random_scorers(30)
    scorers = {"decoder": decoder, "ctc": ctc, "lm": random_lm(30, pos_enc=position)}
    weights = {"decoder": 1 - ctc_weight, "ctc": ctc_weight, "lm": 0.6, "length_bonus": 0.3}
    ours, espnet = both(scorers, weights, vocabulary=30, beam_size=6)
    states = clips(*LENGTHS)
    assert_same(search_ours(ours, states), search_espnet(espnet, states))


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_with_a_recurrent_language_model(kind):
    from espnet2.lm.seq_rnn_lm import SequentialRNNLM

    decoder, ctc = random_scorers(30)
    scorers = {"decoder": decoder, "ctc": ctc, "lm": SequentialRNNLM(30, 12, nlayers=2, rnn_type=kind).eval().double()}
    ours, espnet = both(scorers, {"decoder": 0.7, "ctc": 0.3, "lm": 1.5}, vocabulary=30, beam_size=6)
    states = clips(*LENGTHS)
    assert_same(search_ours(ours, states), search_espnet(espnet, states))


def test_with_n_grams(tmp_path):
    names = ["<blank>", "<unk>", *"abcdefgh", "<sos/eos>"]
    ngrams = train_witten_bell([list("abca"), list("fgh"), list("ddab")], names[1:-1], order=3)
    (tmp_path / "3gram.arpa").write_text("\n".join(arpa_lines(ngrams)))
    decoder, ctc = random_scorers(len(names))
    scorers = {"decoder": decoder, "ctc": ctc, "ngram": NgramScorer(read_arpa(tmp_path / "3gram.arpa"), names)}
    for beam_size in (3, 9):
        options = {"vocabulary": len(names), "beam_size": beam_size}
        ours, espnet = both(scorers, {"decoder": 0.7, "ctc": 0.3, "ngram": 0.8}, **options)
        states = clips(*LENGTHS)
        assert_same(search_ours(ours, states), search_espnet(espnet, states))


def test_in_float32_scores_differ_by_rounding_alone():
    for seed in range(2):
        decoder, ctc = random_scorers(50, seed=seed, dtype=torch.float32)
        ours, espnet = both({"decoder": decoder, "ctc": ctc}, {"decoder": 0.9, "ctc": 0.1}, vocabulary=50, beam_size=10)
        states = clips(60, 90, seed=seed, dtype=torch.float32)
        found, expected = search_ours(ours, states, (-12.0, 0.0)), search_espnet(espnet, states, (-12.0, 0.0))
        for clip, wanted in zip(found, expected, strict=True):
            assert clip[0][0] == wanted[0][0] and abs(clip[0][1] - wanted[0][1]) < 1e-4


def test_long_hypotheses_of_which_many_nodes_are_dropped_on_the_way(monkeypatch):
    monkeypatch.setattr(prefix_tree, "FIRST_LIMIT", 16)
    decoder, ctc = random_scorers(30)
    with torch.no_grad():
        decoder.output_layer.bias[-1] -= 5.0
    scorers = {"decoder": decoder, "ctc": ctc, "lm": random_lm(30)}
    ours, espnet = both(scorers, {"decoder": 0.7, "ctc": 0.3, "lm": 0.2}, vocabulary=30, beam_size=7)
    states = clips(40, 25)
    found = search_ours(ours, states, (-25.0, 0.0))
    assert len(found[0][0][0]) >= 20
    assert_same(found, search_espnet(espnet, states, (-25.0, 0.0)))


@pytest.mark.parametrize("fault", ["mask", "parents", "position", "padding"])
def test_a_planted_fault_is_noticed(monkeypatch, fault):
    """What the comparison is worth: one wrong index, and hypotheses or scores differ."""
    decoder, ctc = random_scorers(30)
    ours, espnet = both({"decoder": decoder, "ctc": ctc}, {"decoder": 0.7, "ctc": 0.3}, vocabulary=30, beam_size=5)
    states = clips(*LENGTHS)
    expected = search_espnet(espnet, states)
    if fault == "mask":  # every hypothesis attends to the tokens of all
        grow = prefix_tree.PrefixTree.grow
        monkeypatch.setattr(
            prefix_tree.PrefixTree, "grow", lambda self, parents: (grow(self, parents), self.visible.fill_(True))[0]
        )
    elif fault == "parents":  # hypotheses are not reordered
        grow = prefix_tree.PrefixTree.grow
        monkeypatch.setattr(prefix_tree.PrefixTree, "grow", lambda self, parents: grow(self, parents * 0))
    elif fault == "position":
        add = decoder_scorer.add_position
        monkeypatch.setattr(decoder_scorer, "add_position", lambda module, x, position: add(module, x, position + 1))
    else:  # the padding of shorter clips is attended to
        attend = decoder_scorer.attend
        monkeypatch.setattr(
            decoder_scorer, "attend", lambda attention, x, keys, values, mask: attend(attention, x, keys, values, None)
        )
    with pytest.raises(AssertionError):
        assert_same(search_ours(ours, states), expected)


def test_no_hypothesis_has_the_blank_and_a_beam_wider_than_the_vocabulary_works():
    decoder, ctc = random_scorers(6)
    search = BeamSearch(
        {"decoder": decoder, "ctc": ctc}, {"decoder": 0.5, "ctc": 0.5}, beam_size=40, vocabulary=6, sos=5, eos=5
    )
    (found,) = search_ours(search, clips(9))
    assert len(found) > 40 and all(0 not in tokens for tokens, _, _ in found)


def test_clips_without_any_room_for_a_token_have_no_hypothesis():
    decoder, ctc = random_scorers(12)
    search, _ = both({"decoder": decoder, "ctc": ctc}, {"decoder": 0.5, "ctc": 0.5}, vocabulary=12, beam_size=3)
    states = torch.stack(clips(9, 9))
    none, some = search(states, torch.tensor([9, 9]), ratios=[(-0.5, 0.0), (0.0, 0.0)])
    assert none == [] and some


def test_threads_share_a_search():
    decoder, ctc = random_scorers(30)
    search, _ = both({"decoder": decoder, "ctc": ctc}, {"decoder": 0.7, "ctc": 0.3}, vocabulary=30, beam_size=5)
    states = clips(*range(6, 14))
    expected = [search_ours(search, [clip]) for clip in states]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda clip: search_ours(search, [clip]), states)) == expected


def test_nothing_of_a_clip_stays_behind():
    decoder, ctc = random_scorers(30)
    scorers = {"decoder": decoder, "ctc": ctc, "lm": random_lm(30)}
    search, _ = both(scorers, {"decoder": 0.7, "ctc": 0.3, "lm": 0.5}, vocabulary=30, beam_size=5)

    def tensors():
        gc.collect()
        return sum(type(thing) is torch.Tensor for thing in gc.get_objects())

    states, lengths = torch.stack(clips(15)), torch.tensor([15])
    search(states, lengths)
    before = tensors()
    found, alive = search(states, lengths), weakref.ref(states)
    del states
    gc.collect()
    assert alive() is None and found
    assert tensors() == before - 1 + len(found[0])  # a yseq for each hypothesis
