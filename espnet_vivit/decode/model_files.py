"""Where the files of a trained model are, whatever it comes as: the one door that transcribing and packing go through.

In: an experiment folder, a weights file in one, a package (folder or .zip), or an archive that `espnet2.bin.pack`
wrote. Out: `ModelFiles`. Nothing is fetched from a network and nothing in the files is run.
"""

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from espnet_vivit.base.config_file import read_config
from espnet_vivit.decode.options import SearchOptions
from espnet_vivit.decode.package import (
    CONFIG,
    RELIABILITY,
    WEIGHTS,
    Package,
    is_package,
    read_decoding,
    read_json,
    read_reliability,
)
from espnet_vivit.decode.package_archive import extract, is_archive
from espnet_vivit.decode.package_decoding import Decoding
from espnet_vivit.errors import ConfigError, DataError, WeightsError, no_model
from espnet_vivit.model.published.catalog import PROVENANCE
from espnet_vivit.tasks.training_facts import TrainingFacts, find_under, training_facts

USUAL_WEIGHTS = ("valid.acc.ave.pth", "published.pth", "auto_avsr.pth")  # of stage 11, of `espnet-vivit import`
_ESPNET_META = "meta.yaml"


@dataclass(frozen=True)
class ModelFiles:
    """`reliability` is what `espnet-vivit calibrate` wrote; packages and imported models have `decoding`, `provenance`.

    The files of an archive go when this object does.
    """

    config: Path
    weights: Path
    bpemodel: Path | None
    facts: TrainingFacts
    reliability: dict | None
    _extracted: tempfile.TemporaryDirectory | Package | None = field(default=None, repr=False)
    decoding: Decoding = field(default_factory=Decoding)
    provenance: dict | None = None

    def decoding_arguments(
        self, asked: SearchOptions, *, lm_weight: float | None = None, ngram_weight: float | None = None
    ) -> dict[str, Any]:
        """Of `Speech2Text`: the model and how to decode with it; what is not asked for is as the package says.

        Raises ConfigError for the weight of a language model that is not there.
        """
        language = self.decoding.language
        for name, weight, file in (
            ("lm_weight", lm_weight, language.lm_file),
            ("ngram_weight", ngram_weight, language.ngram_file),
        ):
            if weight and file is None:
                kind = "n-gram" if name == "ngram_weight" else "language"
                fix = "Leave it out, or pack the model with one (pack --decoded_with)"
                raise ConfigError(f"{name} without any {kind} model", found=weight, expected="0", fix=fix)
        return {
            "asr_train_config": self.config,
            "asr_model_file": self.weights,
            "bpemodel": None if self.bpemodel is None else str(self.bpemodel),
            "lm_train_config": language.lm_config,
            "lm_file": language.lm_file,
            "lm_weight": language.lm_weight if lm_weight is None else lm_weight,
            "ngram_file": language.ngram_file,
            "ngram_weight": language.ngram_weight if ngram_weight is None else ngram_weight,
            **asked.or_else(self.decoding.search).stated(),
        }


def open_model(path: str | Path, *, weights: str | None = None) -> ModelFiles:
    """Find the files; packages are checked against their hashes. `weights` names a file of an experiment folder.

    Raises DataError or WeightsError, which say what is missing.
    """
    path = Path(path)
    if path.is_file() and path.suffix == ".pth" and weights is None:
        return _experiment(path.parent, path.name)
    if path.is_dir() and not is_package(path):
        return _experiment(path, weights)
    if not (path.is_dir() or is_archive(path)):
        raise no_model(path)
    if weights is not None:
        raise DataError(f"{path} holds one set of weights", found=f"weights {weights}", fix="Leave it out")
    if path.is_dir():
        return _package(Package.checked(path))
    extracted = tempfile.TemporaryDirectory(prefix="espnet_vivit_")
    extract(path, Path(extracted.name))
    if is_package(Path(extracted.name)):
        return _package(Package.checked(Path(extracted.name), extracted))
    return _espnet_archive(path, Path(extracted.name), extracted)


def _package(package: Package) -> ModelFiles:
    config, weights = package.folder / CONFIG, package.folder / WEIGHTS
    known = (package.facts, package.reliability)
    said = (package.decoding, package.info.get("provenance"))
    return ModelFiles(config, weights, package.bpemodel, *known, package, *said)


def _experiment(folder: Path, weights: str | None) -> ModelFiles:
    if not (folder / "config.yaml").is_file():
        raise DataError(f"{folder} is no experiment", found="no config.yaml", fix="Name the folder of stage 11, exp/…")
    config = read_config(folder / "config.yaml")
    path = folder / (weights or _usual_weights(folder))
    if not path.is_file():
        raise WeightsError(f"the model file {path} does not exist", fix="Has the training ended?")
    named = config.get("bpemodel")
    bpemodel = None if named is None else find_under(Path(named), [Path.cwd(), *folder.resolve().parents])
    if named is not None and bpemodel is None:
        raise DataError(
            f"the sentencepiece model {named} of {folder} is not there", fix="Run this where it was trained"
        )
    measured = read_reliability(folder / RELIABILITY) if (folder / RELIABILITY).is_file() else None
    provenance = read_json(folder / PROVENANCE) if (folder / PROVENANCE).is_file() else None
    known = (training_facts(config, folder), measured)
    decoding = read_decoding(folder, {file.name for file in folder.iterdir()})
    return ModelFiles(folder / "config.yaml", path, bpemodel, *known, decoding=decoding, provenance=provenance)


def _usual_weights(folder: Path) -> str:
    present = [path.name for path in sorted(folder.glob("*.pth")) if path.name != "checkpoint.pth"]
    for name in (*USUAL_WEIGHTS, *(present if len(present) == 1 else ())):
        if name in present:
            return name
    found = ", ".join(present) or "none"
    raise WeightsError(
        f"which weights of {folder}?", found=found, expected=USUAL_WEIGHTS[0], fix="Name one with --weights"
    )


def _espnet_archive(archive: Path, folder: Path, extracted: tempfile.TemporaryDirectory) -> ModelFiles:
    """What `python -m espnet2.bin.pack asr` writes: meta.yaml, and files under the paths that they had."""
    if not (folder / _ESPNET_META).is_file():
        raise DataError(f"{archive} holds no model", found="neither package.json nor meta.yaml")
    meta = read_config(folder / _ESPNET_META)
    named = {}
    for kind, key in (("yaml_files", "asr_train_config"), ("files", "asr_model_file")):
        listed = meta.get(kind)
        name = str(listed.get(key, "")) if isinstance(listed, dict) else ""
        named[key] = folder / name.lstrip("/")  # ESPnet writes absolute paths, and its archivers drop the slash
        if not name or ".." in Path(name).parts or not named[key].is_file():
            raise DataError(f"{archive} holds no speech recognition model", found=f"no {key} in it")
    config = read_config(named["asr_train_config"])
    return ModelFiles(
        named["asr_train_config"],
        named["asr_model_file"],
        _bpemodel_in(archive, folder, config.get("bpemodel")),
        training_facts({**config, "train_data_path_and_name_and_type": []}, folder),
        None,
        extracted,
    )


def _bpemodel_in(archive: Path, folder: Path, named: str | None) -> Path | None:
    if named is None:
        return None
    found = [path for path in sorted(folder.rglob(Path(named).name)) if path.is_file()]
    if not found:
        raise DataError(
            f"{archive} lacks the sentencepiece model",
            found=f"no {Path(named).name}",
            fix=f"Pack it again with --option {named}",
        )
    return found[0]
