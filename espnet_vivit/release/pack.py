"""An experiment folder in, a package out (package.py says what is in one).

    espnet-vivit pack exp/avsr_train package --licence CC-BY-4.0
    espnet-vivit pack exp/avsr_train package.zip --card conf/card.yaml --licence_file LICENSE

The licence is that of the weights, which the data they were trained on may bind: it has no default. What else only a
person can say, data, intended use and limits, is in the card (model_card.py); results, sizes and provenance come from
the experiment. A model whose adapters stand on weights kept elsewhere is refused: `espnet-vivit merge-adapters` makes a
whole one of it first. How it was decoded when its results were measured goes along, language models among it, if
stage 12's folder or the options of avsr_inference are given; `transcribe` then searches so, too:

    espnet-vivit pack exp/avsr_train package --licence CC0-1.0 --decoded_with exp/avsr_train/decode_avsr
    espnet-vivit pack exp/avsr_train package --licence CC0-1.0 \\
        --decoded_with "--beam_size 5 --ctc_weight 0.3 --ngram_file 3gram.arpa --ngram_weight 0.2"
"""

import dataclasses
import datetime
import json
import math
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from espnet_vivit.decode import package
from espnet_vivit.decode.package_decoding import DECODING, Decoding
from espnet_vivit.decode.package_language import write_language
from espnet_vivit.errors import ConfigError, DataError
from espnet_vivit.evaluation.provenance import commit, versions
from espnet_vivit.evaluation.training_log import read_training_history
from espnet_vivit.model.options import FROM_CHECKPOINTS, STARTS, TOWER_CONFIGS
from espnet_vivit.release.model_card import NOT_STATED, CardText, model_card, read_card, results_of
from espnet_vivit.tasks.training_facts import STARTED_FROM, training_set
from espnet_vivit.version import __version__

if TYPE_CHECKING:
    from espnet_vivit.decode.model_files import ModelFiles

_BUILT_FROM = (  # the keys of a training's configuration that building and decoding read
    *("modality", "fusion", "fusion_place", "fusion_conf", "feature_rate", "modality_dropout"),
    *("init", "amp_dtype", "tower_adapters"),
    *("vision_encoder", "vision_encoder_conf", "vision_tower", "audio_encoder", "audio_encoder_conf", "audio_tower"),
    *("encoder", "encoder_conf", "decoder", "decoder_conf", "model_conf", "ctc_conf"),
    *("token_list", "token_type", "bpemodel", "use_preprocessor", "preprocessor", "preprocessor_conf"),
)
_OF_THE_MACHINE = ("cache_dir", "feature_cache", "local_files_only", "model_name", "revision")  # of a tower's options
_OF_THE_MACHINE += STARTS


def pack(
    experiment: str | Path,
    out: str | Path,
    *,
    licence: str | None = None,
    card: str | Path | None = None,
    licence_file: str | Path | None = None,
    source: str | None = None,
    weights: str | None = None,
    decoding: Decoding | None = None,
) -> Path:
    """Write the package `out`, a folder or (ending in .zip) one file, and return its path.

    licence: an SPDX identifier or a sentence; None: the card's. card: a card.yaml, see model_card.py. source: what it
    was trained on, in words; None: the card's data. weights: which file of the experiment, if not the average that
    stage 11 leaves. decoding: how it was decoded, which then goes along; None: as `experiment` says if that is a
    package, else not stated. Raises DataError, ConfigError or WeightsError.
    """
    from espnet_vivit.base.config_file import read_config
    from espnet_vivit.decode.model_files import open_model

    text = CardText() if card is None else read_card(card)
    if licence_file is not None and not Path(licence_file).is_file():
        raise DataError(f"there is no licence file {licence_file}", fix="Check the path")
    files = open_model(experiment, weights=weights)
    terms = terms_of(read_config(files.config), files.provenance or {})
    licence, licence_file = _licence(files, licence or text.licence, licence_file, terms)
    if Path(out).exists():
        raise DataError(f"{out} exists already", fix="Name a new folder or file")
    decoding = files.decoding if decoding is None else decoding
    history = _provenance(files) | {"packed": f"{datetime.date.today()} with espnet_vivit {__version__} ({commit()})"}
    history |= {name: "; ".join(said) for name, said in terms.items() if said}
    if source or text.data:
        history["source"] = source or "; ".join(text.data)
    with tempfile.TemporaryDirectory(prefix="espnet_vivit_") as folder:
        writer = PackageWriter(Path(folder), files)
        writer.add_model()
        writer.add_language(decoding)
        writer.add_card(text, licence=licence, licence_file=licence_file, history=history)
        writer.seal(licence=licence, history=history)
        return writer.verify().save_pretrained(out)


