"""From an experiment's folders to its section in RESULTS.md."""

import datetime
import json
import re

import jiwer
import numpy as np
import pytest
import torch
import yaml

from espnet_vivit.bin.avsr_results import main
from espnet_vivit.bin.command_parser import exit_status
from espnet_vivit.corpora.mini_av.grammar import draw_sentences
from espnet_vivit.errors import ConfigError
from espnet_vivit.evaluation.decode_timing import TIMING, write_timing
from espnet_vivit.evaluation.decoded import condition_name, parse_decode_name
from espnet_vivit.evaluation.result_checks import Target
from espnet_vivit.evaluation.results import replace_section

WORDS = ["bin", "lay", "place", "set", "blue", "green"]
ERROR_RATES = {  # decode folder -> share of the words that are wrong
    "test_seen_video": 0.25,
    "test_seen_audio": 0.01,
    "test_seen_both": 0.01,
    "test_seen_audio_0db": 0.4,
    "test_seen_both_0db": 0.1,
    "test_seen_video_zeroed": 0.84,
    "test_seen_video_shuffled": 0.7,
}


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """A recipe's folder after stage 12: 60 test sentences of six words, decoded in seven ways."""
    rng = np.random.default_rng(5)
    monkeypatch.chdir(tmp_path)
    references = {f"utt{i:02d}": list(rng.choice(WORDS, size=6)) for i in range(60)}
    for name in ("train", "test_seen"):
        (tmp_path / "dump/raw" / name).mkdir(parents=True)
        write_text(tmp_path / "dump/raw" / name / "text", references)
    exp = tmp_path / "exp/avsr_vivit"
    for folder, rate in ERROR_RATES.items():
        wrong = {
            utt: [f"{word}x" if rng.random() < rate else word for word in words] for utt, words in references.items()
        }
        write_text(exp / "decode_beam" / folder / "1best_recog/text", wrong)
    (exp / "decode_beam/logs").mkdir()
    write_training(exp, "vivit")
    return tmp_path


def write_text(path, transcripts) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{utt} {' '.join(words)}\n" for utt, words in transcripts.items()))


def write_training(exp, vision_encoder: str, *, seed: int = 2024) -> None:
    phase = {"loss": 1.0, "time": datetime.timedelta(seconds=45)}
    torch.save({"reporter": {"stats": {1: {"train": phase, "valid": phase}}, "epoch": 1}}, exp / "checkpoint.pth")
    (exp / "config.yaml").write_text(
        yaml.safe_dump({"seed": seed, "output_dir": str(exp), "vision_encoder": vision_encoder})
    )


def run(*more: str) -> int:
    fixed = ["--exp", "exp/avsr_vivit", "--data", "dump/raw", "--out", "RESULTS.md", "--resamples", "500"]
    return exit_status(main, [*fixed, *more])


