"""An experiment folder in, a package out (package.py says what is in one).

    espnet-vivit pack exp/avsr_train package --licence CC-BY-4.0
    espnet-vivit pack exp/avsr_train package.zip --licence CC-BY-4.0 --licence_file LICENSE --source "GRID, speaker s1"

The licence is that of the weights, which the data they were trained on may bind: it has no default. A model whose
adapters stand on weights kept elsewhere is refused: `espnet-vivit merge-adapters` makes a whole one of it first.
"""

import argparse
import dataclasses
import datetime
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from espnet_vivit import __version__, package
from espnet_vivit.errors import ConfigError, DataError
from espnet_vivit.provenance import commit, versions
from espnet_vivit.training_log import read_training_history

_BUILT_FROM = (  # the keys of a training's configuration that building and decoding read
    *("modality", "fusion", "feature_rate", "modality_dropout", "init", "amp_dtype", "tower_adapters"),
    *("vision_encoder", "vision_encoder_conf", "vision_tower", "audio_encoder", "audio_encoder_conf"),
    *("encoder", "encoder_conf", "decoder", "decoder_conf", "model_conf", "ctc_conf"),
    *("token_list", "token_type", "bpemodel", "use_preprocessor", "preprocessor", "preprocessor_conf"),
)
_OF_THE_MACHINE = ("cache_dir", "feature_cache", "local_files_only", "model_name", "revision")  # of a ViViT's options


def pack(
    experiment: str | Path,
    out: str | Path,
    *,
    licence: str,
    licence_file: str | Path | None = None,
    source: str | None = None,
    weights: str | None = None,
) -> Path:
    """Write the package `out`, a folder or (ending in .zip) one file, and return its path.

    licence: an SPDX identifier or a sentence. source: what it was trained on, in words. weights: which file of the
    experiment, if not the average that stage 11 leaves. Raises DataError, ConfigError or WeightsError.
    """
    from espnet_vivit.model_files import open_model

    if not licence.strip():
        raise ConfigError("a package needs a licence", expected="an SPDX identifier such as CC-BY-4.0, or a sentence")
    files = open_model(experiment, weights=weights)
    if Path(out).exists():
        raise DataError(f"{out} exists already", fix="Name a new folder or file")
    with tempfile.TemporaryDirectory(prefix="espnet_vivit_") as folder:
        folder = Path(folder)
        config = _write_model(folder, files)
        _write_json(
            folder / package.PREPROCESSOR,
            package.preprocessor_config(config) | {"training": dataclasses.asdict(files.facts)},
        )
        if licence_file is not None:
            shutil.copyfile(licence_file, folder / "LICENSE")
        if files.reliability is not None:
            _write_json(folder / package.RELIABILITY, files.reliability)
        history = {"source": source or "not stated", **_provenance(files)}
        (folder / package.CARD).write_text(_card(config, licence, history), encoding="utf-8")
        hashes = {
            path.name: {"sha256": package.sha256(path), "bytes": path.stat().st_size}
            for path in sorted(folder.iterdir())
        }
        head = {"format": package.FORMAT, "version": package.FORMAT_VERSION, "licence": licence}
        _write_json(folder / package.INFO, {**head, "provenance": history, "files": hashes})
        checked = package.Package.checked(folder)
        checked.load_model()  # what does not load is not handed out
        return checked.save_pretrained(out)


def packed_config(config: Mapping) -> dict:
    """The configuration without what only training needs, without paths, and with the tower's own sizes in it."""
    if config.get("tower_adapters"):
        raise ConfigError(
            "this model has adapters, whose base may lie elsewhere",
            found=f"tower_adapters on {', '.join(config['tower_adapters'])}",
            fix="Run `espnet-vivit merge-adapters EXP MERGED` and pack MERGED",
        )
    kept = {key: config[key] for key in _BUILT_FROM if key in config}
    tower = kept.pop("vision_tower", None)
    if kept.get("vision_encoder") == "vivit":
        vision = {k: v for k, v in (kept.get("vision_encoder_conf") or {}).items() if k not in _OF_THE_MACHINE}
        if tower is None and vision.get("pretrained", True):
            raise ConfigError("the configuration lacks the tower's sizes", found="no vision_tower", fix="Train again")
        kept["vision_encoder_conf"] = vision | {"pretrained": False, "config": tower or vision.get("config")}
    kept["preprocessor_conf"] = {k: v for k, v in (kept.get("preprocessor_conf") or {}).items() if k != "noise_scp"}
    kept["init"] = None
    return kept


