"""The language models of a package: those that its recognizer was decoded with, and how much their word counts.

    lm.safetensors, lm_config.yaml    ESPnet's neural language model, as espnet_vivit.bin.avsr_lm trains it
    ngram.arpa                        an n-gram model, as text

Their weights are in decoding.json (package_decoding.py). Nothing in the files is run.
"""

import gzip
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from espnet_vivit.errors import DataError

LM_WEIGHTS, LM_CONFIG, NGRAM = "lm.safetensors", "lm_config.yaml", "ngram.arpa"
FILES = (LM_WEIGHTS, LM_CONFIG, NGRAM)


@dataclass(frozen=True)
class LanguageModels:
    """What decoding adds to the recognizer's own scores; None: no such model. Weights as in `Speech2Text`."""

    lm_config: Path | None = None
    lm_file: Path | None = None
    lm_weight: float = 0.0
    ngram_file: Path | None = None
    ngram_weight: float = 0.0

    def __str__(self) -> str:
        parts = [f"a neural one with weight {self.lm_weight:g}"] if self.lm_file is not None else []
        parts += [f"an n-gram model with weight {self.ngram_weight:g}"] if self.ngram_file is not None else []
        return " and ".join(parts) or "none"


def write_language(folder: Path, models: LanguageModels, token_list: Sequence[str]) -> None:
    """Write the files of those that are there. Raises ConfigError, DataError or WeightsError if one does not fit."""
    if models.lm_file is not None:
        from espnet_vivit.base.config_file import read_config
        from espnet_vivit.base.torch_file import write_safetensors
        from espnet_vivit.decode.language_model import BUILT_FROM, load_language_model

        state = load_language_model(models.lm_config, models.lm_file, token_list).state_dict()
        write_safetensors(state, folder / LM_WEIGHTS)
        assert models.lm_config is not None  # it comes with lm_file
        config = read_config(models.lm_config)
        config = {key: config[key] for key in BUILT_FROM if key in config}
        (folder / LM_CONFIG).write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
    if models.ngram_file is not None:
        from espnet_vivit.decode.ngram import NgramScorer, read_arpa

        NgramScorer(read_arpa(models.ngram_file), token_list)  # refuses what could not be decoded with
        opened = gzip.open(models.ngram_file) if models.ngram_file.suffix == ".gz" else open(models.ngram_file, "rb")
        with opened as source, open(folder / NGRAM, "wb") as copy:
            shutil.copyfileobj(source, copy)


def read_language(folder: Path, files: Collection[str], weights: Mapping) -> LanguageModels:
    """Those of a package with `files` and these `weights`; DataError where one lacks its weight or configuration."""
    needed = {"lm_weight": (LM_WEIGHTS, LM_CONFIG), "ngram_weight": (NGRAM,)}
    for name, of in needed.items():
        weight = weights.get(name)
        weighed = isinstance(weight, int | float) and not isinstance(weight, bool)
        if {weighed, name in weights, *(file in files for file in of)} not in ({True}, {False}):
            found = f"{name} {weight!r} with {', '.join(file for file in of if file in files) or 'no file'}"
            raise DataError(f"{folder} has half a language model", found=found, fix="Pack the experiment again")
    lm, ngram = "lm_weight" in weights, "ngram_weight" in weights
    return LanguageModels(
        folder / LM_CONFIG if lm else None,
        folder / LM_WEIGHTS if lm else None,
        weights.get("lm_weight", 0.0),
        folder / NGRAM if ngram else None,
        weights.get("ngram_weight", 0.0),
    )
