"""The threshold on a piece's confidence: measured on decoded development data, kept beside the model, and packed."""

import json

import pytest

from espnet_vivit.bin import cli
from espnet_vivit.bin.commands.calibrate import report
from espnet_vivit.decode.package import Package, read_reliability
from espnet_vivit.errors import DataError
from espnet_vivit.evaluation.calibration import MIN_CONFIDENCE, DecodedSet, calibrate
from tests.experiments import write_experiment

REFERENCES = {"a": "bin blue", "b": "lay red by", "c": "set white", "d": "now soon"}
HYPOTHESES = {"a": "bin blue", "b": "lay red now", "c": "bin blue", "d": ""}  # 2 of 2, 2 of 3, 0 of 2 right; nothing
CONFIDENCES = {"a": [0.9, 0.8], "b": [0.9, 0.7, 0.5], "c": [0.3, 0.2], "d": []}


def one_set(references, hypotheses, confidences):
    return {"dev": DecodedSet(references, hypotheses, confidences)}


@pytest.mark.parametrize(
    ("accuracy", "threshold", "kept"),
    [(1.0, 0.85, 2 / 7), (0.8, 0.7, 5 / 7), (0.75, 0.7, 5 / 7), (0.5, 0.25, 1.0)],
)
def test_the_threshold_is_the_lowest_mean_confidence_with_so_many_right_words(accuracy, threshold, kept):
    found = calibrate(one_set(REFERENCES, HYPOTHESES, CONFIDENCES), accuracy=accuracy)
    assert found["min_confidence"] == pytest.approx(threshold, abs=1e-4) and found["min_confidence"] <= threshold
    assert found["kept_words"] == pytest.approx(kept)
    assert found["right"] == pytest.approx(4 / 7) and found["words"] == 7 and found["utterances"] == 4
    assert sum(part["words"] for part in found["curve"]) == 7
    json.dumps(found, allow_nan=False)


def test_a_threshold_below_which_nothing_was_seen_says_so():
    said = "has not been seen here"
    assert said in report(calibrate(one_set(REFERENCES, HYPOTHESES, CONFIDENCES), accuracy=0.5))
    assert said not in report(calibrate(one_set(REFERENCES, HYPOTHESES, CONFIDENCES), accuracy=0.8))


def test_a_model_that_was_always_right_is_not_doubted_more_than_one_that_nobody_measured():
    """All were right at 0.9 and more: that says nothing against 0.6."""
    sure = {key: [0.9] * len(text.split()) for key, text in REFERENCES.items()}
    found = calibrate(one_set(REFERENCES, REFERENCES, sure))
    assert found["min_confidence"] == MIN_CONFIDENCE < 0.9 and found["kept_words"] == 1.0


def test_a_model_that_is_never_right_is_not_believed():
    wrong = {key: "x" * bool(text) for key, text in HYPOTHESES.items()}
    found = calibrate(one_set(REFERENCES, wrong, {key: [0.99] * len(text.split()) for key, text in wrong.items()}))
    assert found["min_confidence"] == 1.0 and found["kept_words"] == 0.0


@pytest.fixture
def decoded(tmp_path):
    """An experiment, references, and what decoding with word times leaves."""
    write_experiment(tmp_path / "exp", audio_encoder=...)
    folder = tmp_path / "dev_video/1best_recog"
    folder.mkdir(parents=True)
    for path, table in ((tmp_path / "text", REFERENCES), (folder / "text", HYPOTHESES)):
        path.write_text("".join(f"{key} {text}\n" for key, text in table.items()))
    lines = [f"{key} {' '.join(map(str, values))}\n" for key, values in CONFIDENCES.items()]
    (folder / "confidence").write_text("".join(lines))
    return ["calibrate", str(tmp_path / "exp"), "--ref", str(tmp_path / "text"), "--hyp", str(folder)]


def test_the_command_keeps_one_entry_per_modality_and_packing_takes_them_along(decoded, tmp_path, capsys):
    assert cli.main([*decoded, "--modality", "video"]) == 0
    assert "0.700 on are believed: keeps 71.4% of 7 words" in capsys.readouterr().out
    assert cli.main([*decoded, "--modality", "multimodal", "--accuracy", "1"]) == 0
    written = json.loads((tmp_path / "exp/reliability.json").read_text())
    assert {name: entry["min_confidence"] for name, entry in written.items()} == {"video": 0.7, "multimodal": 0.85}
    assert cli.main(["pack", str(tmp_path / "exp"), str(tmp_path / "package"), "--licence", "MIT"]) == 0
    assert Package.from_pretrained(tmp_path / "package").reliability == written


