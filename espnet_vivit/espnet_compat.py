"""The one place that knows where ESPnet keeps things, and what importing it costs.

`from espnet_vivit.espnet_compat import ASRTask` imports ESPnet quietly. It serves the releases 202511 and 202609 to
202611: what was `espnet.nets` in the first is `espnet2.legacy.nets` in the others. Measured on one core with 202511:
`import espnet2.tasks.asr` 12.5 s, through here 6 s, because
  * `g2p_en` (phonemes, unused by us) tries to download nltk data in every process; it is loaded on first use only;
  * typeguard parses the source of every checked function at import; here each is instrumented at its first call;
  * ESPnet's line on Flash Attention, which nobody here asked for, is dropped, and so are its modules' warnings about
    torch's newer names; what else they print goes to stderr, not into the output of `--print_config > file`.
"""

import functools
import importlib
import importlib.util
import io
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

# The package whose modules release 202609 moved: `espnet.nets.X` became `espnet2.legacy.nets.X`.
LEGACY = "espnet2.legacy" if importlib.util.find_spec("espnet2.legacy") else "espnet"

_WHERE = {  # name -> ESPnet's module that defines it
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
_RENAMED = {"ConfigArgumentParser": "ArgumentParser"}  # where our name says more than ESPnet's
_DATA_TYPE_TABLES = ("espnet2.train.dataset", "espnet2.train.iterable_dataset")
_TRAINER = "espnet2.train.trainer"
_TABLES = "espnet2.tasks.abs_task"  # of optimizers and schedulers
_INFERENCE = "espnet2.bin.asr_inference"


def __getattr__(name: str):
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with quiet_espnet_import():
        module = importlib.import_module(_WHERE[name])
    value = globals()[name] = getattr(module, _RENAMED.get(name, name))
    return value


# --- importing without its costs ---


@contextmanager
def quiet_espnet_import() -> Iterator[None]:
    """ESPnet modules imported inside the block load fast, print to stderr and download nothing; re-entrant."""
    import typeguard

    _defer("g2p_en")
    checked = typeguard.typechecked
    try:
        typeguard.typechecked = functools.partial(_check_from_first_call, checked)
        with redirect_stdout(_WithoutFlashAttention()), warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning, module=r"espnet2?\.")
            yield
    finally:
        typeguard.typechecked = checked


class _WithoutFlashAttention(io.TextIOBase):
    """Passes text on to stderr, except ESPnet's line on a package that is not installed, and the line's end."""

    def __init__(self):
        self._dropped = False

    def write(self, text: str) -> int:
        drops = text.startswith("Failed to import Flash Attention")
        if not drops and not (self._dropped and text == "\n"):
            sys.stderr.write(text)
        self._dropped = drops
        return len(text)


def _check_from_first_call(typechecked: Callable, target=None, **options):
    """As `typeguard.typechecked`, but a function's source is parsed when it is first called."""
    if target is None:
        return functools.partial(_check_from_first_call, typechecked, **options)
    if not isinstance(target, types.FunctionType):
        return typechecked(target, **options)
    checked = None

    @functools.wraps(target)
    def call(*args, **kwargs):
        nonlocal checked
        if checked is None:
            checked = typechecked(target, **options)
        return checked(*args, **kwargs)

    return call


class _DeferredModule(types.ModuleType):
    """Stands for a module until someone asks for one of its names."""

    def __getattr__(self, name: str):
        if name.startswith("__"):  # what import machinery and `inspect` look at: no reason to load
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


def _defer(name: str) -> None:
    if name in sys.modules:
        return
    spec = importlib.util.find_spec(name)
    if spec is None:  # not installed: ESPnet's own import shall say so
        return
    module = _DeferredModule(name)
    module.__spec__ = spec  # transformers asks for it to see whether the package is installed
    vars(module)["__path__"] = spec.submodule_search_locations  # what makes a module a package
    sys.modules[name] = module


# --- ESPnet's tables ---


def add_data_type(name: str, *, read_scp: Callable, read_value: Callable, help_text: str) -> None:
    """Make `name` a type of `--train_data_path_and_name_and_type`.

    `read_scp(path)` gives a mapping utterance -> array, `read_value(value)` the array of one line's value. It goes into
    ESPnet's map-style and its iterable table: registered in only one, an utterance would be preprocessed twice.
    """
    map_style, iterable = (_espnet_module(module).DATA_TYPES for module in _DATA_TYPE_TABLES)
    map_style[name] = {"func": read_scp, "kwargs": [], "help": help_text}
    iterable[name] = read_value


def add_scheduler(name: str, scheduler: type) -> None:
    """Make `name` a choice of `--scheduler`."""
    _espnet_module(_TABLES).scheduler_classes[name] = scheduler


def add_optimizer(name: str, optimizer: type) -> None:
    """Make `name` a choice of `--optim`."""
    _espnet_module(_TABLES).optim_classes[name] = optimizer


@contextmanager
def inference_with_task(task: type) -> Iterator[None]:
    """Inside the block, ESPnet's inference module builds models with `task` where it names ASRTask."""
    module = _espnet_module(_INFERENCE)
    original = module.ASRTask
    module.ASRTask = task
    try:
        yield
    finally:
        module.ASRTask = original


@contextmanager
def separate_averages() -> Iterator[None]:
    """Inside the block, ESPnet's trainer averages the n best epochs of each criterion from their files.

    Its own function adds up in the weights that it has loaded, and takes these for an epoch's at the next criterion or
    count: of four criteria, three averages are wrong. With fewer epochs than n, ours averages those there are; its own
    takes the best one alone.
    """
    module = _espnet_module(_TRAINER)
    original = module.average_nbest_models

    def average(*, reporter, best_model_criterion, nbest, **options) -> None:
        for criterion in best_model_criterion:
            if reporter.has(*criterion[:2]):
                epochs = len(reporter.sort_epochs_and_values(*criterion))
                for count in sorted({min(count, epochs) for count in ([nbest] if isinstance(nbest, int) else nbest)}):
                    original(reporter=reporter, best_model_criterion=[criterion], nbest=count, **options)

    module.average_nbest_models = average
    try:
        yield
    finally:
        module.average_nbest_models = original


def _espnet_module(name: str) -> Any:  # a module of which names are replaced
    with quiet_espnet_import():
        return importlib.import_module(name)


# --- our modules under ESPnet's names ---
