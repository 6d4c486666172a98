"""Patches left out in training: the right number, of every step, evenly, and nothing of them reaches the features."""

import pytest
import torch

from espnet_vivit.errors import ConfigError
from espnet_vivit.frontend.vivit.embedding import PatchDropout
from espnet_vivit.tasks.rehearsal.model import without_dropout
from tests.tiny import PIXELS, WINDOW, gray_clip, tiny_vivit

STEPS, PLACES = 5, 9


def numbered() -> torch.Tensor:
    """Tokens (2, 1 + STEPS * PLACES, 1) that hold their own index."""
    return torch.arange(1 + STEPS * PLACES).float()[None, :, None].repeat(2, 1, 1)


@pytest.mark.parametrize(("share", "kept"), [(0.3, 6), (0.5, 4), (0.99, 1), (0.01, 9)])
def test_each_step_keeps_as_many_patches_of_its_own(share, kept):
    found = PatchDropout(share)(numbered(), STEPS)
    assert found.shape == (2, 1 + STEPS * kept, 1)
    assert (found[:, 0] == 0).all(), "CLS comes first"
    steps = ((found[:, 1:, 0] - 1) // PLACES).unflatten(1, (STEPS, kept))
    assert torch.equal(steps, torch.arange(STEPS)[None, :, None].expand(2, -1, kept).float())
    assert all(len(set(row)) == len(row) for row in found[..., 0].tolist()), "no patch twice"


def test_every_patch_is_as_likely():
    torch.manual_seed(0)
    drop, counts = PatchDropout(1 / 3), torch.zeros(1 + STEPS * PLACES)
    for _ in range(500):
        counts += torch.bincount(drop(numbered(), STEPS).flatten().long(), minlength=len(counts))
    frequency = counts[1:] / 1000
    assert (frequency - 2 / 3).abs().max() < 5 * (2 / 3 / 3 / 1000) ** 0.5  # five standard deviations


def test_in_evaluation_and_in_checks_nothing_is_left_out():
    tokens, drop = numbered(), PatchDropout(0.5)
    assert drop.eval()(tokens, STEPS) is tokens
    model = torch.nn.Module()
    model.drop, model.ctc_dropout_rate, model.modality_dropout = drop.train(), 0.0, {}
    with without_dropout(model):
        assert drop(tokens, STEPS) is tokens
    assert drop(tokens, STEPS).shape != tokens.shape


@pytest.mark.parametrize("mode", [{"frame_adjust": "window", "window_overlap": 4}, {"frame_adjust": "sample"}])
@pytest.mark.parametrize("pooling", ["mean", "max", "cls"])
@pytest.mark.filterwarnings("ignore:frame_adjust=.sample.:UserWarning")
def test_a_tower_drops_in_training_alone(mode, pooling):
    encoder = tiny_vivit(temporal_pooling=pooling, **mode)
    dropping = tiny_vivit(temporal_pooling=pooling, patch_dropout=0.5, **mode)
    dropping.load_state_dict(encoder.state_dict())
    video, lengths = torch.stack([gray_clip(21)] * 2), torch.tensor([21, 9])
    features, counts = encoder(video, lengths)
    assert torch.equal(dropping(video, lengths)[0], features)
    dropped, their_counts = dropping.train()(video, lengths)
    assert dropped.shape == features.shape and torch.equal(counts, their_counts)
    assert not torch.allclose(dropped, features, atol=1e-3)
    assert dropped[1, int(counts[1]) :].eq(0).all()


def test_what_is_left_out_gets_no_gradient():
    encoder = tiny_vivit(patch_dropout=0.5, frame_adjust="window", window_overlap=4).train()
    patch = encoder.vivit.config.tubelet_size[1]
    clip = gray_clip(WINDOW)[None].requires_grad_()
    encoder(clip).square().sum().backward()
    seen = clip.grad[0].unflatten(0, (-1, 2)).abs().amax(1).unfold(1, patch, patch).unfold(2, patch, patch).amax((3, 4))
    places = (PIXELS // patch) ** 2
    assert torch.equal((seen > 0).flatten(1).sum(1), torch.full((WINDOW // 2,), places // 2))


def test_compiled_towers_drop_too():
    encoder = tiny_vivit(patch_dropout=0.5, frame_adjust="window", window_overlap=4).train()
    clip = gray_clip(WINDOW)[None]
    torch.manual_seed(1)
    expected = encoder(clip)
    encoder.compile_tower(backend="eager")
    torch.manual_seed(1)
    torch.testing.assert_close(encoder(clip), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patch_dropout": 1.0}, r"bad patch_dropout: found 1.0; expected 0 <= share < 1"),
        ({"patch_dropout": -0.1}, "bad patch_dropout"),
        ({"patch_dropout": 0.5, "frozen": True}, "a frozen tower drops nothing"),
    ],
)
def test_shares_that_mean_nothing_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        tiny_vivit(**options)