def cells(markdown: str, *starts: str) -> list[str]:
    """The cells of the one table row that begins with `starts`."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in markdown.splitlines() if "|" in line]
    (row,) = [row for row in rows if row[: len(starts)] == list(starts)]
    return row


def test_table_holds_jiwers_numbers_for_every_folder(recipe):
    assert run() == 0
    markdown = (recipe / "RESULTS.md").read_text()
    for folder, shown in (
        ("test_seen_video", ("video", "clean")),
        ("test_seen_audio_0db", ("audio", "0 dB")),
        ("test_seen_video_shuffled", ("video", "video shuffled")),
    ):
        references, hypotheses = (
            [line.split(" ", 1)[1] for line in path.read_text().splitlines()]
            for path in (
                recipe / "dump/raw/test_seen/text",
                recipe / "exp/avsr_vivit/decode_beam" / folder / "1best_recog/text",
            )
        )
        words = jiwer.process_words(references, hypotheses)
        row = cells(markdown, "test_seen", *shown)
        assert row[3:8] == [*map(str, (60, 360, words.substitutions, words.deletions, words.insertions))]
        assert row[8] == f"{100 * words.wer:.1f}" and row[10] == f"{100 * jiwer.cer(references, hypotheses):.1f}"
        low, high = map(float, row[9].split(" – "))
        assert low < 100 * words.wer < high
        report = json.loads((recipe / "exp/avsr_vivit/decode_beam" / folder / "score/wer.json").read_text())
        assert report["words"]["substitutions"] == words.substitutions


def test_origin_is_stated_without_this_machines_paths(recipe):
    assert run("--command", f"{recipe}/run.sh --expdir /somewhere/private/exp --asr_config conf/a.yaml") == 0
    markdown = (recipe / "RESULTS.md").read_text()
    assert "- command: `run.sh --expdir …/exp --asr_config conf/a.yaml`" in markdown
    assert "- seed: training 2024, bootstrap 0" in markdown
    assert re.search(r"- data: sha256 [0-9a-f]{64} over text, .* of test_seen \(60\), train \(60\)", markdown)
    assert "- training: 1 epochs in 1.5 minutes" in markdown
    assert re.search(r"- commit: \S+", markdown) and f"torch {torch.__version__.split('+')[0]}" in markdown
    assert str(recipe) not in markdown


def test_checks_say_what_holds_and_what_does_not(recipe):
    assert run("--chance_wer", "83.3", "--target", "test_seen:video:30", "--target", "test_seen:audio:0.1") == 0
    markdown = (recipe / "RESULTS.md").read_text()
    assert cells(markdown, "test_seen", "none", "chance level")[8] == "83.3"
    assert cells(markdown, "test_seen: video, clean")[2:] == ["at most 30 %", "yes"]
    assert cells(markdown, "test_seen: audio, clean")[3] == "NO"
    assert cells(markdown, "test_seen: video zeroed")[3] == "yes"
    assert cells(markdown, "test_seen: video shuffled")[3] == "NO"
    fusion = cells(markdown, "test_seen: both at 0 dB / better single (video)")  # video 25 %, audio 40 %
    assert fusion[3] == "yes"
    low, high = map(float, re.search(r"\[([\d.]+), ([\d.]+)\]", fusion[1]).groups())
    assert low < float(fusion[1].split()[0]) < high < 1


def test_a_control_may_be_as_far_below_chance_as_chance_itself_varies(recipe):
    assert run() == 0
    wer = float(cells((recipe / "RESULTS.md").read_text(), "test_seen", "video", "video zeroed")[8])
    for above, holds in ((4.9, "yes"), (5.2, "NO")):
        assert run("--chance_wer", f"{wer + above:.2f}") == 0
        assert cells((recipe / "RESULTS.md").read_text(), "test_seen: video zeroed")[3] == holds


def test_strict_tells_a_failed_check_by_its_exit_code(recipe):
    assert run("--strict", "--target", "test_seen:video:30") == 0
    assert run("--strict", "--target", "test_seen:audio:0.1") == 2


def test_fusion_that_is_no_better_fails_the_check(recipe):
    decoded = recipe / "exp/avsr_vivit/decode_beam"
    (decoded / "test_seen_both_0db/1best_recog/text").write_text(
        (decoded / "test_seen_video/1best_recog/text").read_text()
    )
    assert run() == 0
    fusion = cells((recipe / "RESULTS.md").read_text(), "test_seen: both at 0 dB / better single (video)")
    assert fusion[1].startswith("1.00 [1.00, 1.00]") and fusion[3] == "NO"


def test_section_is_replaced_and_others_stay(recipe):
    (recipe / "RESULTS.md").write_text("# Results\n\nWritten by hand.\n")
    assert run() == 0
    first = (recipe / "RESULTS.md").read_text()
    assert run() == 0
    assert (recipe / "RESULTS.md").read_text() == first
    replace_section(recipe / "RESULTS.md", "another", "## Another\n")
    assert run("--seed", "1") == 0
    third = (recipe / "RESULTS.md").read_text()
    assert third.startswith("# Results\n\nWritten by hand.\n") and "## Another\n" in third
    assert third.count("## avsr_vivit, decode_beam") == 1 and "bootstrap 1" in third and "bootstrap 0" not in third


def test_experiments_are_compared_in_one_table(recipe):
    exp = recipe / "exp/avsr_resnet/decode_beam/test_seen_video/1best_recog/text"
    exp.parent.mkdir(parents=True)
    exp.write_text((recipe / "dump/raw/test_seen/text").read_text())
    write_training(recipe / "exp/avsr_resnet", "resnet")
    assert run("--exp", "exp/avsr_vivit", "exp/avsr_resnet") == 0
    markdown = (recipe / "RESULTS.md").read_text()
    compared = markdown[markdown.index("## Comparison") :]
    assert cells(compared, "avsr_resnet", "resnet", "2024", "1", "1.5")[6] == ""  # audio was not decoded
    assert "0.0 [0.0, 0.0]" in cells(compared, "avsr_resnet")
    assert cells(compared, "avsr_vivit")[1] == "vivit"
    (line,) = [line for line in compared.splitlines() if line.startswith("- ")]  # the only row that both have
    wer = cells(markdown[: markdown.index("## avsr_resnet")], "test_seen", "video", "clean")[8]
    start = f"- test_seen, video, clean: avsr_vivit against avsr_resnet: WER {float(wer):.1f}"
    assert line.startswith(start) and "difference +" in line and "inf" not in line


def test_a_check_that_failed_in_the_first_experiment_is_not_forgotten(recipe):
    """The second experiment reads every word of the audio right."""
    for folder in ("test_seen_audio", "test_seen_both"):
        exp = recipe / f"exp/avsr_resnet/decode_beam/{folder}/1best_recog/text"
        exp.parent.mkdir(parents=True)
        exp.write_text((recipe / "dump/raw/test_seen/text").read_text())
    write_training(recipe / "exp/avsr_resnet", "resnet")
    strict = ["--strict", "--target", "test_seen:audio:0.1"]
    assert run(*strict, "--exp", "exp/avsr_resnet") == 0
    assert run(*strict, "--exp", "exp/avsr_vivit", "exp/avsr_resnet") == 2


def test_experiments_that_differ_in_their_seed_are_compared_as_means(recipe):
    """Oracle: jiwer's rates, averaged by hand."""
    rng = np.random.default_rng(8)
    lines = (recipe / "dump/raw/test_seen/text").read_text().splitlines()
    references = {line.split()[0]: line.split()[1:] for line in lines}
    rates = {}
    trainings = (("vivit1", "vivit", 1, 0.3), ("resnet", "resnet", 2024, 0.5), ("resnet1", "resnet", 1, 0.4))
    for name, encoder, seed, rate in trainings:
        exp = recipe / f"exp/avsr_{name}"
        wrong = {utt: [f"{w}x" if rng.random() < rate else w for w in words] for utt, words in references.items()}
        write_text(exp / "decode_beam/test_seen_video/1best_recog/text", wrong)
        write_training(exp, encoder, seed=seed)
    names = ("vivit", "vivit1", "resnet", "resnet1")
    assert run("--exp", *(f"exp/avsr_{name}" for name in names)) == 0
    for name in names:
        found = (recipe / f"exp/avsr_{name}/decode_beam/test_seen_video/1best_recog/text").read_text().splitlines()
        said = {line.split()[0]: " ".join(line.split()[1:]) for line in found}
        rates[name] = 100 * jiwer.wer([" ".join(w) for w in references.values()], [said[utt] for utt in references])
    markdown = (recipe / "RESULTS.md").read_text()
    compared = markdown[markdown.index("## Comparison") :]
    both = [rates["vivit"], rates["vivit1"]]
    mean, mean_resnet = sum(both) / 2, (rates["resnet"] + rates["resnet1"]) / 2
    table = compared[compared.index("mean over seeds") :]
    row = cells(table, "avsr_vivit", "2024, 1")
    assert row[3] == f"{mean:.1f}, {min(both):.1f} – {max(both):.1f}"
    assert cells(table, "avsr_resnet", "2024, 1")[3].startswith(f"{mean_resnet:.1f}, ")
    (line,) = [line for line in compared.splitlines() if line.startswith("- ")]
    start = "- test_seen, video, clean: avsr_vivit (2 seeds) against avsr_resnet (2 seeds): "
    assert line.startswith(f"{start}WER {mean:.2f} % vs {mean_resnet:.2f} %")


