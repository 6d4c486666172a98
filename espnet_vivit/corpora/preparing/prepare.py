"""A corpus's clips in; data directories with shapes, a report of every clip and a page to look at out.

    prepared = prepare_clips(folder_clips("my_videos"), "out", nj=8)
    prepared.directories      # {"train": Path("out/train"), …}: what is not rejected
    prepared.counts           # {("train", "ok"): 93, ("train", "reject"): 2, …}

In OUT: a data directory for each set, `clips/` with the crops, report.tsv and report.html (every clip, whatever became
of it), mouth_view, and prepare.sqlite, the journal by which a run that was stopped goes on.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from espnet_vivit.base.progress_bar import progress_bar
from espnet_vivit.base.whole_file import TEMPORARY, make_folder, replacing
from espnet_vivit.corpora.preparing.jobs import run_jobs
from espnet_vivit.corpora.preparing.journal import ClipStore, Row
from espnet_vivit.corpora.preparing.make_clip import ClipOptions, lost_clip, make_clip, seen_word_times
from espnet_vivit.corpora.preparing.report import REPORT_NAME, write_report
from espnet_vivit.corpora.preparing.source_clip import SourceClip
from espnet_vivit.data.data_dir import Utterance, check_utterance
from espnet_vivit.data.mouth_view import write_mouth_view
from espnet_vivit.data.word_times import format_word_times
from espnet_vivit.errors import DataError

JOURNAL_NAME = "prepare.sqlite"
CLIPS_NAME = "clips"


@dataclass(frozen=True)
class Prepared:
    directories: dict[str, Path]
    counts: dict[tuple[str, str], int]  # (set, verdict) -> clips
    made: int  # by this run; the rest was there
    withdrawn: tuple[str, ...] = ()  # sets of an earlier run that the corpus no longer has: their `text` is removed


def prepare_clips(
    clips: Iterable[SourceClip],
    out_dir: str | os.PathLike,
    *,
    options: ClipOptions,
    nj: int = 1,
    dask_scheduler: str | None = None,
    disjoint: Collection[str] = ("recording",),
    retry_rejected: bool = False,
    progress: bool = True,
) -> Prepared:
    """Make all clips that are not there yet, then the report, then the data directories.

    `disjoint`: what no two sets may share besides their ids and files, of "speaker" and "recording". Raises DataError
    for an empty corpus, an id twice, sets that overlap or of which nothing is left; MediaError for a full disk.
    """
    out_dir = Path(out_dir)
    _check_name(out_dir)
    make_folder(out_dir)
    with ClipStore(out_dir / JOURNAL_NAME) as store:
        if not store.list_clips(clips, options, retry_rejected=retry_rejected):
            raise DataError("this corpus has no clip", fix="Check the folder that was named.")
        _remove_torn(out_dir)
        made = _make_all(store, options, nj=nj, dask_scheduler=dask_scheduler, progress=progress)
        write_report(out_dir, store.rows())
        write_mouth_view(out_dir, options.view)
        check_overlap(store, disjoint)
        directories = {split: out_dir / split for split in sorted({split for split, _ in store.counts()})}
        withdrawn = _withdraw_sets(store, out_dir, directories.keys())
        empty = []
        for split, directory in directories.items():
            if next(store.rows(split, kept=True), None) is None:
                empty.append(split)
            else:
                _write_set(store, split, directory)
        if empty:
            raise _nothing_left(store, empty, sorted(directories.keys() - set(empty)), out_dir, withdrawn)
        return Prepared(directories, store.counts(), made, withdrawn)


def _check_name(out_dir: Path) -> None:
    name = str(out_dir.resolve())
    if name.splitlines() != [name.strip()]:
        raise DataError(f"no list of files can hold the folder's name {name!r}", fix="Choose one without line breaks.")


def _remove_torn(out_dir: Path) -> None:
    """What a run that was killed had not finished: no other run has this folder now."""
    for folder in ("", "*/", f"{CLIPS_NAME}/*/"):
        for path in out_dir.glob(f"{folder}.*.part*"):
            if TEMPORARY.fullmatch(path.name):
                path.unlink(missing_ok=True)


def check_overlap(store: ClipStore, disjoint: Collection[str]) -> None:
    """Raises DataError if two sets have the same file or, of `disjoint`, the same speaker or recording."""
    for kind in ("recording", *(kind for kind in disjoint if kind != "recording")):
        if shared := store.shared_by_sets(kind):
            value, one, other = shared
            raise DataError(
                f"{one} and {other} overlap: both have the {kind} {value!r}",
                fix="Nothing of a test set may be trained on.",
            )


def _make_all(store: ClipStore, options: ClipOptions, *, nj, dask_scheduler, progress) -> int:
    counts = store.counts()
    total, waiting = sum(counts.values()), sum(n for (_, verdict), n in counts.items() if not verdict)
    rejected = sum(n for (_, verdict), n in counts.items() if verdict == "reject")
    results = run_jobs(
        partial(make_clip, options=options), store.waiting(), nj=min(nj, waiting) if waiting else 0,
        lost=lost_clip, dask_scheduler=dask_scheduler if waiting else None,
    )  # fmt: skip
    with progress_bar(total, "prepare", shown=progress) as bar:
        bar.update(total - waiting)
        bar.initial = total - waiting  # what was there before is no part of the speed
        for _, outcome in results:
            store.save(outcome)
            rejected += outcome.verdict == "reject"
            bar.set_postfix_str(f"{rejected} rejected", refresh=False)
            bar.update()
    store.commit()
    return waiting


def _withdraw_sets(store: ClipStore, out_dir: Path, listed: Collection[str]) -> tuple[str, ...]:
    """Takes `text` from what earlier runs wrote; returns the sets that are not `listed` any more.

    A set that stayed from another choice of sets, or another corpus, would be decoded, or trained on, although its
    clips are in others by now. Where a run ends before all sets are new, none is left beside an old one either.
    """
    written = store.written_sets()
    for split in written:
        (out_dir / split / "text").unlink(missing_ok=True)
    withdrawn = tuple(sorted(written - set(listed)))
    for split in withdrawn:
        store.forget_written(split)
    store.commit()
    return withdrawn


def _write_set(store: ClipStore, split: str, directory: Path) -> None:
    """A data directory with shapes, row by row. `text` comes last, so that a torn one never passes for whole."""
    store.note_written(split)
    make_folder(directory)
    (directory / "text").unlink(missing_ok=True)
    has_sound = next(store.rows(split, kept=True)).outcome.wav is not None
    has_times = all(row.clip.word_times is not None for row in store.rows(split, kept=True))
    names = ["utt2spk", "video.scp", "utt2num_frames", "video_shape", "text"]
    names += ["wav.scp", "utt2num_samples", "speech_shape"] if has_sound else []
    names += ["word_times"] if has_times else []
    for name in {"wav.scp", "utt2num_samples", "speech_shape", "word_times"} - set(names):
        (directory / name).unlink(missing_ok=True)
    with replacing(directory / "spk2utt") as path:
        path.write_text("", encoding="utf-8")
        _write_speakers(path, store.speakers(split))
    with ExitStack() as stack:
        text_last = sorted(names, key=lambda name: name != "text")  # what is opened first is put in place last
        files = {}
        for name in text_last:
            path = stack.enter_context(replacing(directory / name))
            files[name] = stack.enter_context(open(path, "w", encoding="utf-8", newline="\n"))
        for row in store.rows(split, kept=True):
            for name, value in _values(row).items():
                if name in files:
                    files[name].write(f"{row.clip.utt_id} {value}\n")


def _nothing_left(
    store: ClipStore, empty: list[str], ready: list[str], out_dir: Path, withdrawn: Collection[str]
) -> DataError:
    """The error about the sets in `empty`, whose lists of an earlier run it removes; those in `ready` are written."""
    counts, causes = store.counts(), []
    for split in empty:
        (out_dir / split / "text").unlink(missing_ok=True)
        total = sum(count for (name, _), count in counts.items() if name == split)
        clips = f"all {total} clips of {split} are" if total > 1 else f"the only clip of {split} is"
        causes.append(f"{clips} rejected, the first because: {'; '.join(next(store.rows(split)).outcome.reasons)}")
    left = f"ready to be used: {', '.join(ready)}" if ready else "no set is left to be used"
    gone = f"; no longer in this corpus, and withdrawn: {', '.join(withdrawn)}" if withdrawn else ""
    return DataError(". ".join(causes), fix=f"See {out_dir / REPORT_NAME}; {left}{gone}.")


def _values(row: Row) -> dict[str, object]:
    """File name -> value of one clip. Raises DataError for what cannot stand in a data directory."""
    clip, made = row
    word_times = seen_word_times(clip, made.lead_s)
    utterance = Utterance(
        clip.utt_id, clip.speaker, clip.text, made.wav, made.video, made.num_frames, made.num_samples, word_times
    )
    check_utterance(utterance)
    height, width = made.shape
    return {
        "utt2spk": clip.speaker,
        "video.scp": made.video,
        "wav.scp": made.wav,
        "utt2num_frames": made.num_frames,
        "utt2num_samples": made.num_samples,
        "video_shape": f"{made.num_frames},{height},{width}",
        "speech_shape": made.num_samples,
        "word_times": format_word_times(word_times or ()),
        "text": clip.text,
    }


def _write_speakers(path: Path, pairs: Iterator[tuple[str, str]]) -> None:
    current = None
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        for speaker, utt_id in pairs:
            if speaker != current:
                file.write(("" if current is None else "\n") + speaker)
                current = speaker
            file.write(f" {utt_id}")
        file.write("\n")
