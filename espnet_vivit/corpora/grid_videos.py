"""GRID's original videos with their .align files, in the field's two protocols.

    ROOT/…/s1/…/bbaf2n.mpg     ROOT/…/s1/…/bbaf2n.align     in any folders, as the archives of the record unpack

`overlapped`: 255 sentences of every speaker are the test set (LipNet; which ones is our own choice, by a hash, as its
paper drew them at random). `unseen`: speakers s1, s2, s20 and s22 are the test set. In both, dev is 25 more sentences
of every speaker that is trained on; nothing of the test set chooses a model.

An .align has `start end word` in 1/25000 s; `sil` and `sp` are pauses. LipNet: Y. Assael et al., arXiv:1611.01599.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from espnet_vivit.base.text_file import read_text
from espnet_vivit.corpora.grid_crops import PAUSES, sentence_of_code
from espnet_vivit.corpora.lrs import tidy_times
from espnet_vivit.corpora.preparing.source_clip import SourceClip, choose
from espnet_vivit.data.word_times import WordTime
from espnet_vivit.errors import DataError, unknown_name
from espnet_vivit.media.files.folder_files import files_below, is_video

PROTOCOLS = {"overlapped": "255 sentences of every speaker are the test set", "unseen": "speakers s1 s2 s20 s22 are"}
UNSEEN = frozenset({"s1", "s2", "s20", "s22"})
TEST_SENTENCES, DEV_SENTENCES = 255, 25  # of each speaker's 1000
ALIGN_RATE_HZ = 25_000
_SPEAKER = re.compile(r"s\d{1,2}")


def grid_clips(root: str | os.PathLike, *, protocol: str = "overlapped", seed: int = 0) -> Iterator[SourceClip]:
    """The clips of all videos. Raises DataError for a folder without any; a bad file is listed with its problem."""
    if protocol not in PROTOCOLS:
        raise unknown_name("protocol", protocol, PROTOCOLS)
    root = Path(root)
    videos, aligns = defaultdict(list), {}  # speaker -> videos; (speaker, code) -> file
    for path in files_below(root):
        speaker = speaker_of(path.relative_to(root))
        if is_video(path) and speaker:
            videos[speaker].append(path)
        elif path.suffix == ".align":
            aligns[speaker, path.stem] = path
    if not videos:
        raise DataError(
            f"{root} has no GRID video", expected="files such as s1/bbaf2n.mpg, or crops with manifest.tsv",
            fix="Get them: espnet-vivit prepare grid ROOT OUT --download",
        )  # fmt: skip
    for speaker, files in sorted(videos.items()):
        split_of = split_speaker(speaker, [path.stem for path in files], protocol=protocol, seed=seed)
        for path in files:
            yield _clip(speaker, path, aligns.get((speaker, path.stem)), split_of[path.stem])


def speaker_of(path: Path) -> str:
    """`s1` of s1/bbaf2n.mpg or s1/video/bbaf2n.mpg or s1_bbaf2n.mpg; "" where nothing says it."""
    for part in reversed(path.parts[:-1]):
        if _SPEAKER.fullmatch(part):
            return part
    prefix = path.stem.partition("_")[0]
    return prefix if _SPEAKER.fullmatch(prefix) and "_" in path.stem else ""


def split_speaker(speaker: str, names: list[str], *, protocol: str, seed: int = 0) -> Mapping[str, str]:
    """Name of a clip -> set. Of speakers with fewer clips than GRID's 1000, the same share is held out."""
    if protocol == "unseen" and speaker in UNSEEN:
        return dict.fromkeys(names, "test")
    share = len(names) / 1000
    num_test = round(TEST_SENTENCES * share) if protocol == "overlapped" else 0
    num_dev = max(1, round(DEV_SENTENCES * share)) if len(names) > 2 else 0
    keys = {name: f"{speaker}_{name.rpartition('_')[2]}" for name in names}
    held_out = choose(keys.values(), num_test + num_dev, seed=seed)
    tested = choose(held_out, num_test, seed=seed)
    return {name: "test" if key in tested else "dev" if key in held_out else "train" for name, key in keys.items()}


def _clip(speaker: str, path: Path, align: Path | None, split: str) -> SourceClip:
    code = path.stem.rpartition("_")[2]
    text, times, problem = "", None, ""
    try:
        text = sentence_of_code(code)
        times = None if align is None else read_align(align)
        if times is not None and " ".join(time.word for time in times) != text:
            spoken = " ".join(time.word for time in times)
            raise DataError(f"{align} contradicts the file's name", found=repr(spoken), expected=repr(text))
    except DataError as error:
        problem = str(error)
    video = str(path.absolute())
    return SourceClip(
        utt_id=f"{speaker}_{code}", speaker=speaker, text=text, video=video, split=split, recording=video,
        word_times=times, problem=problem,
    )  # fmt: skip


def read_align(path: str | os.PathLike) -> tuple[WordTime, ...]:
    """The words of an .align with seconds, pauses left out. Raises DataError, which names the line."""
    times = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if not line.strip():
            continue
        start, end, word = [*line.split(), "", "", ""][:3]
        if not (start.isdecimal() and end.isdecimal() and word):
            raise DataError(f"{path}, line {number}", found=repr(line), expected="start end word, in 1/25000 s")
        if word not in PAUSES:
            times.append(WordTime(int(start) / ALIGN_RATE_HZ, int(end) / ALIGN_RATE_HZ, word))
    return tidy_times(times)
