"""The task isolated words: clips of one word each, a visual encoder, one label.

In: data directories whose `text` has one word a clip, and a token list of words. Out: an experiment as ESPnet2's
trainer writes it, with accuracies in place of error rates. What AVSRTask does with files, batches and checkpoints holds
here too; Conformer, decoder, CTC, sound and tower adapters do not exist here, so their options are errors.
"""

import argparse
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from espnet_vivit.base.config_file import read_config
from espnet_vivit.data.token_list import FIRST
from espnet_vivit.data.transcripts import read_transcripts
from espnet_vivit.errors import ConfigError, DataError
from espnet_vivit.espnet_compat import ClassChoices, NestedDictAction, get_default_kwargs, str_or_none
from espnet_vivit.model.options import built_again
from espnet_vivit.model.parts import VISION_ENCODERS, build_checked, build_part
from espnet_vivit.model.precision import AMP_DTYPES, precision_for_inference
from espnet_vivit.tasks.avsr import AVSRTask
from espnet_vivit.tasks.loading.augmentation import check_preprocessor_conf
from espnet_vivit.tasks.loading.preprocess import AVSRPreprocessor
from espnet_vivit.tasks.model_config import load_strictly, note_towers, read_token_list
from espnet_vivit.tasks.optim.muon import NAME as MUON
from espnet_vivit.tasks.optim.muon import mark_hidden_matrices
from espnet_vivit.tasks.options import PartChoices, add_choice
from espnet_vivit.tasks.preflight.feature_cache import check_feature_cache
from espnet_vivit.tasks.preflight.lists import check_training_data
from espnet_vivit.tasks.training.recompute import checkpoint_towers
from espnet_vivit.tasks.training.trainer import check_precision
from espnet_vivit.tasks.training_options import add_training_arguments, check_training_options
from espnet_vivit.units import FEATURE_RATES

MEASURED = ("loss", "acc", "acc5")
OF_SENTENCES = ("word_crop_prob", "join_prob", "noise_scp")  # of preprocessor_conf
FIXED = {"modality": "video", "token_type": "word", "bpemodel": None, "use_preprocessor": True, "curriculum": {}}


