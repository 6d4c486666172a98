"""Videos of one's own: transcripts beside them or in a table, sets chosen or given, and what a newcomer does wrong."""

import os
import unicodedata

import pytest

from espnet_vivit.corpora.folder import folder_clips, hold_out
from espnet_vivit.errors import ConfigError, DataError


def write_videos(root, texts):
    """`texts`: name without suffix -> transcript, None for a video without one. The videos are empty files."""
    for name, text in texts.items():
        path = root / f"{name}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        if text is not None:
            path.with_suffix(".txt").write_text(text, encoding="utf-8")
    return root


UNDIVIDED = {"dev": 0, "test": 0}  # fewer than three videos: nothing can be held out


def listed(root, **options):
    return {clip.utt_id: clip for clip in folder_clips(root, **options)}


def test_transcripts_beside_the_videos_in_any_language(tmp_path):
    texts = {
        "anna/erste Übung": "\ufeffGuten\nMorgen ",
        "大野/一": "おはよう ございます",
        "solo": "\u092f\u0939 \u0920\u0940\u0915",
    }
    clips = listed(write_videos(tmp_path, texts))
    assert sorted(clips) == ["anna-erste_Übung", "solo", "大野-一"]
    assert clips["anna-erste_Übung"].text == "Guten Morgen"
    assert [clips[name].speaker for name in sorted(clips)] == ["anna", "solo", "大野"]
    assert clips["大野-一"].text == "おはよう ございます" and clips["solo"].text == texts["solo"]


def test_a_composed_and_a_decomposed_letter_are_the_same(tmp_path):
    clips = listed(write_videos(tmp_path, {"a": "cafe\u0301", "b": "caf\u00e9"}), **UNDIVIDED)
    assert clips["a"].text == clips["b"].text


@pytest.mark.parametrize("name", ['it\'s "quoted"', "two\nlines", "tab\there", "semi;colon $(x)"])
def test_odd_names_become_ids_and_keep_their_file(tmp_path, name):
    clips = listed(write_videos(tmp_path, {name: "hello"}), **UNDIVIDED)
    ((utt_id, clip),) = clips.items()
    assert utt_id.split() == [utt_id] and "/" not in utt_id and not set(utt_id) & set("'\"$()\n\t")
    assert clip.video == str(tmp_path / f"{name}.mp4")


def test_names_that_differ_only_at_their_end_stay_apart_when_cut(tmp_path):
    clips = listed(write_videos(tmp_path, {f"{'long' * 50}{end}": "x" for end in "ab"}), **UNDIVIDED)
    assert len(clips) == 2 and all(len(name.encode()) <= 150 for name in clips)


def test_folders_named_after_sets_are_the_sets(tmp_path):
    clips = listed(write_videos(tmp_path, {"train/anna/1": "a", "valid/bert/1": "b", "test/carl": "c"}))
    assert {name: (clip.split, clip.speaker) for name, clip in clips.items()} == {
        "anna-1": ("train", "anna"),
        "bert-1": ("dev", "bert"),
        "carl": ("test", "carl"),
    }


def test_sets_are_known_however_their_folders_are_capitalized(tmp_path):
    clips = listed(write_videos(tmp_path, {"Train/anna/1": "a", "VALID/bert/1": "b", "Test/carl": "c"}))
    assert {name: clip.split for name, clip in clips.items()} == {"anna-1": "train", "bert-1": "dev", "carl": "test"}


def test_links_to_folders_of_videos_are_looked_into_and_loops_end(tmp_path):
    write_videos(tmp_path / "store", {"b/1": "eins", "b/2": "zwei"})
    root = write_videos(tmp_path / "root", {"a/1": "one"})
    (root / "bert").symlink_to(tmp_path / "store/b")
    (root / "a/again").symlink_to(root)
    clips = listed(root)
    assert {name: clip.speaker for name, clip in clips.items()} == {"a-1": "a", "bert-1": "bert", "bert-2": "bert"}
    assert clips["bert-2"].video == str(tmp_path / "store/b/2.mp4") and clips["bert-2"].text == "zwei"


