"""Labels of whole clips: padding, views of time and space as dmvr takes them, and what is learnt."""

import pytest
import torch

from espnet_vivit import vivit_encoder
from espnet_vivit.errors import ConfigError, InputError
from espnet_vivit.frontend.vivit.classifier import VivitClassifier, evaluate_views, spatial_views, temporal_views
from tests.tiny import CONFIG, gray_clip, randomize, raw_clip

SIZES = {name: CONFIG[name] for name in ("image_size", "tubelet_size", "hidden_size", "num_attention_heads")}
SIZES |= {"intermediate_size": 32, "num_hidden_layers": 1, "temporal_layers": 1}


def classifier(**options) -> VivitClassifier:
    encoder = vivit_encoder(pretrained=False, config=SIZES, attention="factorised_encoder")
    return randomize(VivitClassifier(encoder, 5, **options)).eval()


@pytest.mark.parametrize(
    ("total", "stride", "offsets"),
    [
        (250, 2, [0, 62, 124, 186]),
        (75, 1, [0, 14, 28, 43]),
        (150, 1, [0, 39, 78, 118]),
        (40, 1, [0, 2, 5, 8]),
    ],
)
def test_temporal_views_begin_where_dmvrs_do(total, stride, offsets):
    views = temporal_views(total, frames=32, stride=stride, views=4)
    assert views[:, 0].tolist() == offsets
    assert (views[:, 1:] - views[:, :-1] == stride).all()


def test_one_view_is_the_middle_and_short_clips_repeat():
    assert temporal_views(75, frames=32, stride=1, views=1)[0, 0] == 21
    assert temporal_views(3, frames=7, stride=1, views=1)[0].tolist() == [0, 1, 2, 0, 1, 2, 0]


def test_spatial_views_follow_the_longer_side():
    assert [x for _, x in spatial_views(96, 96, crop=(88, 88), views=3)] == [0, 4, 8]
    assert spatial_views(100, 91, crop=(88, 88), views=3) == [(0, 2), (6, 2), (12, 2)]
    assert spatial_views(96, 96, crop=(88, 88), views=1) == [(4, 4)]
    with pytest.raises(InputError, match="smaller"):
        spatial_views(80, 96, crop=(88, 88), views=3)
    with pytest.raises(ConfigError, match="1 or 3"):
        spatial_views(96, 96, crop=(88, 88), views=2)


@pytest.mark.parametrize("options", [{}, {"pooling": "max"}, {"representation_size": 6}], ids=str)
def test_padding_never_changes_an_answer(options):
    model = classifier(**options)
    clip = gray_clip(7)
    batch = torch.full((2, 12, 16, 16), torch.nan)
    batch[0, :7], batch[1] = clip, gray_clip(12)
    with torch.no_grad():
        found = model(batch, torch.tensor([7, 12]))[0]
        torch.testing.assert_close(found, model(clip[None])[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("average", ["logits", "probabilities"])
def test_the_answer_is_the_mean_over_all_views(average):
    model, clip = classifier(), raw_clip(30, pixels=20)
    with torch.no_grad():
        answers = []
        for x in (0, 2, 4):
            for start in (0, 7, 14, 22):
                logits = model(clip[None, start : start + 8, 2:18, x : x + 16])[0]
                answers.append(logits if average == "logits" else logits.softmax(-1))
        expected = torch.stack(answers).mean(0)
        torch.testing.assert_close(evaluate_views(model, clip, frames=8, average=average), expected)


def test_a_fresh_model_says_the_same_of_every_class_and_learns_two_clips():
    torch.manual_seed(0)
    model = VivitClassifier(vivit_encoder(pretrained=False, config=SIZES, attention="causal"), 2)
    clips, labels = torch.stack([gray_clip(8), gray_clip(8)]), torch.tensor([0, 1])
    assert not model(clips).any()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(clips), labels)
        loss.backward()
        optimizer.step()
    assert loss < 0.1 and model(clips).argmax(1).tolist() == [0, 1]


def test_wrong_options_are_named():
    encoder = vivit_encoder(pretrained=False, config=SIZES, attention="causal")
    for options in ({"num_classes": 1}, {"num_classes": 5, "pooling": "cls"}):
        with pytest.raises(ConfigError):
            VivitClassifier(encoder, **options)
    with pytest.raises(ConfigError, match="probabilities"):
        evaluate_views(classifier(), raw_clip(8), frames=8, average="probability")
    with pytest.raises(InputError, match="one clip"):
        evaluate_views(classifier(), raw_clip(8)[None], frames=8)
