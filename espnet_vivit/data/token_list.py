"""Make the token list of a training set (characters, words or sentencepiece), and the labels of transcripts.

A list is a folder with `tokens.txt`, one token per line in ESPnet's order `<blank>`, `<unk>`, tokens…, `<sos/eos>`, and
for `bpe` also `bpe.model` and `bpe.vocab`.

The tokens are those of ESPnet's own tokenizers (`espnet2.text`), which tests use as the oracle; importing them costs
several seconds, so counting is done here. Sentencepiece: Kudo and Richardson 2018, https://github.com/google/sentencepiece.
"""

import os
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from espnet_vivit.base.text_file import read_lines, read_text
from espnet_vivit.base.whole_file import write_lines
from espnet_vivit.data.transcripts import read_spoken_transcripts, read_transcripts
from espnet_vivit.errors import ConfigError, DataError, unknown_name

TOKEN_TYPES = ("bpe", "char", "word")
SPACE = "<space>"  # how ESPnet writes the blank between words as a character token
BLANK, UNKNOWN, END = "<blank>", "<unk>", "<sos/eos>"
FIRST = 2  # index of the first token of a list that is not one of these
MAX_UNKNOWN = 0.5  # share of tokens that a list lacks, above which it is the list of another corpus
BPE_CONTROL = (UNKNOWN, "<s>", "</s>")  # sentencepiece's own symbols; ESPnet has its own for them


def tokenizer(token_type: str, bpemodel: Path | None = None) -> Callable[[str], list[str]]:
    """The function that splits a transcript into tokens: `tokenizer("char")("a b") == ["a", "<space>", "b"]`."""
    if token_type == "word":
        return str.split
    if token_type == "char":
        return lambda text: [SPACE if character == " " else character for character in text]
    if token_type != "bpe":
        raise unknown_name("token_type", token_type, TOKEN_TYPES)
    if bpemodel is None or not Path(bpemodel).is_file():
        raise ConfigError("token_type bpe needs a sentencepiece model", found=bpemodel, fix="Run stage 5 first.")
    processor = _processor(model_file=str(bpemodel))
    return lambda text: processor.encode(text, out_type=str)


def _processor(**source: Any) -> Any:
    """Make a SentencePieceProcessor; the methods of its class exist only once the library is imported."""
    from sentencepiece import SentencePieceProcessor

    try:
        return SentencePieceProcessor(**source)
    except (OSError, RuntimeError, TypeError, ValueError) as error:  # the library's ways of saying that it is none
        found = source.get("model_file", "bytes")
        fix = "Name the .model file that the tokens came from"
        raise ConfigError(f"no sentencepiece model: {found}", found=str(error).split("\n")[0], fix=fix) from error


def check_bpe_model(path: str | os.PathLike) -> None:
    """Raise ConfigError for a file that is no sentencepiece model."""
    if not Path(path).is_file():
        raise ConfigError("the sentencepiece model does not exist", found=path, fix="Run stage 5 first.")
    _processor(model_file=str(path))


def in_espnet_order(symbols: Sequence[str]) -> list[str]:
    """Put tokens in ESPnet's order: blank is 0, unknown 1, start and end share the last place."""
    return [BLANK, UNKNOWN, *symbols, END]


def has_unit_ids(path: str | os.PathLike) -> bool:
    """Whether the file is a unit list of Auto-AVSR, `piece id` on each line, and not a list of tokens."""
    lines = [line.split() for line in read_text(path).splitlines() if line.strip()]
    return bool(lines) and all(len(fields) == 2 and fields[1].isdecimal() for fields in lines)


def read_units(path: str | os.PathLike) -> list[str]:
    """The pieces of Auto-AVSR's unit list by their ids, which count from 1; 0 is the blank, "".

    Raises DataError: an empty list, or ids that do not count its lines.
    """
    pieces = [""]
    for number, line in enumerate(filter(str.strip, read_text(path).splitlines()), 1):
        piece, *rest = line.split()
        if rest and rest != [str(number)]:
            raise DataError(f"{path}:{number}: token {piece!r} is out of order", found=" ".join(rest), expected=number)
        pieces.append(piece)
    if len(pieces) == 1:
        raise DataError(f"{path} is empty", expected="a piece on each line, as in unigram5000_units.txt")
    return pieces


def count_symbols(transcripts: Sequence[str], token_type: str) -> list[str]:
    """The distinct characters or words, most frequent first; equally frequent ones in alphabetical order."""
    split = tokenizer(token_type)
    counts = Counter(token for transcript in transcripts for token in split(transcript))
    return sorted(counts, key=lambda token: (-counts[token], token))


def train_sentencepiece(transcripts: Sequence[str], folder: Path, *, nbpe: int, bpe_mode: str) -> list[str]:
    """Train `folder/bpe.model` with `nbpe` pieces and return the pieces that can appear in a transcript."""
    import io

    import sentencepiece

    model = io.BytesIO()  # a file name given to the trainer would be stored in the model
    trainer: Any = sentencepiece.SentencePieceTrainer
    try:
        trainer.train(
            sentence_iterator=iter(transcripts),
            model_writer=model,
            vocab_size=nbpe,
            model_type=bpe_mode,
            character_coverage=1.0,
            num_threads=1,  # with more, equal scores may come out in another order
            minloglevel=2,
        )
    except RuntimeError as error:  # the library's only sign of a vocabulary that the text cannot fill
        raise ConfigError(
            f"sentencepiece could not make {nbpe} pieces of {len(transcripts)} transcripts ({error})",
            fix="Choose a smaller --nbpe (or larger, if it is below the number of characters), or --token_type word.",
        ) from error
    (folder / "bpe.model").write_bytes(model.getvalue())
    processor = _processor(model_proto=model.getvalue())
    pieces = [processor.id_to_piece(number) for number in range(processor.get_piece_size())]
    scores = [processor.get_score(number) for number in range(len(pieces))]
    write_lines(folder / "bpe.vocab", [f"{piece}\t{score:g}" for piece, score in zip(pieces, scores, strict=True)])
    return [piece for piece in pieces if piece not in BPE_CONTROL]


def write_token_list(
    text: Path, out: Path, *, token_type: str, nbpe: int = 500, bpe_mode: str = "unigram"
) -> list[str]:
    """Write the folder `out` for the transcripts in `text`, all or nothing; return the token list."""
    if token_type not in TOKEN_TYPES:
        raise unknown_name("token_type", token_type, TOKEN_TYPES)
    transcripts = list(read_spoken_transcripts(text).values())
    out = Path(out)
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        if token_type == "bpe":
            symbols = train_sentencepiece(transcripts, partial, nbpe=nbpe, bpe_mode=bpe_mode)
        else:
            symbols = count_symbols(transcripts, token_type)
        tokens = in_espnet_order(symbols)
        write_lines(partial / "tokens.txt", tokens)
        shutil.rmtree(out, ignore_errors=True)
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return tokens


def read_labels(text: Path, *, token_type: str, token_list: Path, bpemodel: Path | None) -> dict[str, list[str]]:
    """Read `utterance -> tokens` as training sees them: tokens outside the list become `<unk>`."""
    split = tokenizer(token_type, bpemodel)
    if not Path(token_list).is_file():
        raise DataError("no token list", found=f"no file {token_list}", fix="Make it first (stage 5).")
    known = set(read_lines(token_list))
    return {
        utt: [token if token in known else UNKNOWN for token in split(transcript)]
        for utt, transcript in read_transcripts(text).items()
    }