def test_every_kind_of_video_is_listed_and_what_else_lies_there_is_said(tmp_path):
    write_videos(tmp_path, dict.fromkeys(("a", "b", "c"), "x"))
    notes = []
    assert len(listed(tmp_path, note=notes.append)) == 3 and notes == []
    for name in ("d.vob", "e.MXF", "f.y4m", "g.xyz", "h.json", "i.json", "a.srt", "README", ".DS_Store"):
        (tmp_path / name).touch()
    for name in "dgj":
        (tmp_path / f"{name}.txt").write_text("x")
    clips = listed(tmp_path, note=notes.append)
    assert {name: clip.problem for name, clip in clips.items() if name in "def"} == {
        "d": "", "e": "no transcript: there is no e.txt beside it", "f": "no transcript: there is no f.txt beside it"
    }  # fmt: skip
    assert len(notes) == 2, notes  # once, though the folder is read twice
    assert notes[0].startswith("no videos by their names, and left out: 2 files .json, 1 file ")
    assert all(kind in notes[0] for kind in ("1 file .xyz", "1 file .srt", "1 file without suffix"))
    assert notes[1].startswith("transcripts without a video of that name beside them: 2, such as that of ")
    assert notes[1].endswith("g.xyz; a table can name any file")


def test_what_is_in_no_set_while_others_are_is_a_problem_of_its_own(tmp_path):
    clips = listed(write_videos(tmp_path, {"train/1": "a", "loose": "b"}))
    assert "none of the sets" in clips["loose"].problem and not clips["1"].problem


def test_chosen_sets_do_not_depend_on_what_else_is_there_in_which_order(tmp_path):
    rows = [("one", f"v{n}", "") for n in range(50)]
    chosen = hold_out(rows, dev=0.1, test=0.2)
    assert sorted(chosen.values()).count("test") == 10 and sorted(chosen.values()).count("dev") == 5
    assert hold_out(rows[::-1], dev=0.1, test=0.2) == chosen
    held_out = {key for key, split in chosen.items() if split != "train"}
    other = hold_out(rows, dev=0.1, test=0.2, seed=1)
    assert {key for key, split in other.items() if split != "train"} != held_out


@pytest.mark.parametrize(
    ("videos", "shares", "found", "expected"),
    [
        (1, {}, "hold out dev and test .* found 1 video to", "at least 3.*column `split`.*--dev 0 --test 0 prepares"),
        (2, {}, "found 2 videos", "at least 3"),
        (1, {"test": 0}, "to hold out dev without .*: found 1 video", "at least 2.*; --dev 0 prepares"),
        (4, {"dev": 0.5, "test": 0.4}, "found 4 videos", "leave one to train on"),
    ],
)
@pytest.mark.parametrize("form", ["table", "files"])
def test_too_few_videos_to_choose_sets_from_are_refused_at_once(tmp_path, form, videos, shares, found, expected):
    """However many rows: those of a video are one recording. Silently training on all failed two stages later."""
    names = [f"talk{n}" for n in range(videos)]
    write_videos(tmp_path, dict.fromkeys(names, None if form == "table" else "x") | {"none": None})
    if form == "table":
        rows = [f"{name}.mp4\tx\t{second}" for name in (*names, "lost") for second in range(5)]
        (tmp_path / "my.tsv").write_text("\n".join(["video\ttext\tstart_s", *rows]) + "\n")
    with pytest.raises(DataError, match=f"{found}.*{expected}"):
        list(folder_clips(tmp_path, **shares))
    assert {clip.split for clip in listed(tmp_path, **UNDIVIDED).values()} == {"train"}


def test_with_a_set_to_itself_each_two_videos_are_enough(tmp_path):
    clips = listed(write_videos(tmp_path, {"one": "x", "two": "x"}), test=0)
    assert sorted(clip.split for clip in clips.values()) == ["dev", "train"]


def test_chosen_sets_do_not_depend_on_where_the_folder_lies_or_on_clips_with_a_problem(tmp_path):
    names = {f"clip{n}": "x" for n in range(8)}
    sets = []
    for place, others in (("here", {}), ("there/deeper", {"zzz": None, "aaa": ""})):
        clips = listed(write_videos(tmp_path / place, names | others))
        sets.append({name: clips[name].split for name in names})
    assert sets[0] == sets[1] and set(sets[0].values()) == {"train", "dev", "test"}


