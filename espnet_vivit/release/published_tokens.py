"""The vocabulary and the search options that are published beside a model, in their publishers' formats.

In: Auto-AVSR's file of units, VSR-ML's model.json, fairseq's dict.txt, transformers' vocab.json, or a list in ESPnet's
order; VSR-ML's configs/*.ini. Out: the token list in ESPnet's order; options of `SearchOptions` and the language
model's weight.
"""

import configparser
import json
from pathlib import Path

from espnet_vivit.data.token_list import BLANK, END, has_unit_ids, read_units
from espnet_vivit.decode.options import SearchOptions
from espnet_vivit.errors import DataError
from espnet_vivit.model.published.avhubert import token_list as fairseq_tokens
from espnet_vivit.tasks.model_config import read_token_list


def read_tokens(path: str | Path, *, fairseq: bool = False) -> list[str]:
    """The token list of a file; `fairseq`: its second column counts occurrences, and special symbols come first.

    Raises DataError: no such file, out of order, or without tokens.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(
            f"the token list {path} does not exist", fix="docs/published_models.md says where each model's is"
        )
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        return _of_json(path, text)
    if not has_unit_ids(path):
        return read_token_list(path)
    if fairseq:
        symbols = [line.rsplit(maxsplit=1)[0] for line in text.splitlines() if line.strip()]
        return read_token_list(fairseq_tokens(["<s>", "<pad>", "</s>", "<unk>", *symbols]))
    return read_token_list([BLANK, *read_units(path)[1:], END])


def token_type(tokens: list[str]) -> str:
    """ "bpe" of sentencepiece's tokens, which carry its mark of a word's beginning; else "char"."""
    return "bpe" if any("▁" in token for token in tokens) else "char"


def read_search_options(path: str | Path) -> tuple[SearchOptions, float | None]:
    """The search options and the language model's weight in one of VSR-ML's configs/*.ini.

    Raises DataError: no such file, or not one of these.
    """
    parser = configparser.ConfigParser()
    if not Path(path).is_file():
        raise DataError(f"the configuration {path} does not exist")
    try:
        parser.read_string(Path(path).read_text(encoding="utf-8"))
        section = parser["decode"]
        values = {name: float(section[name]) for name in ("ctc_weight", "penalty", "maxlenratio", "minlenratio")}
        options = {"beam_size": int(section["beam_size"]), **values}
        weight = float(section["lm_weight"]) if section.get("lm_weight") else None
    except (configparser.Error, KeyError, ValueError) as error:
        expected = "a section [decode] with beam_size, ctc_weight, penalty, maxlenratio, minlenratio"
        raise DataError(f"{path} is not a configuration of VSR-ML", found=repr(error), expected=expected) from error
    return SearchOptions.read({"search": "beam", **options}, source=path), weight


def _of_json(path: Path, text: str) -> list[str]:
    """VSR-ML's `[idim, odim, {…}]` or `{…}` with a char_list, or transformers' token -> index."""
    try:
        content = json.loads(text)
    except ValueError as error:
        raise DataError(f"cannot read {path} ({error})", fix="Is it complete?") from error
    fields = content[-1] if isinstance(content, list) and content else content
    if not isinstance(fields, dict):
        raise DataError(f"{path} holds no tokens", found=type(fields).__name__, expected="char_list, or token -> index")
    if "char_list" in fields:
        tokens = list(fields["char_list"])
        if tokens[:1] != [BLANK] or tokens[-1:] not in (["<eos>"], [END]):
            found = f"{tokens[:1]} … {tokens[-1:]}"
            raise DataError(
                f"the char_list of {path} is not in ESPnet's order", found=found, expected=f"{BLANK} … <eos>"
            )
        return read_token_list([*tokens[:-1], END])
    if fields and all(isinstance(index, int) for index in fields.values()):
        return read_token_list(fairseq_tokens(sorted(fields, key=lambda token: fields[token])))
    fix = f"It names {fields['labels_type']}: give that list of units" if "labels_type" in fields else None
    raise DataError(f"{path} holds no tokens", found=", ".join(list(fields)[:5]), expected="char_list", fix=fix)
