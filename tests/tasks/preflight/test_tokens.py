"""A token list of something else is refused before training, not noticed after it."""

import inspect
import logging
from argparse import Namespace

import pytest

from espnet_vivit.bin import avsr_train
from espnet_vivit.errors import ConfigError
from espnet_vivit.tasks.preflight import tokens as token_check
from espnet_vivit.tasks.preflight.tokens import check_known_tokens
from tests.tiny_corpus import TOKENS, WORDS, data_options, shape_options, write_config, write_tiny_corpus

FRAME = "<blank> <unk> {} <sos/eos>"


@pytest.fixture
def arguments(tmp_path):
    """`arguments(tokens, train=[…], valid=[…])`: what the check looks at of a training's."""

    def write(tokens, *, token_type="word", use_preprocessor=True, **texts):
        data = {}
        for split in ("train", "valid"):
            path = tmp_path / f"{split}_text"
            lines = texts.get(split, ["bin blue now"])
            path.write_text("".join(f"u{number} {line}\n" for number, line in enumerate(lines)))
            data[f"{split}_data_path_and_name_and_type"] = [(str(path), "text", "text"), ("v.scp", "video", "video")]
        (tmp_path / "tokens.txt").write_text("\n".join(FRAME.format(tokens).split()) + "\n")
        how = {"token_type": token_type, "bpemodel": None, "use_preprocessor": use_preprocessor}
        return Namespace(token_list=str(tmp_path / "tokens.txt"), **how, **data)

    return write


def test_a_list_that_knows_all_is_passed_in_silence(arguments, caplog):
    check_known_tokens(arguments("bin blue now"))
    check_known_tokens(arguments("b i n l u e o w <space>", token_type="char"))
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("tokens", "token_type", "message"),
    [
        ("one two three", "word", r"100% of the word tokens in .*train_text would be learnt as <unk>"),
        ("bin blue now", "char", r"100% of the char tokens .*12 of 12 tokens are not in it, most often 'b' \(2\)"),
        ("b i n l u e o w <space>", "word", r"tokens\.txt: 3 of 3 .*Give the token list and the token_type"),
    ],
)
def test_a_list_of_another_corpus_or_another_token_type_is_refused(arguments, tokens, token_type, message):
    with pytest.raises(ConfigError, match=message):
        check_known_tokens(arguments(tokens, token_type=token_type))


def test_half_is_refused_only_when_exceeded_and_told_before(arguments, caplog):
    check_known_tokens(arguments("bin now", train=["bin now red gray"]))
    assert "50% of the word tokens in" in caplog.text and "'red' (1)" in caplog.text
    with pytest.raises(ConfigError, match="60% of the word tokens"):
        check_known_tokens(arguments("bin now", train=["bin now red gray green"]))
    caplog.clear()
    check_known_tokens(arguments("bin now", train=["bin now " * 10 + "red"], valid=["bin now"]))
    assert caplog.text == "", "a rare word is what <unk> is for"


def test_text_that_says_unk_itself_counts_as_well(arguments):
    with pytest.raises(ConfigError, match="67% of the word tokens"):
        check_known_tokens(arguments("bin", train=["bin <unk> <unk>"]))


def test_a_validation_set_is_told_and_not_refused(arguments, caplog):
    check_known_tokens(arguments("bin blue now", valid=["uno dos tres"]))
    assert "100% of the word tokens in" in caplog.text and "valid_text" in caplog.text


def test_without_preprocessing_there_are_no_words_to_look_at(arguments):
    check_known_tokens(arguments("one two", use_preprocessor=False))


def test_of_a_large_set_every_nth_transcript_is_looked_at(arguments, monkeypatch):
    monkeypatch.setattr(token_check, "LOOKED_AT", 10)
    looked, count = [], token_check.count_unknown
    monkeypatch.setattr(token_check, "count_unknown", lambda texts, *how: looked.append(texts) or count(texts, *how))
    numbers = [str(number) for number in range(95)]
    check_known_tokens(arguments(" ".join(numbers), train=numbers))
    assert looked[0] == [str(number) for number in range(0, 95, 10)]


def test_the_warning_leaves_setting_up_the_log_to_espnet(arguments, monkeypatch):
    """logging.warning() before ESPnet's basicConfig() would be the end of the log's INFO lines."""
    monkeypatch.setattr(logging.root, "handlers", [])
    check_known_tokens(arguments("bin now", train=["bin now red gray"]))
    assert logging.root.handlers == []
    logging.warning("the planted fault")
    assert logging.root.handlers != []


def test_avsr_train_refuses_before_it_builds_anything(tmp_path):
    corpus = write_tiny_corpus(tmp_path / "corpus")
    letters = sorted(set("".join(WORDS)))
    (tmp_path / "tokens.txt").write_text("\n".join([*TOKENS[:2], "<space>", *letters, TOKENS[-1]]) + "\n")
    command = ["--config", write_config(tmp_path / "train.yaml"), "--output_dir", tmp_path / "exp"]
    command += ["--token_list", tmp_path / "tokens.txt", *data_options(corpus), *shape_options(corpus)]
    with pytest.raises(ConfigError, match="100% of the word tokens"):
        avsr_train.main(list(map(str, command)))
    assert not (tmp_path / "exp").exists()


def test_no_other_warning_before_training_sets_up_the_log_either():
    """What check_required_command_args calls runs before ESPnet's basicConfig()."""
    from espnet_vivit.tasks import launch, model_config

    before = (model_config.check_adapters, launch.adapt_launch, launch._check_deepspeed, token_check.check_known_tokens)
    for function in before:
        assert "logging.warning(" not in inspect.getsource(function), function.__name__
