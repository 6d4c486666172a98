"""Where ESPnet keeps what we use of it, in the releases 202511 and 202609 to 202611."""

import importlib
import importlib.util
from pathlib import Path
from typing import Any

from espnet_vivit.espnet_compat.quiet_import import quiet_espnet_import


def _legacy() -> str:
    """The package whose modules release 202609 moved: `espnet.nets.X` became `espnet2.legacy.nets.X`.

    Looked up among the files: find_spec of a package's part would import the package.
    """
    spec = importlib.util.find_spec("espnet2")
    folders = () if spec is None or spec.submodule_search_locations is None else spec.submodule_search_locations
    return "espnet2.legacy" if any((Path(folder) / "legacy").is_dir() for folder in folders) else "espnet"


LEGACY = _legacy()

WHERE = {  # name -> ESPnet's module that defines it
    "AbsBatchStepScheduler": "espnet2.schedulers.abs_scheduler",
    "AbsIterFactory": "espnet2.iterators.abs_iter_factory",
    "AbsPreprocessor": "espnet2.train.preprocessor",
    "AbsTask": "espnet2.tasks.abs_task",
    "add_optimizer_hooks": "espnet2.optimizers.optim_groups",
    "aggregate": "espnet2.train.reporter",
    "ASRTask": "espnet2.tasks.asr",
    "BatchBeamSearch": f"{LEGACY}.nets.batch_beam_search",
    "BatchScorerInterface": f"{LEGACY}.nets.scorer_interface",
    "BeamSearch": f"{LEGACY}.nets.beam_search",
    "build_dataclass": "espnet2.utils.build_dataclass",
    "build_tokenizer": "espnet2.text.build_tokenizer",
    "ClassChoices": "espnet2.train.class_choices",
    "ConfigArgumentParser": "espnet2.utils.config_argparse",
    "CTCPrefixScorer": f"{LEGACY}.nets.scorers.ctc",
    "DatadirWriter": "espnet2.fileio.datadir_writer",
    "DecoderLayer": f"{LEGACY}.nets.pytorch_backend.transformer.decoder_layer",
    "EncoderLayer": f"{LEGACY}.nets.pytorch_backend.transformer.encoder_layer",
    "ErrorCalculator": f"{LEGACY}.nets.e2e_asr_common",
    "ESPnetDataset": "espnet2.train.dataset",
    "get_default_kwargs": "espnet2.utils.get_default_kwargs",
    "Hypothesis": f"{LEGACY}.nets.beam_search",
    "int_or_none": "espnet2.utils.types",
    "IterableESPnetDataset": "espnet2.train.iterable_dataset",
    "LayerNorm": f"{LEGACY}.nets.pytorch_backend.transformer.layer_norm",
    "LengthBonus": f"{LEGACY}.nets.scorers.length_bonus",
    "MultiHeadedAttention": f"{LEGACY}.nets.pytorch_backend.transformer.attention",
    "NestedDictAction": "espnet2.utils.nested_dict_action",
    "optim_classes": "espnet2.tasks.abs_task",
    "PositionalEncoding": f"{LEGACY}.nets.pytorch_backend.transformer.embedding",
    "PositionwiseFeedForward": f"{LEGACY}.nets.pytorch_backend.transformer.positionwise_feed_forward",
    "RelPositionalEncoding": f"{LEGACY}.nets.pytorch_backend.transformer.embedding",
    "RelPositionMultiHeadedAttention": f"{LEGACY}.nets.pytorch_backend.transformer.attention",
    "scheduler_classes": "espnet2.tasks.abs_task",
    "SequenceIterFactory": "espnet2.iterators.sequence_iter_factory",
    "set_all_random_seed": "espnet2.torch_utils.set_all_random_seed",
    "Speech2Text": "espnet2.bin.asr_inference",
    "str2bool": "espnet2.utils.types",
    "str2triple_str": "espnet2.utils.types",
    "str_or_none": "espnet2.utils.types",
    "th_accuracy": f"{LEGACY}.nets.pytorch_backend.nets_utils",
    "TokenIDConverter": "espnet2.text.token_id_converter",
    "Trainer": "espnet2.train.trainer",
    "TrainerOptions": "espnet2.train.trainer",
    "TransformerDecoder": "espnet2.asr.decoder.transformer_decoder",
    "TransformerLM": "espnet2.lm.transformer_lm",
}
RENAMED = {"ConfigArgumentParser": "ArgumentParser"}  # where our name says more than ESPnet's


def find(name: str) -> Any:
    """What ESPnet has under our name for it; KeyError for a name that is not in `WHERE`."""
    return getattr(espnet_module(WHERE[name]), RENAMED.get(name, name))


def espnet_module(name: str) -> Any:
    """A module of ESPnet, imported quietly; its names may be replaced."""
    with quiet_espnet_import():
        return importlib.import_module(name)
