"""AVSRTask: audio-visual speech recognition as ESPnet2's trainer sees it.

In: ESPnet's options and a recipe's YAML (`vision_encoder: vivit`, `audio_encoder: resnet1d`, …). Out: the model, the
datasets, the preprocessing; training itself is ESPnet2's own Trainer. Importing this module registers the `video` data
type and our scheduler, also in the processes that multi-GPU training starts.
"""

import argparse
import dataclasses
import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from espnet_vivit.base.config_file import read_config
from espnet_vivit.base.sole_run import sole_run
from espnet_vivit.base.torch_file import data_only
from espnet_vivit.data.scp import read_scp
from espnet_vivit.errors import ConfigError
from espnet_vivit.espnet_compat import (
    ASRTask,
    ClassChoices,
    separate_averages,
)
from espnet_vivit.frontend.presets import trained_preset
from espnet_vivit.model import parts
from espnet_vivit.model.adapters.report import tower_table
from espnet_vivit.model.nonfinite import NonFiniteLosses
from espnet_vivit.model.options import TOWER_CONFIGS, built_again, decoder_sizes
from espnet_vivit.model.precision import precision_for_inference
from espnet_vivit.tasks.launch import espnets_trainer, is_writer
from espnet_vivit.tasks.loading.augmentation import Augmentation, check_preprocessor_conf
from espnet_vivit.tasks.loading.batches import frame_batches, log_padding
from espnet_vivit.tasks.loading.curriculum import EpochIterFactory, read_curriculum
from espnet_vivit.tasks.loading.dataset import AVSRDataset, AVSRIterableDataset
from espnet_vivit.tasks.loading.preprocess import AVSRPreprocessor
from espnet_vivit.tasks.model_config import (
    check_adapters,
    check_built_from,
    check_model_options,
    check_resumed_tokens,
    load_strictly,
    model_conf_defaults,
    model_module,
    note_towers,
    read_token_list,
    start_from_parts,
)
from espnet_vivit.tasks.model_options import add_model_arguments
from espnet_vivit.tasks.optim.muon import NAME as MUON
from espnet_vivit.tasks.optim.muon import mark_hidden_matrices
from espnet_vivit.tasks.optim.optimizer import build_optimizer, read_rates
from espnet_vivit.tasks.optim.optimizer_options import check_optimizer_options
from espnet_vivit.tasks.optim.schedule_length import TrainingBatches
from espnet_vivit.tasks.options import PartChoices, adapt_parser
from espnet_vivit.tasks.preflight.alignment import check_alignable
from espnet_vivit.tasks.preflight.feature_cache import check_feature_cache
from espnet_vivit.tasks.preflight.lists import check_training_data
from espnet_vivit.tasks.preflight.tokens import check_known_tokens
from espnet_vivit.tasks.training.atomic_save import atomic_saves
from espnet_vivit.tasks.training.checkpoints import CHECKPOINT
from espnet_vivit.tasks.training.recompute import checkpoint_towers
from espnet_vivit.tasks.training.trainer import AVSRTrainer, check_precision
from espnet_vivit.tasks.training_facts import noted_facts
from espnet_vivit.tasks.training_options import add_training_arguments, check_training_options

if TYPE_CHECKING:
    from espnet2.tasks.abs_task import IteratorOptions
    from espnet2.train.distributed_utils import DistributedOption

    from espnet_vivit.e2e_asr_conformer import E2E


