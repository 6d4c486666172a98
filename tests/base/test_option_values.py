"""The table of what options can be: its rows belong to options that exist, and every number of ours has a row."""

import dataclasses
import inspect

import pytest

from espnet_vivit.base.option_types import OPTIONS, Values, check_value, check_values
from espnet_vivit.decode.options import SearchOptions
from espnet_vivit.e2e_asr_conformer import E2E
from espnet_vivit.errors import ConfigError
from espnet_vivit.frontend.vivit.family_config import FamilyConfig
from espnet_vivit.frontend.vivit_encoder import vivit_encoder
from espnet_vivit.model import parts
from espnet_vivit.model.adapters.config import AdapterConfig
from espnet_vivit.model.joint_fusion import MlpFusion
from espnet_vivit.model.parts import _load
from espnet_vivit.tasks.avsr import AVSRTask
from espnet_vivit.tasks.loading.augmentation import Augmentation
from espnet_vivit.tasks.loading.curriculum import Curriculum
from espnet_vivit.tasks.optim.muon import Muon
from espnet_vivit.tasks.optim.optimizer import Rates
from espnet_vivit.tasks.optim.schedule import CosineWithWarmup

TABLES = (parts.ENCODERS, parts.DECODERS, parts.VISION_ENCODERS, parts.AUDIO_ENCODERS)
LOADED = [_load(path) for table in TABLES for path in table.values()]
TAKERS = {
    "model_conf": [E2E],
    "part": LOADED,
    "fusion_conf": [MlpFusion],
    "vivit": [vivit_encoder, FamilyConfig],
    "preprocessor_conf": [Augmentation],
    "tower_adapters": [AdapterConfig],
    "curriculum": [Curriculum],
    "rates": [Rates],
    "optim_conf": [Muon],
    "scheduler_conf": [CosineWithWarmup],
    "search": [SearchOptions],
}


def options_of(section):
    if section == "training":
        return {action.dest for action in AVSRTask.get_parser()._actions}
    return {name for taker in TAKERS[section] for name in inspect.signature(taker).parameters}


@pytest.mark.parametrize("section", OPTIONS)
def test_every_row_belongs_to_an_option_that_exists(section):
    assert OPTIONS[section].keys() <= options_of(section)


@pytest.mark.parametrize(
    ("section", "names"),
    [("preprocessor_conf", ["random_crop", "noise_scp"]), ("curriculum", []), ("rates", []), ("search", [])],
)
def test_every_option_of_ours_has_a_row(section, names):
    """The names: options whose kind, which the annotation says, is all there is to say."""
    (taker,) = TAKERS[section]
    assert sorted(OPTIONS[section].keys() ^ {field.name for field in dataclasses.fields(taker)}) == sorted(names)


def test_every_rate_and_weight_of_a_part_has_a_row():
    shares = {name for name in options_of("part") if name.endswith(("dropout_rate", "depth_rate"))}
    assert shares and shares <= OPTIONS["part"].keys()
    weights = {name for name in options_of("model_conf") if name.endswith("_weight")}
    assert weights and weights <= OPTIONS["model_conf"].keys()


@pytest.mark.parametrize("section", OPTIONS)
def test_every_default_is_a_value_that_the_option_can_have(section):
    if section == "training":
        defaults = {action.dest: action.default for action in AVSRTask.get_parser()._actions}
    else:
        parameters = [each for taker in TAKERS[section] for each in inspect.signature(taker).parameters.values()]
        defaults = {each.name: each.default for each in parameters if each.default is not each.empty}
    unsaid = {"search", "rates"} & {section}  # None there, or a mapping of parts, is nothing to check
    check_values(section, {} if unsaid else defaults, where="{name}")


@pytest.mark.parametrize(
    ("values", "right", "wrong"),
    [
        (Values(float, at_least=0, below=1), (0, 0.5, 0.999), (-0.1, 1, float("nan"), True, "0.5", None)),
        (Values(float, above=0, at_most=1), (0.1, 1), (0, 1.1, float("inf"))),
        (Values(float, above=0, infinite=True), (1, float("inf")), (0, float("nan"))),
        (Values(int, at_least=1, null=True), (1, None), (0, 1.5, True, "1")),
        (Values(bool), (True, False), (0, "yes", None)),
        (Values(str, choices=("a", "b")), ("a",), ("c", 1)),
        (Values(rule=len), ([1],), ([],)),
    ],
)
def test_what_can_be_and_what_cannot(values, right, wrong):
    assert [values.hold(value) for value in (*right, *wrong)] == [True] * len(right) + [False] * len(wrong)


def test_an_error_says_what_was_found_and_expected():
    with pytest.raises(ConfigError, match=r"^r of it: found 'x'; expected a whole number, 1 or more$"):
        check_value("tower_adapters", "r", "x", where="r of it")
    with pytest.raises(ConfigError, match=r"unknown search: found 'beem'; .*Did you mean 'beam'"):
        check_value("search", "search", "beem", where="search")
    with pytest.raises(ConfigError, match=r"^penalty: found nan; expected a number$"):
        check_values("search", {"beam_size": 3, "penalty": float("nan"), "not an option": 0}, where="{name}")
    assert str(Values(float, above=0, at_most=2)) == "a number, above 0, at most 2"
