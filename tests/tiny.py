"""Models small enough for a test, with weights large enough that a mistake in any of them is seen."""

import torch
from torch import nn

PIXELS = 16  # of the square pictures that the tiny ViViT takes
WINDOW = 8  # frames of its window
HIDDEN = 16
CONFIG = {  # VivitConfig fields: 4 x 2 x 2 tubelets of 2 frames and 8 x 8 pixels
    "image_size": PIXELS,
    "num_frames": WINDOW,
    "tubelet_size": [2, 8, 8],
    "hidden_size": HIDDEN,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}


def randomize(module: nn.Module, std: float = 0.3) -> nn.Module:
    """Draw every parameter, biases and position tables included: a fresh model's zeros would hide mistakes."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            is_norm = "norm" in name and name.endswith("weight")
            parameter.normal_(mean=1.0 if is_norm else 0.0, std=std)
    return module


def tiny_vivit(**options):
    """`vivit_encoder` over random weights of `CONFIG`, in eval mode; `config` in the options changes single fields."""
    from espnet_vivit import vivit_encoder

    config = {**CONFIG, **options.pop("config", {})}
    options = {"pretrained": False, "num_frames": config["num_frames"], **options}
    return randomize(vivit_encoder(config=config, **options)).eval()


def gray_clip(frames: int, pixels: int = PIXELS) -> torch.Tensor:
    """A clip (T, H, W), normalised float."""
    return torch.randn(frames, pixels, pixels)


def raw_clip(frames: int, pixels: int = PIXELS) -> torch.Tensor:
    """A clip (T, H, W), uint8."""
    return torch.randint(0, 256, (frames, pixels, pixels), dtype=torch.uint8)


SAMPLES_PER_FRAME = 640
VOCABULARY = 7  # <blank>, five tokens, <sos/eos>
CONFORMER = {
    "output_size": 16,
    "attention_heads": 2,
    "linear_units": 32,
    "num_blocks": 2,
    "cnn_module_kernel": 7,
    "dropout_rate": 0.0,
    "positional_dropout_rate": 0.0,
}
DECODER = {
    "attention_heads": 2,
    "linear_units": 32,
    "num_blocks": 1,
    "dropout_rate": 0.0,
    "positional_dropout_rate": 0.0,
}
WINDOWED_VIVIT = {
    "pretrained": False,
    "config": CONFIG,
    "num_frames": WINDOW,
    "frame_adjust": "window",
    "window_overlap": 4,
}
STREAMS = {  # modality -> the encoders it needs
    "video": {"vision_encoder": "vivit", "vision_encoder_conf": WINDOWED_VIVIT},
    "audio": {"audio_encoder": "resnet1d", "audio_encoder_conf": {"channels": 2}},
}
STREAMS["multimodal"] = STREAMS["video"] | STREAMS["audio"]


def tiny_e2e(streams: str, /, **options):
    """An `E2E` of "video", "audio" or "multimodal" in which everything is small and nothing is dropped out.

    `encoder_conf` and `decoder_conf` in the options change single fields.
    """
    from espnet_vivit import E2E

    options = STREAMS[streams] | options
    options["encoder_conf"] = CONFORMER | options.get("encoder_conf", {})
    options["decoder_conf"] = DECODER | options.get("decoder_conf", {})
    return E2E(VOCABULARY, **options)
