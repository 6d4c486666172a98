"""The training configurations that come with the package, by name: conf/train_tiny_both.yaml is `tiny_both`."""

import os
from pathlib import Path

from espnet_vivit.base.installation import recipes_folder
from espnet_vivit.errors import unknown_name

LANGUAGE_MODEL = "train_lm.yaml"  # for ESPnet's lm_train


def presets() -> dict[str, Path]:
    """Name -> file of each training configuration in conf/. Raises DataError if the package has lost its recipes."""
    files = sorted(recipes_folder().glob("conf/train_*.yaml"))
    return {file.stem.removeprefix("train_"): file for file in files if file.name != LANGUAGE_MODEL}


def configuration_file(named: str) -> Path:
    """The YAML or the experiment's folder that is named: by its path, or by the name of a preset.

    What exists under the name is taken before a preset. Raises ConfigError for a name that is neither.
    """
    path = Path(named)
    if path.exists() or path.suffix in (".yaml", ".yml") or os.sep in named:
        return path
    known = presets()
    if named not in known:
        raise unknown_name("file, experiment or preset", named, known)
    return known[named]
