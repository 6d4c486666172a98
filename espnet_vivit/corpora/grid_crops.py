"""GRID as a folder of mouth crops, sound and word times; data directories out.

    python -m espnet_vivit.bin.avsr_grid_crops --grid_root DIR --out data [--view 64] [--size 52]

In DIR: `manifest.tsv` (utt_id, speaker, split, n_frames, n_samples, text, video, audio; paths relative to DIR),
`align.tsv` (utt_id, start_s, end_s, word; `sil` and `sp` are pauses). 96x96 gray videos at 25 fps, 16 kHz sound that
may be 22 ms shorter than the video, as the corpus has it. Out: OUT/<split> for train, dev, test_seen and test_unseen.
`view` pixels in the middle of each crop are kept (the mouth is 40 to 50 wide) and shrunk to `size`: a small model sees
the lips at more pixels for the same work.

The corpus: Cooke, Barker, Cunningham and Shao, "An audio-visual corpus for speech perception and automatic speech
recognition", JASA 120(5), 2006; CC BY 4.0. What a file name says (`bbaf2n` = bin blue at f two now) is checked.
"""

from __future__ import annotations

import csv
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from espnet_vivit.data.data_dir import Utterance, WordTime, validate_data_dir, write_data_dir
from espnet_vivit.errors import ConfigError, DataError, MediaError
from espnet_vivit.media.faces.mouth_roi import middle, shrink
from espnet_vivit.media.files.video_file import probe_video, read_video, write_gray_video
from espnet_vivit.units import MOUTH_SIZE

SPLITS = ("train", "dev", "test_seen", "test_unseen")  # the manifest's `corrupt` clips have no usable picture
COLUMNS = ("utt_id", "speaker", "split", "n_frames", "n_samples", "text", "video", "audio")
ALIGN_COLUMNS = ("utt_id", "start_s", "end_s", "word")
PAUSES = ("sil", "sp")

_DIGITS = dict(zip("z123456789", "zero one two three four five six seven eight nine".split(), strict=True))
GRAMMAR = (  # the six positions of a sentence, each with the letter that stands for the word in a file name
    {"b": "bin", "l": "lay", "p": "place", "s": "set"},
    {"b": "blue", "g": "green", "r": "red", "w": "white"},
    {"a": "at", "b": "by", "i": "in", "w": "with"},
    {letter: letter for letter in "abcdefghijklmnopqrstuvxyz"},  # no w: the one name of several syllables
    _DIGITS,
    {"a": "again", "n": "now", "p": "please", "s": "soon"},
)


def sentence_of_code(code: str) -> str:
    """The sentence that six letters of a GRID file name spell: `bbaf2n` is "bin blue at f two now"."""
    if len(code) != len(GRAMMAR) or any(letter not in words for letter, words in zip(code, GRAMMAR, strict=False)):
        raise DataError("no GRID file name", found=repr(code), expected="six letters such as bbaf2n")
    return " ".join(words[letter] for letter, words in zip(code, GRAMMAR, strict=True))


def prepare(
    grid_root: str | os.PathLike,
    out_dir: str | os.PathLike,
    *,
    size: int = MOUTH_SIZE,
    view: int = MOUTH_SIZE,
    nj: int = 1,
    progress: bool = True,
) -> dict[str, Path]:
    """Write the data directories; returns split -> directory. Shrunken clips go to `out_dir`/clips_<view>_<size>.

    Raises DataError for a manifest, sentence or file that is not as it should be, with the utterance's name.
    """
    if not 0 < size <= view <= MOUTH_SIZE or view % 2:
        raise ConfigError(
            "bad picture sizes", found=f"size {size}, view {view}", expected=f"size <= view <= {MOUTH_SIZE}, view even"
        )
    root, out_dir = Path(grid_root).resolve(), Path(out_dir)
    rows = read_table(root / "manifest.tsv", COLUMNS)
    times = word_times(root / "align.tsv")
    chosen = [row for row in rows if row["split"] in SPLITS]
    _check_rows(root, chosen)
    videos = {row["utt_id"]: root / row["video"] for row in chosen}
    if (view, size) != (MOUTH_SIZE, MOUTH_SIZE):
        videos = _shrunk(videos, out_dir / f"clips_{view}_{size}", view=view, size=size, nj=nj, progress=progress)
    directories = {}
    for split in SPLITS:
        members = [row for row in chosen if row["split"] == split]
        utterances = [_utterance(row, root, videos[row["utt_id"]], times) for row in members]
        directories[split] = out_dir / split
        write_data_dir(directories[split], _times_of_all_or_none(utterances))
        validate_data_dir(directories[split])
    return directories


