"""A training.yaml for the tiny corpus, as ESPnet3 gives it to a system: merged with its template and resolved."""

from pathlib import Path
from typing import Any

import yaml
from espnet3.utils.config_utils import load_and_merge_config
from omegaconf import DictConfig

from espnet_vivit.tasks.espnet3.names import TEMPLATE
from tests.tiny_corpus import CONFIG, write_tiny_corpus

PARTS = ("vision_encoder", "vision_encoder_conf", "audio_encoder", "audio_encoder_conf")
PARTS += ("encoder_conf", "decoder_conf", "model_conf", "token_type")


def corpus_with_shapes(folder: Path) -> Path:
    """The tiny corpus in `folder`/corpus, and the lengths that the stage collect_stats writes in `folder`/stats."""
    corpus = write_tiny_corpus(folder / "corpus")
    for split in ("train", "valid"):
        (folder / "stats" / split).mkdir(parents=True)
        lines = (corpus / split / "utt2num_frames").read_text().splitlines()
        (folder / "stats" / split / "video_shape").write_text("".join(f"{line},24,24\n" for line in lines))
    return corpus


def training_config(folder: Path, corpus: Path, **changes: Any) -> DictConfig:
    """The configuration of one epoch on `corpus`, of tests/tiny_corpus.py; sections in `changes` replace its own."""
    (folder / "training.yaml").write_text(yaml.safe_dump(sections(folder, corpus) | changes))
    return load_and_merge_config(folder / "training.yaml", config_name="training.yaml", default_package=TEMPLATE)


def sections(folder: Path, corpus: Path) -> dict[str, Any]:
    shapes = {split: {"shape_files": [str(folder / "stats" / split / "video_shape")]} for split in ("train", "valid")}
    source = {"data_src": "espnet_vivit.tasks.espnet3.dataset"}
    return {
        "recipe_dir": str(folder),
        "exp_dir": str(folder / "exp"),
        "stats_dir": str(folder / "stats"),
        "seed": 3,
        "dataset": {
            **{split: [{**source, "data_src_args": {"data_dir": str(corpus / split)}}] for split in ("train", "valid")},
            "preprocessor": {
                "_target_": "espnet_vivit.tasks.espnet3.dataset.ModelPreprocessor",
                "model": "${model}",
                "augmentation": {"flip_prob": 0.25},
            },
        },
        "tokenizer": {"token_type": "word", "save_path": str(corpus)},
        "model": {name: CONFIG[name] for name in PARTS}
        | {"token_list": f"{corpus}/tokens.txt", "modality": "multimodal"},
        "optimizer": {"_target_": "espnet_vivit.tasks.optim.muon.Muon", "lr": 0.001, "weight_decay": 0.01},
        "scheduler": {
            "_target_": "espnet_vivit.tasks.optim.schedule.CosineWithWarmup",
            "warmup_steps": 1,
            "total_steps": 10,
        },
        "best_model_criterion": [["valid/acc", 3, "max"]],
        "dataloader": {
            split: {"iter_factory": {"batches": {"type": "length", "batch_bins": 60, **shapes[split]}}}
            for split in shapes
        },
        "trainer": {
            "max_epochs": 2,
            "log_every_n_steps": 1,
            "num_sanity_val_steps": 0,
            "accelerator": "cpu",
            "logger": [{"_target_": "lightning.pytorch.loggers.CSVLogger", "save_dir": str(folder / "exp")}],
        },
    }
