"""An experiment with adapters in, a plain one out: `espnet-vivit merge-adapters exp/avsr_X exp/avsr_X_merged`.

The result needs neither peft nor bitsandbytes, nor the checkpoint that the adapters stood on: its weights are float32,
complete, and answer as the adapted model did (1e-5 on a float32 base; a 4-bit base becomes the float32 numbers that its
4 bits stand for, so what remains is the rounding of `compute_dtype`). How far the two are apart on a drawn clip, as
they compute when decoding, is measured and said.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import yaml

from espnet_vivit.decode.package import RELIABILITY
from espnet_vivit.errors import ConfigError, DataError
from espnet_vivit.frontend.presets import trained_preset
from espnet_vivit.model.adapters.merge import merge_adapters
from espnet_vivit.units import MOUTH_SIZE, SAMPLES_PER_FRAME

if TYPE_CHECKING:
    from espnet_vivit.e2e_asr_conformer import E2E

WEIGHTS = "valid.acc.ave.pth"
_FRAMES, _PIXELS = 40, MOUTH_SIZE  # of the drawn clip


@dataclass(frozen=True)
class Merged:
    """The merged weights, and how far their answers are from the adapted model's: encoder states, decoder scores."""

    path: Path
    difference: float  # the largest
    largest: float  # of the answers themselves

    def __str__(self) -> str:
        return f"on a drawn clip the answers differ by {self.difference:.1e} at most, of {self.largest:.3g}"


def merge_experiment(experiment: Path, out: Path, *, weights: str = WEIGHTS) -> Merged:
    """Write `out`/config.yaml and the merged `weights` beside it; results and calibration, which hold for both, too.

    Raises ConfigError if the experiment has no adapters, DataError if `out` exists already.
    """
    from espnet_vivit.tasks.avsr import AVSRTask  # late: --help shall not wait for ESPnet

    experiment, out = Path(experiment), Path(out)
    if out.exists():
        raise DataError(f"{out} exists already", fix="Name a new folder")
    adapted, args = AVSRTask.build_model_from_file(experiment / "config.yaml", experiment / weights)
    if not adapted.tower_adapters:
        raise ConfigError(f"{experiment} was trained without adapters, there is nothing to merge")
    state = adapted.state_dict()
    for name in adapted.tower_adapters:
        state = {key: value for key, value in state.items() if not key.startswith(f"{name}.")}
        state |= {f"{name}.{key}": value for key, value in merge_adapters(adapted.get_submodule(name)).items()}
    args.tower_adapters = {}
    out.mkdir(parents=True)
    (out / "config.yaml").write_text(yaml.safe_dump(vars(args)), encoding="utf-8")
    torch.save(state, out / weights)
    for name in ("RESULTS.md", RELIABILITY):
        if (experiment / name).is_file():
            shutil.copyfile(experiment / name, out / name)
    merged, _ = AVSRTask.build_model_from_file(out / "config.yaml", out / weights)  # WeightsError: it does not fit
    streams = drawn_clip(vars(args))
    pairs = list(zip(answers(adapted, streams), answers(merged, streams), strict=True))
    difference = max(float((theirs - own).abs().max()) for theirs, own in pairs)
    return Merged(out / weights, difference, max(float(theirs.abs().max()) for theirs, _ in pairs))


def drawn_clip(config: dict) -> dict[str, torch.Tensor]:
    """Random numbers in the streams of a model with this config.yaml, the same ones each time."""
    draw, streams = torch.Generator().manual_seed(0), {}
    if config["modality"] != "audio":
        size = trained_preset(config).crop_shape(_PIXELS)
        streams["video"] = torch.randint(0, 256, (1, _FRAMES, *size), dtype=torch.uint8, generator=draw)
    if config["modality"] != "video":
        streams["speech"] = 0.1 * torch.randn(1, _FRAMES * SAMPLES_PER_FRAME, generator=draw)
    return streams | {f"{name}_lengths": torch.tensor([stream.shape[1]]) for name, stream in streams.items()}


@torch.no_grad()
def answers(model: "E2E", streams: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """Encoder states (1, T', D) of a clip, and the decoder's scores (1, 2, V) of two tokens, if it has one."""
    states, lengths = model.eval().encode(**streams, utt_id=None)
    if isinstance(states, tuple):  # intermediate CTC: the last layer's states come first
        states = states[0]
    if model.decoder is None:
        return [states]
    tokens = torch.tensor([[model.sos, model.eos]])
    return [states, model.decoder(states, lengths, tokens, torch.tensor([2]))[0].float()]
