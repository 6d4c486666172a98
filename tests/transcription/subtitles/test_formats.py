"""Files of a transcription, read back by FFmpeg and by the rules of the formats."""

import json
import re
from itertools import pairwise

import av
import pytest

from espnet_vivit.decode.word_times import Word
from espnet_vivit.errors import ConfigError, MediaError
from espnet_vivit.transcription.result import OK, UNCLEAR, WARN, Hypothesis, Piece, Transcription
from espnet_vivit.transcription.subtitles.formats import (
    CUE_LINES,
    FORMATS,
    LINE_CHARACTERS,
    LONGEST_CUE_S,
    cues,
    write_subtitles,
)

NAME = "my clip"


def words_of(text, start_s=0.0, word_s=0.3):
    return tuple(
        Word(word, start_s + i * word_s, start_s + (i + 1) * word_s, 0.9 - 0.01 * i)
        for i, word in enumerate(text.split())
    )


def piece(start_s, end_s, words=(), status=OK, reasons=(), nbest=()):
    return Piece(start_s, end_s, status, reasons, 0.9, "video", tuple(words), nbest)


def unclear(start_s, end_s, reason):
    return piece(start_s, end_s, status=UNCLEAR, reasons=(reason,), nbest=(Hypothesis("lay", float("-inf"), ()),))


RESULT = Transcription(
    "my clip.mp4",
    10.0,
    (
        piece(0.0, 4.0, [*words_of("bin blue <at>", 0.2), *words_of("f & two", 2.5)]),
        unclear(4.0, 6.0, "the mouth is still"),
        unclear(6.0, 7.5, "no face"),
        piece(7.5, 10.0, words_of("now", 8.0), status=WARN),
    ),
)


def lines(form, result=RESULT):
    return FORMATS[form](result, NAME).split("\n")


def read_by_ffmpeg(path):
    """[(start, end, text)] of a subtitle file."""
    with av.open(str(path)) as container:
        found = []
        for packet in container.demux(container.streams.subtitles[0]):
            if packet.size:
                (line,) = packet.decode()
                start_s = float(packet.pts * packet.time_base)
                text = line.ass.decode().split(",", 8)[8].replace("\\N", "\n")
                text = re.sub(r"\{\\kf\d+\}", "", text)  # how FFmpeg 8 says WebVTT's times of words
                found.append((start_s, start_s + float(packet.duration * packet.time_base), text))
        return found


@pytest.mark.parametrize("form", ["srt", "vtt"])
def test_ffmpeg_reads_the_subtitles_that_are_meant(tmp_path, form):
    (path,) = write_subtitles(RESULT, tmp_path, [form], name=NAME)
    assert path == tmp_path / f"{NAME}.{form}"
    read, meant = read_by_ffmpeg(path), cues(RESULT)
    shown = {"vtt": "bin blue <at>", "srt": "bin blue ‹at›"}[form]  # SubRip would take <at> for a tag, and drop it
    assert [text for _, _, text in read] == [shown, *(cue.text for cue in meant[1:])]
    for (start_s, end_s, _), cue in zip(read, meant, strict=True):
        assert start_s == pytest.approx(cue.start_s, abs=0.0011) and end_s == pytest.approx(cue.end_s, abs=0.0011)


def test_a_pause_begins_a_new_subtitle_and_what_is_unclear_says_so():
    found = [(round(cue.start_s, 2), round(cue.end_s, 2), cue.text) for cue in cues(RESULT)]
    assert found == [(0.2, 1.2, "bin blue <at>"), (2.5, 3.5, "f & two"), (4.0, 7.5, "[unclear]"), (8.0, 9.0, "now")]


def test_no_subtitle_goes_on_behind_what_is_unclear():
    """However short the unclear piece: its mark would take the subtitle away before its last words are said."""
    pieces = (
        piece(0.0, 4.0, words_of("bin blue at", 2.95, 0.4)),  # until 4.15, into the next piece
        unclear(4.0, 4.6, "low confidence"),
        piece(4.6, 8.0, words_of("f two now", 4.65)),
    )
    found = [(cue.start_s, round(cue.end_s, 2), cue.text) for cue in cues(Transcription("a", 8.0, pieces))]
    assert found == [
        (2.95, 4.15, "bin blue at"),
        (pytest.approx(4.15), 4.65, "[unclear]"),
        (4.65, 5.65, "f two now"),
    ]