class WordsTask(AVSRTask):
    """`WordsTask.main(cmd=[…])` trains with the options of `words_train`.

    `WordsTask.build_model_from_file(config, weights)` returns a trained `WordModel` and its training arguments.
    """

    class_choices_list = [
        PartChoices("vision_encoder", VISION_ENCODERS, default="vivit"),
        ClassChoices("preprocessor", {"avsr": AVSRPreprocessor}, default="avsr"),
    ]

    @classmethod
    def add_task_arguments(cls, parser: argparse.ArgumentParser) -> None:
        parser.get_default("required").append("token_list")
        group = parser.add_argument_group("Isolated words")
        group.add_argument("--token_list", type=str_or_none, default=None, help="one word per line, <blank> first")
        add_choice(group, "feature_rate", FEATURE_RATES, default="tubelet", help_text="rate of the encoder's steps")
        add_choice(group, "amp_dtype", AMP_DTYPES, help_text="mixed precision: replaces ESPnet's use_amp")
        help_text = "head and loss, as {pooling: mean, representation_size: 256, lsm_weight: 0.1}"
        group.add_argument("--model_conf", action=NestedDictAction, default={}, help=help_text)
        for choices in cls.class_choices_list:
            choices.add_arguments(group)
        parser.set_defaults(**FIXED)
        add_training_arguments(parser)

    @classmethod
    def get_default_config(cls) -> dict:
        """What `--print_config` shows: every option with its default."""
        config = super(AVSRTask, cls).get_default_config()
        defaults = get_default_kwargs(_model_class())
        own = ("pooling", "representation_size", "lsm_weight")
        config["model_conf"] = {name: defaults[name] for name in own} | config["model_conf"]
        return config

    @classmethod
    def check_required_command_args(cls, args: argparse.Namespace) -> None:
        missing = [name for name in args.required if getattr(args, name, None) in (None, "")]
        if missing:
            raise ConfigError("options are missing: " + ", ".join(f"--{name}" for name in missing))
        check_preprocessor_conf(args.preprocessor_conf)
        for name in OF_SENTENCES:
            if args.preprocessor_conf.get(name):
                fix = f"Leave {name} out of preprocessor_conf"
                raise ConfigError(f"{name} is for sentences, and these clips hold one word each", fix=fix)
        check_training_options(args, names=MEASURED)
        check_precision(args)
        if args.train_data_path_and_name_and_type or args.valid_data_path_and_name_and_type:
            check_feature_cache(args)
            check_training_data(args)
            check_words(args)

    @classmethod
    def optional_data_names(cls, train: bool = True, inference: bool = False) -> tuple[str, ...]:
        return ("video", "text")

    @classmethod
    def build_model(cls, args: argparse.Namespace) -> Any:
        """WordModel as configured; notes its words and its tower in `args`, and so in the experiment's config.yaml."""
        args.token_list = read_token_list(args.token_list)
        given = {"feature_rate": args.feature_rate}
        tower = build_part("vision_encoder", args.vision_encoder, VISION_ENCODERS, args.vision_encoder_conf, **given)
        given = {"token_list": args.token_list, "vision_encoder": tower, "amp_dtype": args.amp_dtype}
        model = build_checked("model_conf", _model_class(), args.model_conf, **given)
        note_towers(args, {"vision_encoder": tower})
        logging.info("%d words, %d parameters", len(model.words), sum(p.numel() for p in model.parameters()))
        checkpoint_towers(model.towers(), args.gradient_checkpointing)
        return model

    @classmethod
    def build_optimizers(cls, args: argparse.Namespace, model: Any) -> list[torch.optim.Optimizer]:
        if args.optim == MUON:
            mark_hidden_matrices(args, model)
        return super(AVSRTask, cls).build_optimizers(args, model)

    @classmethod
    def build_model_from_file(
        cls, config_file: str | Path | None = None, model_file: str | Path | None = None, device: str = "cpu"
    ) -> tuple[Any, argparse.Namespace]:
        """(model, its training arguments). Raises WeightsError unless the weights fit the configuration exactly."""
        if config_file is None:
            if model_file is None:
                raise ConfigError("nothing to load", found="neither a configuration nor a model file")
            config_file = Path(model_file).parent / "config.yaml"
        args = argparse.Namespace(**read_config(config_file))
        if getattr(args, "token_type", None) != "word" or getattr(args, "encoder", None) is not None:
            fix = "Name the config.yaml of a training by words_train"
            raise ConfigError(f"{config_file} is not of a model for isolated words", fix=fix)
        conf = args.vision_encoder_conf
        args.vision_encoder_conf = built_again(vars(args), "vision_encoder")
        model = cls.build_model(args)
        args.vision_encoder_conf = conf
        if model_file is not None:
            load_strictly(model, model_file)
        model.precision = precision_for_inference(args.amp_dtype, torch.device(device))
        return model.to(device), args


def check_words(args: argparse.Namespace) -> None:
    """Raise DataError for a clip, of training or validation, whose text is not one word of the token list."""
    words = set(read_token_list(args.token_list)[FIRST:-1])
    for split in ("train", "valid"):
        for path, name, _ in getattr(args, f"{split}_data_path_and_name_and_type"):
            odd = (
                {utt: text for utt, text in read_transcripts(path).items() if text not in words}
                if name == "text"
                else {}
            )
            if odd:
                utt_id, text = next(iter(odd.items()))
                found = f"{len(odd)} others, such as {text!r} of utterance {utt_id!r}"
                fix = "Make the list of the training set, whose words must be those of the validation set"
                raise DataError(f"{path}: texts", found=found, expected="one word of the token list each", fix=fix)


def _model_class() -> Callable:
    """`WordModel`, imported late: its import of ESPnet shall come after the quiet one of `espnet_compat`."""
    from espnet_vivit.model.word_model import WordModel

    return WordModel
