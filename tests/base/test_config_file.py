"""YAML of others: what cannot be read is one sentence that names the file."""

import pytest

from espnet_vivit.base.config_file import read_config
from espnet_vivit.errors import ConfigError


@pytest.mark.parametrize(
    "content",
    [
        b"a: [",
        b"a: 1\na: 2",
        b"- 1",
        b"",
        b"a: 2020-02-31",
        b"[" * 5000,
        b"a: \x07",
        b"a: caf\xe9",
        b"? [a]\n: 1",
        b"a: !!int x",
    ],
)
def test_a_yaml_that_cannot_be_read_is_named(tmp_path, content):
    (tmp_path / "config.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=r"config\.yaml"):
        read_config(tmp_path / "config.yaml")


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path):
    (tmp_path / "config.yaml").write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert read_config(tmp_path / "config.yaml") == {"a": 1}
