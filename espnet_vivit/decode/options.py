"""The options of decoding, and those of them that change what the search answers.

In: words of a command line, or what a package says of itself. Out: `SearchOptions`. A word error rate holds for one
choice of them, so they travel with a model (package_decoding.py).
"""

import argparse
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from espnet_vivit.errors import ConfigError, DataError, unknown_name

SEARCHES = ("beam", "ctc_greedy")


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """What the search takes that changes its answer, as in `Speech2Text`; None: nothing was said."""

    search: str | None = None
    beam_size: int | None = None
    ctc_weight: float | None = None
    penalty: float | None = None
    maxlenratio: float | None = None
    minlenratio: float | None = None
    normalize_length: bool | None = None

    @classmethod
    def chosen(cls, args: argparse.Namespace) -> "SearchOptions":
        """Those of a decoding with `decoding_parser`'s options; of a greedy one the others had no say in it."""
        if args.search != "beam":
            return cls(search=args.search)
        return cls(**{field.name: getattr(args, field.name) for field in fields(cls)})

    @classmethod
    def read(cls, values: Mapping, *, source: object) -> "SearchOptions":
        """From a file's fields. Raises ConfigError for an unknown name, DataError for a value that none can have."""
        known = [field.name for field in fields(cls)]
        for name, value in values.items():
            if name not in known:
                raise unknown_name(f"option in {source}", name, known)
            if not _possible(name, value):
                raise DataError(f"{source}: {name}", found=repr(value), fix="Pack the experiment again")
        return cls(**values)

    def or_else(self, other: "SearchOptions") -> "SearchOptions":
        """These, and the other's where nothing was said."""
        return replace(other, **self.stated())

    def stated(self) -> dict[str, Any]:
        """Name and value of those about which something was said."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in self.stated().items()) or "not stated"  # as in a card


def check_branches(ctc_weight: float, search: str, *, has_ctc: bool, has_decoder: bool) -> None:
    """Raise ConfigError if the search wants a branch that the model was trained without."""
    needs_ctc = ctc_weight > 0 or search == "ctc_greedy"
    for branch, missing, fix in (
        ("CTC", needs_ctc and not has_ctc, "Set ctc_weight to 0."),
        ("attention decoder", ctc_weight < 1 and not has_decoder and search != "ctc_greedy", "Set ctc_weight to 1."),
    ):
        if missing:
            raise ConfigError(f"the model was trained without {branch}", found=f"ctc_weight={ctc_weight}", fix=fix)


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
    group = parser.add_argument_group("Search")
    group.add_argument("--search", default="beam", choices=SEARCHES, help="ctc_greedy is faster (default: beam)")
    group.add_argument("--batch_size", type=int, default=1, help="clips decoded at once (default: 1)")
    group.add_argument("--nbest", type=int, default=1, help="hypotheses to write (default: 1)")
    group.add_argument("--beam_size", type=int, default=20, help="(default: 20)")
    group.add_argument("--penalty", type=float, default=0.0, help="score added per token (default: 0)")
    group.add_argument("--maxlenratio", type=float, default=0.0, help="tokens per video frame, at most; 0: no bound")
    group.add_argument("--minlenratio", type=float, default=0.0, help="tokens per video frame, at least (default: 0)")
    group.add_argument("--ctc_weight", type=float, default=0.5, help="weight of CTC, 0 to 1 (default: 0.5)")
    group.add_argument("--lm_weight", type=float, default=1.0, help="weight of the language model (default: 1)")
    group.add_argument("--ngram_weight", type=float, default=0.9, help="weight of the n-gram model (default: 0.9)")
    group.add_argument("--normalize_length", type=str2bool, default=False, help="rank by score per token")
    return parser


def _possible(name: str, value: object) -> bool:
    if name == "search":
        return value in SEARCHES
    if name == "normalize_length":
        return isinstance(value, bool)
    if isinstance(value, bool) or not isinstance(value, int if name == "beam_size" else int | float):
        return False
    if name == "beam_size":
        return value >= 1
    return math.isfinite(value) and (name != "ctc_weight" or 0 <= value <= 1)