def test_many_speakers_are_held_out_whole(tmp_path):
    clips = listed(write_videos(tmp_path, {f"speaker{n}/{k}": "x" for n in range(10) for k in range(3)}))
    sets = {}
    for clip in clips.values():
        sets.setdefault(clip.speaker, set()).add(clip.split)
    assert all(len(splits) == 1 for splits in sets.values())
    assert {split for splits in sets.values() for split in splits} == {"train", "dev", "test"}


def test_a_clip_without_transcript_is_listed_with_its_problem(tmp_path):
    root = write_videos(tmp_path, {"a": "hello", "b": None, "c": " \n", "d": "x"})
    (root / "d.txt").write_bytes(b"caf\xe9")
    problems = {name: clip.problem for name, clip in listed(root, **UNDIVIDED).items()}
    assert problems["a"] == ""
    assert "no b.txt" in problems["b"] and "is empty" in problems["c"] and "not UTF-8" in problems["d"]


def test_results_within_the_folder_are_not_taken_for_videos(tmp_path):
    write_videos(tmp_path, {"a": "hello", "out/clips/a": "hello"})
    assert sorted(listed(tmp_path, leave_out=tmp_path / "out", **UNDIVIDED)) == ["a"]


@pytest.mark.parametrize("around", ["", "videos"], ids=["a folder around them", "their own folder"])
def test_results_around_the_videos_would_hide_them(tmp_path, around):
    write_videos(tmp_path / "videos", {"a": "hello"})
    with pytest.raises(DataError, match=r"the results would lie around the videos.*videos_prepared"):
        listed(tmp_path / "videos", leave_out=tmp_path / around, **UNDIVIDED)


def test_a_table_with_spans_speakers_and_sets(tmp_path):
    write_videos(tmp_path, {"talk": None, "anna/01": None})
    (tmp_path / "my.tsv").write_text(
        "video\ttext\tspeaker\tsplit\tstart_s\tend_s\n"
        'talk.mp4\tand "now"  the weather\tbert\ttest\t12.4\t15.0\n'
        "talk.mp4\tgood night\tbert\ttest\t15.0\t\n"
        "anna/01.mp4\tguten Tag\tanna\ttrain\t\t\n"
        "none.mp4\tx\tanna\ttrain\t\t\n"
        "anna/01.mp4\t\tcarl\ttrain\t\t\n"
    )
    clips = listed(tmp_path)
    assert clips["bert-talk-0001240"].text == 'and "now" the weather'
    assert (clips["bert-talk-0001240"].start_s, clips["bert-talk-0001240"].end_s) == (12.4, 15.0)
    assert clips["bert-talk-0001500"].end_s is None
    assert clips["anna-01"].split == "train" and clips["anna-01"].problem == ""
    assert "line 5: there is no file none.mp4" in clips["anna-none"].problem
    assert "line 6 has no text" in clips["carl-anna-01"].problem


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("path\ttext\na.mp4\thello\n", "names the columns: found path text; expected video and text"),
        ("video,text\na.mp4,hello\n", "names the columns"),
        ("vidoe\ttext\na.mp4\thello\n", "found vidoe text; .* Did you mean 'video' where it says 'vidoe'"),
        ("video\ttext\tsplti\tend\na.mp4\thello\t\n", "'split' where it says 'splti'.*'end_s' where it says 'end'"),
        ("", "names the columns: found nothing"),
        ("video\ttext\n", "has no row"),
        ("video\ttext\tend_s\na.mp4\thello\tlater\n", r"line 2: bad end_s: found 'later'"),
        ("video\ttext\tstart_s\tend_s\na.mp4\thello\t3\t2\n", "an end after the start"),
        ("video\ttext\tsplit\na.mp4\thello\t../x\n", "bad split"),
        ("video\ttext\tsplit\na.mp4\thello\ttest_a/b\n", "bad split"),
        ("video\ttext\tsplit\na.mp4\tx\ttrain\na.mp4\tx\ttrian\n", "line 3: bad split: .*'trian'.* mean 'train'"),
        ("video\ttext\tsplit\na.mp4\thello\tholdout\n", r"line 2: bad split: found 'holdout'.*test_noisy$"),
    ],
)
def test_what_is_wrong_in_a_table_is_named(tmp_path, table, message):
    write_videos(tmp_path, {"a": None})
    (tmp_path / "transcripts.tsv").write_text(table)
    with pytest.raises(DataError, match=message):
        list(folder_clips(tmp_path))


