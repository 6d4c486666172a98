"""A trained model as one folder that another machine can load: weights, configuration, tokens, and where they are from.

    package.json               format, licence, provenance, SHA-256 and size of every other file
    model.safetensors          the weights, and nothing that could run
    config.yaml                what the model is built from; no path of the machine that trained it
    tokens.txt  [bpe.model]    the vocabulary, and the sentencepiece model that cut it
    preprocessor_config.json   rates, mouth size, crop and normalisation
    [reliability.json]         from which confidence on its words can be believed (`espnet-vivit calibrate`)
    [lm.safetensors …]         the language models that it was decoded with (package_language.py)
    [decoding.json]            their weights, and the options of the search (package_decoding.py)
    README.md                  a model card

`espnet-vivit pack` writes it (pack.py). Loading needs no network and runs nothing from the package: every hash is
compared, tensors are read as safetensors, the rest as YAML, JSON and text, and parts are looked up by their names.
"""

import dataclasses
import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from espnet_vivit.base.whole_file import check_writable, make_folder
from espnet_vivit.decode.package_archive import extract, is_archive, write_zip
from espnet_vivit.decode.package_decoding import DECODING, Decoding, search_options
from espnet_vivit.decode.package_language import FILES as LANGUAGE_FILES
from espnet_vivit.decode.package_language import read_language
from espnet_vivit.errors import ConfigError, DataError, WeightsError, unknown_name
from espnet_vivit.frontend.presets import trained_preset
from espnet_vivit.model.options import FROM_CHECKPOINTS, TOWER_CONFIGS
from espnet_vivit.tasks.training_facts import TrainingFacts, noted_texts
from espnet_vivit.units import AUDIO_RATE_HZ, VIDEO_RATE_HZ