def test_subtitles_keep_within_lines_and_seconds_and_lose_nothing():
    text = " ".join(f"word{i}" + "x" * (i % 9) for i in range(120))
    for word_s in (0.1, 0.4, 1.5):
        result = Transcription("a", 999.0, (piece(0.0, 999.0, words_of(text, word_s=word_s)),))
        found = cues(result)
        assert " ".join(cue.text.replace("\n", " ") for cue in found) == text
        for cue in found:
            shown = cue.text.split("\n")
            assert len(shown) <= CUE_LINES and max(map(len, shown)) <= LINE_CHARACTERS
            assert cue.end_s - cue.start_s <= LONGEST_CUE_S
        for cue, following in pairwise(found):
            assert cue.end_s <= following.start_s
    assert len(cues(Transcription("a", 9.0, (piece(0.0, 9.0, words_of("x" * 60 + " y")),)))) == 1


def test_vtt_words_carry_their_times():
    assert lines("vtt")[3] == "bin <00:00:00.500>blue <00:00:00.800>&lt;at&gt;"


def test_hours_are_counted():
    late = Transcription("a", 4000.0, (piece(0.0, 4000.0, words_of("now", 3725.5)),))
    assert lines("srt", late)[1] == "01:02:05,500 --> 01:02:06,500"


def test_txt_marks_what_is_unclear_once():
    assert FORMATS["txt"](RESULT, NAME) == "bin blue <at> f & two [unclear] now\n"
    assert RESULT.text == "bin blue <at> f & two now" and RESULT.verdict == WARN


def test_ctm_has_six_fields_in_order_of_time_and_comments():
    rows = [line.split() for line in lines("ctm") if line and not line.startswith(";;")]
    assert all(len(row) == 6 and row[:2] == ["my_clip", "1"] for row in rows)
    assert [row[4] for row in rows] == RESULT.text.split()
    starts = [float(row[2]) for row in rows]
    assert starts == sorted(starts) and all(float(row[3]) > 0 and 0 <= float(row[5]) <= 1 for row in rows)
    assert [line for line in lines("ctm") if line.startswith(";;")] == [
        ";; my_clip 4.000 7.500 unclear: the mouth is still; no face"
    ]


def test_trn_is_what_the_scorer_writes():
    assert lines("trn")[0] == "bin blue <at> f & two now (my_clip)"


def test_json_holds_everything():
    read = json.loads(FORMATS["json"](RESULT, NAME))
    assert read["text"] == RESULT.text and read["verdict"] == WARN and len(read["words"]) == 7
    assert read["words"][1] == {"text": "blue", "start_s": 0.5, "end_s": 0.8, "confidence": 0.89}
    assert read["pieces"][1]["reasons"] == ["the mouth is still"]
    assert read["pieces"][1]["nbest"] == [{"text": "lay", "score": None, "words": []}]


@pytest.mark.parametrize(
    ("pieces", "verdict"),
    [((), UNCLEAR), ((piece(0, 1),), OK), ((unclear(0, 1, "x"),), UNCLEAR), ((piece(0, 1), unclear(1, 2, "x")), WARN)],
)
def test_the_verdict_on_a_file_follows_from_its_pieces(pieces, verdict):
    assert Transcription("a", 2.0, pieces).verdict == verdict


def test_an_empty_transcription_gives_empty_files():
    nothing = Transcription("a", 1.0, ())
    assert {form: write(nothing, "a") for form, write in FORMATS.items() if form != "json"} == {
        "txt": "\n",
        "srt": "",
        "vtt": "WEBVTT\n",
        "ctm": "",
        "trn": " (a)\n",
    }


def test_an_unknown_format_is_named_and_nothing_is_written(tmp_path):
    with pytest.raises(ConfigError, match="Did you mean 'srt'"):
        write_subtitles(RESULT, tmp_path, ["txt", "srr"], name=NAME)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / f"{NAME}.srt").mkdir()
    with pytest.raises(MediaError, match=r"cannot make the folder .*file"):
        write_subtitles(RESULT, tmp_path / "file/deeper", ["txt"], name=NAME)
    with pytest.raises(MediaError, match=rf"cannot write .*{NAME}\.srt"):
        write_subtitles(RESULT, tmp_path, ["txt", "srt"], name=NAME)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", f"{NAME}.srt", f"{NAME}.txt"]


@pytest.mark.parametrize(
    "text",
    ["my mother-in-law is so-called twenty-five years old", "a " + "rhubarb" * 9 + " b", "今天天气很好" * 9],
    ids=["hyphens", "a word of 63 letters", "no blanks"],
)
def test_words_are_never_broken_because_each_has_a_time(text):
    result = Transcription("my clip.mp4", 10.0, (piece(0, 9, words_of(text, 0.5)),))
    assert [w for cue in cues(result) for line in cue.text.split("\n") for w in line.split()] == text.split()
    untimed = re.sub(r"<[\d:.]+>", "", "\n".join(lines("vtt", result)))
    assert all(word in untimed.split() for word in text.split())
