"""Batches by a budget of frames: each clip once, within the budget, little padding."""

import numpy as np
import pytest

from espnet_vivit.errors import ConfigError, DataError
from espnet_vivit.tasks.loading.batches import batches_by_frames, log_padding, padding_of, read_frames


def corpus(count=500, seed=0):
    """Clips of half a second to sixteen seconds, most of them short, as in LRS3."""
    lengths = np.random.default_rng(seed).lognormal(4.2, 0.8, count).clip(12, 400).astype(int)
    return {f"u{number}": int(frames) for number, frames in enumerate(lengths)}


@pytest.mark.parametrize("budget", [400, 1500, 12000])
@pytest.mark.parametrize("max_padding", [0.2, 0.05])
def test_every_clip_is_in_one_batch_within_budget_and_padding(budget, max_padding):
    frames = corpus()
    batches = batches_by_frames(frames, budget, max_padding=max_padding)
    assert sorted(utt_id for batch in batches for utt_id in batch) == sorted(frames)
    for batch in batches:
        padding = padding_of([batch], frames)
        assert padding.padded <= budget and padding.share <= max_padding
        assert [frames[utt_id] for utt_id in batch] == sorted((frames[utt_id] for utt_id in batch), reverse=True)


def test_the_bound_on_padding_is_what_keeps_it_small():
    frames = corpus(40)
    bounded, free = (padding_of(batches_by_frames(frames, 4000, max_padding=p), frames) for p in (0.2, 0.999))
    assert bounded.share < 0.2 < free.share


def test_batches_are_as_full_as_the_bounds_allow():
    frames = {f"u{number:02}": 100 for number in range(20)}
    assert [len(batch) for batch in batches_by_frames(frames, 500)] == [5, 5, 5, 5]


def test_a_clip_beyond_the_budget_is_alone_and_told(caplog):
    batches = batches_by_frames({"long": 900, "a": 100, "b": 100}, 300)
    assert sorted(map(sorted, batches)) == [["a", "b"], ["long"]]
    assert "1 clips are longer than batch_frames: 300" in caplog.text and "long with 900 frames" in caplog.text


def test_each_device_gets_a_clip_of_every_batch():
    frames = corpus(101)
    batches = batches_by_frames(frames, 200, min_size=4)
    assert min(map(len, batches)) >= 4 and sum(map(len, batches)) == 101
    with pytest.raises(DataError, match="too few utterances for one batch: found 3; expected at least 4"):
        batches_by_frames({"a": 1, "b": 1, "c": 1}, 200, min_size=4)


@pytest.mark.parametrize("options", [{"budget": 0}, {"budget": 10, "max_padding": 1.0}])
def test_bounds_that_cannot_be_meant_are_refused(options):
    with pytest.raises(ConfigError, match=r"batch_frames|max_padding"):
        batches_by_frames({"a": 1}, **options)


def test_lengths_come_from_the_video_or_else_from_the_sound(tmp_path, caplog):
    (tmp_path / "video_shape").write_text("a 75,88,88\nb 30,88,88\n")
    (tmp_path / "speech_shape").write_text("a 48000\nb 19201\n")
    assert read_frames([str(tmp_path / "speech_shape"), str(tmp_path / "video_shape")]) == {"a": 75, "b": 30}
    assert read_frames([str(tmp_path / "speech_shape")]) == {"a": 75, "b": 31}
    with caplog.at_level("INFO"):
        log_padding("train", [["a", "b"]], [str(tmp_path / "video_shape")])
        log_padding("valid", [["a", "b"]], [str(tmp_path / "text")])
    assert "[train] 1 batches of 105 frames, and 30.0% padding; the largest has 150 frames" in caplog.text
    assert "[valid] the share of padding is not known" in caplog.text
    (tmp_path / "video_shape").write_text("a bin blue\n")
    with pytest.raises(DataError, match="holds no lengths: found 'bin blue'"):
        read_frames([str(tmp_path / "video_shape")])