FORMAT, FORMAT_VERSION = "espnet_vivit package", 1
INFO, WEIGHTS, CONFIG, TOKENS, BPE_MODEL = "package.json", "model.safetensors", "config.yaml", "tokens.txt", "bpe.model"
PREPROCESSOR, RELIABILITY, CARD = "preprocessor_config.json", "reliability.json", "README.md"
NEEDED = (WEIGHTS, CONFIG, TOKENS, PREPROCESSOR, CARD)
FILES = (*NEEDED, BPE_MODEL, RELIABILITY, "LICENSE", DECODING, *LANGUAGE_FILES)
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class Package:
    """A package that has been checked. `info` is its package.json, `preprocessor` its preprocessor_config.json."""

    folder: Path
    info: dict
    preprocessor: dict
    _extracted: tempfile.TemporaryDirectory | None = field(default=None, repr=False)  # goes when the package does

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        revision: str | None = None,
        token: str | None = None,
        cache_dir: str | None = None,
        local_files_only: bool = False,
    ) -> "Package":
        """A folder, a `.zip` of one, or the hub id "owner/name"; only the last may use the network.

        Raises DataError, which names the file, for what is missing, altered or of another kind; WeightsError if the hub
        has no such package or cannot be reached.
        """
        path = Path(source)
        if is_archive(path):
            extracted = tempfile.TemporaryDirectory(prefix="espnet_vivit_")
            extract(path, Path(extracted.name))
            return cls.checked(Path(extracted.name), extracted)
        if path.is_dir():
            return cls.checked(path)
        if not _HUB_ID.fullmatch(str(source)):
            raise DataError("no such package", found=str(source), expected="a folder, a .zip, or a hub id owner/name")
        return cls.checked(_download(str(source), revision, token, cache_dir, local_files_only))

    @classmethod
    def checked(cls, folder: Path, extracted: tempfile.TemporaryDirectory | None = None) -> "Package":
        """The package in `folder` if all of its files are as its package.json says; DataError otherwise."""
        info = read_json(folder / INFO)
        if info.get("format") != FORMAT or info.get("version") != FORMAT_VERSION:
            found = f"{info.get('format')!r}, version {info.get('version')}"
            raise DataError(f"{folder} is no package that this version reads", found=found, expected=FORMAT_VERSION)
        files = _listed(info, folder)
        for name in (*NEEDED, *files):
            if name not in files:
                raise DataError(f"{folder / INFO} does not list {name}", fix="Pack the experiment again")
            if name not in FILES:
                raise unknown_name(f"file listed in {folder / INFO}", name, FILES)
            if not (folder / name).is_file():
                raise DataError(f"{folder} is incomplete", found=f"no {name}", fix="Get the package again")
            found = sha256(folder / name)
            if found != files[name]["sha256"]:
                expected = files[name]["sha256"]
                raise DataError(f"{folder / name} was altered or damaged", found=f"SHA-256 {found}", expected=expected)
        _check_config(folder)
        _check_tokens(folder)
        package = cls(folder, info, read_json(folder / PREPROCESSOR), extracted)
        _ = package.decoding  # refuses half a language model
        return package

    def load_model(self, *, device: str = "cpu"):
        """The `E2E` in evaluation mode."""
        from espnet_vivit.tasks.avsr import AVSRTask

        model, _ = AVSRTask.build_model_from_file(self.folder / CONFIG, self.folder / WEIGHTS, device)
        return model.eval()

    @property
    def bpemodel(self) -> Path | None:
        return self.folder / BPE_MODEL if BPE_MODEL in self.info["files"] else None

    @property
    def facts(self) -> TrainingFacts:
        """What it says of the clips that its model was trained on."""
        known = self.preprocessor.get("training") or {}
        if not isinstance(known, dict):
            found, expected = f"training: {known!r}"[:80], "fields, as `espnet-vivit pack` writes them"
            raise DataError(f"{self.folder / PREPROCESSOR}", found=found, expected=expected)
        sizes = (known.get("mouth_size"), known.get("longest_clip_s"), known.get("mouth_view"))
        return TrainingFacts(*sizes, noted_texts(known))

    @property
    def reliability(self) -> dict | None:
        """What `espnet-vivit calibrate` measured; None if nobody has."""
        return read_reliability(self.folder / RELIABILITY) if RELIABILITY in self.info["files"] else None

    @property
    def decoding(self) -> Decoding:
        """The language models and the options that it was decoded with, as far as it says."""
        return read_decoding(self.folder, self.info["files"])

    def save_pretrained(self, out: str | Path) -> Path:
        """Copy the package to `out`: a folder, or one file if the name ends in .zip. Returns the path."""
        out = Path(out)
        if out.exists():
            raise DataError(f"{out} exists already", fix="Name a new folder or file")
        make_folder(out.parent)
        check_writable(out.parent)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as partial:
            copy = Path(partial) / "package"
            copy.mkdir()
            for name in (INFO, *self.info["files"]):
                shutil.copyfile(self.folder / name, copy / name)  # what package.json does not list stays behind
            if out.suffix == ".zip":
                write_zip(out, copy)
            else:
                copy.replace(out)
        return out

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        token: str | None = None,
        revision: str | None = None,
        commit_message: str = "Upload an espnet_vivit package",
    ) -> str:
        """Create the hub's repository if it is not there, upload the package, return the address of the upload."""
        from huggingface_hub import HfApi

        hub = HfApi(token=token)
        hub.create_repo(repo_id, private=private, exist_ok=True)
        upload = hub.upload_folder(
            repo_id=repo_id,
            folder_path=self.folder,
            allow_patterns=[INFO, *self.info["files"]],
            revision=revision,
            commit_message=commit_message,
        )
        return str(upload.commit_url)


def preprocessor_config(config: Mapping) -> dict:
    """What reaches the model, in the terms of its configuration: {"video": …, "audio": …}, None for no such stream."""
    streams: dict[str, dict | None] = {"video": None, "audio": None}
    if config["modality"] != "audio":
        preset = dataclasses.asdict(trained_preset(config))
        crop = preset["crop"]  # as JSON gives it back: a pair is a list there
        preset["crop"] = list(crop) if isinstance(crop, tuple) else crop
        streams["video"] = {"rate_hz": VIDEO_RATE_HZ, "color": "gray", **preset}
    if config["modality"] != "video":
        normalization = (config.get("audio_encoder_conf") or {}).get("waveform_normalization", "utterance")
        if config["audio_encoder"] == "huggingface":
            normalization = "the tower's own"
        streams["audio"] = {"rate_hz": AUDIO_RATE_HZ, "channels": 1, "waveform_normalization": normalization}
    return streams


