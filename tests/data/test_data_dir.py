from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from espnet2.fileio.read_text import read_2columns_text

from espnet_vivit.data.data_dir import (
    Utterance,
    WordTime,
    check_disjoint,
    format_word_times,
    parse_word_times,
    read_data_dir,
    read_scp,
    validate_data_dir,
    write_data_dir,
)
from espnet_vivit.errors import DataError


@pytest.fixture
def utterances(tmp_path) -> list[Utterance]:
    """Three utterances of two speakers whose order differs between the C locale and a dictionary."""
    made = []
    for utt_id, speaker, text in (("a_1", "a", "bin blue"), ("B_2", "B", "lay red"), ("a_10", "a", "set white")):
        wav, video = tmp_path / f"{utt_id}.wav", tmp_path / f"{utt_id}.npy"
        wav.write_bytes(b"x")
        video.write_bytes(b"x")
        first, second = text.split()
        times = (WordTime(0.1, 0.52, first), WordTime(0.52, 0.9, second))
        made.append(Utterance(utt_id, speaker, text, str(wav), str(video), 25, 16000, times))
    return made


def edit(path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_what_is_written_is_read_back_in_the_order_of_the_c_locale(tmp_path, utterances):
    write_data_dir(tmp_path / "train", utterances)
    assert validate_data_dir(tmp_path / "train") == [utterances[1], utterances[0], utterances[2]]
    for name in ("wav.scp", "video.scp", "text", "utt2spk", "utt2num_frames", "utt2num_samples", "word_times"):
        assert list(read_scp(tmp_path / "train" / name)) == ["B_2", "a_1", "a_10"]
    assert (tmp_path / "train/spk2utt").read_text() == "B B_2\na a_1 a_10\n"
    assert (tmp_path / "train/word_times").read_text().splitlines()[0] == "B_2 0.100:0.520:lay 0.520:0.900:red"


def test_espnet_reads_what_we_write(tmp_path, utterances):
    from espnet2.fileio.read_text import read_2columns_text

    write_data_dir(tmp_path / "train", utterances)
    assert read_2columns_text(tmp_path / "train/text") == {u.utt_id: u.text for u in utterances}
    assert read_2columns_text(tmp_path / "train/wav.scp") == {u.utt_id: u.wav for u in utterances}


def test_a_stream_that_nobody_has_is_left_out_and_its_old_list_removed(tmp_path, utterances):
    write_data_dir(tmp_path / "d", utterances)
    silent = [replace(u, wav=None, num_samples=0, word_times=None) for u in utterances]
    write_data_dir(tmp_path / "d", silent)
    names = {path.name for path in (tmp_path / "d").iterdir()}
    assert names == {"video.scp", "text", "utt2spk", "spk2utt", "utt2num_frames"}
    assert sorted(validate_data_dir(tmp_path / "d"), key=lambda u: u.utt_id) == sorted(silent, key=lambda u: u.utt_id)


def test_a_torn_write_is_never_taken_for_valid(tmp_path, utterances, monkeypatch):
    write_data_dir(tmp_path / "d", utterances)
    import espnet_vivit.data.data_dir as module

    real, calls = module.replacing, []

    def stop_after_two(path):
        calls.append(path)
        if len(calls) > 2:
            raise KeyboardInterrupt
        return real(path)

    monkeypatch.setattr(module, "replacing", stop_after_two)
    with pytest.raises(KeyboardInterrupt):
        write_data_dir(tmp_path / "d", [replace(u, text=u.text, speaker="c") for u in utterances])
    with pytest.raises(DataError, match="text does not exist"):
        validate_data_dir(tmp_path / "d")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda us: [], "no utterance"),
        (lambda us: [*us, us[0]], "'a_1' occurs twice"),
        (lambda us: [replace(us[0], text=" "), *us[1:]], "bad text of a_1"),
        (lambda us: [replace(us[0], text="one\ntwo"), *us[1:]], "bad text of a_1"),
        (lambda us: [replace(us[0], speaker="a b"), *us[1:]], "bad speaker"),
        (lambda us: [replace(us[0], utt_id=""), *us[1:]], "bad utterance id"),
        (lambda us: [replace(us[0], wav=None), *us[1:]], "wav.scp would miss 1 of 3 utterances, as a_1"),
        (lambda us: [replace(us[0], text="bin red"), *us[1:]], "a_1: word times do not spell"),
    ],
)
def test_utterances_that_contradict_themselves_are_not_written(tmp_path, utterances, change, message):
    with pytest.raises(DataError, match=message):
        write_data_dir(tmp_path / "d", change(utterances))
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("u1 a\nu2\n", r"text, line 2: found 'u2'"),
        ("u1 a\n\nu2 b\n", r"text, line 2"),
        ("u1 a\nu2 b\nu1 c\n", r"text, line 3: the id 'u1' occurs twice"),
        ("", "text is empty"),
    ],
)
def test_bad_lists_are_refused_with_file_and_line(tmp_path, content, message):
    (tmp_path / "text").write_text(content)
    with pytest.raises(DataError, match=message):
        read_scp(tmp_path / "text")