def test_what_is_missing_is_said(decoded, tmp_path, capsys):
    (tmp_path / "dev_video/1best_recog/confidence").unlink()
    assert cli.main([*decoded, "--modality", "video"]) == 1
    assert "--word_times true" in capsys.readouterr().err
    with pytest.raises(DataError, match="no confidences, as b"):
        calibrate(one_set(REFERENCES, HYPOTHESES, {key: CONFIDENCES[key] for key in "acd"}))


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[1]",
        '{"video": 3}',
        '{"video": {}}',
        '{"video": {"min_confidence": "x"}}',
        '{"video": {"min_confidence": NaN}}',
        '{"a": ' * 9999,
    ],
)
def test_a_broken_reliability_is_named(tmp_path, content):
    (tmp_path / "reliability.json").write_text(content)
    with pytest.raises(DataError, match=r"reliability\.json"):
        read_reliability(tmp_path / "reliability.json")


def test_sets_of_other_speakers_count_in_the_threshold_and_are_shown_in_the_card(decoded, tmp_path, capsys):
    """Speakers whom the model reads with as much confidence and less success raise the threshold."""
    other = tmp_path / "unseen_video/1best_recog"
    other.mkdir(parents=True)
    (tmp_path / "unseen").write_text("e lay blue by\nf set red now\n")
    (other / "text").write_text("e bin green by\nf set white soon\n")
    (other / "confidence").write_text("e 0.8 0.7 0.9\nf 0.4 0.4 0.4\n")
    assert cli.main([*decoded, "--modality", "video"]) == 0
    *command, ref_option, ref, hyp_option, hyp = decoded
    both = [*command, ref_option, ref, str(tmp_path / "unseen"), hyp_option, hyp, str(other), "--modality", "video"]
    capsys.readouterr()
    assert cli.main(both) == 0
    printed = capsys.readouterr().out
    entry = read_reliability(tmp_path / "exp/reliability.json")["video"]
    assert entry["min_confidence"] == 0.85 > 0.7 and entry["words"] == 13 and entry["utterances"] == 6
    assert {name: (found["kept_words"], found["right_of_kept"]) for name, found in entry["sets"].items()} == {
        "dev_video": (2 / 7, 1.0),
        "unseen_video": (0.0, None),
    }
    assert "keeps 14.3% of the words, each set counted the same, 80% or more of them right" in printed
    assert "dev_video: keeps 28.6% of 7 words, 100.0% of them right\nunseen_video: keeps 0.0% of 6 words\n" in printed
    assert cli.main(["pack", str(tmp_path / "exp"), str(tmp_path / "package"), "--licence", "MIT"]) == 0
    card = (tmp_path / "package/README.md").read_text()
    assert "video: pieces with a mean confidence from 0.85 on are believed." in card
    assert "Of unseen_video (6 words) 0% are believed, none:" in card
    assert "| 0.30 to 0.40 | 3 | 0.400 | 0.333 |" in card  # of f, one of three words


def test_a_large_set_of_known_speakers_does_not_outvote_the_others():
    """Of all words 100 of 105 are right; but of a speaker whom the model does not know none."""
    known = {f"known{i}": "bin blue at f" for i in range(25)}
    sets = {
        "dev": DecodedSet(known, known, {key: [0.9] * 4 for key in known}),
        "unseen": DecodedSet({"new": "a b c d e"}, {"new": "v w x y z"}, {"new": [0.6] * 5}),
    }
    assert calibrate({"dev": sets["dev"]})["min_confidence"] == MIN_CONFIDENCE
    found = calibrate(sets)
    assert (found["min_confidence"], round(found["kept_words"], 9)) == (0.9, 0.5)
    assert found["sets"]["unseen"]["kept_words"] == 0.0 and found["right"] == pytest.approx(100 / 105)


def test_each_set_needs_its_references_and_a_name(decoded, tmp_path, capsys):
    assert cli.main([*decoded, decoded[-1], "--modality", "video"]) == 1
    assert "found 1 --ref, 2 --hyp; expected as many of both" in capsys.readouterr().err
    *command, ref_option, ref, hyp_option, hyp = decoded
    assert cli.main([*command, ref_option, ref, ref, hyp_option, hyp, hyp, "--modality", "video"]) == 1
    assert "two sets have one name: found dev_video, dev_video" in capsys.readouterr().err
