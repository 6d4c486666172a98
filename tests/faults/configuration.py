"""Every key of conf/*.yaml with values that it cannot have, through what avsr_train does before the first batch."""

import copy
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from espnet_vivit.tasks.avsr import AVSRTask
from tests.experiments import VIVIT
from tests.faults.campaign import AS_IT_IS, RIGHT, Fault
from tests.tiny_corpus import CONFIG, TOKENS

_CHECKED_WHEN_BUILT = (
    "vision_encoder_conf",
    "audio_encoder_conf",
    "encoder_conf",
    "decoder_conf",
    "modality_dropout",
    "fusion_conf",
)
_SECTIONS = {(name,) for name in _CHECKED_WHEN_BUILT}
CONF = Path(__file__).resolve().parents[2] / "conf"
NEVER = {  # no option takes these
    "a list of lists": [[["x"]]],
    "a mapping": {"no such name": 1},
    "not a number": float("nan"),
}
PERHAPS = {
    "null": None,
    "zero": 0,
    "negative": -1,
    "a fraction": 0.5,
    "huge": 10**30,
    "infinite": float("inf"),
    "text": "abc",
}


def paths(conf: Mapping, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in conf.items():
        yield (*above, key)
        if isinstance(value, Mapping):
            yield from paths(value, (*above, key))


def changed(conf: Mapping, path: tuple[str, ...], change) -> dict:
    """A copy of `conf` in which `change(mapping, key)` has been done at `path`."""
    whole = copy.deepcopy(dict(conf))
    inner: Any = whole
    for key in path[:-1]:
        inner = inner[key]
    change(inner, path[-1])
    return whole


def options() -> dict[tuple[str, ...], tuple[str, Mapping]]:
    """Each key that stands in a file of conf/, with the first file that has it."""
    found: dict[tuple[str, ...], tuple[str, Mapping]] = {}
    for file in sorted(CONF.glob("train_*.yaml")):
        conf = yaml.safe_load(file.read_text())
        if file.name != "train_lm.yaml":  # ESPnet's language model has options of its own
            for path in paths(conf):
                found.setdefault(path, (file.name, conf))
    return found


def training_options(folder: Path) -> Iterator[Fault]:
    """What is checked before anything is built."""
    for path, (file, conf) in options().items():
        if len(path) == 1 or path[0] not in _CHECKED_WHEN_BUILT:
            yield from _faults_of(conf, path, f"{file}, {'.'.join(path)}", lambda conf: _parse(folder, conf))


def _faults_of(conf: Mapping, path: tuple[str, ...], where: str, check: Callable[[Mapping], Any]) -> Iterator[Fault]:
    def after(change, *, wrong: bool) -> Callable[[], str]:
        def run() -> str:
            check(changed(conf, path, change))
            return "it is taken" if wrong else RIGHT

        return run

    def misspell(inner, key):
        inner[f"{key[:-1]}qx"] = inner.pop(key)

    yield Fault(f"{where}, {AS_IT_IS}", after(lambda inner, key: None, wrong=False))
    yield Fault(f"{where}, misspelt", after(misspell, wrong=True))
    section = path in _SECTIONS
    for name, value in {**NEVER, **PERHAPS}.items():
        wrong = name in NEVER and not (section and name == "a mapping")  # its own options are checked one by one

        def put(inner, key, value=value):
            inner[key] = value

        yield Fault(f"{where}, {name}", after(put, wrong=wrong))


def _parse(folder: Path, conf: Mapping) -> Any:
    (folder / "tokens.txt").write_text("\n".join(TOKENS) + "\n")
    (folder / "train.yaml").write_text(yaml.safe_dump(conf))
    fixed = ["--token_list", str(folder / "tokens.txt"), "--output_dir", str(folder / "exp")]
    args = AVSRTask.get_parser().parse_args(["--config", str(folder / "train.yaml"), *fixed])
    AVSRTask.check_required_command_args(args)
    return args


BUILT = {  # model options that are checked where their part is built
    "linear": {"vision_encoder": "linear", "vision_encoder_conf": {"image_size": 22, "output_dim": 16}},
    "vivit": {"vision_encoder": "vivit", "vision_encoder_conf": {"window_overlap": 4, "output_dim": 16, **VIVIT}},
}


def model_options(folder: Path) -> Iterator[Fault]:
    """The sections of a model that is built, with the values of each option's own kind replaced."""

    def build(conf: Mapping) -> None:
        AVSRTask.build_model(_parse(folder, conf))

    for tower, sections in BUILT.items():
        conf = {
            **CONFIG,
            "audio_encoder_conf": {"channels": 4, "stem_stride": 4},
            "fusion_conf": {},
            "modality_dropout": {"video": 0.25, "audio": 0.25},
            **sections,
        }
        parts = [path for path in paths(conf) if len(path) > 1 and path[0] in _CHECKED_WHEN_BUILT]
        for path in parts if tower == "linear" else [path for path in parts if path[0] == "vision_encoder_conf"]:
            yield from _faults_of(conf, path, f"{tower}, {'.'.join(path)}", build)
