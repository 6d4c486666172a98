"""The journal of a preparation: which clips there are, what became of each; a run that was stopped goes on from it.

One SQLite file, written by the process that leads the run only. It keeps memory flat for any number of clips, holds
ids to be unique, and sorts as Kaldi does (bytes of UTF-8). A row's `fingerprint` says from what and with which options
its clip was made; while that stays the same the clip is not made again.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from espnet_vivit.corpora.preparing.make_clip import ClipOptions, Outcome
from espnet_vivit.corpora.preparing.source_clip import SourceClip
from espnet_vivit.errors import DataError, MediaError
from espnet_vivit.media.quality.report import PAGE_ROWS
from espnet_vivit.media.quality.verdict import refused_clip

COMMIT_EVERY_S = 2.0  # what a power cut can cost
PAGE = 500  # rows fetched at a time
_TABLE = """
CREATE TABLE IF NOT EXISTS clips (
    utt_id TEXT PRIMARY KEY, split TEXT NOT NULL, speaker TEXT NOT NULL, recording TEXT NOT NULL,
    source TEXT NOT NULL, fingerprint TEXT NOT NULL, listing INTEGER NOT NULL,
    verdict TEXT, outcome TEXT, strip BLOB
);
CREATE INDEX IF NOT EXISTS by_speaker ON clips (split, speaker, utt_id);
"""
_SETS = """
CREATE TABLE sets (name TEXT PRIMARY KEY);
INSERT INTO sets SELECT DISTINCT split FROM clips
    WHERE verdict != 'reject' AND NOT EXISTS (SELECT * FROM clips WHERE verdict IS NULL);
"""  # in a journal that did not note its sets yet, those of the last run, if it came to its end


class Row(NamedTuple):
    clip: SourceClip
    outcome: Outcome


class ClipStore:
    """Use it in a `with` block. Raises MediaError while another run has the same folder."""

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self._strips: dict[str, int] = {}
        try:
            self._db = sqlite3.connect(self.path, isolation_level=None, timeout=1.0)
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._db.executescript(_TABLE)
            if not self._db.execute("SELECT * FROM sqlite_master WHERE type = 'table' AND name = 'sets'").fetchall():
                self._db.executescript(f"BEGIN EXCLUSIVE; {_SETS} COMMIT;")
            self._db.execute("BEGIN EXCLUSIVE")
        except sqlite3.Error as error:
            fix = "Is another run preparing the same folder? If not, delete this file: the clips are then made again."
            raise MediaError(f"cannot use {self.path} ({error})", fix=fix) from error
        self._committed = time.monotonic()

    def __enter__(self) -> ClipStore:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """What has been made stays made, whatever ended the block; SQLite's own errors in it become MediaError."""
        try:
            if self._db.in_transaction:
                self._db.execute("COMMIT")
        except sqlite3.Error as failed:
            error = error or failed
        finally:
            self._db.close()
        if isinstance(error, sqlite3.Error):
            raise MediaError(f"cannot write {self.path} ({error})", fix="Make room and run again.") from error

    def list_clips(self, clips: Iterable[SourceClip], options: ClipOptions, *, retry_rejected: bool = False) -> int:
        """Take in the corpus as it is now; returns the number of clips. Clips that are gone from it are forgotten.

        Raises DataError for an id that stands for two clips.
        """
        (last,) = self._db.execute("SELECT COALESCE(MAX(listing), 0) FROM clips").fetchone()
        listing, count, wanted = last + 1, 0, options_fingerprint(options)
        for clip in clips:
            self._list(clip, wanted, listing)
            count += 1
        self._db.execute("DELETE FROM clips WHERE listing != ?", (listing,))
        if retry_rejected:
            self._db.execute("UPDATE clips SET verdict = NULL, outcome = NULL WHERE verdict = 'reject'")
        self._refuse_problems()
        self.commit()
        return count

    def _list(self, clip: SourceClip, wanted: str, listing: int) -> None:
        fingerprint = clip_fingerprint(clip, wanted)
        found = self._db.execute(
            "SELECT listing, source, fingerprint, outcome FROM clips WHERE utt_id = ?", (clip.utt_id,)
        ).fetchone()
        if found is not None and found[0] == listing:
            raise _same_id(SourceClip.from_json(found[1]), clip)
        values = (clip.split, clip.speaker, clip.recording, clip.to_json(), listing, clip.utt_id)
        if found is not None and found[2] == fingerprint and _is_there(found[3]):
            self._db.execute(
                "UPDATE clips SET split = ?, speaker = ?, recording = ?, source = ?, listing = ? WHERE utt_id = ?",
                values,
            )
        else:
            self._db.execute(
                "INSERT OR REPLACE INTO clips (split, speaker, recording, source, listing, utt_id, fingerprint) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                (*values, fingerprint),
            )

    def _refuse_problems(self) -> None:
        """What was listed with a problem is rejected without being opened."""
        for clip in self.waiting():
            if clip.problem:
                self.save(Outcome.of(clip.utt_id, refused_clip(DataError(clip.problem))))

    def waiting(self) -> Iterator[SourceClip]:
        """The clips that nothing has become of yet; rows may be saved meanwhile."""
        for (source,) in self._pages("SELECT rowid, source FROM clips WHERE verdict IS NULL AND rowid > ?"):
            yield SourceClip.from_json(source)

    def _pages(self, query: str) -> Iterator[tuple]:
        last = -1
        while rows := self._db.execute(f"{query} ORDER BY rowid LIMIT {PAGE}", (last,)).fetchall():
            last = rows[-1][0]
            for _, *values in rows:
                yield tuple(values)

    def save(self, outcome: Outcome) -> None:
        """What became of a clip. Of each verdict the first PAGE_ROWS keep their picture for the report's page."""
        kept = self._strips.get(outcome.verdict, 0)
        strip = outcome.strip if kept < PAGE_ROWS else b""
        self._strips[outcome.verdict] = kept + bool(strip)
        fields = json.dumps(asdict(replace(outcome, strip=b"")) | {"strip": ""}, ensure_ascii=False)
        self._db.execute(
            "UPDATE clips SET verdict = ?, outcome = ?, strip = ? WHERE utt_id = ?",
            (outcome.verdict, fields, strip or None, outcome.utt_id),
        )
        if time.monotonic() - self._committed > COMMIT_EVERY_S:
            self.commit()

    def commit(self) -> None:
        self._db.execute("COMMIT")
        self._db.execute("BEGIN EXCLUSIVE")
        self._committed = time.monotonic()

    def written_sets(self) -> set[str]:
        """The sets whose data directories this run and those before it have written."""
        return {name for (name,) in self._db.execute("SELECT name FROM sets")}

    def note_written(self, split: str) -> None:
        """To be called before its data directory is touched: what is written is known, wherever the run ends."""
        self._db.execute("INSERT OR IGNORE INTO sets VALUES (?)", (split,))
        self.commit()

    def forget_written(self, split: str) -> None:
        self._db.execute("DELETE FROM sets WHERE name = ?", (split,))

    def counts(self) -> dict[tuple[str, str], int]:
        """(split, verdict) -> clips; the verdict of clips still to be made is ""."""
        rows = self._db.execute("SELECT split, COALESCE(verdict, ''), COUNT(*) FROM clips GROUP BY 1, 2")
        return {(split, verdict): count for split, verdict, count in rows}

    def rows(self, split: str | None = None, *, kept: bool = False) -> Iterator[Row]:
        """The clips with what became of them, sorted by id: of one set, or of all; `kept` leaves out the rejected."""
        conditions = ["verdict IS NOT NULL"] + (["split = ?"] if split is not None else [])
        conditions += ["verdict != 'reject'"] if kept else []
        rows = self._db.execute(
            f"SELECT source, outcome, strip FROM clips WHERE {' AND '.join(conditions)} ORDER BY utt_id",
            () if split is None else (split,),
        )
        for source, outcome, strip in rows:
            yield Row(SourceClip.from_json(source), Outcome(**json.loads(outcome) | {"strip": strip or b""}))

    def speakers(self, split: str) -> Iterator[tuple[str, str]]:
        """(speaker, id) of what is kept of a set, sorted by both."""
        query = "SELECT speaker, utt_id FROM clips WHERE split = ? AND verdict != 'reject' ORDER BY speaker, utt_id"
        yield from self._db.execute(query, (split,))

    def shared_by_sets(self, column: str) -> tuple[str, str, str] | None:
        """The first (value, set, other set) of `speaker` or `recording` that clips of two sets have, or None."""
        return self._db.execute(
            f"SELECT {column}, MIN(split), MAX(split) FROM clips WHERE {column} != '' AND verdict != 'reject' "
            f"GROUP BY {column} HAVING COUNT(DISTINCT split) > 1 ORDER BY 1 LIMIT 1"
        ).fetchone()


