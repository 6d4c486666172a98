"""Videos of one's own, in any language: a folder with `clip.mp4` beside `clip.txt`, or with one table for all.

    my_videos/anna/greeting.mp4    my_videos/anna/greeting.txt        the folder is the speaker

    my_videos/transcripts.tsv, or any other single .tsv there, tab-separated, in UTF-8:
        video          text                 speaker   split   start_s   end_s   utt_id
        anna/01.mp4    good morning         anna      train
        talk.mp4       and now the weather  bert      test    12.4      15.0

`video` and `text` are enough. Sets are the column `split`, or else folders train, dev and test, or else chosen: a share
of the speakers where there are ten or more, of the videos otherwise, always the same for the same names. That takes
three videos: rows of one video are one recording, and stay together. Videos are known by their names (VIDEO_SUFFIXES in
media/folder_files.py; a table may name any file), and folders may be links.
"""

from __future__ import annotations

import math
import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from espnet_vivit.corpora.folder_table import SPLITS, list_table
from espnet_vivit.corpora.lrs import TimedText
from espnet_vivit.corpora.preparing.source_clip import SourceClip, choose, make_id
from espnet_vivit.corpora.transcript_file import read_transcript
from espnet_vivit.errors import ConfigError, DataError
from espnet_vivit.media.files.folder_files import VIDEO_SUFFIXES, files_below, hint_at, is_video

MANY_SPEAKERS = 10  # from here on whole speakers are held out
HELD_OUT = 0.1
_OTHER_TEXTS = (".srt", ".vtt", ".ass", ".csv", ".align", ".json", ".lab", ".trs", ".eaf", ".textgrid")
_EXAMPLE = "clip.txt with what is said beside clip.mp4, or a table transcripts.tsv with the columns video and text"


