"""The stages of a recipe in egs3/, as one class of ESPnet3's kind: each is a few lines over the code that does it.

    create_dataset     the recipe's dataset/__init__.py makes data directories
    train_tokenizer    the token list of the training set
    collect_stats      clips checked and filtered, lengths written: nothing is decoded, and no model is built
    train              Lightning (tasks/espnet3/training.py)
    infer, measure     ESPnet3's runner and metrics; RESULTS.md, wer.json and alignments beside them
    pack_model         a package that `espnet-vivit transcribe` takes; upload_model sends it to the hub

`python run.py` of a recipe calls them through espnet_vivit.bin.avsr_espnet3.
"""

import hashlib
import json
import logging
import shutil
from pathlib import Path
from typing import Any, ClassVar

from omegaconf import DictConfig, OmegaConf

from espnet_vivit.base.whole_file import write_whole
from espnet_vivit.bin.avsr_filter import filter_data_dir
from espnet_vivit.bin.avsr_format import check_held_out, format_data_dir
from espnet_vivit.bin.avsr_shapes import shapes_of_set
from espnet_vivit.data.feasibility import MAX_EXCLUDED
from espnet_vivit.data.token_list import write_token_list
from espnet_vivit.data.transcripts import read_transcripts
from espnet_vivit.decode.options import SearchOptions
from espnet_vivit.decode.package_decoding import Decoding
from espnet_vivit.errors import ConfigError
from espnet_vivit.evaluation.bootstrap import RESAMPLES
from espnet_vivit.evaluation.decoded import Result, parse_decode_name, table_order
from espnet_vivit.evaluation.error_rates import score
from espnet_vivit.evaluation.provenance import provenance
from espnet_vivit.evaluation.results import replace_section, section
from espnet_vivit.evaluation.score import write_report
from espnet_vivit.evaluation.training_log import read_training_history
from espnet_vivit.release.pack import pack
from espnet_vivit.tasks.espnet3.arguments import data_dir_of
from espnet_vivit.tasks.espnet3.names import BaseSystem, StageSpec
from espnet_vivit.tasks.espnet3.training import train
from espnet_vivit.tasks.streams import feature_rate_of

MADE_WITH = "made_with.json"  # in the folder of the hypotheses
SEED = 0  # of the bootstrap
log = logging.getLogger(__name__)


