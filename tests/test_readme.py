"""The README's Python runs as printed, its YAML is understood, and the commands it names exist."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from espnet_vivit.bin.cli import COMMANDS
from espnet_vivit.model import parts

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_python_blocks_run_one_after_the_other_and_give_the_shapes_they_state():
    names: dict = {}
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), names)
    assert names["states"].shape == (2, 75, 128) and names["lengths"].tolist() == [75, 40]
    assert names["features"].shape == (2, 37, 512) and names["steps"].tolist() == [37, 20]
    assert names["E2E"].__module__ == "espnet_vivit.e2e_asr_conformer"


def test_yaml_names_parts_that_exist():
    (text,) = blocks("yaml")
    conf = yaml.safe_load(text)
    for kind, table in (("vision_encoder", parts.VISION_ENCODERS), ("audio_encoder", parts.AUDIO_ENCODERS)):
        assert conf[kind] in table
    listed = re.search(r"vision_encoder: vivit +# (.+)", text).group(1).split(" | ")
    assert sorted(listed) == sorted(parts.VISION_ENCODERS)


@pytest.mark.parametrize("name", sorted(set(re.findall(r"espnet-vivit ([\w-]+)", README))))
def test_commands_exist(name):
    assert name in COMMANDS


@pytest.mark.parametrize("name", sorted(set(re.findall(r"-m (espnet_vivit\.[\w.]+)", README))))
def test_modules_exist(name):
    assert find_spec(name) is not None


@pytest.mark.parametrize("target", sorted(set(re.findall(r"^    make (\w+)", README, flags=re.MULTILINE))))
def test_make_targets_exist(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\((?!http)([^)#]+)\)", README))))
def test_links_lead_somewhere(link):
    assert (ROOT / link).exists()