def test_the_column_split_takes_the_words_that_folders_take(tmp_path):
    words = {"Train": "train", "training": "train", "VAL": "dev", "valid": "dev", "validation": "dev", "dev": "dev"}
    words |= {"Test": "test", "test_noisy": "test_noisy", "Valid_2": "dev_2"}
    write_videos(tmp_path, dict.fromkeys(f"v{n}" for n in range(len(words))))
    rows = [f"v{n}.mp4\thello\t{word}" for n, word in enumerate(words)]
    (tmp_path / "my.tsv").write_text("\n".join(["video\ttext\tsplit", *rows]) + "\n")
    assert [clip.split for clip in folder_clips(tmp_path)] == list(words.values())


def test_columns_of_the_users_own_are_left_alone(tmp_path):
    write_videos(tmp_path, {"a": None})
    header = ["video", "text", "speaker", "speaker_id", "speed", "note", "quality", "id", "date", "", "length"]
    (tmp_path / "my.tsv").write_text("\t".join(header) + "\na.mp4\thello\tanna\n")
    assert [clip.speaker for clip in listed(tmp_path, **UNDIVIDED).values()] == ["anna"]


def test_what_a_newcomer_does_wrong_is_said(tmp_path):
    with pytest.raises(DataError, match="is not a folder"):
        list(folder_clips(tmp_path / "none"))
    with pytest.raises(DataError, match="has no video: found nothing; expected files such as"):
        list(folder_clips(tmp_path))
    (tmp_path / "a.jpg").touch()
    with pytest.raises(DataError, match=r"found 1 file \.jpg; expected files such as .* \.vob"):
        list(folder_clips(tmp_path))
    write_videos(tmp_path, {"a": None})
    with pytest.raises(DataError, match=r"1 videos and no transcript: expected clip\.txt with what is said"):
        list(folder_clips(tmp_path))
    for name in ("one.tsv", "two.tsv"):
        (tmp_path / name).write_text("video\ttext\na.mp4\thello\n")
    with pytest.raises(DataError, match=r"2 tables: found one\.tsv, two\.tsv\. Say which one: --table"):
        list(folder_clips(tmp_path))
    assert sorted(listed(tmp_path, table=tmp_path / "two.tsv", **UNDIVIDED)) == ["a"]
    with pytest.raises(ConfigError, match="sum below 1"):
        list(folder_clips(tmp_path, dev=0.5, test=0.5))


def write_table(root, content):
    (root / "transcripts.tsv").write_bytes(content)
    return listed(root)


def test_a_table_of_a_spreadsheet_is_read_as_it_is_meant(tmp_path):
    root = write_videos(tmp_path, dict.fromkeys("abc"))
    table = 'video\ttext\tsplit\r\na.mp4\t"say ""so"""\ttrain\r\nb.mp4\t"two\nlines"\tdev\r\nc.mp4\t"lone\ttest\r\n'
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        found = write_table(root, table.encode(encoding))
        assert {name: clip.text for name, clip in found.items()} == {"a": 'say "so"', "b": "two lines", "c": '"lone'}
        assert not any(clip.problem for clip in found.values())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "video\ttext\na.mp4\tcaf\u00e9\n".encode("cp1252"),
            r"transcripts\.tsv is not UTF-8, line 2.*Save it as UTF-8",
        ),
        ("vid\u00e9o\ttext\na.mp4\tx\n".encode("cp1252"), "not UTF-8, line 1"),
        (b"video\ttext\na.mp4\tx\x1fy\n", r"line 2 has a character that no text has: found U\+001F"),
        (b"video\ttext\tText\na.mp4\tx\ty\n", "has the column text twice"),
        (b"video\ttext\na.mp4\tx\ty\n", "line 2: more fields than columns: found 3, 'y' among them; expected 2"),
    ],
    ids=["cp1252", "header", "control", "column twice", "tab in a text"],
)
def test_a_table_that_cannot_be_what_it_says_is_named(content, message, tmp_path):
    with pytest.raises(DataError, match=message):
        write_table(write_videos(tmp_path, {"a": None}), content)


