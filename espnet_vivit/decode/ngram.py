"""N-gram language models of the model's own tokens: ARPA files in, a scorer of the beam search out.

ESPnet's n-gram scorer needs kenlm, a C++ extension that must be compiled; this one reads the ARPA text format, which
kenlm's `lmplz`, SRILM and our `avsr_ngram` write (format: Stolcke 2002, man page ngram-format). Probabilities are
those of back-off: of `h w` its own entry where there is one, else backoff(h) times that of the history without its
first word.
"""

import gzip
import math
import zlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import torch

from espnet_vivit.errors import ConfigError, DataError
from espnet_vivit.espnet_compat import BatchScorerInterface

START, END, UNKNOWN = "<s>", "</s>", "<unk>"
NEVER = -99.0 * math.log(10)  # how ARPA files write the logarithm of 0
CACHED_HISTORIES = 4096  # score vectors (V,) that are kept

Ngram = tuple[str, ...]


class NgramModel:
    """`model.log_prob(("a", "b"), "c")`: natural logarithm of P(c | a b).

    log_probs, backoffs: n-gram -> natural logarithm; order: the longest n-gram. followers: history -> (token,
    log-probability) of the n-grams that are listed for exactly this history.
    """

    def __init__(self, log_probs: dict[Ngram, float], backoffs: dict[Ngram, float], order: int):
        self.log_probs, self.backoffs, self.order = log_probs, backoffs, order
        self.followers: dict[Ngram, list[tuple[str, float]]] = {}
        for ngram, log_prob in log_probs.items():
            self.followers.setdefault(ngram[:-1], []).append((ngram[-1], log_prob))

    def log_prob(self, history: Sequence[str], token: str) -> float:
        """An unknown token has the probability of `<unk>`, or none where the model has no such."""
        history = self.shorten(history)
        token = token if (token,) in self.log_probs else UNKNOWN
        penalty = 0.0
        while (*history, token) not in self.log_probs:
            if not history:
                return NEVER
            penalty += self.backoffs.get(history, 0.0)
            history = history[1:]
        return penalty + self.log_probs[(*history, token)]

    def shorten(self, history: Sequence[str]) -> Ngram:
        """As much of the history as the model looks at, unknown tokens as `<unk>`."""
        if self.order == 1:
            return ()
        return tuple(token if (token,) in self.log_probs else UNKNOWN for token in history[-(self.order - 1) :])


