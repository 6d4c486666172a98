"""What CTC cannot align is refused or told when a training starts, whoever has made its shape files."""

import logging
from argparse import Namespace

import pytest

from espnet_vivit.bin import avsr_train
from espnet_vivit.errors import DataError
from espnet_vivit.tasks.preflight import tokens as token_check
from espnet_vivit.tasks.preflight.alignment import check_alignable
from tests.tasks.runs import command, write_corpus
from tests.tiny_corpus import write_config

TOKENS = ["<blank>", "<unk>", "<space>", *"abc", "<sos/eos>"]


@pytest.fixture
def arguments(tmp_path):
    """`arguments(train=[(frames, text), …], valid=…, **changes)`: what the check looks at of a training's."""

    def write(*, shape="video_shape", **changes):
        args = Namespace(
            token_type="char", bpemodel=None, token_list=TOKENS, feature_rate="frame", model_conf={},
            collect_stats=False, use_preprocessor=True,
        )  # fmt: skip
        for split in ("train", "valid"):
            utterances = changes.pop(split, [(10, "a b")])
            (tmp_path / split).mkdir(exist_ok=True)
            unit = {"video_shape": 1, "speech_shape": 640}.get(shape, 1)
            lines = {f"u{index}": each for index, each in enumerate(utterances)}
            shapes = [f"{utt_id} {frames * unit},8,8\n" for utt_id, (frames, _) in lines.items()]
            (tmp_path / split / shape).write_text("".join(shapes))
            texts = [f"{utt_id} {text}\n" for utt_id, (_, text) in lines.items()]
            (tmp_path / split / "text").write_text("".join(texts))
            triples = [("v.scp", "video", "video"), (str(tmp_path / split / "text"), "text", "text")]
            setattr(args, f"{split}_data_path_and_name_and_type", triples)
            setattr(args, f"{split}_shape_file", [str(tmp_path / split / shape)])
        vars(args).update(changes)
        return args

    return write


LONG = (4, "abc abc")  # 7 labels for 4 frames


def test_what_fits_is_passed_in_silence(arguments, caplog):
    check_alignable(arguments(train=[(7, "abc abc"), (3, "aa")]))  # 7 labels; 2 with a blank between
    assert caplog.text == ""


@pytest.mark.parametrize("shape", ["video_shape", "speech_shape"])
def test_more_labels_than_steps_are_refused(arguments, shape):
    with pytest.raises(DataError, match=r"1 of 2 utterances cannot be aligned by CTC: found 50.0 % .*u1.*at most 5 %"):
        check_alignable(arguments(shape=shape, train=[(10, "abc"), LONG]))


def test_the_slower_rate_has_half_the_steps(arguments):
    sets = {"train": [(8, "abc abc")] * 3}
    check_alignable(arguments(**sets))
    with pytest.raises(DataError, match=r"3 of 3 utterances .*set feature_rate: frame \(0 of 3 excluded then\)"):
        check_alignable(arguments(**sets, feature_rate="tubelet"))


def test_neighbours_that_the_list_lacks_are_equal(arguments):
    """Both are learnt as <unk>, so a blank has to stand between them."""
    with pytest.raises(DataError, match="cannot be aligned"):
        check_alignable(arguments(train=[(2, "xy")]))
    check_alignable(arguments(train=[(2, "ab")]))


def test_a_few_are_told_and_so_is_a_validation_set(arguments, caplog):
    check_alignable(arguments(train=[(10, "abc")] * 30 + [LONG]))
    assert "CTC cannot align 1 of 31 utterances of" in caplog.text and "such as u30: nothing is learnt" in caplog.text
    caplog.clear()
    check_alignable(arguments(valid=[LONG]))
    assert "1 of 1 utterances of" in caplog.text and "valid/text" in caplog.text


@pytest.mark.parametrize(
    "changes",
    [{"model_conf": {"ctc_weight": 0.0}}, {"collect_stats": True}, {"use_preprocessor": False}, {"shape": "text"}],
)
def test_where_nothing_is_to_be_aligned_or_no_length_is_known_nothing_is_said(arguments, caplog, changes):
    check_alignable(arguments(**{"train": [LONG], **changes}))
    assert caplog.text == ""


def test_of_a_large_set_every_nth_utterance_is_looked_at(arguments, monkeypatch, caplog):
    monkeypatch.setattr(token_check, "LOOKED_AT", 10)
    check_alignable(arguments(train=[(10, "abc")] * 95, valid=[LONG] * 95))
    assert "CTC cannot align 10 of 10 utterances" in caplog.text


def test_avsr_train_refuses_before_it_builds_anything(tmp_path):
    """The defect: shapes of the frame rate, and a training at the other one."""
    corpus = write_corpus(tmp_path / "corpus")
    lines = (corpus / "train/text").read_text().splitlines()
    (corpus / "train/text").write_text("".join(f"{line.split()[0]} {'bin red ' * 9}\n" for line in lines))
    config = write_config(tmp_path / "train.yaml", model_conf={"ctc_weight": 0.3})
    words = command(corpus, tmp_path / "exp", config)
    with pytest.raises(DataError, match="8 of 8 utterances cannot be aligned by CTC"):
        avsr_train.main([*words, "--feature_rate", "tubelet"])
    assert not (tmp_path / "exp").exists()


def test_the_warning_leaves_setting_up_the_log_to_espnet(arguments, monkeypatch):
    monkeypatch.setattr(logging.root, "handlers", [])
    check_alignable(arguments(valid=[LONG]))
    assert logging.root.handlers == []
