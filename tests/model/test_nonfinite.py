"""Losses that are not numbers: their gradient makes ESPnet's trainer skip, they are named, and too many end the run."""

import copy

import pytest
import torch

from espnet_vivit import E2E
from espnet_vivit.bin import avsr_train
from espnet_vivit.errors import NonFiniteLossError
from espnet_vivit.model.nonfinite import NonFiniteLosses
from tests.tiny import PIXELS, SAMPLES_PER_FRAME, STREAMS, tiny_e2e
from tests.tiny_corpus import data_options, shape_options, write_config, write_tiny_corpus


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_the_gradient_of_a_bad_loss_is_never_finite_and_its_utterances_are_named(value, caplog):
    weight = torch.nn.Parameter(torch.ones(3))
    losses = NonFiniteLosses()
    loss = losses.check(weight.sum() + value, ["u1", "u2"])  # the gradient of this sum is finite
    loss.backward()
    assert not torch.isfinite(torch.nn.utils.clip_grad_norm_([weight], 1.0))
    assert "utterances: u1, u2" in caplog.text and "1 in a row, 1 since the start" in caplog.text


def test_a_good_loss_passes_through_and_ends_the_row(caplog):
    losses, bad, good = NonFiniteLosses(limit=3), torch.tensor(float("nan")), torch.tensor(2.0)
    for loss in (bad, bad, good, bad, bad):
        returned = losses.check(loss, None)
        assert (returned is good) == (loss is good)
    assert (losses.in_a_row, losses.total) == (2, 4)
    with pytest.raises(NonFiniteLossError, match="3 training losses in a row were not finite, the last with u9"):
        losses.check(bad, ["u9"])


def train_on_infinite_losses(folder, monkeypatch):
    """The weights before and after an epoch of two batches through ESPnet's trainer."""
    corpus, before = write_tiny_corpus(folder / "corpus"), {}
    losses = E2E._losses

    def infinite(model, *batch):
        if not before:
            before.update({name: p.detach().clone() for name, p in model.named_parameters()})
        loss, stats = losses(model, *batch)
        return (loss + torch.inf if model.training else loss), stats

    monkeypatch.setattr(E2E, "_losses", infinite)
    config = write_config(folder / "train.yaml", max_epoch=1)
    options = ["--config", config, "--token_list", corpus / "tokens.txt", "--output_dir", folder / "exp"]
    avsr_train.main([*map(str, options), *data_options(corpus), *shape_options(corpus)])
    return before, torch.load(folder / "exp/1epoch.pth", weights_only=True)


def test_espnets_trainer_leaves_the_weights_alone(tmp_path, monkeypatch, caplog):
    before, after = train_on_infinite_losses(tmp_path, monkeypatch)
    assert before and all(torch.equal(after[name], value) for name, value in before.items())
    assert "2 in a row, 2 since the start); utterances: s" in caplog.text


def test_as_many_in_a_row_as_the_limit_end_a_training(tmp_path, monkeypatch):
    monkeypatch.setattr(NonFiniteLosses.__init__, "__defaults__", (2,))
    with pytest.raises(NonFiniteLossError, match="2 training losses in a row were not finite, the last with s"):
        train_on_infinite_losses(tmp_path, monkeypatch)
    assert not (tmp_path / "exp/1epoch.pth").exists()


RESNETS = {"vision_encoder": "resnet", "vision_encoder_conf": {"channels": 2}, **STREAMS["audio"]}
FRAMES = 8


@pytest.mark.parametrize("padded", [False, True])
def test_an_activation_that_overflows_destroys_no_running_statistic(padded):
    """Huge finite inputs, infinite after a few layers: in every BatchNorm of both towers and of the Conformer."""
    model = tiny_e2e("multimodal", **RESNETS).train()
    frames = torch.tensor([FRAMES, FRAMES - 2 * padded])
    text = torch.tensor([[2, 3], [4, 5]]), torch.tensor([2, 2])

    def loss(scale: float) -> torch.Tensor:
        torch.manual_seed(0)
        speech = scale * torch.randn(2, FRAMES * SAMPLES_PER_FRAME)
        video = scale * torch.randn(2, FRAMES, PIXELS, PIXELS)
        lengths = {"speech_lengths": frames * SAMPLES_PER_FRAME, "video_lengths": frames}
        return model(*text, speech=speech, video=video, **lengths)[0]

    assert torch.isfinite(loss(1.0))
    before = copy.deepcopy(dict(model.named_buffers()))
    assert len([name for name in before if name.endswith("running_var")]) >= 40
    assert not torch.isfinite(loss(1e37))
    after = dict(model.named_buffers())
    assert [name for name, value in after.items() if not torch.isfinite(value).all()] == []
    for stem in ("vision_encoder.frontend3D.1", "audio_encoder.trunk.bn1"):  # the first to overflow
        for buffer in ("running_mean", "running_var", "num_batches_tracked"):
            assert torch.equal(after[f"{stem}.{buffer}"], before[f"{stem}.{buffer}"])
    model.eval()
    assert torch.isfinite(loss(1.0))
