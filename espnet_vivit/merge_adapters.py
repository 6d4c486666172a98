"""An experiment with adapters in, a plain one out: `espnet-vivit merge-adapters exp/avsr_X exp/avsr_X_merged`.

The result needs neither peft nor bitsandbytes, nor the checkpoint that the adapters stood on: its weights are float32,
complete, and answer as the adapted model did (1e-5 on a float32 base; a 4-bit base becomes the float32 numbers that its
4 bits stand for, so what remains is the rounding of `compute_dtype`).
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
import yaml

from espnet_vivit.adapters.merge import merge_adapters
from espnet_vivit.errors import ConfigError, DataError

WEIGHTS = "valid.acc.ave.pth"


def merge_experiment(experiment: Path, out: Path, *, weights: str = WEIGHTS) -> Path:
    """Write `out`/config.yaml and the merged `weights` beside it; returns the path of the latter.

    Raises ConfigError if the experiment has no adapters, DataError if `out` exists already.
    """
    from espnet_vivit.tasks.avsr import AVSRTask  # late: --help shall not wait for ESPnet

    experiment, out = Path(experiment), Path(out)
    if out.exists():
        raise DataError(f"{out} exists already", fix="Name a new folder")
    model, args = AVSRTask.build_model_from_file(experiment / "config.yaml", experiment / weights)
    if not model.tower_adapters:
        raise ConfigError(f"{experiment} was trained without adapters, there is nothing to merge")
    state = model.state_dict()
    for name in model.tower_adapters:
        state = {key: value for key, value in state.items() if not key.startswith(f"{name}.")}
        state |= {f"{name}.{key}": value for key, value in merge_adapters(model.towers()[name]).items()}
    args.tower_adapters = {}
    out.mkdir(parents=True)
    (out / "config.yaml").write_text(yaml.safe_dump(vars(args)), encoding="utf-8")
    torch.save(state, out / weights)
    AVSRTask.build_model_from_file(out / "config.yaml", out / weights)  # raises WeightsError if a weight does not fit
    return out / weights


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="espnet-vivit merge-adapters",
        description="Fold LoRA or QLoRA adapters into a plain model that decodes without peft and bitsandbytes.",
        epilog="example: espnet-vivit merge-adapters exp/avsr_qlora exp/avsr_merged",
    )
    parser.add_argument("experiment", type=Path, help="folder with config.yaml and weights")
    parser.add_argument("out", type=Path, help="folder to write; must not exist")
    parser.add_argument("--weights", default=WEIGHTS, help="name of the weights in the experiment (%(default)s)")
    options = parser.parse_args(argv)
    print(merge_experiment(options.experiment, options.out, weights=options.weights))
    return 0
