"""A pretrained tower in a folder, and models on top of it whose tower has adapters."""

import pytest
import torch

from tests import tiny

CONFIG = {**tiny.CONFIG, "hidden_size": 64, "intermediate_size": 128}  # blocks of 64 weights share a 4-bit scale
needs_peft = pytest.importorskip("peft", reason="LoRA needs peft: pip install espnet-vivit[qlora]")
BATCH = {
    "video": torch.randint(0, 256, (2, 9, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)),
    "video_lengths": torch.tensor([9, 7]),
    "text": torch.tensor([[1, 2], [3, -1]]),
    "text_lengths": torch.tensor([2, 1]),
}
STREAM = {name: BATCH[name] for name in ("video", "video_lengths")}


def save_tower(folder, seed=5):
    """A checkpoint of a small ViViT in Hugging Face's own format."""
    torch.manual_seed(seed)
    tiny.tiny_vivit(config=CONFIG).vivit.save_pretrained(folder)
    return folder


def vision_conf(folder) -> dict:
    size = {"image_size": tiny.PIXELS, "num_frames": tiny.WINDOW, "frame_adjust": "window", "window_overlap": 4}
    return {"model_name": str(folder), **size}


def model_on(folder, *, seed=1, **options):
    """A lip-reading model on the checkpoint in `folder`; all that is not pretrained depends on `seed` alone."""
    torch.manual_seed(seed)
    return tiny.tiny_e2e("video", vision_encoder_conf=vision_conf(folder), **options)


def step(model, *, lr=0.01, steps=1):
    """Training steps on one batch."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        loss, _, _ = model(**BATCH)
        loss.sum().backward()
        optimizer.step()
    return model


def qlora_or_skip():
    return pytest.importorskip("bitsandbytes", reason="4 bits need bitsandbytes: pip install espnet-vivit[qlora]")
