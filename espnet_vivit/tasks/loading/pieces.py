"""Text of sentencepiece tokens where the sentencepiece model is not at hand: enough to decode with, not to train with.

In: pieces such as ["▁bin", "▁bl", "ue"]. Out: "bin blue". Source: Kudo and Richardson 2018; Auto-AVSR writes its
transcripts the same way.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from espnet_vivit.data.token_list import check_bpe_model
from espnet_vivit.errors import ConfigError
from espnet_vivit.espnet_compat import build_tokenizer

if TYPE_CHECKING:
    from espnet2.text.abs_tokenizer import AbsTokenizer

WORD_START = "\u2581"  # ▁, sentencepiece's mark of a blank before a piece


class JoinedPieces:
    """One half of ESPnet's tokenizer interface; the other half raises ConfigError."""

    def tokens2text(self, tokens: Iterable[str]) -> str:
        return "".join(tokens).replace(WORD_START, " ").strip()

    def text2tokens(self, line: str) -> list[str]:
        raise _no_model(f"cutting {line!r} into tokens")


def tokenizer_for(token_type: str, bpemodel: str | None, *, train: bool) -> "JoinedPieces | AbsTokenizer":
    """ESPnet's tokenizer; for token_type bpe without a model `JoinedPieces`, in training a ConfigError.

    Also for a file that is no sentencepiece model.
    """
    if token_type == "bpe" and bpemodel is None:
        if train:
            raise _no_model("training with token_type bpe")
        return JoinedPieces()
    if token_type == "bpe":
        check_bpe_model(str(bpemodel))
    return build_tokenizer(token_type=token_type, bpemodel=bpemodel)


def _no_model(what: str) -> ConfigError:
    fix = "Name the .model file that the tokens came from in bpemodel"
    return ConfigError(f"{what} needs a sentencepiece model", found="none", fix=fix)
