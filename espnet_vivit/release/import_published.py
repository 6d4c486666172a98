"""A published checkpoint in, an experiment folder like those of our own trainings out.

    out/config.yaml         what the model is built from, its tokens
    out/published.pth       its weights under our names
    out/decoding.json       how its publisher searched, the language model's weight
    out/lm.safetensors, out/lm_config.yaml     the language model, if one was given
    out/provenance.json     what the file is, its hashes, its publisher's terms
    out/LICENSE             the publisher's licence, if its text was given

A file without a decoder (AV-HuBERT before fine-tuning) cannot transcribe: of it, start.yaml says how a training of
one's own begins from published.pth. The names in the folder are those of a package, so `transcribe`, `pack` and the
page take it as it is.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml

from espnet_vivit.base.torch_file import write_safetensors
from espnet_vivit.base.whole_file import make_folder
from espnet_vivit.decode.language_model import load_language_model
from espnet_vivit.decode.options import SearchOptions
from espnet_vivit.decode.package import sha256
from espnet_vivit.decode.package_decoding import DECODING
from espnet_vivit.decode.package_language import LM_CONFIG, LM_WEIGHTS
from espnet_vivit.errors import ConfigError, DataError
from espnet_vivit.model.published.avhubert import LAYOUTS as AVHUBERT
from espnet_vivit.model.published.avhubert import token_list as fairseq_tokens
from espnet_vivit.model.published.catalog import PROVENANCE, find_language_model, find_layout
from espnet_vivit.model.published.language_model import build_language_model
from espnet_vivit.model.published.layout import Layout
from espnet_vivit.model.published.tensor_file import TensorFile, read_tensor_file
from espnet_vivit.release.published_tokens import read_search_options, read_tokens, token_type
from espnet_vivit.tasks.avsr import AVSRTask
from espnet_vivit.tasks.model_config import model_conf_defaults, model_module

WEIGHTS, START = "published.pth", "start.yaml"
START_PARTS = ("vision_encoder", "audio_encoder", "fusion", "encoder")
LM_WEIGHT = 0.3  # VSR-ML's with its big model; those of others are in its configs/*.ini


@dataclass(frozen=True)
class Imported:
    """What was written: the layout's title, the weights' path, their number, and what stayed behind (reason -> count).

    tokens: how many; None of a file without a decoder.
    """

    layout: Layout
    weights: Path
    parameters: int
    unused: Mapping[str, int]
    tokens: int | None
    search: str


def import_published(
    checkpoint: str | Path,
    out: str | Path,
    *,
    tokens: str | Path | None = None,
    lm: str | Path | None = None,
    decoding: str | Path | None = None,
    modality: str | None = None,
    bpemodel: str | Path | None = None,
    licence_file: str | Path | None = None,
) -> Imported:
    """Write the folder `out`.

    tokens: see published_tokens.py; None: model.json beside the checkpoint, or what a fairseq checkpoint holds. lm: the
    weights of a language model of the same tokens. decoding: VSR-ML's configs/*.ini. modality: which recognizer of a
    file that holds several (USR). bpemodel: the sentencepiece model, for training only. licence_file: the publisher's.

    Raises:
        WeightsError: a file that cannot be read, holds more than tensors, or is not a whole model of a known layout.
        DataError, ConfigError: `out` exists, or the tokens or the language model do not fit.
    """
    checkpoint, out = Path(checkpoint), Path(out)
    if out.exists():
        raise DataError(f"{out} exists already", fix="Name a new folder")
    for what, path in (("sentencepiece model", bpemodel), ("licence file", licence_file)):
        if path is not None and not Path(path).is_file():
            raise DataError(f"the {what} {path} does not exist")
    file = read_tensor_file(checkpoint)
    layout = find_layout(file.tensors, modality)
    if "odim" in layout.model_options(file.tensors):
        if tokens is None:
            names = _tokens_beside(checkpoint, file, layout)
        else:
            names = read_tokens(tokens, fairseq=layout in AVHUBERT)
        writer = _Recognizer(layout, file, names, None if bpemodel is None else str(bpemodel))
        search = writer.write(out, lm=lm, decoding=decoding)
        count = len(names)
    else:
        if lm is not None or decoding is not None or tokens is not None:
            raise ConfigError(f"the file is {layout.title}", found="tokens, lm or decoding", fix="Leave them out")
        writer, search, count = _Start(layout, file), "", None
        writer.write(out)
    _write_provenance(out, checkpoint, layout, licence_file)
    parameters = sum(parameter.numel() for parameter in writer.model.parameters())
    return Imported(layout, out / WEIGHTS, parameters, layout.unused_in(file.tensors), count, search)


class _Recognizer:
    """A whole recognizer: its model, filled, and the files that `transcribe` wants."""

    def __init__(self, layout: Layout, file: TensorFile, tokens: list[str], bpemodel: str | None):
        self.layout, self.tokens, self.bpemodel = layout, tokens, bpemodel
        self.options = layout.recognizer_options(file.tensors)
        self.model = model_module().E2E.from_published(file.tensors, token_list=tokens, modality=layout.modality)

    def write(self, out: Path, *, lm: str | Path | None, decoding: str | Path | None) -> str:
        """Write the folder; returns the search in words."""
        search, weight = SearchOptions(), None
        if self.layout.decoding:
            search = SearchOptions.read({"search": "beam", **self.layout.decoding}, source=self.layout.title)
        if decoding is not None:
            search, weight = read_search_options(decoding)
        language = None if lm is None else read_language_model(lm, self.tokens)
        make_folder(out)
        torch.save(self.model.state_dict(), out / WEIGHTS)
        (out / "config.yaml").write_text(yaml.safe_dump(self._config(out), allow_unicode=True), encoding="utf-8")
        AVSRTask.build_model_from_file(out / "config.yaml", out / WEIGHTS)  # raises if a weight does not fit
        fields = search.stated()
        if language is not None:
            fields |= {"lm_weight": LM_WEIGHT if weight is None else weight}
            _write_language(out, *language, self.tokens)
        if fields:
            (out / DECODING).write_text(json.dumps(fields, indent=1) + "\n", encoding="utf-8")
        return ", ".join(f"{name} {value}" for name, value in fields.items())

    def _config(self, out: Path) -> dict:
        """What `AVSRTask` would have written: every option, the model's own among them."""
        known = model_conf_defaults()
        options = {name: value for name, value in self.options.items() if name != "odim" and name not in known}
        model_conf = {name: value for name, value in self.options.items() if name in known}
        text = {"token_list": self.tokens, "token_type": token_type(self.tokens), "bpemodel": self.bpemodel}
        base = vars(AVSRTask.get_parser().parse_args([]))
        return {**base, **options, "model_conf": model_conf, **text, "output_dir": str(out)}


