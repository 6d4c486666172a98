"""Count parameters, weight bytes, adapter parameters and activation bytes per clip of each tower of the hub.

    python benchmarks/towers.py

Prints the table of docs/towers.md. Sizes are those of the published checkpoints; weights are not needed, as nothing is
computed: towers stand on PyTorch's meta device, and bytes are counted. "Kept" is what autograd saves in the forward
pass of one clip of three seconds where the whole tower trains in float32, parameters not counted; "recomputed" the
same with `gradient_checkpointing`, which keeps what goes into each layer.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from espnet_vivit.frontend.hub.speech_towers import KINDS as SPEECH
from espnet_vivit.frontend.huggingface_audio import HuggingFaceAudio
from espnet_vivit.frontend.huggingface_vision import HuggingFaceVision
from espnet_vivit.frontend.vivit.frame_adjust import plan_windows
from espnet_vivit.frontend.vivit.tower import recompute_layers
from espnet_vivit.model.adapters.attach import target_names
from espnet_vivit.model.adapters.called import layers_not_called
from espnet_vivit.model.adapters.config import AdapterConfig

FRAMES = 75  # three seconds
RANK = 16
NF4_BYTES = 0.5 + 1 / 64  # of a weight: four bits, and the scale of 64 in eight bits
MIB = 2**20


class Case(NamedTuple):
    name: str
    config: Mapping[str, Any]
    image_size: int | None = None  # pixels; None of sound
    num_frames: int | None = None  # of a window


SMALL = {"hidden_size": 384, "num_attention_heads": 6}
CASES = [
    Case("google/vit-base-patch16-224", {"model_type": "vit"}, 96),
    Case("openai/clip-vit-base-patch32", {"model_type": "clip_vision_model"}, 96),
    Case("google/siglip-base-patch16-224", {"model_type": "siglip_vision_model"}, 96),
    Case("facebook/dinov2-small", {"model_type": "dinov2", **SMALL, "patch_size": 14, "image_size": 518}, 84),
    Case("facebook/dinov2-base", {"model_type": "dinov2", "patch_size": 14, "image_size": 518}, 84),
    Case("facebook/dinov3-vits16-pretrain-lvd1689m", {"model_type": "dinov3_vit", "num_register_tokens": 4}, 96),
    Case("MCG-NJU/videomae-base", {"model_type": "videomae"}, 96, 16),
    Case("facebook/timesformer-base-finetuned-k400", {"model_type": "timesformer"}, 96, 8),
    Case("facebook/vjepa2-vitl-fpc64-256", {"model_type": "vjepa2"}, 96, 16),
    Case("google/videoprism-base-f16r288", {"model_type": "videoprism_vision_model"}, 90, 16),
    Case("openai/whisper-tiny.en", {"model_type": "whisper"}),
    Case(
        "openai/whisper-small.en",
        {
            **{"model_type": "whisper", "d_model": 768, "encoder_layers": 12, "encoder_attention_heads": 12},
            "encoder_ffn_dim": 3072,
        },
    ),
    Case("facebook/wav2vec2-base", {"model_type": "wav2vec2"}),
    Case("facebook/hubert-base-ls960", {"model_type": "hubert"}),
    Case("microsoft/wavlm-base", {"model_type": "wavlm"}),
]


def build(case: Case) -> HuggingFaceVision | HuggingFaceAudio:
    """The encoder on the meta device, in training."""
    with torch.device("meta"):
        if case.image_size is None:
            return HuggingFaceAudio(pretrained=False, config=dict(case.config))
        sizes = {"image_size": case.image_size, "num_frames": case.num_frames}
        return HuggingFaceVision(pretrained=False, config=dict(case.config), **sizes)


def run(encoder: HuggingFaceVision | HuggingFaceAudio) -> None:
    """The tower's forward pass over three seconds."""
    tower = encoder.tower
    if isinstance(encoder, HuggingFaceAudio):
        if encoder.kind is SPEECH["whisper"]:  # what `whisper_states` does behind its log-mel
            x = F.gelu(tower.conv1(torch.empty(1, tower.config.num_mel_bins, 4 * FRAMES, device="meta")))
            x = F.gelu(tower.conv2(x)).transpose(1, 2) + tower.embed_positions.weight[: 2 * FRAMES]
            for layer in tower.layers:
                x = layer(x, None)
        else:
            tower(torch.empty(1, 640 * FRAMES, device="meta"))
        return
    side = encoder.image_size
    if not encoder.kind.video:
        tower(torch.empty(FRAMES, 1, side, side, device="meta"))
        return
    windows = plan_windows(FRAMES + 1, num_frames=encoder.num_frames, overlap=encoder.window_overlap)
    shape = (len(windows), encoder.num_frames, 1, side, side)
    tower(torch.empty(*shape, device="meta"), **encoder.kind.call)


def kept_bytes(encoder: HuggingFaceVision | HuggingFaceAudio) -> int:
    """The bytes that autograd saves in one forward pass: each storage once, without parameters."""
    own = {parameter.untyped_storage()._cdata for parameter in encoder.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}  # held, so that no other takes its place

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        run(encoder.train())
    return sum(storage.nbytes() for storage in kept.values())


def row(case: Case) -> str:
    encoder = build(case)
    tower, modules = encoder.tower, dict(encoder.tower.named_modules())
    parameters = sum(parameter.numel() for parameter in tower.parameters())
    quantized = {name for name, module in modules.items() if type(module) is nn.Linear} - layers_not_called(tower)
    linear = sum(modules[name].weight.numel() for name in quantized)
    targets = [modules[name] for name in target_names("tower", tower, AdapterConfig(type="lora"))]
    adapters = sum(RANK * (layer.in_features + layer.out_features) for layer in targets)
    kept = kept_bytes(encoder)
    recompute_layers(tower)
    recomputed = kept_bytes(encoder)
    pixels = "" if case.image_size is None else f"{case.image_size}"
    numbers = [
        4 * parameters / MIB,
        (NF4_BYTES * linear + 4 * (parameters - linear)) / MIB,
        kept / MIB,
        recomputed / MIB,
    ]
    weights, four_bits, *steps = (f"{number:.0f}" for number in numbers)
    cells = [case.name, pixels, f"{parameters / 1e6:.1f}", weights, four_bits, f"{adapters / 1e6:.2f}", *steps]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    names = ("tower", "pixels", "parameters, M", "float32, MiB", "4 bits, MiB")
    names += (f"LoRA (r = {RANK}), M", "kept, MiB", "recomputed, MiB")
    print(f"| {' | '.join(names)} |\n|---|{'---:|' * (len(names) - 1)}")
    for case in CASES:
        print(row(case), flush=True)


if __name__ == "__main__":
    main()
