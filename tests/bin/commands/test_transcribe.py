"""A batch of files: whatever is wrong with one is said of that one, and the others are transcribed."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from espnet_vivit.base.whole_file import write_whole
from espnet_vivit.bin.commands.transcribe import main, transcribe_files
from espnet_vivit.errors import ConfigError, MediaError
from espnet_vivit.media.files.containers import stated_duration_s, streams_of
from espnet_vivit.media.files.tracks import Tracks
from espnet_vivit.transcription.result import OK, UNCLEAR, WARN, Piece, Transcription
from espnet_vivit.transcription.transcriber import _shown_name
from tests.media.videos import numbered, write_video

ODD = os.fsdecode(b"caf\xe9.mp4")  # Latin-1: no UTF-8


class Reader:
    """A transcriber whose text is the file's name; or which fails."""

    def __init__(self, failures=None):
        self.failures = failures or {}

    def transcribe(self, path: Path, **_):
        if path.name in self.failures:
            raise self.failures[path.name]
        return Transcription(_shown_name(path), 1.0, ())


def files(folder, *names):
    return [write_video(folder / name, map(numbered, range(3))) for name in names]


def test_any_error_is_that_files_and_the_others_go_on(tmp_path, capsys):
    failures = {"b.mp4": ValueError("a decoder's own"), "c.mp4": MediaError("ours")}
    paths = files(tmp_path, "a.mp4", "b.mp4", "c.mp4", "d.mp4")
    assert transcribe_files(Reader(failures), paths, formats=["json"]) == 2
    assert sorted(path.name for path in tmp_path.glob("*.json")) == ["a.json", "d.json"]
    said = capsys.readouterr().err
    assert f"error: {paths[1]}: ValueError: a decoder's own\n" in said and f"error: {paths[2]}: ours\n" in said


def test_what_is_wrong_with_a_piece_is_said_whether_it_is_read_or_not(tmp_path, capsys):
    turned, small = (
        "the face is turned by 60 degrees (upside down is 180)",
        "the face is small: 20 pixels between the eyes",
    )
    pieces = (
        Piece(0.0, 2.0, OK, (), 0.9, "video", (), ()),
        Piece(2.0, 3.5, WARN, (turned, small), 0.9, "video", (), ()),
        Piece(3.5, 5.0, UNCLEAR, ("confidence 0.30 is below 0.50",), 0.3, "video", (), ()),
    )
    reader, (path,) = Reader(), files(tmp_path, "a.mp4")
    reader.transcribe = lambda path, **_: Transcription(str(path), 5.0, pieces)
    assert transcribe_files(reader, [path]) == 0
    said = [f"warning: {path}, 2.0 to 3.5 s: {turned}; {small}"]
    said += [f"unclear: {path}, 3.5 to 5.0 s: confidence 0.30 is below 0.50"]
    assert capsys.readouterr().err.splitlines() == said


def test_an_interruption_ends_the_batch(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        transcribe_files(Reader({"a.mp4": KeyboardInterrupt()}), files(tmp_path, "a.mp4"))


def test_a_name_that_is_no_utf_8_is_escaped(tmp_path, capsys):
    paths = files(tmp_path, ODD, "b.mp4")
    assert transcribe_files(Reader(), paths, formats=["json"]) == 0
    written = tmp_path / ODD.replace(".mp4", ".json")
    assert json.loads(written.read_text("utf-8"))["path"].endswith("caf\\udce9.mp4")
    assert "caf\\udce9.json" in capsys.readouterr().out


def test_a_text_that_is_no_utf_8_is_that_files_error(tmp_path, capsys):
    """trn holds the file's name."""
    paths = files(tmp_path, ODD, "b.mp4")
    assert transcribe_files(Reader(), paths, formats=["trn"]) == 1
    assert (tmp_path / "b.trn").exists() and "which is UTF-8" in capsys.readouterr().err
    with pytest.raises(MediaError, match=r"cannot write .*text\.txt, which is UTF-8: found 'caf\\udce9'.*Rename"):
        write_whole(tmp_path / "text.txt", "caf\udce9")


def test_sound_without_a_decoder_is_no_stream(tmp_path):
    path = write_video(tmp_path / "odd.mkv", map(numbered, range(5)), speech=np.zeros(3200, np.float32))
    assert streams_of(path) == {"video", "audio"}
    path.write_bytes(path.read_bytes().replace(b"A_PCM/INT/LIT", b"A_XYZ/INT/LIT"))
    assert streams_of(path) == {"video"} and stated_duration_s(path) == pytest.approx(0.2, abs=0.05)


def test_the_font_of_burnt_subtitles_is_looked_at_before_anything_is_loaded(tmp_path):
    (clip,) = files(tmp_path, "clip.mp4")
    given = [str(clip), "--model", str(tmp_path / "none"), "--font", str(tmp_path / "none.ttf")]
    with pytest.raises(ConfigError, match="--burn beside it"):
        main(given)
    with pytest.raises(ConfigError, match=r"cannot read the font .*none\.ttf"):
        main([*given, "--burn"])


def test_font_and_tracks_reach_the_subtitles(tmp_path, monkeypatch):
    from matplotlib.font_manager import findfont

    given = []
    monkeypatch.setattr(
        "espnet_vivit.transcription.subtitles.burn.burn_subtitles",
        lambda video, cues, out, *, font, tracks: given.append((font, tracks)),
    )
    (clip,) = files(tmp_path, "clip.mp4")
    usual = [str(clip), "--model", "model", "--burn"]
    monkeypatch.setattr("espnet_vivit.bin.commands.transcribe.Transcriber", lambda model, **_: Reader())
    assert main([*usual, "--font", findfont("DejaVu Sans"), "--audio_track", "2"]) == 0
    assert main(usual) == 0
    assert given == [(Path(findfont("DejaVu Sans")), Tracks(audio=2)), (None, Tracks())]
