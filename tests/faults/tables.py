"""Lists and texts as people and spreadsheets leave them, and bytes that are damaged: what is read, or what is said."""

import csv
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from espnet_vivit.base.config_file import read_config
from espnet_vivit.corpora.folder import folder_clips
from espnet_vivit.data.data_dir import Utterance, read_data_dir, validate_data_dir, write_data_dir
from espnet_vivit.tasks.model_config import read_token_list
from tests.faults.campaign import AS_IT_IS, COUNTED, RIGHT, Fault
from tests.faults.damage import damaged
from tests.tiny_corpus import TOKENS, write_clip

EACH = 7  # damaged copies of each file and kind of damage
_STRANGE = (
    "",
    "\x00",
    "\ufeff",
    "\u200b",
    "\t",
    "é",
    "e\u0301",
    "日本",
    "a" * 5000,
    "-1",
    "nan",
    "1e999",
    '"',
    "../..",
    " ",
)


def data_directories(folder: Path) -> Iterator[Fault]:
    """Each list of a data directory with damaged bytes, and with a strange value in the place of each field."""
    write_data_dir(folder / "data", three_utterances(folder / "media"))
    sound = read_data_dir(folder / "data")
    for file in sorted(path for path in (folder / "data").iterdir() if path.is_file()):
        content = file.read_bytes()
        for name, changed in [(AS_IT_IS, content), *damaged(content, each=EACH), *_odd_fields(content.decode())]:
            yield Fault(f"{file.name}, {name}", _then(file, changed, content, lambda: _same_or_other(folder, sound)))


def three_utterances(folder: Path) -> list[Utterance]:
    folder.mkdir()
    rng = np.random.default_rng(0)
    return [write_clip(folder, f"s{number % 2}-{number}", rng) for number in range(3)]


def _same_or_other(folder: Path, sound: list) -> str:
    """A changed word, id or path is another corpus, and no fault, as long as it is whole."""
    found = validate_data_dir(folder / "data")
    return RIGHT if len(found) == len(sound) else f"{len(sound) - len(found)} utterances are gone"


def _then(file: Path, content: bytes, before: bytes, check: Callable[[], str]) -> Callable[[], str]:
    def run() -> str:
        file.write_bytes(content)
        try:
            return check()
        finally:
            file.write_bytes(before)

    return run


def _odd_fields(text: str) -> Iterator[tuple[str, bytes]]:
    lines = text.splitlines()
    for number, line in enumerate(lines[:2]):
        for place in range(len(line.split(" ")[:3])):
            for strange in _STRANGE:
                fields = line.split(" ")
                fields[place] = strange
                changed = [*lines[:number], " ".join(fields), *lines[number + 1 :]]
                yield f"{strange[:8]!r} for field {place + 1}", ("\n".join(changed) + "\n").encode("utf-8")


ROWS = [["video", "text", "speaker", "start_s", "end_s", "split"]]
ROWS += [[f"{name}.mp4", "bin blue", f"s{name}", "0.0", "1.5", "train"] for name in "abcd"]


def tables_of_videos(folder: Path) -> Iterator[Fault]:
    """The table of a folder of videos: every clip is listed, or what is wrong with the table is said."""
    for row in ROWS[1:]:
        (folder / row[0]).touch()
    table = folder / "videos.tsv"
    contents = [(AS_IT_IS, _table(ROWS))]
    for line in range(len(ROWS)):
        for column in range(len(ROWS[0])):
            for strange in _STRANGE:
                rows = [list(row) for row in ROWS]
                rows[line][column] = strange
                contents.append((f"row {line}, column {column}: {strange[:8]!r}", _table(rows)))
    contents += damaged(_table(ROWS), each=EACH)
    for name, content in contents:
        yield Fault(f"videos.tsv, {name}", _then(table, content, _table(ROWS), lambda: _listed(folder)))


def _listed(folder: Path) -> str:
    rows = [row for row in (folder / "videos.tsv").read_bytes().splitlines() if row.strip(b', "\t')]
    clips = list(folder_clips(folder, table=folder / "videos.tsv", dev=0, test=0))
    if any(clip.problem for clip in clips):
        return COUNTED
    return RIGHT if len(clips) >= len(rows) - 1 else f"{len(rows) - 1 - len(clips)} rows are gone"


def _table(rows: list[list[str]]) -> bytes:
    file = io.StringIO()
    csv.writer(file, delimiter="\t", lineterminator="\n").writerows(rows)
    return file.getvalue().encode("utf-8")


def texts(folder: Path) -> Iterator[Fault]:
    """Token lists and YAML files with damaged bytes."""
    for name, content, read in (
        ("tokens.txt", "\n".join(TOKENS).encode() + b"\n", read_token_list),
        (
            "train.yaml",
            b"encoder: conformer\nencoder_conf:\n    num_blocks: 3\n    '1': [a, b]\nseed: 0\n",
            read_config,
        ),
    ):
        for what, changed in [(AS_IT_IS, content), *damaged(content, each=2 * EACH)]:
            file = folder / name
            yield Fault(
                f"{name}, {what}", _then(file, changed, content, lambda file=file, read=read: _read(file, read))
            )


def _read(file: Path, read: Callable[[Path], object]) -> str:
    """What is still a list of tokens, or YAML, is one: nothing tells it from what was meant."""
    read(file)
    return RIGHT
