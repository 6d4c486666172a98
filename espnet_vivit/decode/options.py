"""The options of decoding, and those of them that change what the search answers.

In: words of a command line, or what a package says of itself. Out: `SearchOptions`, what somebody asked for, and
`Search`, which holds the default of each option. A word error rate holds for one choice of them, so they travel with
a model (package_decoding.py).
"""

import argparse
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from espnet_vivit.base.option_types import OPTIONS, check_value
from espnet_vivit.errors import ConfigError, DataError, unknown_name

_VALUES = OPTIONS["search"]
PRECISIONS = ("float32", "bfloat16", "int8")  # see decode/precision.py
SEARCHES = _VALUES["search"].choices
LM_WEIGHT, NGRAM_WEIGHT = 1.0, 0.9  # of the language models that a decoding names, where it names no weight


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """The options of the search that were asked for, as in `Speech2Text`; None: not asked for.

    Raises:
        ConfigError: a value outside its range.
    """

    search: str | None = None
    beam_size: int | None = None
    ctc_weight: float | None = None
    penalty: float | None = None
    maxlenratio: float | None = None
    minlenratio: float | None = None
    normalize_length: bool | None = None

    def __post_init__(self):
        for name, value in self.stated().items():
            check_value("search", name, value, where=name if name == "search" else f"a search with a bad {name}")

    @classmethod
    def asked(cls, args: argparse.Namespace) -> "SearchOptions":
        """The search options among the arguments that `decoding_parser` has parsed."""
        return cls(**{field.name: getattr(args, field.name) for field in fields(cls)})

    @classmethod
    def read(cls, values: Mapping, *, source: object) -> "SearchOptions":
        """From a file's fields. Raises ConfigError for an unknown name, DataError for a value that none can have."""
        for name, value in values.items():
            if name not in _VALUES:
                raise unknown_name(f"option in {source}", name, _VALUES)
            if not _VALUES[name].hold(value):
                expected, fix = str(_VALUES[name]), "Pack the experiment again"
                raise DataError(f"{source}: {name}", found=repr(value), expected=expected, fix=fix)
        return cls(**values)

    def or_else(self, other: "SearchOptions") -> "SearchOptions":
        """These options, and the other's where these say nothing."""
        return SearchOptions(**{**other.stated(), **self.stated()})

    def complete(self, *, has_ctc: bool, has_decoder: bool) -> "Search":
        """The search of a model with these branches: the defaults of `Search` where nothing was asked for.

        A model with one branch is searched with that one. Raises ConfigError for a branch that the model lacks.
        """
        default = Search() if has_ctc and has_decoder else Search(ctc_weight=float(has_ctc))
        search = replace(default, **self.stated())
        greedy = search.search == "ctc_greedy"
        for branch, missing, fix in (
            ("CTC", (search.ctc_weight > 0 or greedy) and not has_ctc, "Set ctc_weight to 0."),
            ("attention decoder", search.ctc_weight < 1 and not has_decoder and not greedy, "Set ctc_weight to 1."),
        ):
            if missing:
                found = f"ctc_weight={search.ctc_weight}"
                raise ConfigError(f"the model was trained without {branch}", found=found, fix=fix)
        return search

    def recorded(self) -> "SearchOptions":
        """What a package says of this decoding: every option that had a say in it.

        Where nobody asked for a ctc_weight it stays open: it depends on the model (package_decoding.py).
        """
        search = replace(Search(), **self.stated())
        if search.search == "ctc_greedy":
            return SearchOptions(search=search.search)
        return SearchOptions(**{**asdict(search), "ctc_weight": self.ctc_weight})

    def stated(self) -> dict[str, Any]:
        """Name and value of the options that were asked for."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in self.stated().items()) or "not stated"  # as in a card


@dataclass(frozen=True, kw_only=True)
class Search(SearchOptions):
    """Every option of a search. These are the defaults of decoding and transcribing alike, and there are no others."""

    search: str = "beam"
    beam_size: int = 10
    ctc_weight: float = 0.3  # of a model with both branches
    penalty: float = 0.0
    maxlenratio: float = 0.0
    minlenratio: float = 0.0
    normalize_length: bool = False


def branches_of(config: Mapping) -> dict[str, bool]:
    """The branches of the model that an experiment's configuration describes, for `SearchOptions.complete`."""
    ctc_weight = float((config.get("model_conf") or {}).get("ctc_weight", 0.1))  # `E2E`'s default
    return {"has_ctc": ctc_weight > 0, "has_decoder": ctc_weight < 1}


