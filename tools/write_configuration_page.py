"""Write docs/configuration.md: every option of this package, from the training parser and the constructors.

    python tools/write_configuration_page.py

`make docs` runs it, and a test compares the page with what it would write. Options of ESPnet2 itself are left out: they
differ between its releases, and `python -m espnet_vivit.bin.avsr_train --help` prints them.
"""

import argparse
import dataclasses
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from espnet_vivit import E2E, AVSRTask
from espnet_vivit.model import parts
from espnet_vivit.model.adapters.config import AdapterConfig
from espnet_vivit.tasks.loading.augmentation import Augmentation
from espnet_vivit.tasks.loading.curriculum import Curriculum

PAGE = Path(__file__).resolve().parents[1] / "docs" / "configuration.md"
GROUPS = ("Audio-visual model", "Text and preprocessing", "Memory and batches")
BY_MODEL = {"feature_rate", "input_size", "train", "token_type", "token_list", "preset", "bpemodel", "modality", "self"}
HEAD = """# Configuration

<!-- Written by tools/write_configuration_page.py; edit the help texts and docstrings instead, then run `make docs`. -->

A training is configured by a YAML (`--config`) and by options of the same names on the command line, which win. A key
that does not exist is an error that suggests the nearest one; values are checked for their type before anything runs.
`python -m espnet_vivit.bin.avsr_train --help` also prints ESPnet2's own options (optimizer, scheduler, batches,
logging), and `--print_config` prints all of them with their values. [Training](training.md) has an example.
"""
MEANINGS = {  # of options that are ESPnet2's own, or whose docstring explains them in a sentence of another form
    "ctc_weight": "weight of the CTC loss, 0 to 1; the attention decoder has the rest",
    "lsm_weight": "label smoothing of the attention decoder",
    "interctc_weight": "weight of the intermediate CTC losses",
    "length_normalized_loss": "divide the attention loss by the number of tokens instead of the batch size",
    "report_cer": "report the character error rate of the decoder in validation",
    "report_wer": "report the word error rate of the decoder in validation",
    "sym_space": "token of a space",
    "sym_blank": "token of the CTC blank",
    "sym_sos": "token before a sentence",
    "sym_eos": "token behind a sentence",
    "extract_feats_in_collect_stats": "run the frontends while shapes are collected",
    "output_size": "width of the encoder's states",
    "attention_heads": "attention heads",
    "linear_units": "width of the feed-forward layers",
    "num_blocks": "number of Conformer blocks",
    "dropout_rate": "dropout",
    "positional_dropout_rate": "dropout behind the positional encoding",
    "attention_dropout_rate": "dropout of the attention weights",
    "cnn_module_kernel": "steps that a depthwise convolution covers, odd",
    "ff_activation": "activation of the feed-forward layers: relu, swish, gelu or tanh",
    "conv_activation": "activation of the convolution module: relu, swish, gelu or tanh",
    "interctc_layer_idx": "blocks with an intermediate CTC loss, counted from 1",
    "interctc_use_conditioning": "feed the posteriors of each intermediate CTC back into the encoder",
    "stochastic_depth_rate": "how often training skips a block",
    "output_dim": "width of the features",
    "image_size": "height and width in pixels",
    "spatial_pooling": "another name of `temporal_pooling`",
    "config": "fields of Hugging Face's `VivitConfig` for a tower with random weights",
    "max_frames": "longest clip of the first epochs, in video frames",
    "epochs": "number of first epochs with such clips only",
    "vision_encoder": "name of the vision encoder",
    "audio_encoder": "name of the audio encoder",
    "encoder": "name of the encoder",
    "decoder": "name of the decoder",
    "preprocessor": "name of the preprocessor",
}


def table(rows: list[tuple[str, str, str]]) -> str:
    """A Markdown table of (name, default, meaning)."""
    lines = ["| option | default | meaning |", "|---|---|---|"]
    lines += [f"| `{name}` | {default} | {meaning} |" for name, default, meaning in rows]
    return "\n".join(lines) + "\n"


def cell(text: str) -> str:
    return re.sub(r"<(?=\w)", "&lt;", " ".join(text.split()).replace("|", "\\|"))