class AVSRSystem(BaseSystem):
    """Audio-visual speech recognition, lip reading and recognition of sound, by the model that training.yaml names."""

    stages: ClassVar[tuple] = (
        StageSpec(name="create_dataset", config="training", log_dir="data_dir"),
        StageSpec(name="train_tokenizer", config="training", log_dir="data_dir"),
        StageSpec(name="collect_stats", config="training", log_dir="stats_dir"),
        StageSpec(name="train", config="training", log_dir="exp_dir"),
        StageSpec(name="infer", config="inference", log_dir="inference_dir"),
        StageSpec(name="measure", config=("metrics", "inference"), log_dir="inference_dir"),
        StageSpec(name="pack_model", config=("training", "publication")),
        StageSpec(name="upload_model", config=("training", "publication")),
    )

    def train_tokenizer(self) -> None:
        """The token list of the training set's transcripts, in tokenizer.save_path."""
        config = self.training_config
        tokenizer = dict(config.tokenizer)
        folder = Path(tokenizer.pop("save_path"))
        text = data_dir_of(config, "train") / "text"
        made_with = {**tokenizer, "text": hashlib.sha256(text.read_bytes()).hexdigest()}
        if _noted(folder) == made_with:
            log.info("the token list in %s is that of %s", folder, text)
            return
        tokens = write_token_list(text, folder, **tokenizer)
        _note(folder, made_with)
        log.info("%d tokens in %s", len(tokens), folder)

    def collect_stats(self) -> None:
        """The lengths of all clips, with those left out that are too short, too long, or not alignable by CTC."""
        config, stats = self.training_config, Path(self.training_config.stats_dir)
        model: Any = OmegaConf.to_container(config.model, resolve=True)
        limits = {
            "min_duration": config.get("collect_stats_min_duration", 0.1),
            "max_duration": config.get("collect_stats_max_duration", 20.0),
        }
        for split in ("train", "valid"):
            checked, kept = stats / "checked" / split, stats / "kept" / split
            format_data_dir(data_dir_of(config, split), checked)
            _, dropped = filter_data_dir(checked, kept, **limits)
            log.info("%s: %d clips left out for their duration %s", split, len(dropped), " ".join(dropped[:5]))
            shapes_of_set(
                kept,
                stats / split,
                token_list=Path(model["token_list"]),
                token_type=model["token_type"],
                bpemodel=Path(model["bpemodel"]) if model.get("bpemodel") else None,
                feature_rate=feature_rate_of(model),
                max_infeasible=config.get("collect_stats_max_infeasible", MAX_EXCLUDED),
            )
        check_held_out(stats / "checked" / "train", [stats / "checked" / "valid"])

    def train(self) -> None:
        """Train, or go on with a training that was stopped."""
        train(self.training_config)

    def infer(self) -> None:
        """ESPnet3's; hypotheses of other weights or of another search are not taken for these."""
        config = self.inference_config
        folder = Path(config.inference_dir)
        weights = Path(config.model.model) / (config.model.get("weights") or "valid.acc.ave.pth")
        made_with = {
            "model": OmegaConf.to_container(config.model, resolve=True),
            "dataset": OmegaConf.to_container(config.dataset, resolve=True),
            "weights": hashlib.sha256(weights.read_bytes()).hexdigest() if weights.is_file() else None,
        }
        if _noted(folder) != made_with:
            for test_set in config.dataset.test:
                shutil.rmtree(folder / test_set.name, ignore_errors=True)
        _note(folder, made_with)
        super().infer()

    def measure(self) -> dict:
        """ESPnet3's metrics in metrics.json; ours, with counts, intervals and alignments, beside the hypotheses."""
        rates = super().measure()
        results = self._results()
        experiment, folder = Path(self.inference_config.exp_dir), Path(self.inference_config.inference_dir)
        origin = provenance(
            experiment,
            data=[Path(test_set.data_src_args.data_dir) for test_set in self.inference_config.dataset.test],
            history=read_training_history(experiment),
            command=None,
            bootstrap_seed=SEED,
        )
        text = section(f"{experiment.name}, {folder.name}", results, chance={}, checks=[], origin=origin)
        replace_section(experiment / "RESULTS.md", f"{experiment.name}/{folder.name}", text)
        log.info("%s", text)
        return rates

    def _results(self) -> list[Result]:
        """Every test set of the inference configuration, scored against its data directory."""
        config, results = self.inference_config, []
        names = [test_set.name for test_set in config.dataset.test]
        drawing = {"seed": SEED, "resamples": RESAMPLES}
        for test_set in config.dataset.test:
            folder = Path(config.inference_dir) / test_set.name
            references = read_transcripts(Path(test_set.data_src_args.data_dir) / "text")
            scored = score(references, read_transcripts(folder / "text.scp"))
            interval = scored.interval(**drawing)
            write_report(scored, folder / "score", interval=interval, **drawing)
            parsed = parse_decode_name(f"{test_set.name}_{config.modality}", names)
            if parsed is None:
                raise ConfigError("modality of the inference configuration", found=config.modality)
            _, shown, modality, condition = parsed
            results.append(Result(shown, modality, condition, folder, scored, interval))
        return sorted(results, key=table_order)

    def pack_model(self) -> Path:
        """The package pack_model.out_dir of the trained model, with the search of the inference configuration."""
        conf, experiment = self.publication_config.pack_model, Path(self.training_config.exp_dir)
        out = Path(conf.out_dir)
        if conf.get("allow_overwrite"):
            shutil.rmtree(out, ignore_errors=True)
        return pack(
            experiment,
            out,
            licence=conf.get("licence"),
            card=conf.get("card"),
            decoding=_decoding(self.inference_config),
        )


def _decoding(config: DictConfig | None) -> Decoding | None:
    """What an inference.yaml says of the search; None without one."""
    if config is None:
        return None
    stated = {name: config.model.get(name) for name in ("search", "beam_size", "ctc_weight")}
    return Decoding(search=SearchOptions(**stated))


def _noted(folder: Path) -> dict[str, Any] | None:
    path = folder / MADE_WITH
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _note(folder: Path, made_with: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / MADE_WITH, json.dumps(made_with, indent=1) + "\n")