def decoding_parser(description: str | None = None) -> argparse.ArgumentParser:
    """The options of `espnet_vivit.bin.avsr_inference`: ESPnet's names, and which streams to use."""
    from espnet_vivit.decode.video_control import VIDEO_CONTROLS
    from espnet_vivit.espnet_compat import str2bool, str2triple_str, str_or_none
    from espnet_vivit.tasks.options import AVSRArgumentParser, add_choice
    from espnet_vivit.units import STREAMS_OF

    parser = AVSRArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    group = parser.add_argument_group("Run")
    group.add_argument("--output_dir", help="folder for 1best_recog/{text,token,token_int,score}")
    group.add_argument("--word_times", type=str2bool, default=False, help="also write word_times and confidence")
    group.add_argument("--ngpu", type=int, default=0, help="number of GPUs, 0 or 1 (default: 0)")
    group.add_argument("--seed", type=int, default=0, help="random seed of --video_control shuffle")
    group.add_argument("--num_workers", type=int, default=1, help="processes that load data (default: 1)")
    levels = ["DEBUG", "INFO", "WARNING", "ERROR"]
    group.add_argument("--log_level", type=str.upper, default="INFO", choices=levels, help="(default: INFO)")
    group = parser.add_argument_group("Data")
    stream = "path,name,type of a list file of a stream; repeat for each stream"
    group.add_argument("--data_path_and_name_and_type", type=str2triple_str, action="append", default=[], help=stream)
    group.add_argument("--key_file", type=str_or_none, help="decode only these utterances (first column)")
    group.add_argument("--allow_variable_data_keys", type=str2bool, default=False, help="accept further names")
    add_choice(group, "modality", STREAMS_OF, help_text="streams to use (default: all that model and data have)")
    control = "decode with black videos (zero) or those of other clips (shuffle); default: none"
    group.add_argument("--video_control", default="none", choices=VIDEO_CONTROLS, help=control)
    group = parser.add_argument_group("Model")
    group.add_argument("--asr_train_config", type=str_or_none, help="(default: config.yaml beside the weights file)")
    group.add_argument("--asr_model_file", type=str_or_none, help="weights file of the model")
    group.add_argument("--lm_train_config", type=str_or_none, help="config.yaml of a language model of ESPnet")
    group.add_argument("--lm_file", type=str_or_none, help="weights file of the language model")
    group.add_argument("--ngram_file", type=str_or_none, help="ARPA file, as avsr_ngram or lmplz writes it")
    group.add_argument("--token_type", type=str_or_none, help="(default: as in training)")
    group.add_argument("--bpemodel", type=str_or_none, help="(default: as in training)")
    faster = "bfloat16 (of a ViViT) and int8 (of all linear layers) are faster on recent CPUs (default: float32)"
    group.add_argument("--precision", default="float32", choices=PRECISIONS, help=faster)
    _add_search_options(parser.add_argument_group("Search"))
    return parser


def _add_search_options(group: Any) -> None:
    """What is left out is None here; `SearchOptions.complete` fills it in, and the help tells with what."""
    from espnet_vivit.espnet_compat import str2bool

    default = Search()
    ctc_weight = f"weight of CTC, 0 to 1 (default: {default.ctc_weight}, or that of the model's only branch)"
    longest = f"tokens per video frame, at most; 0: no bound (default: {default.maxlenratio:g})"
    shortest = f"tokens per video frame, at least (default: {default.minlenratio:g})"
    group.add_argument("--search", choices=SEARCHES, help=f"ctc_greedy is faster (default: {default.search})")
    group.add_argument("--batch_size", type=int, default=1, help="clips decoded at once (default: 1)")
    group.add_argument("--nbest", type=int, default=1, help="hypotheses to write (default: 1)")
    group.add_argument("--beam_size", type=int, help=f"(default: {default.beam_size})")
    group.add_argument("--penalty", type=float, help=f"score added per token (default: {default.penalty:g})")
    group.add_argument("--maxlenratio", type=float, help=longest)
    group.add_argument("--minlenratio", type=float, help=shortest)
    group.add_argument("--ctc_weight", type=float, help=ctc_weight)
    help_text = "weight of the language model (default: 1)"
    group.add_argument("--lm_weight", type=float, default=LM_WEIGHT, help=help_text)
    help_text = "weight of the n-gram model (default: 0.9)"
    group.add_argument("--ngram_weight", type=float, default=NGRAM_WEIGHT, help=help_text)
    group.add_argument("--normalize_length", type=str2bool, help="rank by score per token (default: false)")
