"""Does the token list know what the training transcripts say? One that is of another corpus, or of another token_type,
makes `<unk>` of most of it, and a training on that learns nothing that can be read while its loss falls.

In: transcripts and the options that cut them. Out: how many tokens the list lacks; a warning, or ConfigError.
"""

import argparse
import logging
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from espnet_vivit.data.data_dir import read_scp
from espnet_vivit.data.token_list import MAX_UNKNOWN, UNKNOWN
from espnet_vivit.errors import ConfigError
from espnet_vivit.tasks.loading.pieces import tokenizer_for
from espnet_vivit.tasks.model_config import read_token_list

MUCH_UNKNOWN = 0.05  # share above which a training is warned of it
LOOKED_AT = 10_000  # transcripts, spread over the set: seconds of work however large it is
NAMED = 3  # of the tokens that are lacking

log = logging.getLogger(__name__)  # logging.warning() would set up logging before ESPnet does, and lose its INFO lines


@dataclass(frozen=True)
class Unknown:
    """`tokens` of the transcripts, and how often each of those that the list lacks stands in them."""

    tokens: int
    lacking: Counter

    @property
    def share(self) -> float:
        return self.lacking.total() / max(self.tokens, 1)

    def __str__(self) -> str:
        often = ", ".join(f"{token!r} ({count})" for token, count in self.lacking.most_common(NAMED))
        return f"{self.lacking.total()} of {self.tokens} tokens are not in it, most often {often}"


def count_unknown(transcripts: Iterable[str], tokenizer: Any, token_list: Collection[str]) -> Unknown:
    """What `<unk>` would be learnt for; `tokenizer.text2tokens` cuts as the training does."""
    known, tokens, lacking = set(token_list) - {UNKNOWN}, 0, Counter()
    for transcript in transcripts:
        cut = tokenizer.text2tokens(transcript)
        tokens += len(cut)
        lacking.update(token for token in cut if token not in known)
    return Unknown(tokens, lacking)


def check_known_tokens(args: argparse.Namespace) -> None:
    """For ESPnet's arguments: ConfigError if most training tokens would be `<unk>`, a warning if many would.

    Of a validation set there is a warning alone: it may be of another kind on purpose.
    """
    if not args.use_preprocessor:
        return  # its text is no text
    tokenizer = tokenizer_for(args.token_type, args.bpemodel, train=True)
    token_list = read_token_list(args.token_list)
    for split in ("train", "valid"):
        for path, name, kind in getattr(args, f"{split}_data_path_and_name_and_type"):
            if (name, kind) != ("text", "text") or Path(path).is_dir():  # a folder of --multiple_iterator
                continue
            unknown = count_unknown(spread(list(read_scp(path).values())), tokenizer, token_list)
            if unknown.share <= MUCH_UNKNOWN:
                continue
            which = args.token_list if isinstance(args.token_list, str | Path) else f"of {len(token_list)} tokens"
            what = f"{unknown.share:.0%} of the {args.token_type} tokens in {path} would be learnt as <unk>"
            fix = "Give the token list and the token_type (or bpemodel) of this corpus: stage 5 of a recipe makes it"
            if split == "train" and unknown.share > MAX_UNKNOWN:
                raise ConfigError(what, found=f"the token list {which}: {unknown}", fix=fix)
            log.warning("%s: the token list %s: %s. %s", what, which, unknown, fix)


def spread(values: Sequence[str]) -> Sequence[str]:
    """All of a small set, every n-th of a large one."""
    return values[:: -(-len(values) // LOOKED_AT) or 1]