class AVSRTask(ASRTask):
    """The task audio-visual speech recognition: ESPnet2's ASRTask with the streams video and speech.

    `AVSRTask.main(cmd=[…])` trains with the options of `avsr_train`. `AVSRTask.build_model_from_file(config, weights)`
    returns a trained `E2E` and its training arguments.
    """

    class_choices_list = [
        PartChoices("vision_encoder", parts.VISION_ENCODERS),
        PartChoices("audio_encoder", parts.AUDIO_ENCODERS),
        PartChoices("encoder", parts.ENCODERS, default="conformer"),
        PartChoices("decoder", parts.DECODERS, default="transformer"),
        ClassChoices("preprocessor", {"avsr": AVSRPreprocessor}, default="avsr"),
    ]

    trainer = AVSRTrainer
    training_batches: TrainingBatches | None = None  # of the training that `main_worker` runs

    # --- options ---

    @classmethod
    def get_parser(cls) -> argparse.ArgumentParser:
        return adapt_parser(super().get_parser())

    @classmethod
    def add_task_arguments(cls, parser: argparse.ArgumentParser) -> None:
        add_model_arguments(parser, cls.class_choices_list)
        add_training_arguments(parser)

    @classmethod
    def get_default_config(cls) -> dict:
        """What `--print_config` shows: every option with the value it has if nothing is said."""
        config = super().get_default_config()
        given, _ = cls.get_parser().parse_known_args()
        config["model_conf"] = {**model_conf_defaults(), **given.model_conf}
        augmentation = {field.name: field.default for field in dataclasses.fields(Augmentation)}
        config["preprocessor_conf"] = {**augmentation, **given.preprocessor_conf}
        sizes = decoder_sizes(given.encoder_conf)
        config["decoder_conf"] = {**config["decoder_conf"], **sizes, **given.decoder_conf}
        return config

    @classmethod
    def check_required_command_args(cls, args: argparse.Namespace) -> None:
        """All that can be known to be wrong before anything is built, for the command line and for Python callers."""
        missing = [name for name in args.required if getattr(args, name, None) in (None, "")]
        if missing:
            raise ConfigError("options are missing: " + ", ".join(f"--{name}" for name in missing))
        check_model_options(args)
        check_preprocessor_conf(args.preprocessor_conf)
        check_training_options(args)
        check_precision(args)
        check_adapters(args)
        check_optimizer_options(args)
        read_rates(args)
        read_curriculum(args.curriculum)
        if args.max_cache_size:
            raise ConfigError(
                "max_cache_size keeps preprocessed samples, so augmentation would be drawn once and never again",
                found=args.max_cache_size,
                fix="Leave it out",
            )
        if args.train_data_path_and_name_and_type or args.valid_data_path_and_name_and_type:
            check_feature_cache(args)
            check_training_data(args)  # else espnetez gives datasets of its own
            check_known_tokens(args)
            check_alignable(args)
        # Nothing normalises by corpus statistics here, so collecting shapes needs no model unless it is asked for.
        args.model_conf.setdefault("extract_feats_in_collect_stats", False)

    @classmethod
    def main_worker(cls, args: argparse.Namespace) -> None:
        if args.train_data_path_and_name_and_type:
            args.training_facts = noted_facts(vars(args))  # for transcribing, which may happen where no data are
        # DeepSpeed's checkpoints hold objects of its own; it needs CUDA, see SECURITY.md
        loading = nullcontext() if args.use_deepspeed else data_only()
        alone = sole_run(args.output_dir) if is_writer(args) else nullcontext()
        with alone, loading, separate_averages(), atomic_saves(keep_previous={CHECKPOINT}):
            check_resumed_tokens(args)
            cls.training_batches = TrainingBatches()
            try:
                with espnets_trainer(cls) if args.use_deepspeed else nullcontext():
                    super().main_worker(args)
            finally:
                cls.training_batches = None

    # --- data ---

    @classmethod
    def required_data_names(cls, train: bool = True, inference: bool = False) -> tuple[str, ...]:
        return () if inference else ("text",)

    @classmethod
    def optional_data_names(cls, train: bool = True, inference: bool = False) -> tuple[str, ...]:
        return (
            "speech",
            "video",
            "text",
            "word_times",
            "frame_labels",
        )  # see check_listed_streams

    @classmethod
    def build_preprocess_fn(cls, args: argparse.Namespace, train: bool) -> AVSRPreprocessor | None:
        if not args.use_preprocessor:
            return None
        check_preprocessor_conf(args.preprocessor_conf)
        preset = None
        if args.modality != "audio" and args.vision_encoder is not None:
            preset = trained_preset(vars(args))
        return AVSRPreprocessor(
            train,
            token_type=args.token_type,
            token_list=args.token_list,
            bpemodel=args.bpemodel,
            preset=preset,
            feature_rate=args.feature_rate,
            augmentation=Augmentation(**args.preprocessor_conf),
        )

    @classmethod
    def build_dataset(
        cls, args: argparse.Namespace, iter_options: "IteratorOptions", keys_to_load: set | None = None
    ) -> AVSRDataset:
        preprocess = iter_options.preprocess_fn
        joins = iter_options.train and isinstance(preprocess, AVSRPreprocessor)
        if iter_options.train and (args.curriculum or "join_prob" in args.preprocessor_conf):
            keys_to_load = None  # another process's texts are needed: short clips are dealt out anew, others follow
        dataset = AVSRDataset(
            iter_options.data_path_and_name_and_type,
            preprocess=preprocess,
            float_dtype=args.train_dtype,
            max_cache_size=iter_options.max_cache_size,
            max_cache_fd=iter_options.max_cache_fd,
            keys_to_load=keys_to_load,
        )
        cls.check_task_requirements(dataset, args.allow_variable_data_keys, train=iter_options.train)
        if joins:
            # of the shape files: what was left out there, as CTC cannot align it, must not come back here
            files = iter_options.shape_files
            preprocess.join_from(dataset.raw, list(read_scp(files[0])) if files else list(dataset))
        return dataset

    @classmethod
    def build_sequence_iter_factory(cls, args: argparse.Namespace, iter_options: "IteratorOptions", mode: str) -> Any:
        """ESPnet's, or one with the batches of `batch_frames`; the share of padding goes into the log."""
        if args.batch_frames is not None and mode != "plot_att":
            factory = frame_batches(cls, args, iter_options)
        else:
            factory = super().build_sequence_iter_factory(args, iter_options, mode)
        if mode != "plot_att":
            log_padding(mode, factory.sampler.batches, iter_options.shape_files)
        return factory

    @classmethod
    def build_iter_factory(
        cls, args: argparse.Namespace, distributed_option: "DistributedOption", mode: str, kwargs: dict | None = None
    ) -> Any:
        """ESPnet's; that of the training set knows the curriculum, and tells the preprocessing the epoch."""
        if mode != "train":
            return super().build_iter_factory(args, distributed_option, mode, kwargs)
        counted = None if cls.training_batches is None else cls.training_batches.take()
        if counted is not None:
            return counted
        factory = super().build_iter_factory(args, distributed_option, mode, kwargs)
        shape_files = (kwargs or {}).get("shape_files", args.train_shape_file)
        curriculum = read_curriculum(args.curriculum)
        return EpochIterFactory(factory, curriculum, shape_files, distributed=distributed_option.distributed)

    @classmethod
    def build_streaming_iterator(
        cls,
        data_path_and_name_and_type: Sequence[tuple[str, str, str]],
        preprocess_fn: Callable | None,
        collate_fn: Callable | None,
        key_file: str | None = None,
        batch_size: int = 1,
        dtype: str | type = np.float32,
        num_workers: int = 1,
        allow_variable_data_keys: bool = False,
        ngpu: int = 0,
        inference: bool = False,
        mode: str | None = None,
        multi_task_dataset: bool = False,
    ) -> DataLoader:
        """The loader of `collect_stats` and of inference; the arguments are those that ESPnet passes."""
        paths, precision = data_path_and_name_and_type, np.dtype(dtype).name
        dataset = AVSRIterableDataset(paths, preprocess=preprocess_fn, float_dtype=precision, key_file=key_file)
        cls.check_task_requirements(dataset, allow_variable_data_keys, train=False, inference=inference)
        workers = {"num_workers": num_workers, "pin_memory": ngpu > 0}
        return DataLoader(dataset, batch_size=batch_size, collate_fn=collate_fn, **workers)

    # --- model ---

    @classmethod
    def build_model(cls, args: argparse.Namespace) -> "E2E":
        """E2E as configured. Writes into `args`, and so into the experiment's config.yaml, what loading will need."""
        check_model_options(args)
        args.token_list = read_token_list(args.token_list)
        model = model_module().E2E(
            len(args.token_list),
            token_list=args.token_list,
            modality=args.modality,
            vision_encoder=args.vision_encoder,
            vision_encoder_conf=args.vision_encoder_conf,
            audio_encoder=args.audio_encoder,
            audio_encoder_conf=args.audio_encoder_conf,
            fusion=args.fusion,
            fusion_place=getattr(args, "fusion_place", "features"),  # not in the config.yaml of earlier versions
            fusion_conf=getattr(args, "fusion_conf", None),
            feature_rate=args.feature_rate,
            modality_dropout=args.modality_dropout,
            encoder=args.encoder,
            encoder_conf=args.encoder_conf,
            decoder=args.decoder,
            decoder_conf=args.decoder_conf,
            ctc_conf=args.ctc_conf,
            init=args.init,
            tower_adapters=getattr(args, "tower_adapters", None),  # not in the config.yaml of earlier versions
            amp_dtype=getattr(args, "amp_dtype", None),
            **args.model_conf,
        )
        note_towers(args, model.towers())
        adapters = {name: f"{config.type}, r={config.r}" for name, config in model.tower_adapters.items()}
        logging.info("towers:\n%s", tower_table(model.towers(), adapters))
        start_from_parts(args, model)
        checkpoint_towers(model.towers(), getattr(args, "gradient_checkpointing", None))
        if getattr(args, "use_deepspeed", False):  # ESPnet's loop for it would step with gradients that are not finite
            model.non_finite = NonFiniteLosses(limit=1)
        return model

    @classmethod
    def build_optimizers(cls, args: argparse.Namespace, model: "E2E") -> list[torch.optim.Optimizer]:
        """ESPnet's optimizer, or one with a group for each rate that lr_scale, layer_decay and freeze_until ask for."""
        if cls.training_batches is not None:
            cls.training_batches.plan(cls, args)
        if args.optim == MUON:
            mark_hidden_matrices(args, model)
        (default,) = super().build_optimizers(args, model)
        return [build_optimizer(args, model, default)]

    @classmethod
    def build_model_from_file(
        cls, config_file: str | Path | None = None, model_file: str | Path | None = None, device: str = "cpu"
    ) -> tuple["E2E", argparse.Namespace]:
        """(model, its training arguments) from an experiment's config.yaml and weights.

        Raises WeightsError if a weight is missing, unknown or of another shape; ESPnet ignores the first two.
        """
        if config_file is None:
            if model_file is None:
                raise ConfigError("nothing to load", found="neither a configuration nor a model file")
            config_file = Path(model_file).parent / "config.yaml"
        args = argparse.Namespace(**check_built_from(read_config(config_file), config_file))
        confs = {part: getattr(args, f"{part}_conf") for part in TOWER_CONFIGS}
        for part in confs:
            setattr(args, f"{part}_conf", built_again(vars(args), part))
        init_parts, args.init_parts = getattr(args, "init_parts", {}), None  # all weights come from `model_file`
        model = cls.build_model(args)
        args.init_parts = init_parts
        for part, conf in confs.items():
            setattr(args, f"{part}_conf", conf)
        if model_file is not None:
            load_strictly(model, model_file)
        model.precision = precision_for_inference(getattr(args, "amp_dtype", None), torch.device(device))
        return model.to(device), args
