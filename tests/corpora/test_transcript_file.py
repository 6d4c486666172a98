"""Transcripts beside videos: whose form is known, and whose is named."""

import pytest

from espnet_vivit.corpora.transcript_file import read_transcript
from espnet_vivit.errors import DataError

LRS3 = """Text:  BIN BLUE AT L SEVEN SOON
Conf:  4
Ref: abc

FRAME \tX \tY \tW \tH
000000 \t0.4 \t0.3 \t0.2 \t0.2

WORD START END ASDSCORE
BIN 0.4 0.6 1.1
BLUE 0.6 0.9 2.0
"""


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("text", [LRS3, "Text:  BIN BLUE AT L SEVEN SOON\nConf:  6\n"], ids=["LRS3", "LRS2"])
def test_the_sentence_of_lrs_is_taken_and_not_its_table(text, tmp_path):
    assert read_transcript(write(tmp_path / "a.txt", text)).text == "BIN BLUE AT L SEVEN SOON"


def test_the_times_of_lrs_come_with_it(tmp_path):
    words = read_transcript(write(tmp_path / "a.txt", LRS3)).words
    assert [(word.start_s, word.end_s, word.word) for word in words] == [(0.4, 0.6, "BIN"), (0.6, 0.9, "BLUE")]


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("1\n00:00:00,000 --> 00:00:01,500\nhello\n", "a subtitle file"),
        ("WEBVTT\n\n00:00.000 --> 00:01.500\nhello\n", "a subtitle file"),
        ("0:01 --> 0:02\nhello", "a subtitle file"),
        ("0 23750 sil\n23750 29500 bin\n", "a list of words and times"),
        ("0.00 0.40 bin\n0.40 0.60 blue\n", "a list of words and times"),
        ("BIN 0.4 0.6 1.1\nBLUE 0.6 0.9 2.0\n", "a list of words and times"),
        ("Conf:  4\nRef: abc\n", "of LRS2's or LRS3's form"),
        ('File type = "ooTextFile"\nObject class = "TextGrid"\n', "a Praat TextGrid"),
        ("[Script Info]\nTitle: x\n", "an SSA subtitle file"),
        ("<?xml version='1.0'?>\n<tt><p>hello</p></tt>", "markup"),
        ('{"text": "hello"}', "JSON"),
        ('[\n{"word": "hello"}\n]', "JSON"),
        ("{\\rtf1\\ansi hello}", "rich text"),
    ],
)
def test_another_form_is_named_and_not_learnt(text, form, tmp_path):
    with pytest.raises(DataError, match=rf"its transcript a\.txt is {form}.*expected the words alone"):
        read_transcript(write(tmp_path / "a.txt", text))


@pytest.mark.parametrize(
    "text",
    ["hello", "one two\nthree", "3 4 five", "[laughs] so", "<unk> well", "frame the picture", "the text: all of it",
     "at 10:30 sharp", "it costs {5}", "-- > so", "1 2\n3 4 5 6 7"],
)  # fmt: skip
def test_words_that_look_a_little_like_a_form_are_words(text, tmp_path):
    assert read_transcript(write(tmp_path / "a.txt", text)).text == " ".join(text.split())


@pytest.mark.parametrize("text", ["", " \n\t\n", "\ufeff\u200b\n"])
def test_nothing_to_be_seen_is_nothing(text, tmp_path):
    with pytest.raises(DataError, match=r"a\.txt is empty"):
        read_transcript(write(tmp_path / "a.txt", text))