class _Start:
    """A pretrained model without a decoder: its parts, filled, and a beginning of a training's configuration."""

    def __init__(self, layout: Layout, file: TensorFile):
        self.options = layout.model_options(file.tensors)
        whole = model_module().E2E(3, **self.options, ctc_weight=1.0)
        self.model = torch.nn.ModuleDict({name: getattr(whole, name) for name in START_PARTS})
        layout.load(self.model, file.tensors)

    def write(self, out: Path) -> None:
        make_folder(out)
        torch.save(self.model.state_dict(), out / WEIGHTS)
        parts = {name: str(out / WEIGHTS) for name in START_PARTS}
        text = yaml.safe_dump({**self.options, "init_parts": parts}, allow_unicode=True, sort_keys=False)
        (out / START).write_text(
            f"# Put these lines into the YAML of a training of your own.\n{text}", encoding="utf-8"
        )


def read_language_model(path: str | Path, tokens: list[str]) -> tuple[torch.nn.Module, dict]:
    """(ESPnet's language model, filled, and its options) of a published file.

    Raises WeightsError for another layout, ConfigError for one of other tokens.
    """
    state = read_tensor_file(path).tensors
    layout = find_language_model(state)
    options = layout.model_options(state)
    listed = Path(path).with_name("model.json")
    known = _listed_tokens(listed) if listed.is_file() else None
    if options["vocabulary"] != len(tokens) or (known is not None and known != tokens):
        found = f"{options['vocabulary']} tokens" + ("" if known is None else f", {listed} among the sources")
        expected = f"the recognizer's {len(tokens)}, in their order"
        fix = "Each language of VSR-ML has a language model of its own"
        raise ConfigError(f"the language model {path} is of other tokens", found=found, expected=expected, fix=fix)
    model = build_language_model(options)
    layout.load(model, state)
    return model.eval(), options


def _listed_tokens(path: Path) -> list[str] | None:
    """The tokens of a language model's model.json, where it lists them."""
    try:
        return read_tokens(path)
    except DataError:
        return None  # most list none: the number of tokens is compared all the same


def _write_language(out: Path, model: torch.nn.Module, options: Mapping, tokens: list[str]) -> None:
    write_safetensors(model.state_dict(), out / LM_WEIGHTS)
    config = {"lm": "transformer", "lm_conf": dict(options["lm_conf"]), "model": "lm", "model_conf": {}}
    text = yaml.safe_dump({**config, "token_list": tokens}, allow_unicode=True)
    (out / LM_CONFIG).write_text(text, encoding="utf-8")
    load_language_model(out / LM_CONFIG, out / LM_WEIGHTS, tokens)  # raises if anything does not fit


def _tokens_beside(checkpoint: Path, file: TensorFile, layout: Layout) -> list[str]:
    """Tokens that come with a checkpoint. Raises DataError where there are none."""
    if file.symbols is not None:
        return fairseq_tokens(file.symbols)
    beside = checkpoint.with_name("model.json")
    if beside.is_file():
        return read_tokens(beside)
    raise DataError(
        f"the tokens of {checkpoint} are not known: the file is {layout.title}, which holds none",
        fix="Give --tokens: unigram5000_units.txt of Auto-AVSR, model.json of VSR-ML, or dict.txt of AV-HuBERT",
    )


def _write_provenance(out: Path, checkpoint: Path, layout: Layout, licence_file: str | Path | None) -> None:
    """What a package made of this folder will say of where the weights are from, and under which terms."""
    terms = layout.terms
    said = {
        "source": terms.source,
        "weights": f"{checkpoint.name}, MD5 {_md5(checkpoint)}, SHA-256 {sha256(checkpoint)}",
        "layout": layout.title,
        "training set": "see the publisher's page",
        "training": "by the publisher",
    } | terms.to_be_carried()
    (out / PROVENANCE).write_text(json.dumps(said, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if licence_file is not None:
        shutil.copyfile(licence_file, out / "LICENSE")


def _md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)  # as the publishers list them
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