class PackageWriter:
    """Writes a package into an empty folder, in the order of its methods; `files` is the opened experiment."""

    def __init__(self, folder: Path, files: "ModelFiles"):
        self.folder, self.files = folder, files

    def add_model(self) -> None:
        """Weights, configuration, tokens, sentencepiece model, what preprocessing does, and the calibration."""
        self.config = _write_model(self.folder, self.files)
        training = {"training": dataclasses.asdict(self.files.facts)}
        _write_json(self.folder / package.PREPROCESSOR, package.preprocessor_config(self.config) | training)
        if self.files.reliability is not None:
            _write_json(self.folder / package.RELIABILITY, self.files.reliability)

    def add_language(self, decoding: Decoding) -> None:
        """How the model was decoded, with the language models that took part."""
        self.decoding = decoding = decoding.fitted(self.config)
        write_language(self.folder, decoding.language, self.config["token_list"])
        if decoding.fields():
            _write_json(self.folder / DECODING, decoding.fields())

    def add_card(self, text: CardText, *, licence: str, licence_file: str | Path | None, history: Mapping) -> None:
        """The card, from what a person has written (`text`) and what the experiment says; and the licence's text."""
        if licence_file is not None:
            shutil.copyfile(licence_file, self.folder / "LICENSE")
        written = model_card(
            text,
            self.config,
            licence=licence,
            history=history,
            size=_size(self.folder, self.files) | {"language models": str(self.decoding.language)},
            search=str(self.decoding.search),
            results=results_of(self.files.config.parent),
            reliability=self.files.reliability,
        )
        (self.folder / package.CARD).write_text(written, encoding="utf-8")

    def seal(self, *, licence: str, history: Mapping) -> None:
        """The list of all files with their hashes; nothing may be added after it."""
        hashes = {
            path.name: {"sha256": package.sha256(path), "bytes": path.stat().st_size}
            for path in sorted(self.folder.iterdir())
        }
        head = {"format": package.FORMAT, "version": package.FORMAT_VERSION, "licence": licence}
        _write_json(self.folder / package.INFO, {**head, "provenance": history, "files": hashes})

    def verify(self) -> package.Package:
        """The package, read back. Raises what does not load, or cannot be decoded so: it is not handed out."""
        checked = package.Package.checked(self.folder)
        model = checked.load_model()
        self.decoding.search.complete(has_ctc=model.ctc is not None, has_decoder=model.decoder is not None)
        return checked


def terms_of(config: Mapping, provenance: Mapping) -> dict[str, list[str]]:
    """The terms of published weights in a model: those it is, and those that its training started from (`init_parts`).

    Under "licence of the weights", "attribution" and "licence text needed" as many sentences as there are publishers.
    """
    sources = [provenance, *(config.get(STARTED_FROM) or ())]
    names = ("licence of the weights", "attribution", "licence text needed")
    return {name: list(dict.fromkeys(source[name] for source in sources if source.get(name))) for name in names}


def _licence(files, licence: str | None, licence_file, terms: Mapping) -> tuple[str, Path | None]:
    """The package's licence and the file of its text. Raises ConfigError where one is needed and not there."""
    said = (licence or "; ".join(terms["licence of the weights"])).strip()
    if not said:
        raise ConfigError(
            "a package needs a licence",
            expected="an SPDX identifier such as CC-BY-4.0, or a sentence",
            fix="Give --licence, or `licence:` in the card",
        )
    beside = files.config.parent / "LICENSE"
    if licence_file is None and beside.is_file():
        licence_file = beside
    if licence_file is None and terms["licence text needed"]:
        raise ConfigError(
            "the licence of these weights has to go along, word for word, with every copy",
            found="no licence file",
            fix=f"Give --licence_file; {'; '.join(terms['licence text needed'])}",
        )
    return said, None if licence_file is None else Path(licence_file)