def folder_clips(
    root: str | os.PathLike,
    *,
    table: str | os.PathLike | None = None,
    dev: float = HELD_OUT,
    test: float = HELD_OUT,
    seed: int = 0,
    leave_out: str | os.PathLike | None = None,
    note: Callable[[str], object] | None = None,
) -> Iterator[SourceClip]:
    """The clips of a folder. Nothing below `leave_out` is looked at (the results may lie within the videos).

    `note` is called with a sentence on each kind of files that no clip is made of.

    Raises DataError for a folder without videos or transcripts, and a table that cannot be understood; ConfigError for
    shares `dev` and `test` that leave nothing to train on. A clip without transcript is listed with its problem.
    DataError also where sets are to be chosen from fewer than three videos, since no recording may be in two sets.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"{root} is not a folder", fix="Give the folder that holds the videos.")
    if dev < 0 or test < 0 or dev + test >= 1:
        raise ConfigError("bad shares of held-out clips", found=f"dev {dev}, test {test}", expected="a sum below 1")
    table = Path(table) if table is not None else find_table(root)
    listed = list_table(root, table) if table is not None else list_videos(root, leave_out, note=note)
    first_pass = [(clip.speaker, _key(root, clip), clip.split) for clip in listed]  # a few names a clip, for the sets
    if not first_pass:
        raise DataError(f"{table} has no row" if table else f"{root} has no video", expected=_EXAMPLE)
    if all(not split for *_, split in first_pass):
        split_of = hold_out(first_pass, dev=dev, test=test, seed=seed)
    else:
        split_of = None
    del first_pass
    for clip in list_table(root, table) if table is not None else list_videos(root, leave_out):
        yield _with_split(root, clip, split_of)


def find_table(root: Path) -> Path | None:
    """The one .tsv in the folder itself; None: transcripts are beside the videos. Raises DataError for several."""
    tables = sorted(path for path in root.iterdir() if path.suffix.lower() == ".tsv" and path.is_file())
    if len(tables) > 1:
        raise DataError(
            f"{root} has {len(tables)} tables", found=", ".join(path.name for path in tables),
            fix="Say which one: --table FILE",
        )  # fmt: skip
    return tables[0] if tables else None


def list_videos(
    root: Path, leave_out: str | os.PathLike | None = None, *, note: Callable[[str], object] | None = None
) -> Iterator[SourceClip]:
    """Every video below `root` with its same-named .txt, sorted by path."""
    outside = None if leave_out is None else Path(leave_out).resolve()
    if outside and root.resolve().is_relative_to(outside):
        raise DataError(
            f"the results would lie around the videos: {leave_out} holds {root}",
            expected="a folder of their own, which may be one inside the videos' folder",
            fix=f"Name one, such as {root}_prepared",
        )
    files = [
        path for path in files_below(root)
        if not (outside and Path(os.path.realpath(path)).is_relative_to(outside)) and not path.name.startswith(".")
    ]  # fmt: skip
    videos = [path for path in files if is_video(path)]
    if not videos:
        expected = "files such as " + " ".join(sorted(VIDEO_SUFFIXES))
        raise DataError(f"{root} has no video", found=_kinds(files) or "nothing", expected=expected)
    texts = {_stem(path): path for path in files if path.suffix.lower() == ".txt"}
    if not any(_stem(video) in texts for video in videos):
        others = [path for path in files if path.suffix.lower() in _OTHER_TEXTS]
        found = f"{_kinds(others)}, which {'is' if len(others) == 1 else 'are'} not read" if others else None
        raise DataError(f"{root} has {len(videos)} videos and no transcript", found=found, expected=_EXAMPLE)
    if note is not None:
        for sentence in _left_over(files, videos, texts):
            note(sentence)
    for video in videos:
        yield _video_clip(root, video, texts.get(_stem(video)))


def _stem(path: Path) -> str:
    """Its path without the suffix, composed: of one name, a Macintosh may have written a letter as two characters."""
    return unicodedata.normalize("NFC", str(path.with_suffix("")))


def _kinds(files: Collection[Path], shown: int = 5) -> str:
    """`3 files .json, 1 file without suffix`: the commonest kinds of files, as their names say."""
    kinds = Counter(path.suffix.lower() or "without suffix" for path in files).most_common()
    words = [f"{count} file{'s' if count > 1 else ''} {kind}" for kind, count in kinds[:shown]]
    if rest := sum(count for _, count in kinds[shown:]):
        words.append(f"{rest} of other kinds")
    return ", ".join(words)


def _left_over(files: list[Path], videos: list[Path], texts: Mapping[str, Path]) -> Iterator[str]:
    """What somebody may miss among the clips: files of a kind that is not in the list, transcripts on their own."""
    if others := [path for path in files if not is_video(path) and path.suffix.lower() != ".txt"]:
        yield f"no videos by their names, and left out: {_kinds(others)}"
    if lonely := sorted(texts[stem] for stem in texts.keys() - {_stem(video) for video in videos}):
        stems = {_stem(path) for path in lonely}
        beside = next((path for path in others if _stem(path) in stems), None)
        example = f"{lonely[0]}" if beside is None else f"that of {beside}; a table can name any file"
        yield f"transcripts without a video of that name beside them: {len(lonely)}, such as {example}"


def _video_clip(root: Path, video: Path, transcript: Path | None) -> SourceClip:
    *folders, _ = video.relative_to(root).parts
    split = SPLITS.get(folders[0].lower(), "") if folders else ""
    names = folders[1:] if split else folders
    text, problem, said = "", "", TimedText("", ())
    if transcript is None:
        problem = f"no transcript: there is no {video.with_suffix('.txt').name} beside it{_instead(video)}"
    else:
        try:
            said = read_transcript(transcript)
            text = said.text
        except DataError as error:
            problem = str(error)
    real = os.path.realpath(video)  # a link to itself stays what it is: opening it says so
    return SourceClip(
        utt_id=make_id(*names, video.stem), speaker=make_id(names[0] if names else video.stem), text=text,
        video=real, split=split, recording=real, problem=problem,
        word_times=said.words if text and said.words and " ".join(time.word for time in said.words) == text else None,
    )  # fmt: skip


def _instead(video: Path) -> str:
    """What a person may have meant as the transcript: its name in another case, or a file of another kind."""
    if near := hint_at(video.with_suffix(".txt")):
        return near
    other = next((video.with_suffix(kind).name for kind in _OTHER_TEXTS if video.with_suffix(kind).is_file()), None)
    return f" (there is {other}, which is not read: save its words as .txt)" if other else ""


def hold_out(clips: list[tuple[str, str, str]], *, dev: float, test: float, seed: int = 0) -> dict[str, str]:
    """Key (a speaker, or a video) -> set. Raises DataError if nothing would be left to train on.

    `clips` are rows of speaker, video ("" for one that has a problem, which holds nothing out), and more.
    """
    usable = [row for row in clips if row[1]]
    by_speaker = len({speaker for speaker, *_ in usable}) >= MANY_SPEAKERS
    keys = {row[0] if by_speaker else row[1] for row in usable}
    num_test, num_dev = (math.ceil(share * len(keys)) for share in (test, dev))
    if keys and num_test + num_dev >= len(keys):
        raise _too_few("speaker" if by_speaker else "video", len(keys), len(clips) - len(usable), dev=dev, test=test)
    held_out = choose(keys, num_test + num_dev, seed=seed)
    tested = choose(held_out, num_test, seed=seed)
    return {key: "test" if key in tested else "dev" if key in held_out else "train" for key in keys}


def _too_few(kind: str, count: int, unusable: int, *, dev: float, test: float) -> DataError:
    """Rows of one video are one recording: to part them would test on what was trained on."""
    sets = [name for name, share in (("dev", dev), ("test", test)) if share]
    found = f"{count} {kind}{'s' if count > 1 else ''} to choose from"
    return DataError(
        f"too few {kind}s to hold out {' and '.join(sets)} without showing the same recording to both sides",
        found=found + (f" ({unusable} other clips have no file or no transcript)" if unusable else ""),
        expected=f"at least {len(sets) + 1}, and shares that leave one to train on",
        fix=f"Add videos, or name the sets yourself in a column `split` (a video belongs to one of them); "
        f"{' '.join(f'--{name} 0' for name in sets)} prepares data to train on alone.",
    )


def _key(root: Path, clip: SourceClip) -> str:
    """What a video is held out by: its path in the folder, so that it is the same wherever the folder lies."""
    return "" if clip.problem else Path(os.path.relpath(clip.video, root.resolve())).as_posix()


def _with_split(root: Path, clip: SourceClip, split_of: Mapping[str, str] | None) -> SourceClip:
    if split_of is None:
        if not clip.split and not clip.problem:
            problem = "it is in none of the sets, and others are: give its split, or move it into train, dev or test"
            return replace(clip, split="train", problem=problem)
        return replace(clip, split=clip.split or "train")
    return replace(clip, split=split_of.get(clip.speaker) or split_of.get(_key(root, clip)) or "train")
