"""Experiment folders with untrained models: what packing, loading and transcribing need of a training, in no time."""

from pathlib import Path

import torch
import yaml

from espnet_vivit.tasks.avsr import AVSRTask
from tests.tiny import CONFIG as TINY_VIVIT
from tests.tiny import randomize
from tests.tiny_corpus import TOKENS, write_config

VIVIT = {"pretrained": False, "config": TINY_VIVIT, "num_frames": 8, "frame_adjust": "window", "window_overlap": 4}


def write_experiment(folder: Path, *, weights: str = "valid.acc.ave.pth", tokens=tuple(TOKENS), **changes) -> Path:
    """`folder`/config.yaml and weights of the tiny configuration with top-level keys changed; ... leaves one out."""
    folder.mkdir(parents=True, exist_ok=True)
    args = AVSRTask.get_parser().parse_args(["--config", str(write_config(folder / "train.yaml", **changes))])
    args.token_list = list(tokens)
    torch.manual_seed(0)
    model = randomize(AVSRTask.build_model(args), std=0.2)
    (folder / "config.yaml").write_text(yaml.safe_dump(vars(args)))
    torch.save(model.state_dict(), folder / weights)
    return folder
