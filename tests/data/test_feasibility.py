"""CTC feasibility: torch's own CTC loss, which is infinite exactly where no alignment exists, is the judge."""

import csv
import itertools

import numpy as np
import pytest
import torch

from espnet_vivit.data.feasibility import check_feasibility
from espnet_vivit.errors import ConfigError, DataError


def ctc_loss(labels: list[int], steps: int) -> float:
    log_probs = torch.zeros(steps, 1, 4).log_softmax(-1)
    return torch.nn.functional.ctc_loss(log_probs, torch.tensor([labels]), [steps], [len(labels)]).item()


def test_fits_exactly_when_torchs_ctc_loss_is_finite():
    verdicts = []
    for length in range(1, 5):
        for labels in itertools.product((1, 2), repeat=length):
            for frames in range(1, 2 * length + 1):
                report = check_feasibility({"u": labels}, {"u": frames}, feature_rate="frame")
                verdicts.append(report.utterances[0].fits)
                assert verdicts[-1] == np.isfinite(ctc_loss(list(labels), frames)), (labels, frames)
    assert 0 < sum(verdicts) < len(verdicts)


@pytest.mark.parametrize(("frames", "steps"), [(1, 1), (2, 1), (3, 1), (10, 5), (11, 5)])
def test_tubelet_rate_has_half_the_steps(frames, steps):
    report = check_feasibility({"u": ["a"]}, {"u": frames}, feature_rate="tubelet")
    assert report.utterances[0].steps == steps


def test_excluded_are_counted_named_and_left_out():
    labels = {"fits": "abc", "repeats": "aab", "long": "abcdefgh", "empty": ""}
    report = check_feasibility(labels, dict.fromkeys(labels, 3), feature_rate="frame")
    assert report.kept_ids == ["fits"]
    assert [utt.utt_id for utt in report.excluded] == ["empty", "long", "repeats"]
    assert "excluded, more labels than steps: 2 (long, repeats)" in report.summary()
    assert "excluded, no labels at all: 1 (empty)" in report.summary()


def test_refused_above_the_stated_share_with_a_way_out():
    labels = {f"u{i}": "abcdef" for i in range(10)}
    frames = {utt: 12 if index else 10 for index, utt in enumerate(labels)}  # one of ten has 5 steps for 6 labels
    report = check_feasibility(labels, frames, feature_rate="tubelet")
    report.require_share(0.1)
    with pytest.raises(DataError, match=r"10\.0 % .*at most 5 %.*feature_rate: frame \(0 of 10 excluded then\)"):
        report.require_share(0.05)
    with pytest.raises(ConfigError, match="0 to 1"):
        report.require_share(5)


def test_nothing_left_is_refused_whatever_the_share():
    with pytest.raises(DataError, match="longer tokens"):
        check_feasibility({"u": "abc"}, {"u": 1}, feature_rate="frame").require_share(1.0)


def test_spoken_span_is_reported_but_excludes_nothing():
    report = check_feasibility(
        {"a": "abcdef", "b": "ab"}, {"a": 50, "b": 50}, feature_rate="tubelet", spans={"a": (1.0, 1.4)}
    )
    assert report.kept_ids == ["a", "b"]
    assert [utt.utt_id for utt in report.crowded] == ["a"]  # 0.4 s are 5 steps
    assert "0 of 1 fit; labels per step: median 1.20, largest 1.20" in report.summary()
    assert "warning" in report.summary() and "feature_rate: frame" in report.summary()


def test_bad_input_is_named():
    with pytest.raises(DataError, match=r"no number of frames: 1 \(a\)"):
        check_feasibility({"a": "x"}, {}, feature_rate="frame")
    with pytest.raises(DataError, match=r"no labels: 1 \(b\)"):
        check_feasibility({"a": "x"}, {"a": 1, "b": 2}, feature_rate="frame")
    with pytest.raises(DataError, match="utterance a has no video frames"):
        check_feasibility({"a": "x"}, {"a": 0}, feature_rate="frame")
    with pytest.raises(DataError, match="word times of a"):
        check_feasibility({"a": "x"}, {"a": 9}, feature_rate="frame", spans={"a": (1.0, 1.0)})
    with pytest.raises(DataError, match="no utterances"):
        check_feasibility({}, {}, feature_rate="frame")
    with pytest.raises(ConfigError, match="Did you mean 'frame'"):
        check_feasibility({"a": "x"}, {"a": 1}, feature_rate="frames")


def test_grid_in_characters_fits_its_clips_but_at_half_rate_not_its_speech(shared_dir):
    """The finding that the check exists for, on real sentences with real word times."""
    grid = shared_dir / "data" / "grid"
    spans: dict[str, tuple[float, float]] = {}
    with open(grid / "align.tsv", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            if row["word"] not in ("sil", "sp"):
                start_s = spans.get(row["utt_id"], (float(row["start_s"]), 0.0))[0]
                spans[row["utt_id"]] = (start_s, float(row["end_s"]))
    with open(grid / "manifest.tsv", newline="") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if row["utt_id"] in spans]
    labels = {row["utt_id"]: row["text"] for row in rows}
    frames = {row["utt_id"]: int(row["n_frames"]) for row in rows}
    half = check_feasibility(labels, frames, feature_rate="tubelet", spans=spans)
    full = check_feasibility(labels, frames, feature_rate="frame", spans=spans)
    assert not half.excluded and not full.excluded
    assert len(half.crowded) > 0.95 * len(rows) and len(full.crowded) < 0.01 * len(rows)
