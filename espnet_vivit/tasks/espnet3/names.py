"""The one place that knows where ESPnet3 keeps things, and what is said where it is not installed.

`from espnet_vivit.tasks.espnet3.names import BaseSystem` imports ESPnet3 quietly. It is part of ESPnet's package from
release 202609 on; its trainer needs lightning, its stage `infer` needs dask and dask-jobqueue (`espnet[train]`).
"""

import importlib
import importlib.util

from espnet_vivit.base.installation import clone
from espnet_vivit.errors import MissingDependencyError
from espnet_vivit.espnet_compat import quiet_espnet_import

_WHERE = {  # name -> ESPnet3's module that defines it
    "ASRInferenceRunner": "espnet3.systems.esp2_asr.inference",
    "BaseDataset": "espnet3.components.data.base_dataset",
    "BaseSystem": "espnet3.systems.base.system",
    "DatasetBuilder": "espnet3.components.data.dataset_builder",
    "ESPnet3LightningTrainer": "espnet3.components.trainers.trainer",
    "ESPnetLightningModule": "espnet3.components.modeling.lightning_module",
    "Field": "espnet3.contract",
    "Kind": "espnet3.contract",
    "StageSpec": "espnet3.contract.stages",
    "get_client": "espnet3.parallel.parallel",
    "launch": "espnet3.systems.launch",
    "register_kind": "espnet3.contract",
}
TEMPLATE = "egs3.TEMPLATE.esp2_asr"  # ESPnet's package with the defaults of the YAML files


def require_espnet3() -> None:
    """Raise MissingDependencyError if the installed ESPnet is one without ESPnet3; nothing heavy is imported."""
    if importlib.util.find_spec("espnet3") is None:
        other = "the recipe of the same name in egs/" if clone() else "one of ESPnet2: espnet-vivit new-recipe"
        raise MissingDependencyError(
            "this recipe runs on ESPnet3, which the installed ESPnet does not have",
            expected="espnet 202609 or later, with Python 3.12 or later",
            fix=f"pip install 'espnet[train]>=202609', or use {other}",
        )


def __getattr__(name: str):
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    require_espnet3()
    try:
        with quiet_espnet_import():
            module = importlib.import_module(_WHERE[name])
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "ESPnet3 lacks a package that it needs", found=f"no {error.name}", fix="pip install 'espnet[train]'"
        ) from error
    value = globals()[name] = getattr(module, name)
    return value
