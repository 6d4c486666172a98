"""Our modules under the names of others: ESPnet's, for scripts written for a fork, and ESPnet-EZ's table of tasks."""

import importlib
import sys
import types
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder

from espnet_vivit.errors import MissingDependencyError
from espnet_vivit.espnet_compat import quiet_espnet_import

_ALIASES = {  # the names under which scripts written for an ESPnet fork import our modules -> ours
    "espnet.nets.pytorch_backend.frontend.vivit_encoder": "espnet_vivit.frontend.vivit_encoder",
    "espnet.nets.pytorch_backend.e2e_asr_conformer": "espnet_vivit.e2e_asr_conformer",
}
# Packages that are made where the release does not have them: 202511 lacks the last, later ones all three.
_ALIAS_PACKAGES = ("espnet.nets", "espnet.nets.pytorch_backend", "espnet.nets.pytorch_backend.frontend")


def register() -> None:
    """Make these two import lines of scripts for an ESPnet fork work; a second call changes nothing.

        from espnet.nets.pytorch_backend.frontend.vivit_encoder import vivit_encoder
        from espnet.nets.pytorch_backend.e2e_asr_conformer import E2E

    The lines import the same module objects as `espnet_vivit.frontend.vivit_encoder` and
    `espnet_vivit.e2e_asr_conformer`. The released ESPnet has no module of the first name; ESPnet's module of the second
    name needs Chainer and is replaced.
    """
    for alias in _ALIASES:
        loaded = sys.modules.get(alias)
        if loaded is not None and loaded.__name__ == alias:  # ESPnet's own module: the next import shall be ours
            del sys.modules[alias]
    if not any(isinstance(finder, _AliasFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AliasFinder())


class _AliasFinder(MetaPathFinder, Loader):
    """Finds our modules under the names in `_ALIASES`; importlib then puts them into `sys.modules`."""

    def __init__(self):
        self.own_specs = {}  # alias -> the spec of the module it stands for

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname in _ALIASES:
            return ModuleSpec(fullname, self)
        if fullname in _ALIAS_PACKAGES and PathFinder.find_spec(fullname, path) is None:
            return ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec: ModuleSpec) -> types.ModuleType | None:
        if spec.name not in _ALIASES:
            return None  # an ordinary empty package
        with quiet_espnet_import():
            module = importlib.import_module(_ALIASES[spec.name])
        self.own_specs[spec.name] = module.__spec__
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        assert module.__spec__ is not None
        alias = module.__spec__.name
        if alias in self.own_specs:
            module.__spec__ = self.own_specs[alias]  # importlib has just replaced it with the alias's


def register_espnetez(name: str = "avsr") -> None:
    """Let ESPnet-EZ find AVSRTask under `name`.

        register_espnetez()
        config = espnetez.from_yaml("avsr", "train.yaml") | {"token_list": "tokens.txt"}
        data = {"video": ("video.scp", "video"), "text": ("text", "text")}  # and "speech": ("wav.scp", "sound")
        folders = {"train_dump_dir": "dump/raw/train", "valid_dump_dir": "dump/raw/dev"}
        where = {"output_dir": "exp/ez", "stats_dir": "exp/ez_stats"}
        trainer = espnetez.Trainer(task="avsr", train_config=config, data_info=data, ngpu=0, **folders, **where)
        trainer.collect_stats()
        trainer.train()

    Raises MissingDependencyError where espnetez cannot be imported.
    """
    try:
        with quiet_espnet_import():
            table = importlib.import_module("espnetez.task").TASK_CLASSES
    except ModuleNotFoundError as error:  # it imports all of ESPnet's tasks, some of whose needs it does not state
        if error.name == "espnetez":
            fix = "Train with the recipes of egs/ or egs3/, or with ESPnet 202511"
            raise MissingDependencyError("this ESPnet has no ESPnet-EZ; 202511 was the last one", fix=fix) from error
        raise MissingDependencyError(f"espnetez needs {error.name}", fix=f"pip install {error.name}") from error
    table[name] = importlib.import_module("espnet_vivit.tasks.avsr").AVSRTask