def test_a_missing_list_or_folder_is_named(tmp_path):
    with pytest.raises(DataError, match=r"wav\.scp does not exist"):
        read_scp(tmp_path / "wav.scp")
    with pytest.raises(DataError, match="nowhere is not a folder"):
        read_data_dir(tmp_path / "nowhere")


def test_a_value_may_hold_spaces(tmp_path):
    (tmp_path / "wav.scp").write_text("u1 my clips/a b.wav\nu2  tab\tbed \n")
    assert read_scp(tmp_path / "wav.scp") == {"u1": "my clips/a b.wav", "u2": "tab\tbed"}


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("text", "a_1 bin blue\n", "", "1 utterances of utt2spk are not in text, as a_1"),
        ("video.scp", "a_10 ", "a_11 ", "not in video.scp, as a_10"),
        ("utt2num_frames", "a_1 25", "a_1 many", "a_1: found 'many'"),
        ("utt2num_frames", "a_1 25", "a_1 0", "a_1: its video has no content"),
        ("utt2num_samples", "a_1 16000", "a_1 17000", "a_1: audio and video differ in length"),
        ("word_times", "0.520:0.900:blue", "0.420:0.900:blue", "a_1: word times run backwards"),
        ("word_times", "0.900:blue", "0.900:red", "a_1: word times do not spell its text"),
        ("word_times", "0.900:blue", "1.900:blue", "a_1: its last word ends at 1.900 s of 1.000 s"),
        ("word_times", "0.520:0.900:blue", "0.520-0.900-blue", "a_1: bad word time"),
        ("spk2utt", "B_2", "a_1", "spk2utt contradicts utt2spk"),
        ("video.scp", "a_1.npy", "a_9.npy", r"a_1: its file .*a_9\.npy does not exist"),
    ],
)
def test_a_folder_that_contradicts_itself_is_refused_by_name(tmp_path, utterances, name, old, new, message):
    write_data_dir(tmp_path / "d", utterances)
    validate_data_dir(tmp_path / "d")
    edit(tmp_path / "d" / name, old, new)
    with pytest.raises(DataError, match=message):
        validate_data_dir(tmp_path / "d")


def test_an_unsorted_folder_is_refused(tmp_path, utterances):
    write_data_dir(tmp_path / "d", utterances)
    for path in (tmp_path / "d").iterdir():
        path.write_text("".join(sorted(path.read_text().splitlines(keepends=True), reverse=True)))
    with pytest.raises(DataError, match="not sorted"):
        validate_data_dir(tmp_path / "d")


