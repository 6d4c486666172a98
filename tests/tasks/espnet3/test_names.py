"""Without ESPnet3 a sentence says what is missing."""

import importlib.util
from contextlib import nullcontext

import pytest

from espnet_vivit.errors import MissingDependencyError
from espnet_vivit.tasks.espnet3 import names


@pytest.fixture
def fresh(monkeypatch):
    for name in names._WHERE:
        monkeypatch.delitem(vars(names), name, raising=False)
    return monkeypatch


def test_an_espnet_without_espnet3_is_named_with_what_to_install(fresh):
    fresh.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"runs on ESPnet3.*202609.*pip install.*egs/"):
        _ = names.BaseSystem
    fresh.setattr(names, "clone", lambda: None)  # as installed from a wheel
    with pytest.raises(MissingDependencyError, match=r"pip install.*espnet-vivit new-recipe"):
        _ = names.BaseSystem


def test_a_package_that_espnet3_needs_is_named(fresh):
    fresh.setitem(names._WHERE, "ESPnet3LightningTrainer", "no_such_package.trainer")
    fresh.setattr(importlib.util, "find_spec", lambda name: "somewhere")
    fresh.setattr(names, "quiet_espnet_import", nullcontext)
    with pytest.raises(MissingDependencyError, match=r"no no_such_package.*espnet\[train\]"):
        _ = names.ESPnet3LightningTrainer


def test_an_unknown_name_is_an_attribute_error(fresh):
    with pytest.raises(AttributeError, match="no attribute 'BaseSytem'"):
        _ = names.BaseSytem