def _write_model(folder: Path, files) -> dict:
    """Weights, configuration, tokens and sentencepiece model; returns the configuration."""
    from safetensors.torch import save_file

    from espnet_vivit.tasks.model_config import read_token_list, read_weights
    from espnet_vivit.tasks.options import read_config

    config = packed_config(read_config(files.config))
    config["token_list"] = read_token_list(config["token_list"])
    config["bpemodel"] = None if files.bpemodel is None else package.BPE_MODEL
    state = read_weights(files.weights)  # tensors that share memory are written apart
    save_file({name: value.clone().contiguous() for name, value in state.items()}, folder / package.WEIGHTS)
    (folder / package.TOKENS).write_text("".join(f"{token}\n" for token in config["token_list"]), encoding="utf-8")
    text = yaml.safe_dump(config, allow_unicode=True, sort_keys=True)
    (folder / package.CONFIG).write_text(text, encoding="utf-8")
    if files.bpemodel is not None:
        shutil.copyfile(files.bpemodel, folder / package.BPE_MODEL)
    return config


def _provenance(files) -> dict:
    from espnet_vivit.tasks.options import read_config

    config = read_config(files.config)
    try:
        history = read_training_history(files.config.parent)
        training = f"{history.epochs} epochs in {history.seconds / 60:.1f} minutes"
    except DataError:  # an imported or merged model has no log
        training = "not recorded"
    vision = config.get("vision_encoder_conf") or {}
    pretrained = config.get("vision_encoder") == "vivit" and vision.get("pretrained", True)
    return {
        "weights": f"{files.weights.name}, SHA-256 {package.sha256(files.weights)}",
        "training": training,
        "seed": config.get("seed", "not stated"),
        "started from": vision.get("model_name", "ViViT") if pretrained else "random weights, or init_param",
        "packed": f"{datetime.date.today()} with espnet_vivit {__version__} ({commit()})",
        "versions": versions(),
    }


def _card(config: Mapping, licence: str, history: Mapping) -> str:
    """README.md with the hub's metadata on top."""
    from huggingface_hub import ModelCardData

    tags = {"video": ["lip-reading"], "audio": ["speech"], "multimodal": ["lip-reading", "audio-visual-speech"]}
    simple = licence.lower() if " " not in licence else "other"
    data = ModelCardData(
        license=simple,
        license_name=None if simple != "other" else "see-package-json",
        library_name="espnet_vivit",
        pipeline_tag="automatic-speech-recognition",
        tags=["espnet", *tags[config["modality"]]],
    )
    lines = "".join(f"* {name}: {value}\n" for name, value in history.items())
    parts = " and ".join(str(config[kind]) for kind in ("vision_encoder", "audio_encoder") if config.get(kind))
    return (
        f"---\n{data.to_yaml()}\n---\n\n# A model of espnet_vivit\n\n"
        f"{config['modality'].capitalize()} speech recognition with {parts}, {len(config['token_list'])} tokens.\n\n"
        "    espnet-vivit transcribe VIDEO --model FOLDER\n\n"
        f"Licence: {licence}\n\n## Where it comes from\n\n{lines}"
    )


def _write_json(path: Path, value: Mapping) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="espnet-vivit pack",
        description="Make a package of a trained model: weights, configuration, tokens, licence, provenance, hashes.",
        epilog="example: espnet-vivit pack exp/avsr_train package.zip --licence CC-BY-4.0",
    )
    parser.add_argument("experiment", type=Path, help="its folder, or what espnet2.bin.pack wrote")
    parser.add_argument("out", type=Path, help="folder to write, or a file that ends in .zip; must not exist")
    parser.add_argument("--licence", required=True, help="of the weights: an SPDX identifier such as CC-BY-4.0")
    parser.add_argument("--licence_file", type=Path, help="its text, to be packed as LICENSE")
    parser.add_argument("--source", help="what the model was trained on, in words")
    parser.add_argument("--weights", help="which weights of the experiment (default: the average of the best epochs)")
    options = vars(parser.parse_args(argv))
    print(pack(options.pop("experiment"), options.pop("out"), **options))
    return 0
