"""Read and write transcripts, one utterance a line: as a table, and in sclite's form."""

from pathlib import Path

from espnet_vivit.base.text_file import read_lines
from espnet_vivit.errors import DataError


def read_transcripts(path: str | Path) -> dict[str, str]:
    """Read lines of `utterance-id words...`; an id alone has an empty transcript. White space becomes single spaces."""
    path = Path(path)
    if not path.is_file():
        raise DataError("no transcript file", found=str(path), fix="Check the path, or run the decoding stage first.")
    transcripts: dict[str, str] = {}
    for number, line in enumerate(read_lines(path), start=1):
        fields = line.split()
        if not fields:
            continue
        if fields[0] in transcripts:
            raise DataError(f"{path}:{number}: utterance id {fields[0]!r} occurs twice")
        transcripts[fields[0]] = " ".join(fields[1:])
    if not transcripts:
        raise DataError("empty transcript file", found=str(path), expected="lines of `utterance-id words...`")
    return transcripts


def read_spoken_transcripts(path: str | Path) -> dict[str, str]:
    """Read transcripts for training: an utterance without words is a DataError that names it."""
    transcripts = read_transcripts(path)
    for utterance, words in transcripts.items():
        if not words:
            raise DataError(f"{path}: utterance {utterance!r} has no transcript", fix="Remove it from the data.")
    return transcripts


def format_trn(transcripts: dict[str, str]) -> str:
    """Format lines of sclite's trn: the words, then the utterance id in parentheses (sclite takes `{a / b}` as
    alternatives).
    """
    return "".join(f"{text} ({utt})\n" for utt, text in transcripts.items())
