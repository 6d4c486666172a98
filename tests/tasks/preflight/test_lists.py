"""Lists that do not fit together are refused before anything is built, and the error names the utterance."""

import pytest

from espnet_vivit.errors import ConfigError, DataError
from espnet_vivit.tasks.preflight.lists import check_apart, check_listed_streams, check_lists


@pytest.mark.parametrize(
    ("names", "modality", "message"),
    [
        (
            ["speech", "text"],
            "multimodal",
            "modality multimodal needs speech, video and text: found only speech and text",
        ),
        (["video"], "video", "modality video needs video and text: found only video"),
        (["video", "text"], "audio", "needs speech and text: found only video and text"),
        (["speech", "video", "text"], "video", "Leave out speech"),
    ],
)
def test_the_streams_must_be_the_models(names, modality, message):
    with pytest.raises(ConfigError, match=message):
        check_listed_streams(names, modality)


@pytest.mark.parametrize(
    ("modality", "names"),
    [
        ("video", ["video", "text"]),
        ("audio", ["speech", "text", "word_times"]),
        ("multimodal", ["speech", "video", "text"]),
    ],
)
def test_the_right_streams_pass(modality, names):
    check_listed_streams(names, modality)


@pytest.fixture
def lists(tmp_path):
    def write(**contents):
        for name, lines in contents.items():
            (tmp_path / name).write_text(lines)
        return [(str(tmp_path / name), name, "text" if name == "text" else "video") for name in contents]

    return write


def test_lists_of_the_same_utterances_pass_in_any_order(lists):
    assert check_lists(lists(video="b x\na y\n", text="a words\nb words\n"), []) == {"a", "b"}


@pytest.mark.parametrize(
    ("video", "text", "message"),
    [
        ("a x\n", "a w\nb w\nc w\n", r"utterance 'b' has no video.*2 of 3 utterances"),
        ("a x\nb x\n", "a w\n", "utterance 'b' has no text"),
        ("a x\na y\n", "a w\n", "the id 'a' occurs twice"),
        ("", "a w\n", "video is empty"),
        ("a x\nb\n", "a w\nb w\n", "line 2"),
    ],
)
def test_torn_lists_are_refused(lists, video, text, message):
    with pytest.raises(DataError, match=message):
        check_lists(lists(video=video, text=text), [])


def test_a_missing_list_is_named(tmp_path):
    with pytest.raises(DataError, match=r"gone.scp does not exist"):
        check_lists([(str(tmp_path / "gone.scp"), "video", "video")], [])


def test_only_what_the_shape_files_ask_for_must_be_there(lists, tmp_path):
    triples = lists(video="a x\nb x\n", text="a w\n")
    (tmp_path / "shape").write_text("a 3,8,8\n")
    assert check_lists(triples, [str(tmp_path / "shape")]) == {"a"}
    (tmp_path / "shape").write_text("a 3,8,8\nb 3,8,8\n")
    with pytest.raises(DataError, match=r"'b' has no text: it is in .*shape"):
        check_lists(triples, [str(tmp_path / "shape")])


def test_training_and_validation_must_not_overlap_unless_they_are_one_list():
    check_apart({"a"}, {"b"}, same_list=False)
    check_apart({"a"}, {"a"}, same_list=True)
    with pytest.raises(DataError, match="overlap: both have utterance 'b'"):
        check_apart({"a", "b"}, {"b", "c"}, same_list=False)