def test_two_decodings_of_one_training_are_no_two_seeds(recipe):
    beam = recipe / "exp/avsr_vivit/decode_beam/test_seen_video/1best_recog/text"
    greedy = {line.split()[0]: ["wrong"] for line in beam.read_text().splitlines()}
    write_text(recipe / "exp/avsr_vivit/decode_greedy/test_seen_video/1best_recog/text", greedy)
    write_text(recipe / "exp/avsr_resnet/decode_beam/test_seen_video/1best_recog/text", greedy)
    write_training(recipe / "exp/avsr_resnet", "resnet")
    assert run("--exp", "exp/avsr_vivit", "exp/avsr_resnet") == 0
    markdown = (recipe / "RESULTS.md").read_text()
    compared = markdown[markdown.index("## Comparison") :]
    assert "mean over seeds" not in compared
    assert cells(compared, "avsr_vivit, decode_beam") != cells(compared, "avsr_vivit, decode_greedy")
    assert "- test_seen, video, clean: avsr_vivit, decode_beam against avsr_vivit, decode_greedy: WER" in compared


def test_wrong_words_are_counted_by_class(recipe):
    words = {"utt00": "lay red with g nine now".split(), "utt01": "bin blue at f two now".split()}
    for utt in [f"utt{i:02d}" for i in range(2, 60)]:
        words[utt] = "set red in k one soon".split()
    write_text(recipe / "dump/raw/test_seen/text", words)
    wrong = {**words, "utt00": "lay red with j nine now".split(), "utt01": "bin green at s two again".split()}
    for folder in ERROR_RATES:
        write_text(recipe / "exp/avsr_vivit/decode_beam" / folder / "1best_recog/text", wrong)
    assert run() == 0
    markdown = (recipe / "RESULTS.md").read_text()
    assert cells(markdown, "wrong words by class")[1:] == ["input", "letters", "numbers", "words"]
    table = markdown[markdown.index("wrong words by class") :]
    assert cells(table, "test_seen", "video")[2:] == ["2 of 60", "0 of 60", "2 of 240"]
    assert cells(table, "test_seen", "both")[2:] == ["2 of 60", "0 of 60", "2 of 240"]