def is_package(path: Path) -> bool:
    return (path / INFO).is_file()


def sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _listed(info: Mapping, folder: Path) -> dict[str, dict]:
    """The files that a package.json lists, by their names. Raises DataError for a list of another form."""
    files = info.get("files")
    provenance = info.get("provenance") or {}
    if (
        not isinstance(files, dict)
        or not isinstance(provenance, dict)
        or not all(isinstance(entry, dict) and isinstance(entry.get("sha256"), str) for entry in files.values())
    ):
        expected = "files: name, sha256 and bytes of each; provenance: fields"
        raise DataError(
            f"{folder / INFO} is not as `espnet-vivit pack` writes it", expected=expected, fix="Get it again"
        )
    return files


def _check_tokens(folder: Path) -> None:
    """Raise DataError if tokens.txt and the configuration differ: one of them is of another model."""
    from espnet_vivit.base.config_file import read_config
    from espnet_vivit.base.text_file import read_lines

    there, here = list(read_lines(folder / TOKENS)), read_config(folder / CONFIG).get("token_list")
    if there != here:
        found = f"{len(there)} tokens, {len(here) if isinstance(here, list) else 'none'} in {CONFIG}"
        raise DataError(f"{folder / TOKENS} holds other tokens than {CONFIG}", found=found, fix="Pack the model again")


def _check_config(folder: Path) -> None:
    """Raise unless the model can be built from the package alone, and as this version normalises its input."""
    from espnet_vivit.base.config_file import read_config

    config = read_config(folder / CONFIG)
    for part in TOWER_CONFIGS:
        conf = config.get(f"{part}_conf") or {}
        if config.get(part) in FROM_CHECKPOINTS and conf.get("pretrained", True):
            raise ConfigError(f"{folder / CONFIG} wants weights from elsewhere", fix="Pack the experiment again")
    stored = read_json(folder / PREPROCESSOR)
    for stream in ("video", "audio"):
        here, there = preprocessor_config(config)[stream], stored.get(stream)
        if here != there:
            raise DataError(f"{folder} was trained on other {stream} input", found=there, expected=here)


def read_decoding(folder: Path, files: Collection[str]) -> Decoding:
    """The language models and the search options among the `files` of a folder; DataError for half a language model."""
    path = folder / DECODING
    said = read_json(path) if DECODING in files else {}
    return Decoding(read_language(folder, files, said), search_options(said, source=path))


def read_reliability(path: Path) -> dict:
    """What `espnet-vivit calibrate` wrote: modality -> fields. Raises DataError for a file without thresholds."""
    measured = read_json(path)
    for modality, fields in measured.items():
        threshold = fields.get("min_confidence") if isinstance(fields, dict) else None
        if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0 <= threshold <= 1:
            found, expected = f"min_confidence of {modality}: {threshold!r}", "a number from 0 to 1"
            raise DataError(f"{path}", found=found, expected=expected, fix="Calibrate again: espnet-vivit calibrate")
    return measured


def read_json(path: Path) -> dict:
    """The fields of a JSON file. Raises DataError for anything else."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"cannot read {path} ({error})", fix="Is this a package from `espnet-vivit pack`?") from error
    if not isinstance(value, dict):
        raise DataError(f"{path} holds no fields", found=type(value).__name__)
    return value


def _download(repo_id: str, revision, token, cache_dir, local_files_only: bool) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    where = {"revision": revision, "cache_dir": cache_dir, "allow_patterns": [INFO, *FILES]}
    try:
        return Path(snapshot_download(repo_id, **where, token=token, local_files_only=local_files_only))
    except (OSError, ValueError, HfHubHTTPError) as error:  # no such name, no such revision, no network
        raise WeightsError(
            f"the package {repo_id} is neither here nor to be had from the hub ({type(error).__name__})",
            fix=f"Check the name, or fetch it where there is a network: hf download {repo_id} --local-dir FOLDER",
        ) from error
