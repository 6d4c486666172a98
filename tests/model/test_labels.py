"""Labels that no model has are named before an embedding or CTC takes them."""

import copy

import pytest
import torch

from espnet_vivit.errors import InputError
from espnet_vivit.model.labels import check_labels
from tests.tiny import tiny_e2e

GOOD = {"text": torch.tensor([[1, 2, 6], [3, -1, -1]]), "text_lengths": torch.tensor([3, 1])}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text": torch.tensor([[1, 2, 7], [3, -1, -1]])}, "token 2 of utterance 'a' .*found 7; expected 1 to 6"),
        ({"text": torch.tensor([[1, 2, 6], [-5, -1, -1]])}, "token 0 of utterance 'b' .*found -5"),
        ({"text": torch.tensor([[1, 0, 6], [3, -1, -1]])}, "token 1 of utterance 'a' .*found 0"),
        ({"text": torch.tensor([[1.0, 2.0, 6.0]] * 2)}, r"no batch of token ids: found float32 \(2, 3\)"),
        ({"text": torch.tensor([1, 2])}, r"no batch of token ids: found int64 \(2,\)"),
        ({"text_lengths": torch.tensor([3])}, "text_lengths are not of these clips"),
        ({"text_lengths": torch.tensor([4, 1])}, r"text_lengths: found \[4, 1\]; expected 0 to L = 3"),
        ({"text_lengths": torch.tensor([3, -1])}, "text_lengths: found"),
        (
            {"text": torch.empty(0, 3, dtype=torch.long), "text_lengths": torch.empty(0, dtype=torch.long)},
            "at least one",
        ),
    ],
)
def test_a_label_that_is_none_is_named(change, message):
    check_labels(**GOOD, size=7)
    with pytest.raises(InputError, match=message):
        check_labels(**{**GOOD, **change}, size=7, utt_id=["a", "b"])


def test_padding_is_not_looked_at():
    check_labels(torch.tensor([[1, 99], [1, -7]]), torch.tensor([1, 1]), size=3)


def test_the_model_asks_before_it_computes():
    model = tiny_e2e("video")
    text = torch.tensor([[1, model.vocab_size]])
    with pytest.raises(InputError, match="token 1 of clip 0 of the batch is none of the model's"):
        model(text=text, text_lengths=torch.tensor([2]))


def test_a_model_can_be_copied_after_a_forward_pass_with_gradients():
    model = tiny_e2e("audio")
    speech = torch.randn(2, 16000, generator=torch.Generator().manual_seed(0))
    batch = {"speech": speech, "speech_lengths": torch.tensor([16000, 16000])}
    loss, *_ = model(text=torch.tensor([[1, 2], [2, 1]]), text_lengths=torch.tensor([2, 2]), **batch)
    twin = copy.deepcopy(model)
    loss.backward()
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), twin.parameters(), strict=True))