def options_fingerprint(options: ClipOptions) -> str:
    return json.dumps(asdict(options), sort_keys=True)


def clip_fingerprint(clip: SourceClip, options: str) -> str:
    """Of what decides over a clip's pictures and sound: the span, the files' sizes and times, the options."""
    span = (clip.video, clip.audio, clip.start_s, clip.end_s, clip.problem)
    files = [_stamp(path) for path in (clip.video, clip.audio) if path]
    return sha256(repr((span, files, options, clip.speaker)).encode(errors="surrogatepass")).hexdigest()


def _stamp(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # missing or no path at all: the clip's row will say so
        return None
    return status.st_size, status.st_mtime_ns


def _is_there(outcome: str | None) -> bool:
    """Whether what was made is still on the disk, with the sizes that it had."""
    if outcome is None:
        return False
    fields: Mapping = json.loads(outcome)
    return all((stamp := _stamp(path)) is not None and stamp[0] == size for path, size in fields["files"].items())


def _same_id(one: SourceClip, other: SourceClip) -> DataError:
    files = f"{_name(one)} and {_name(other)}"
    if one.split != other.split:
        what = f"{one.split} and {other.split} overlap: both have {one.utt_id}"
        return DataError(what, found=files, fix="Nothing of a test set may be trained on, or chosen a model by.")
    what = f"two clips have the id {one.utt_id!r}"
    return DataError(what, found=files, fix="Rename one of them, or give each its own utt_id.")


def _name(clip: SourceClip) -> str:
    span = "" if clip.end_s is None else f" [{clip.start_s:.2f}-{clip.end_s:.2f} s]"
    return clip.video + span