def read_arpa(path: str | Path) -> NgramModel:
    """Read an ARPA file, also a gzipped one.

    Raises:
        DataError: not such a file (kenlm's binary format among them), or other counts than its head says.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError("no n-gram model", found=f"no file {path}", fix="Make one: espnet_vivit.bin.avsr_ngram.")
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else open(path, encoding="utf-8") as file:
            return _parse(path, (line.strip() for line in file))
    except (UnicodeDecodeError, gzip.BadGzipFile, zlib.error) as error:
        raise _no_arpa(path, "what is not text") from error
    except EOFError as error:  # of gzip alone
        raise DataError(f"{path} breaks off", found="no end of its gzip stream", fix="Copy it again") from error
    except DataError:
        raise
    except ValueError as error:  # of int() and float()
        raise _no_arpa(path, str(error)) from error


def _parse(path: Path, lines: Iterator[str]) -> NgramModel:
    log_probs: dict[Ngram, float] = {}
    backoffs: dict[Ngram, float] = {}
    promised, counted, section = {}, {}, None
    for line in lines:
        if line == "\\end\\":
            break
        if line == "\\data\\":
            section = 0
        elif line.startswith("\\") and line.endswith("-grams:"):
            section = int(line[1 : -len("-grams:")])
        elif section == 0 and line.startswith("ngram "):
            size, _, count = line.removeprefix("ngram ").partition("=")
            promised[int(size)] = int(count)
        elif section and line:
            ngram, log_prob, backoff = _entry(path, line, section)
            counted[section] = counted.get(section, 0) + 1
            log_probs[ngram] = log_prob
            if backoff is not None:
                backoffs[ngram] = backoff
    else:
        raise _no_arpa(path, "no \\end\\" if promised else "no \\data\\ section")
    if not promised or promised != {**dict.fromkeys(promised, 0), **counted}:
        raise DataError(f"{path} is incomplete", found=f"n-grams {counted}", expected=str(promised))
    return NgramModel(log_probs, backoffs, max(promised))


def _entry(path: Path, line: str, size: int) -> tuple[Ngram, float, float | None]:
    """`log10 probability <tab> tokens <tab> log10 backoff`, the last optional; tokens hold no blanks."""
    fields = line.split()
    if len(fields) not in (size + 1, size + 2):
        raise _no_arpa(path, f"{line!r} among the {size}-grams")
    numbers = [float(field) * math.log(10) for field in (fields[0], *fields[size + 1 :])]
    return tuple(fields[1 : size + 1]), numbers[0], numbers[1] if len(numbers) > 1 else None


def _no_arpa(path: Path, found: str) -> DataError:
    fix = "Give the text file that lmplz or avsr_ngram wrote, not kenlm's binary"
    return DataError(f"{path} is no ARPA n-gram model", found=found, expected="\\data\\ … \\end\\", fix=fix)


class NgramScorer(BatchScorerInterface):
    """Scores of the tokens that may follow a hypothesis; the blank never does, and the last token ends the sentence.

    token_list: the V tokens of the recognizer; the n-grams must be of these. There is no state: a hypothesis says all.

    Raises:
        ConfigError: n-grams of other tokens.
    """

    def __init__(self, model: NgramModel, token_list: Sequence[str]):
        self.model = model
        self.names = [*token_list[:-1], END]  # ESPnet's list begins with <blank> and ends with <sos/eos>
        self.numbers = {name: number for number, name in enumerate(self.names) if number > 0}
        self.unlisted = [number for name, number in self.numbers.items() if (name,) not in model.log_probs]
        words = set(self.names[1:-1]) - {UNKNOWN}
        known = {name for name in words if (name,) in model.log_probs}
        if 2 * len(known) < len(words):
            raise ConfigError(
                "the n-gram model is of other tokens than the recognizer",
                found=f"{len(known)} of its {len(words)} tokens, without e.g. {min(words - known)!r}",
                fix="Make it from the same token list and token_type (avsr_ngram).",
            )
        self.scores_after = lru_cache(maxsize=CACHED_HISTORIES)(self._scores_after)

    def batch_score(self, ys: torch.Tensor, states: list, xs: torch.Tensor) -> tuple[torch.Tensor, list]:
        """(n, V) log-probabilities of what may follow the hypotheses ys (n, L), each <sos> and tokens."""
        rows = []
        for ids in ys.tolist():
            history = (START, *(self.names[number] for number in ids[1:]))
            rows.append(self.scores_after(self.model.shorten(history)))
        return torch.stack(rows).to(xs), states

    def score(self, y: torch.Tensor, state: None, x: torch.Tensor) -> tuple[torch.Tensor, None]:
        return self.batch_score(y[None], [state], x)[0][0], None

    def _scores_after(self, history: Ngram) -> torch.Tensor:
        """(V,) float64: the shorter history's, weighed by this one's backoff, where this one lists nothing itself."""
        if history:
            scores = self.scores_after(history[1:]) + self.model.backoffs.get(history, 0.0)
        else:
            unknown = self.model.log_probs.get((UNKNOWN,), NEVER)
            scores = torch.full((len(self.names),), unknown, dtype=torch.float64)
        for token, log_prob in self.model.followers.get(history, ()):
            if token == UNKNOWN:
                scores[self.unlisted] = log_prob
            if token in self.numbers:
                scores[self.numbers[token]] = log_prob
        scores[0] = NEVER
        return scores
