"""What the training texts show at most: how fast somebody speaks, and how often the same words follow themselves.

A model that has lost its way answers with a loop ("x eight x eight x eight ...") or with more words than anybody says
in that time, and its scores do not tell. What was never seen in training is not believed; a word said twice by greedy
search may be a slip (`SLIP`): of GRID's 100 known clips one had "with with", all else right.

Words are counted; of texts that are written without blanks, characters. Where the texts are unknown, or so few that
they show little (`FEW_UNITS`), general bounds hold: faster than `FAST_PER_S` nobody speaks for a whole piece, and
more than `MANY_REPEATS` times in a row nothing is said. A rate up to `ROOM` times the largest that was seen passes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from espnet_vivit.data.scp import read_scp
from espnet_vivit.data.transcripts import read_transcripts
from espnet_vivit.data.word_times import parse_word_times
from espnet_vivit.units import seconds_of_frames, seconds_of_samples

WORDS, CHARACTERS = "words", "characters"
LONGEST_RUN = 4  # units of a run that may repeat: longer ones are sentences that somebody says again
FEW_UNITS = 1000
FAST_PER_S = {WORDS: 6.0, CHARACTERS: 12.0}
MANY_REPEATS = 3
SLIP = 2
ROOM = 1.25


@dataclass(frozen=True)
class TextBounds:
    """per_s: of the fastest text, units per second from its first word to its last, or where word times are unknown of
    its clip; repeats: the most times that a run of up to `LONGEST_RUN` units stands in a row, 1 if none repeats;
    count: units that were measured.
    """

    unit: str
    per_s: float
    repeats: int
    count: int

    @property
    def most_repeats(self) -> int:
        return max(self.repeats, SLIP if self.count >= FEW_UNITS else MANY_REPEATS)

    @property
    def most_per_s(self) -> float:
        return max(ROOM * self.per_s, FAST_PER_S[self.unit])

    def exceeded(self, text: str, duration_s: float) -> tuple[str, ...]:
        """How an answer to a clip of this length exceeds the bounds, in words; nothing if it does not."""
        units = _units(text, self.unit)
        run, times = most_repeated(units)
        reasons = []
        if times > self.most_repeats:
            shown = (" " if self.unit == WORDS else "").join(run)
            reasons.append(f"the answer is a loop: {shown!r} {times} times in a row, {self.most_repeats} is the most")
        if len(units) > self.most_per_s * duration_s:
            rate = f"{len(units) / duration_s:.1f} {self.unit} per second"
            reasons.append(f"the answer is too fast for speech: {rate}, {self.most_per_s:.1f} is the most")
        return tuple(reasons)


def general_bounds(text: str) -> TextBounds:
    """The bounds on an answer of a model whose training texts are unknown."""
    return TextBounds(WORDS if " " in text else CHARACTERS, 0.0, 1, 0)


def measure_texts(text_list: Path) -> TextBounds | None:
    """The bounds of a data directory's `text`, with the word times or the lengths beside it; None without those."""
    texts = read_transcripts(text_list)
    unit = WORDS if 2 * sum(" " in text for text in texts.values()) >= len(texts) else CHARACTERS
    seconds = _spoken_seconds(text_list.parent)
    known = {key: _units(text, unit) for key, text in texts.items() if key in seconds}
    if not known:
        return None
    fastest = max(len(units) / seconds[key] for key, units in known.items())
    repeats = max(most_repeated(units)[1] for units in known.values())
    return TextBounds(unit, round(fastest, 2), repeats, sum(map(len, known.values())))


def most_repeated(units: Sequence[str]) -> tuple[tuple[str, ...], int]:
    """(the run, how many times) of the run of up to `LONGEST_RUN` units that stands most often in a row."""
    best: tuple[tuple[str, ...], int] = (tuple(units[:1]), 1)
    for length in range(1, LONGEST_RUN + 1):
        equal = 0  # units in a row that equal the one `length` before
        for index in range(length, len(units)):
            equal = equal + 1 if units[index] == units[index - length] else 0
            if equal // length + 1 > best[1]:
                best = (tuple(units[index - length + 1 : index + 1]), equal // length + 1)
    return best


def _units(text: str, unit: str) -> Sequence[str]:
    return text.split() if unit == WORDS else text.replace(" ", "")


def _spoken_seconds(folder: Path) -> dict[str, float]:
    """Of each utterance, from the first word to the last, or else of its clip; those of unknown length are left out."""
    seconds: dict[str, float] = {}
    for name, seconds_of in (("utt2num_samples", seconds_of_samples), ("utt2num_frames", seconds_of_frames)):
        seconds |= {key: seconds_of(int(count)) for key, count in _table(folder / name).items()}
    for key, line in _table(folder / "word_times").items():
        times = parse_word_times(line)
        seconds[key] = times[-1].end_s - times[0].start_s
    return {key: length_s for key, length_s in seconds.items() if length_s > 0}


def _table(path: Path) -> Mapping[str, str]:
    return read_scp(path) if path.is_file() else {}