def test_a_very_long_text_is_a_text(tmp_path):
    root = write_videos(tmp_path, dict.fromkeys("abc"))
    sets = zip("abc", ("train", "dev", "test"), strict=True)
    rows = "".join(f"{name}.mp4\t{'word ' * 40_000}\t{split}\n" for name, split in sets)
    assert len(write_table(root, f"video\ttext\tsplit\n{rows}".encode())["a"].text.split()) == 40_000


def test_empty_fields_behind_the_last_column_are_nothing(tmp_path):
    found = write_table(write_videos(tmp_path, {"a": None}), b"video\ttext\tsplit\na.mp4\tx\ttrain\t\t\n")
    assert found["a"].text == "x"


@pytest.mark.parametrize("here", ["NFC", "NFD"])
@pytest.mark.parametrize("there", ["NFC", "NFD"])
def test_a_composed_name_finds_a_decomposed_file_and_the_reverse(here, there, tmp_path):
    stored, written = (unicodedata.normalize(form, "café") for form in (here, there))
    root = write_videos(tmp_path, {stored: None})
    found = write_table(root, f"video\ttext\tsplit\n{written}.mp4\tx\ttrain\n".encode())
    assert [clip.problem for clip in found.values()] == [""]
    (root / "transcripts.tsv").unlink()
    (root / f"{written}.txt").write_text("hello")
    assert [clip.text for clip in listed(root, **UNDIVIDED).values()] == ["hello"]


def test_names_that_differ_in_case_are_hinted_at(tmp_path):
    root = write_videos(tmp_path, {"Clip": None, "b": "x", "c": "x"})
    (root / "clip.txt").write_text("hello")
    assert listed(root, **UNDIVIDED)["Clip"].problem.endswith("there is no Clip.txt beside it (there is clip.txt)")
    found = write_table(root, b"video\ttext\tsplit\nclip.mp4\tx\ttrain\n")
    assert [clip.problem.endswith("no file clip.mp4 (there is Clip.mp4)") for clip in found.values()] == [True]


@pytest.mark.parametrize("kind", [".srt", ".vtt", ".csv", ".align", ".json"])
def test_texts_that_are_not_read_are_named(kind, tmp_path):
    root = write_videos(tmp_path, {"a": None, "b": None})
    (root / f"a{kind}").write_text("x")
    with pytest.raises(DataError, match=rf"2 videos and no transcript: found 1 file \{kind}, which is not read"):
        listed(root)
    (root / "b.txt").write_text("x")
    assert f"(there is a{kind}, which is not read" in listed(root, **UNDIVIDED)["a"].problem


@pytest.mark.timeout(20)
def test_links_to_themselves_and_pipes_are_clips_that_cannot_be_used_and_end_nothing(tmp_path):
    write_videos(tmp_path, {"good": "hello there", "other": "hello"})
    for name in ("loop.mp4", "silent.txt"):
        (tmp_path / name).symlink_to(name)
    os.mkfifo(tmp_path / "waits.txt")
    for name in ("loop.txt", "silent.mp4", "waits.mp4"):
        (tmp_path / name).write_text("hello")
    clips = listed(tmp_path, leave_out=tmp_path / "out", **UNDIVIDED)
    assert sorted(clips) == ["good", "loop", "other", "silent", "waits"]
    assert not clips["good"].problem and "silent.txt" in clips["silent"].problem
    assert "is a pipe" in clips["waits"].problem


def test_a_table_may_name_a_link_to_itself(tmp_path):
    write_videos(tmp_path, {"good": None})
    (tmp_path / "loop.mp4").symlink_to("loop.mp4")
    (tmp_path / "table.tsv").write_text("video\ttext\ngood.mp4\thello\nloop.mp4\thello\n")
    clips = listed(tmp_path, **UNDIVIDED)
    assert not clips["good"].problem and "there is no file loop.mp4" in clips["loop"].problem


def test_a_name_in_a_table_that_is_too_long_for_a_file_is_a_clip_without_one(tmp_path):
    (tmp_path / "clips.tsv").write_text(f"video\ttext\n{'a' * 5000}.mp4\tbin blue\n")
    (clip,) = folder_clips(tmp_path, **UNDIVIDED)
    assert "there is no file aaa" in clip.problem
