"""The decoder, a token at a time, against ESPnet's decoder over the whole prefix."""

import pytest
import torch

from espnet_vivit.decode.decoder_scorer import DecoderScorer
from espnet_vivit.decode.prefix_tree import PrefixTree, Step
from tests.decode.espnet_search import WIDTH, clips, random_scorers

VOCABULARY = 12


def step_of(tree, prefixes, parents):
    """The next step, of clips (B) with hypotheses (N), token ids each."""
    parents = torch.tensor(parents)
    assert tree.grow(parents) is None
    return Step(prefixes, torch.tensor([[prefix[-1] for prefix in c] for c in prefixes]), parents, tree.visible)


@pytest.mark.parametrize(
    "options", [{}, {"normalize_before": False}, {"concat_after": True}, {"qk_norm": True}], ids=str
)
def test_scores_are_the_log_probabilities_of_the_whole_decoder(options):
    decoder, _ = random_scorers(VOCABULARY, **options)
    states = clips(11, 6)
    padded = torch.nn.utils.rnn.pad_sequence(states, batch_first=True, padding_value=30.0)
    scorer, tree = DecoderScorer(decoder, padded, torch.tensor([11, 6])), PrefixTree(2, padded.device)
    moves = [
        ([[[11]], [[11]]], [[0], [0]]),
        ([[[11, 1], [11, 2]], [[11, 3], [11, 4]]], [[0, 0], [0, 0]]),
        ([[[11, 2, 5], [11, 1, 6]], [[11, 4, 7], [11, 4, 8]]], [[1, 0], [1, 1]]),
    ]
    for prefixes, parents in moves:
        found = scorer.score(step_of(tree, prefixes, parents))
        for row, clip in enumerate(prefixes):
            given = torch.tensor(clip)
            memory = states[row].expand(len(given), -1, -1)
            lengths = torch.full((len(given),), len(states[row])), torch.full((len(given),), given.size(1))
            logits, _ = decoder(memory, lengths[0], given, lengths[1])
            torch.testing.assert_close(found[row], logits[:, -1].log_softmax(-1), atol=1e-10, rtol=1e-10)


def test_other_decoders_are_left_to_espnet():
    from espnet2.asr.decoder.transformer_decoder import LightweightConvolutionTransformerDecoder

    other = LightweightConvolutionTransformerDecoder(VOCABULARY, WIDTH, num_blocks=1, conv_kernel_length=(3,))
    assert not DecoderScorer.takes(other)
    assert not DecoderScorer.takes(random_scorers(VOCABULARY)[1])
    decoder, _ = random_scorers(VOCABULARY)
    assert DecoderScorer.takes(decoder)
    decoder.decoders[0].sequential_attn = torch.nn.Identity()
    assert not DecoderScorer.takes(decoder)


def test_a_clip_is_projected_once_and_of_a_prefix_only_the_new_token(monkeypatch):
    decoder, _ = random_scorers(VOCABULARY)
    rows = {"linear_k of the clip": 0, "linear_k of the prefix": 0}
    layer = decoder.decoders[0]
    for name, attention in (("clip", layer.src_attn), ("prefix", layer.self_attn)):

        def count(module, inputs, output, name=f"linear_k of the {name}"):
            rows[name] += inputs[0].shape[:-1].numel()

        attention.linear_k.register_forward_hook(count)
    states = torch.stack(clips(11))
    scorer, tree = DecoderScorer(decoder, states, torch.tensor([11])), PrefixTree(1, states.device)
    scorer.score(step_of(tree, [[[11]]], [[0]]))
    for length in range(1, 5):
        scorer.score(step_of(tree, [[[11, *[1] * length]] * 3], [[0, 0, 0]]))
    assert rows == {"linear_k of the clip": 11, "linear_k of the prefix": 1 + 4 * 3}