def test_what_the_model_costs_is_stated_where_it_was_measured(recipe):
    assert run() == 0
    markdown = (recipe / "RESULTS.md").read_text()
    assert "multiply-accumulates" not in markdown and "real-time factor" not in markdown
    cost = {
        "parameters": {"all": 3_117_562, "vision_encoder": 884_824, "decoder": 684_918},
        "gmacs_per_frame": {"all": 0.00765, "vision_encoder": 0.0059},
    }
    (recipe / "exp/avsr_vivit/cost.json").write_text(json.dumps(cost))
    write_timing(recipe / "exp/avsr_vivit/decode_beam/test_seen_video" / TIMING, 30.0, 120.0)
    assert run() == 0
    markdown = (recipe / "RESULTS.md").read_text()
    assert "- model: 3.12 million parameters, 7.65 million multiply-accumulates per 40 ms without decoder" in markdown
    assert "(vision encoder 0.88 M, 5.90 MMACs; decoder 0.68 M)" in markdown
    assert "- decoding: real-time factor test_seen video 0.250" in markdown


@pytest.mark.parametrize("text", ["", "spent_s fast\nclip_s 3\n", "spent_s 1\n", "spent_s 1\nclip_s 0\n"])
def test_a_timing_that_says_nothing_is_an_error(recipe, capsys, text):
    (recipe / "exp/avsr_vivit/decode_beam/test_seen_video" / TIMING).write_text(text)
    assert run() == 1
    assert "timing" in capsys.readouterr().err


