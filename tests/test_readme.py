"""The README: short, its picture is there, and its examples give the shapes that their comments state."""

import re

import yaml

from espnet_vivit.model import parts
from tests.pages import ROOT, blocks

README = ROOT / "README.md"
MAX_BYTES = 9000
MAX_PICTURE_BYTES = 150_000


def test_the_readme_is_short():
    assert len(README.read_bytes()) <= MAX_BYTES


def test_the_picture_is_there_and_small():
    assert 10_000 < (ROOT / "docs" / "picture.png").stat().st_size <= MAX_PICTURE_BYTES


def test_the_python_blocks_give_the_shapes_that_they_state():
    names: dict = {}
    for block in blocks(README, "python"):
        exec(compile(block.text, "README.md", "exec"), names)
    assert names["features"].shape == (2, 37, 512) and names["steps"].tolist() == [37, 20]
    assert names["states"].shape == (2, 75, 128) and names["lengths"].tolist() == [75, 40]


def test_the_yaml_is_short_and_its_comments_list_the_parts_that_exist():
    (block,) = blocks(README, "yaml")
    assert len(block.text.splitlines()) <= 12
    conf = yaml.safe_load(block.text)
    for kind, table in (("vision_encoder", parts.VISION_ENCODERS), ("audio_encoder", parts.AUDIO_ENCODERS)):
        assert conf[kind] in table
        comment = re.search(rf"^{kind}: \w+ +# (.+)$", block.text, flags=re.MULTILINE).group(1)
        assert sorted(name.split(":")[0] for name in comment.split(" | ")) == sorted(table)
