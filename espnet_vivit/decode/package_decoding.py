"""How a model was decoded when its results were measured, so that others decode it so: decoding.json of a package.

    {"lm_weight": 0.3, "ngram_weight": 0.2,     of the language models that are there (package_language.py)
     "beam_size": 5, "ctc_weight": 0.3, …}      of the search (decode/options.py); packages of before have none

In: the options that avsr_inference had, as words or as the folder where stage 12 left them. Out: `Decoding`.
"""

import argparse
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from espnet_vivit.base.whole_file import write_whole
from espnet_vivit.decode.options import SearchOptions, branches_of, decoding_parser
from espnet_vivit.decode.package_language import LanguageModels
from espnet_vivit.errors import DataError

DECODING = "decoding.json"
LANGUAGE_WEIGHTS = ("lm_weight", "ngram_weight")
MADE_WITH = "decoded_with"  # in stage 12's folder


@dataclass(frozen=True)
class Decoding:
    """Language models and options of the search; by default nothing is known of either."""

    language: LanguageModels = field(default_factory=LanguageModels)
    search: SearchOptions = field(default_factory=SearchOptions)

    def fields(self) -> dict:
        """What decoding.json holds; empty: there is none."""
        weights = {"lm_weight": (self.language.lm_file, self.language.lm_weight)}
        weights["ngram_weight"] = (self.language.ngram_file, self.language.ngram_weight)
        return {name: weight for name, (file, weight) in weights.items() if file is not None} | self.search.stated()

    def fitted(self, config: Mapping) -> "Decoding":
        """The same with the weight of CTC that a beam search has by default with the model of this configuration.

        Raises ConfigError for a search that the model cannot do.
        """
        if self.search.search != "beam":
            return self
        default = SearchOptions(ctc_weight=self.search.complete(**branches_of(config)).ctc_weight)
        return replace(self, search=self.search.or_else(default))


def decoded_with(options: str) -> Decoding:
    """Of the options of avsr_inference, written as one would in a shell, or of stage 12's folder; their YAML counts.

    What they leave out is what avsr_inference then takes. Raises DataError for a folder that is not there or holds
    none, ConfigError for an option that does not exist.
    """
    words = options.strip()
    if words and not words.startswith(("-", "'", '"')):
        made_with = Path(words) / MADE_WITH
        if not made_with.is_file():
            fix = "Decode again (stage 12), or give the options themselves: --decoded_with='--beam_size 5 …'"
            raise DataError(f"{words} does not say how it was decoded", found=f"no {made_with}", fix=fix)
        words = made_with.read_text(encoding="utf-8")
    args = decoding_parser().parse_args(shlex.split(words))
    lm = args.lm_file if args.lm_weight != 0 else None
    ngram = args.ngram_file if args.ngram_weight != 0 else None
    language = LanguageModels(
        lm_config=None if lm is None else Path(args.lm_train_config or Path(lm).parent / "config.yaml"),
        lm_file=None if lm is None else Path(lm),
        lm_weight=0.0 if lm is None else args.lm_weight,
        ngram_file=None if ngram is None else Path(ngram),
        ngram_weight=0.0 if ngram is None else args.ngram_weight,
    )
    return Decoding(language, SearchOptions.asked(args).recorded())


def write_made_with(folder: Path, args: argparse.Namespace) -> None:
    """Leave in `folder` what `decoded_with` asks for: the values themselves, whatever becomes of the YAML file."""
    values: dict[str, object] = SearchOptions.asked(args).recorded().stated()
    values |= {name: getattr(args, name) for name in LANGUAGE_WEIGHTS}
    for name in ("lm_train_config", "lm_file", "ngram_file"):
        file = getattr(args, name)
        values[name] = None if file is None else Path(file).absolute()
    words = [f"--{name}={value}" for name, value in values.items() if value is not None]
    write_whole(folder / MADE_WITH, shlex.join(words) + "\n")


def search_options(decoding: Mapping, *, source: object) -> SearchOptions:
    """Those among the fields of a package's decoding.json; ConfigError or DataError for what cannot be one."""
    found = {name: value for name, value in decoding.items() if name not in LANGUAGE_WEIGHTS}
    return SearchOptions.read(found, source=source)
