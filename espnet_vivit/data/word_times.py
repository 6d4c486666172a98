"""Read and write when each word of a clip is spoken: `0.160:0.472:bring 0.472:0.751:blue`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from espnet_vivit.errors import DataError


class WordTime(NamedTuple):
    start_s: float
    end_s: float
    word: str


def format_word_times(times: Iterable[WordTime]) -> str:
    """Format `start:end:word` items with milliseconds, separated by spaces."""
    return " ".join(f"{start_s:.3f}:{end_s:.3f}:{word}" for start_s, end_s, word in times)


def parse_word_times(line: str) -> tuple[WordTime, ...]:
    """The inverse of `format_word_times`. Raises DataError for a malformed item or for times that run backwards."""
    times, previous_end_s = [], 0.0
    for item in line.split():
        start, _, rest = item.partition(":")
        end, _, word = rest.partition(":")
        try:
            time = WordTime(float(start), float(end), word)
        except ValueError:
            time = None
        if time is None or not word:
            raise DataError("bad word time", found=repr(item), expected="start:end:word with seconds")
        if not previous_end_s <= time.start_s < time.end_s:
            raise DataError(
                f"word times run backwards at {item!r}", found=f"a start before {previous_end_s:.3f} s or an empty span"
            )
        times.append(time)
        previous_end_s = time.end_s
    return tuple(times)
