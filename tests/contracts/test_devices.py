"""On a GPU: nothing made on the CPU is mixed in, lengths may be anywhere, and the program seldom waits.

There is no GPU where these tests run; `tests.pretend_device` stands for one, and shows first that it can refuse.
"""

import math

import numpy as np
import pytest
import torch

from espnet_vivit.decode.ngram import NgramModel, NgramScorer
from espnet_vivit.decode.speech2text import Speech2Text
from espnet_vivit.model.joint_fusion import FUSIONS
from tests.experiments import write_experiment
from tests.pretend_device import CUDA, DeviceMixture, PretendCuda
from tests.tiny import PIXELS, WINDOWED_VIVIT, tiny_e2e

FRAMES = torch.tensor([13, 8])
SMALL_RESNET = {"vision_encoder": "resnet", "vision_encoder_conf": {"channels": 4}}
LINEAR = {"vision_encoder": "linear", "vision_encoder_conf": {}}


def batch(modality: str, *, pixels: int = PIXELS, dtype: torch.dtype = torch.uint8) -> dict[str, torch.Tensor]:
    """What a loader gives: two clips of 13 and 8 frames."""
    torch.manual_seed(0)
    streams = {}
    if modality != "audio":
        streams["video"] = torch.randint(0, 256, (2, 13, pixels, pixels), dtype=torch.uint8).to(dtype)
        streams["video_lengths"] = FRAMES
    if modality != "video":
        streams |= {"speech": torch.randn(2, 13 * 640), "speech_lengths": FRAMES * 640}
    return streams


def labels() -> dict[str, torch.Tensor]:
    return {"text": torch.tensor([[1, 2, 3], [4, 5, -1]]), "text_lengths": torch.tensor([3, 2])}


class TestThePretendDevice:
    def test_it_refuses_what_a_device_refuses(self):
        with PretendCuda() as cuda:
            there, here = cuda.moved(torch.ones(3)), torch.ones(3)
            assert there.device == CUDA == torch.zeros(1, device=there.device).device
            for mixed in (
                lambda: there + here,
                lambda: torch.cat([there, here]),
                lambda: there.masked_fill(here > 0, 0),
            ):
                with pytest.raises(DeviceMixture, match="two devices"):
                    mixed()
            with pytest.raises(DeviceMixture, match="numpy"):
                there.numpy()
            assert (there * torch.tensor(2.0)).device == CUDA, "a single number may be mixed in"
            assert (there + here.to(there.device)).cpu().device.type == "cpu" and (there.cpu() + here).sum() == 6

    def test_it_counts_waiting(self):
        with PretendCuda() as cuda:
            there = cuda.moved(torch.ones(3))
            total = there.sum()
            assert cuda.waits == 0
            total.item(), there.tolist(), bool(total > 1)
            assert cuda.waits == 3

    def test_a_model_left_behind_is_found(self):
        with PretendCuda() as cuda, pytest.raises(DeviceMixture):
            torch.nn.Linear(3, 3)(cuda.moved(torch.ones(1, 3)))


@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_fusion_trains_on_a_device(fusion):
    model = tiny_e2e("multimodal", fusion=fusion, modality_dropout={"video": 0.4, "audio": 0.4}).train()
    loss_on_device(model, batch("multimodal"))


@pytest.mark.parametrize("modality", ["video", "audio"])
def test_one_stream_trains_on_a_device(modality):
    options = {"frame_loss_weight": 1.0, "encoder_conf": {"stochastic_depth_rate": 0.5, "interctc_layer_idx": [1]}}
    model = tiny_e2e(modality, interctc_weight=0.3, **options)
    frame_labels = torch.randint(0, 7, (2, 13)).masked_fill(torch.arange(13) >= FRAMES[:, None], -1)
    for mode in (True, False):
        loss_on_device(model.train(mode), batch(modality), frame_labels=frame_labels, frame_labels_lengths=FRAMES)


@pytest.mark.parametrize(
    "vision",
    [
        {"vision_encoder_conf": WINDOWED_VIVIT | {"frame_adjust": "sample"}},
        {"vision_encoder_conf": WINDOWED_VIVIT | {"stem": "conv", "temporal_pooling": "max"}},
        {"feature_rate": "tubelet"},
        SMALL_RESNET,
        LINEAR,
    ],
    ids=["sample", "conv", "tubelet", "resnet", "linear"],
)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32], ids=["uint8", "float"])
def test_every_visual_frontend_trains_on_a_device(vision, dtype):
    model = tiny_e2e("video", **vision)
    pixels = 88 if vision in (SMALL_RESNET, LINEAR) else PIXELS
    for mode in (True, False):
        loss_on_device(model.train(mode), batch("video", pixels=pixels, dtype=dtype))


def loss_on_device(model, streams, **more) -> None:
    with PretendCuda() as cuda:
        inputs = {name: cuda.moved(value) for name, value in (streams | labels() | more).items()}
        loss, _, weight = cuda.moved(model)(**inputs)
        assert loss.device == CUDA == weight.device


def test_lengths_may_stay_on_the_cpu():
    model = tiny_e2e("multimodal").eval()
    streams = batch("multimodal")
    wanted, counts = model.encode(**streams)
    with PretendCuda() as cuda:
        moved = {name: value if "lengths" in name else cuda.moved(value) for name, value in streams.items()}
        states, lengths = cuda.moved(model).encode(**moved)
        assert states.device == CUDA == lengths.device
        torch.testing.assert_close(states.cpu(), wanted)
        assert lengths.tolist() == counts.tolist()


def test_training_waits_for_the_device_no_oftener_with_more_blocks():
    """A count or a comparison in every block would let the device run dry between two of them."""
    waits = []
    for blocks in (1, 4):
        with PretendCuda() as cuda:
            model = cuda.moved(tiny_e2e("multimodal", encoder_conf={"num_blocks": blocks}).train())
            model.encode(**{name: cuda.moved(value) for name, value in batch("multimodal").items()})
            waits.append(cuda.waits)
    assert waits[0] == waits[1] < 30


@pytest.mark.parametrize("search", ["beam", "ctc_greedy"])
def test_decoding_with_word_times_on_a_device(tmp_path, search):
    folder = write_experiment(tmp_path / "exp")
    speech2text = Speech2Text(
        folder / "config.yaml", folder / "valid.acc.ave.pth", search=search, beam_size=3, ctc_weight=0.3, maxlenratio=-4
    )
    tokens = speech2text.asr_model.token_list
    flat = {(name,): math.log(1 / len(tokens)) for name in (*tokens[1:-1], "</s>")}
    speech2text.beam_search.add("ngram", NgramScorer(NgramModel(flat, {}, 1), tokens), weight=0.2)
    rng = np.random.default_rng(0)
    size = speech2text.asr_model.vision_encoder.preset.crop
    clip = {
        "video": rng.integers(0, 256, (12, size, size), dtype=np.uint8),
        "speech": rng.standard_normal(12 * 640).astype(np.float32),
    }
    wanted = speech2text.recognize(**clip)[0]
    with PretendCuda() as cuda:
        cuda.moved(speech2text.asr_model), cuda.moved(speech2text.beam_search)
        speech2text.device = "cuda"
        found = speech2text.recognize(**clip)[0]
    assert (found.text, found.words) == (wanted.text, wanted.words)
