"""Weights of an output layer belong to their tokens: the same number of others would load, and transcribe nonsense.

In: a model, the weights about to be loaded, and the file that they are from. The config.yaml beside it says which
tokens they are of.
"""

from collections.abc import Collection
from pathlib import Path

from torch import nn

from espnet_vivit.base.config_file import read_config
from espnet_vivit.errors import ConfigError, WeightsError

_OF_TOKENS = ("ctc.", "decoder.embed.", "decoder.output_layer.")  # with a row for each token


def check_same_tokens(model: nn.Module, names: Collection[str], source: str | Path) -> None:
    """Raise WeightsError if `names`, of parameters of `model`, are filled from weights that are of other tokens.

    A file without a config.yaml beside it tells nothing, nor does one whose list is not written out.
    """
    config = Path(source).parent / "config.yaml"
    if not any(name.startswith(_OF_TOKENS) for name in names) or not config.is_file():
        return
    here, there = getattr(model, "token_list", None), _tokens_in(config)
    if here and there and (different := differing(there, list(here))):
        raise WeightsError(
            f"{source} was trained for other tokens than this model has", found=different,
            expected="the same list", fix="Train with its token list, or leave ctc and decoder out of what is loaded",
        )  # fmt: skip


def differing(there: list[str], here: list[str]) -> str | None:
    """The first difference of two token lists in words, None if there is none."""
    if there == here:
        return None
    if len(there) != len(here):
        return f"{len(there)} tokens there, {len(here)} here"
    number = next(number for number, pair in enumerate(zip(there, here, strict=True)) if pair[0] != pair[1])
    return f"token {number} is {there[number]!r} there and {here[number]!r} here"


def _tokens_in(config: Path) -> list[str] | None:
    try:
        tokens = read_config(config).get("token_list")
    except ConfigError:  # something else of that name
        return None
    return tokens if isinstance(tokens, list) else None
