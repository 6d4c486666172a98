"""Tokenizers: a sentencepiece model that is none is named before anything is built."""

import pytest

from espnet_vivit.errors import ConfigError
from espnet_vivit.tasks.loading.pieces import tokenizer_for


@pytest.mark.parametrize("content", [b"", b"no model", b"\x0a\xff\xff"])
@pytest.mark.parametrize("train", [True, False])
def test_a_file_that_is_no_sentencepiece_model_is_named(tmp_path, content, train):
    (tmp_path / "bpe.model").write_bytes(content)
    with pytest.raises(ConfigError, match=r"no sentencepiece model: .*bpe\.model"):
        tokenizer_for("bpe", str(tmp_path / "bpe.model"), train=train)


def test_a_missing_model_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"sentencepiece model does not exist: found .*absent"):
        tokenizer_for("bpe", str(tmp_path / "absent.model"), train=True)