def test_chance_level_of_the_corpus_is_computed_from_the_references(recipe):
    sentences = draw_sentences([60], np.random.default_rng(0))[0]
    references = {f"utt{i:02d}": sentence.split() for i, sentence in enumerate(sentences)}
    constant = [max(set(column), key=column.count) for column in map(list, zip(*references.values(), strict=True))]
    write_text(recipe / "dump/raw/test_seen/text", references)
    for folder in ERROR_RATES:
        text = recipe / "exp/avsr_vivit/decode_beam" / folder / "1best_recog/text"
        write_text(text, dict.fromkeys(references, constant))  # the best answer of those that do not look
    assert run("--corpus", "mini_av") == 0
    markdown = (recipe / "RESULTS.md").read_text()
    assert cells(markdown, "test_seen", "none")[8] == cells(markdown, "test_seen", "video", "clean")[8]
    assert cells(markdown, "test_seen: video zeroed")[3] == "yes"


def test_collapse_is_noted_under_the_table_unless_every_input_was_made_equal(recipe):
    for folder in ("test_seen_video", "test_seen_video_zeroed"):
        path = recipe / "exp/avsr_vivit/decode_beam" / folder / "1best_recog/text"
        path.write_text("".join(f"utt{i:02d} bin\n" for i in range(60)))
    assert run() == 0
    results = (recipe / "RESULTS.md").read_text()
    assert "- note: test_seen, video, clean: 60 of 60 utterances got the same hypothesis, 'bin'" in results
    assert "- note: test_seen, video, video zeroed" not in results


@pytest.mark.parametrize(
    ("folder", "message"),
    [("test_sean_video", "test_seen | train>_<video"), ("test_seen_vido", "test_seen_vido")],
)
def test_decode_folder_of_no_test_set_is_an_error(recipe, capsys, folder, message):
    write_text(recipe / "exp/avsr_vivit/decode_beam" / folder / "1best_recog/text", {"utt00": ["bin"]})
    assert run() == 1
    assert message in capsys.readouterr().err


def test_unfinished_decoding_is_an_error_and_nothing_is_written(recipe, capsys):
    (recipe / "exp/avsr_vivit/decode_beam/test_seen_audio/1best_recog/text").unlink()
    assert run() == 1
    assert "test_seen_audio" in capsys.readouterr().err and not (recipe / "RESULTS.md").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--inference_tag", "other"), "no decode_other"),
        (("--data", "nowhere"), "no data directories in nowhere"),
        (("--corpus", "mini_va"), "Did you mean"),
        (("--target", "test_seen:video"), "TEST_SET:MODALITY:PERCENT"),
        (("--target", "test_unseen:video:30"), "test_seen:video"),
        (("--exp", "exp/none"), "no training history"),
    ],
)
def test_wrong_options_are_named(recipe, capsys, options, message):
    (recipe / "exp/none").mkdir()
    assert run(*options) == 1
    assert message in capsys.readouterr().err


def test_folder_names_are_understood():
    sets = ["test", "test_seen", "test_seen_0db"]
    assert parse_decode_name("test_seen_video", sets) == ("test_seen", "test_seen", "video", "clean")
    assert parse_decode_name("test_seen_multimodal_babble_-5dB", sets)[2:] == ("both", "-5 dB babble")
    assert parse_decode_name("test_seen_0db_both", sets) == ("test_seen_0db", "test_seen", "both", "0 dB")
    blank = parse_decode_name("test_seen_zeroed_video", [*sets, "test_seen_zeroed"])
    assert blank == ("test_seen_zeroed", "test_seen", "video", "video zeroed")
    assert parse_decode_name("test_audio_zeroed", sets) == ("test", "test", "audio", "video zeroed")
    assert parse_decode_name("logs", sets) is None and parse_decode_name("test_seen_lips", sets) is None
    assert condition_name("half_size") == "half size"


def test_target_modalities_are_checked():
    assert Target.parse("test:multimodal:5") == Target("test", "both", 5.0)
    with pytest.raises(ConfigError, match="Did you mean 'video'"):
        Target.parse("test:vidio:5")