def packed_config(config: Mapping) -> dict:
    """The configuration without what only training needs, without paths, and with the tower's own sizes in it."""
    if config.get("tower_adapters"):
        raise ConfigError(
            "this model has adapters, whose base may lie elsewhere",
            found=f"tower_adapters on {', '.join(config['tower_adapters'])}",
            fix="Run `espnet-vivit merge-adapters EXP MERGED` and pack MERGED",
        )
    kept = {key: config[key] for key in _BUILT_FROM if key in config}
    for part, key in TOWER_CONFIGS.items():
        tower = kept.pop(key, None)
        if kept.get(part) not in FROM_CHECKPOINTS:
            continue
        conf = {k: v for k, v in (kept.get(f"{part}_conf") or {}).items() if k not in _OF_THE_MACHINE}
        if tower is None and conf.get("pretrained", True):
            raise ConfigError("the configuration lacks the tower's sizes", found=f"no {key}", fix="Train again")
        kept[f"{part}_conf"] = conf | {"pretrained": False, "config": tower or conf.get("config")}
    kept["preprocessor_conf"] = {k: v for k, v in (kept.get("preprocessor_conf") or {}).items() if k != "noise_scp"}
    kept["init"] = None
    return kept


def _write_model(folder: Path, files) -> dict:
    """Weights, configuration, tokens and sentencepiece model; returns the configuration."""
    from espnet_vivit.base.config_file import read_config
    from espnet_vivit.base.torch_file import read_tensors, write_safetensors
    from espnet_vivit.tasks.model_config import read_token_list

    config = packed_config(read_config(files.config))
    config["token_list"] = read_token_list(config["token_list"])
    config["bpemodel"] = None if files.bpemodel is None else package.BPE_MODEL
    write_safetensors(read_tensors(files.weights), folder / package.WEIGHTS)
    (folder / package.TOKENS).write_text("".join(f"{token}\n" for token in config["token_list"]), encoding="utf-8")
    text = yaml.safe_dump(config, allow_unicode=True, sort_keys=True)
    (folder / package.CONFIG).write_text(text, encoding="utf-8")
    if files.bpemodel is not None:
        shutil.copyfile(files.bpemodel, folder / package.BPE_MODEL)
    return config


def _provenance(files) -> dict:
    """Where the weights are from; of a package, what it says itself."""
    if files.provenance is not None:
        return files.provenance
    from espnet_vivit.base.config_file import read_config

    config = read_config(files.config)
    try:
        history = read_training_history(files.config.parent)
        training = f"{history.epochs} epochs in {history.seconds / 60:.1f} minutes"
    except DataError:  # an imported or merged model has no log
        training = "not recorded"
    started = _started_from(config)
    return {
        "source": NOT_STATED,
        "weights": f"{files.weights.name}, SHA-256 {package.sha256(files.weights)}",
        "training set": training_set(config, files.config.parent) or NOT_STATED,
        "training": training,
        "seed": config.get("seed", "not stated"),
        "started from": ", ".join(started) or "random weights, or init_param",
        "versions": versions(),
    }


def _started_from(config: Mapping) -> list[str]:
    """The checkpoints of the towers that were pretrained."""
    names = []
    for part in TOWER_CONFIGS:
        conf = config.get(f"{part}_conf") or {}
        if config.get(part) in FROM_CHECKPOINTS and conf.get("pretrained", True):
            names.append(conf.get("model_name", "ViViT"))
    return names


def _size(folder: Path, files) -> dict[str, str]:
    """What the weights take, and what the model was made for."""
    from safetensors import safe_open

    with safe_open(folder / package.WEIGHTS, "pt") as stored:
        shapes = {name: stored.get_slice(name).get_shape() for name in stored.keys()}  # no dict: it has no iterator
    facts = files.facts
    megabytes = (folder / package.WEIGHTS).stat().st_size / 1e6
    size = {"weights": f"{sum(map(math.prod, shapes.values())):,} numbers, {megabytes:.1f} MB"}
    if facts.mouth_size is not None:
        view = "" if facts.mouth_view is None else f", the middle {facts.mouth_view} of the 96-pixel mouth"
        size["mouth pictures"] = f"{facts.mouth_size} pixels at 25 per second{view}"
    if facts.longest_clip_s is not None:
        size["longest training clip"] = f"{facts.longest_clip_s:g} s; longer recordings are cut into pieces"
    return size


def _write_json(path: Path, value: Mapping) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