def shown(value: Any) -> str:
    """A default as a YAML would write it; a dash for a value that has to be given."""
    if value is inspect.Parameter.empty or value is dataclasses.MISSING:
        return "–"
    names = {None: "null", True: "true", False: "false"}
    return f"`{names[value] if isinstance(value, bool | None) else value}`"


def parser_rows(group: argparse._ArgumentGroup) -> Iterator[tuple[str, str, str]]:
    """Rows of the options in one group of the parser, those of ESPnet's preprocessor class left out."""
    for action in group._group_actions:
        name = action.option_strings[0].removeprefix("--")
        choices = [str(choice) for choice in action.choices or () if choice is not None]
        meaning = MEANINGS.get(name) or cell(action.help or "").removesuffix(".")
        if meaning.startswith("The keyword arguments"):  # ESPnet's words
            meaning = f"options of the {name.removesuffix('_conf').replace('_', ' ')}, below"
        if choices and not all(choice in meaning for choice in choices):
            meaning += ("; " if meaning else "") + "one of " + ", ".join(f"`{choice}`" for choice in choices)
        yield name, shown(action.default), meaning


def documented(part: Callable) -> dict[str, str]:
    """Name -> meaning of the arguments that the docstring explains, as `name: text` or `name, other: text`."""
    text = inspect.cleandoc(part.__doc__ or "")
    found: dict[str, str] = {}
    names = list(inspect.signature(part).parameters)
    one = "|".join(map(re.escape, names)) or "$"
    start = re.compile(rf"(?:^|(?<=[.;] )|(?<=\n))[ ]*((?:{one})(?:, (?:{one}))*): ", flags=re.MULTILINE)
    matches = list(start.finditer(text))
    for match, following in zip(matches, [*matches[1:], None], strict=False):
        end = following.start() if following else len(text)
        meaning = re.split(r"\n\s*\n|\n?Raises|\s+(?=Raises )", text[match.end() : end])[0]
        for name in match.group(1).split(", "):
            found[name] = cell(meaning).rstrip(".;")
    return found


def constructor_rows(part: Callable) -> list[tuple[str, str, str]]:
    """Rows of a constructor's keyword arguments, those left out that the model gives itself."""
    meanings = documented(part)
    given = [parameter for name, parameter in inspect.signature(part).parameters.items() if name not in BY_MODEL]
    return [(p.name, shown(p.default), meanings.get(p.name) or MEANINGS.get(p.name, "")) for p in given]


def sections() -> Iterator[str]:
    yield HEAD
    groups = {group.title: group for group in AVSRTask.get_parser()._action_groups}
    for title in GROUPS:
        yield f"## {title}\n"
        yield table(list(parser_rows(groups[title])))
    yield "## model_conf\n"
    options = AVSRTask.get_parser()
    model = [row for row in constructor_rows(E2E) if row[0] not in {action.dest for action in options._actions}]
    yield table([row for row in model if row[0] not in ("odim", "vision_model_name", "ignore_id")])
    for kind, parts_of_kind in _tables().items():
        for name, path in parts_of_kind.items():
            yield f"## {kind}_conf of {kind}: {name}\n"
            yield table(constructor_rows(resolve_name(path)))
    yield "## preprocessor_conf\n"
    yield "Each `*_prob` and `noise_snr_db` may be a schedule by epoch, such as `{1: 0.0, 10: 0.8}`.\n"
    yield table(constructor_rows(Augmentation))
    for name, options_class, example in (
        ("tower_adapters", AdapterConfig, "{vision_encoder: {type: qlora, r: 16}}"),
        ("curriculum", Curriculum, "{max_frames: 100, epochs: 5}"),
    ):
        yield f"## {name}\n"
        yield f"`{name}: {example}`\n"
        yield table(constructor_rows(options_class))
    yield "## decoder_conf of decoder: transformer\n"
    yield "The options of ESPnet2's `TransformerDecoder`; heads and units are those of `encoder_conf` unless given.\n"


def _tables() -> Mapping[str, Mapping[str, str]]:
    return {
        "vision_encoder": parts.VISION_ENCODERS,
        "audio_encoder": parts.AUDIO_ENCODERS,
        "encoder": parts.ENCODERS,
    }


def page() -> str:
    """The whole page."""
    return "\n".join(sections())


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