def read_table(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a tab-separated file; raises DataError for a missing file or column, or no rows."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            rows = list(reader)
    except OSError as error:
        raise DataError(
            f"cannot read {path} ({error.strerror})", fix="--grid_root is the folder that holds it."
        ) from error
    missing = [name for name in columns if name not in (reader.fieldnames or ())]
    if missing:
        raise DataError(f"{path} lacks columns", found=", ".join(reader.fieldnames or ()), expected=", ".join(columns))
    if not rows:
        raise DataError(f"{path} is empty", expected="one row per utterance")
    return rows


def word_times(path: Path) -> dict[str, tuple[WordTime, ...]]:
    """`utterance -> its words with times`, pauses left out."""
    times = defaultdict(list)
    for row in read_table(path, ALIGN_COLUMNS):
        if row["word"] not in PAUSES:
            times[row["utt_id"]].append(WordTime(float(row["start_s"]), float(row["end_s"]), row["word"]))
    return {utt_id: tuple(words) for utt_id, words in times.items()}


def _check_rows(root: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Every split has clips; every clip has its files, once; its sentence is the one that its name spells."""
    empty = [split for split in SPLITS if not any(row["split"] == split for row in rows)]
    if empty:
        raise DataError(f"{root / 'manifest.tsv'} has no clips for {', '.join(empty)}")
    seen = set()
    for row in rows:
        utt_id = row["utt_id"]
        if utt_id in seen:
            raise DataError(f"{root / 'manifest.tsv'}: {utt_id} is listed twice")
        seen.add(utt_id)
        spelt = sentence_of_code(utt_id.rpartition("_")[2])
        if row["text"] != spelt:
            raise DataError(f"sentence of {utt_id}", found=repr(row["text"]), expected=repr(spelt))
        for column in ("video", "audio"):
            if not row[column] or not os.path.isfile(root / row[column]):
                raise DataError(f"{utt_id} has no {column}", found=f"no file {root / row[column]}")


def _utterance(row: Mapping[str, str], root: Path, video: Path, times: Mapping) -> Utterance:
    return Utterance(
        utt_id=row["utt_id"],
        speaker=row["speaker"],
        text=row["text"],
        wav=str(root / row["audio"]),
        video=str(video),
        num_frames=int(row["n_frames"]),
        num_samples=int(row["n_samples"]),
        word_times=times.get(row["utt_id"]),
    )


def _times_of_all_or_none(utterances: Sequence[Utterance]) -> list[Utterance]:
    """A data directory has word times of all its utterances or of none (some unseen speakers came without)."""
    if all(utterance.word_times is not None for utterance in utterances):
        return list(utterances)
    return [replace(utterance, word_times=None) for utterance in utterances]


def _shrunk(
    videos: Mapping[str, Path], folder: Path, *, view: int, size: int, nj: int, progress: bool
) -> dict[str, Path]:
    """Write the middle of each clip, `size` pixels wide, as .npy, unless it is there; returns utterance -> path."""
    folder.mkdir(parents=True, exist_ok=True)
    folder = folder.resolve()

    def make(item: tuple[str, Path]) -> None:
        utt_id, source = item
        target = folder / f"{utt_id}.npy"
        if not _is_complete(target, like=source):
            write_gray_video(target, shrink(middle(read_video(source), view), size))

    with ThreadPoolExecutor(max_workers=max(1, nj)) as pool:
        jobs = pool.map(make, videos.items())
        for _ in tqdm(jobs, total=len(videos), desc=f"GRID, {size} pixels", unit="clip", disable=not progress):
            pass
    return {utt_id: folder / f"{utt_id}.npy" for utt_id in videos}


def _is_complete(target: Path, *, like: Path) -> bool:
    if not target.is_file():
        return False
    try:
        return probe_video(target).num_frames == probe_video(like).num_frames
    except MediaError:  # unreadable: it is made again
        return False
