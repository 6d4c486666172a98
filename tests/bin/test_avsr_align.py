"""Word times of a data directory by a model, and the report on them, from the command line."""

import re

import pytest
import torch
import yaml

from espnet_vivit.bin.avsr_align import main, read_word_times
from espnet_vivit.bin.command_parser import exit_status
from espnet_vivit.data.data_dir import read_data_dir, validate_data_dir
from espnet_vivit.tasks.avsr import AVSRTask
from tests.tiny import randomize
from tests.tiny_corpus import TOKENS, write_config, write_tiny_corpus


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """(data directory, checkpoint) of an untrained model of both streams with a frame head."""
    root = tmp_path_factory.mktemp("align")
    corpus = write_tiny_corpus(root / "corpus", splits=(("train", 4),))
    args = AVSRTask.get_parser().parse_args(["--config", str(write_config(root / "train.yaml"))])
    args.token_list = list(TOKENS)
    torch.manual_seed(0)
    model = randomize(AVSRTask.build_model(args), std=0.2)
    (root / "config.yaml").write_text(yaml.safe_dump(vars(args)))
    torch.save(model.state_dict(), root / "model.pth")
    return corpus / "train", root / "model.pth"


def run(given, *options):
    data, model = given
    main(["--asr_model_file", str(model), "--data", str(data), *map(str, options)])


@pytest.mark.parametrize("modality", ["audio", "video", "multimodal"])
def test_the_times_spell_the_texts_and_make_a_valid_data_directory(given, tmp_path, modality, capsys):
    run(given, "--modality", modality, "--out", tmp_path / "word_times", "--report")
    found = read_word_times(tmp_path / "word_times")
    for utterance in read_data_dir(given[0]):
        assert [time.word for time in found[utterance.utt_id]] == utterance.text.split()
        assert found[utterance.utt_id][-1].end_s <= utterance.num_frames / 25
    assert re.match(r"word boundaries of 8 right words, of 8 known, in 4 clips\n", capsys.readouterr().out)
    validate_data_dir(given[0])


def test_known_times_have_no_error_and_shifted_ones_have_their_shift(given, tmp_path, capsys):
    """The report can fail: the same times are 0 off, those 0.1 s later 0.1."""
    data, _ = given
    (tmp_path / "same").mkdir()
    (tmp_path / "late").mkdir()
    lines = (data / "word_times").read_text()
    (tmp_path / "same/word_times").write_text(lines)
    late = re.sub(r"(\d\.\d+):(\d\.\d+):", lambda m: f"{float(m[1]) + 0.1:.3f}:{float(m[2]) + 0.1:.3f}:", lines)
    (tmp_path / "late/word_times").write_text(late)
    found = []
    for folder in ("same", "late"):
        main(["--decoded", str(tmp_path / folder), "--data", str(data), "--report"])
        found.append(capsys.readouterr().out.splitlines()[-1].split()[1:4])
    assert found == [["0.000", "0.000", "+0.000"], ["0.100", "0.100", "+0.100"]]


def test_ctc_alone_can_be_asked_for(given, tmp_path):
    for name, options in (("head", ()), ("ctc", ("--ctc_only",))):
        run(given, "--out", tmp_path / name, *options)
    assert (tmp_path / "head").read_text() != (tmp_path / "ctc").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--asr_model_file", "m.pth", "--decoded", "d"], "from a model or from a decoding"),
        (["--report"], "from a model or from a decoding"),
        (["--asr_model_file", "m.pth"], "nothing to do with the times"),
        (["--decoded", "d", "--out", "o"], "--out writes what a model aligned"),
        (["--asr_model_file", "m.pth", "--report", "--known", "gone"], "no file gone"),
        (["--asr_model_file", "m.pth", "--report", "--out", "{data}/word_times"], "would replace the known times"),
        (["--decoded", "gone", "--report"], "no transcript file"),
    ],
)
def test_bad_options_end_in_one_sentence(given, options, message, capsys):
    options = [option.format(data=given[0]) for option in options]
    assert exit_status(main, [*options, "--data", str(given[0])]) == 1
    assert message in capsys.readouterr().err