def test_a_folder_without_any_stream_is_refused(tmp_path, utterances):
    write_data_dir(tmp_path / "d", utterances)
    (tmp_path / "d/wav.scp").unlink()
    validate_data_dir(tmp_path / "d")  # video alone is a corpus
    (tmp_path / "d/video.scp").unlink()
    with pytest.raises(DataError, match=r"neither wav\.scp nor video\.scp"):
        validate_data_dir(tmp_path / "d")


def test_audio_may_be_a_frame_shorter_as_in_grid(tmp_path, utterances):
    write_data_dir(tmp_path / "d", [replace(u, num_samples=16000 - 352) for u in utterances])
    validate_data_dir(tmp_path / "d")


@pytest.mark.parametrize("shared", ["utt_id", "wav", "video"])
def test_sets_that_share_an_item_are_refused(tmp_path, utterances, shared):
    train, test = utterances[:1], utterances[2:]
    write_data_dir(tmp_path / "train", train)
    write_data_dir(tmp_path / "test", test)
    sets = {"train": tmp_path / "train", "test": tmp_path / "test"}
    check_disjoint(sets, texts=True)
    write_data_dir(tmp_path / "test", [replace(test[0], **{shared: getattr(train[0], shared)})])
    with pytest.raises(DataError, match="train and test overlap"):
        check_disjoint(sets)


def test_sentences_and_speakers_are_compared_where_asked(tmp_path, utterances):
    write_data_dir(tmp_path / "train", utterances[:1])
    write_data_dir(tmp_path / "test", [replace(utterances[2], text=utterances[0].text, word_times=None)])
    sets = {"train": tmp_path / "train", "test": tmp_path / "test"}
    check_disjoint(sets)
    with pytest.raises(DataError, match="the sentence 'bin blue'"):
        check_disjoint(sets, texts=True)
    with pytest.raises(DataError, match="the speaker 'a'"):
        check_disjoint(sets, speakers=True)


def test_word_times_survive_their_line_to_the_millisecond():
    rng = np.random.default_rng(0)
    bounds = np.sort(rng.uniform(0, 3, 8))
    times = tuple(WordTime(a, b, f"w{i}") for i, (a, b) in enumerate(pairwise(bounds)))
    for read, written in zip(parse_word_times(format_word_times(times)), times, strict=True):
        assert read.word == written.word
        assert read.start_s == pytest.approx(written.start_s, abs=5.1e-4)
        assert read.end_s == pytest.approx(written.end_s, abs=5.1e-4)


def test_a_word_may_hold_a_colon():
    assert parse_word_times("0.000:1.000:a:b") == (WordTime(0.0, 1.0, "a:b"),)


def test_a_tab_separates_as_a_blank_does_for_espnet_too(tmp_path):
    (tmp_path / "wav.scp").write_text("u1\ta.wav\nu2 \t b c.wav\n")
    assert (
        read_scp(tmp_path / "wav.scp") == {"u1": "a.wav", "u2": "b c.wav"} == read_2columns_text(tmp_path / "wav.scp")
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xef\xbb\xbfu1 a.wav\n", r"begins with a byte order mark \(U\+FEFF\)"),
        ("u1 a.wav\nu2\u200b\n".encode(), r"line 2: found 'u2<U\+200B ZERO WIDTH SPACE>'"),
        (b"u1 a.wav\nu2\x00 b\n", r"line 2 has a character that no text has: found U\+0000"),
        ("u1 caf\u00e9\n".encode("cp1252"), "not UTF-8, line 1"),
    ],
)
def test_what_is_not_seen_in_a_list_is_named(tmp_path, content, message):
    (tmp_path / "wav.scp").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_scp(tmp_path / "wav.scp")


def test_a_path_longer_than_any_files_is_missing(tmp_path, utterances):
    write_data_dir(tmp_path / "d", [replace(u, wav="a" * 5000) for u in utterances])
    with pytest.raises(DataError, match=r"its file a+ does not exist"):
        validate_data_dir(tmp_path / "d")
