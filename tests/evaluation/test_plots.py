"""Pictures are looked at by people; here: that they hold what was given, in the right colors, and nothing overlaps."""

import matplotlib.image
import numpy as np
import pytest

from espnet_vivit.bin.avsr_contact_sheet import main
from espnet_vivit.bin.command_parser import exit_status
from espnet_vivit.errors import ConfigError, InputError
from espnet_vivit.evaluation.plots import DOTS_PER_INCH, LINE_INCHES, Clip, plot_contact_sheet, plot_training
from espnet_vivit.evaluation.training_log import TrainingHistory


def history(**names: list[float]) -> TrainingHistory:
    curves = {name: dict(enumerate(values, start=1)) for name, values in names.items()}
    return TrainingHistory({"train": curves, "valid": curves}, seconds=1.0, source=None)


def clip(reference: str, hypothesis: str, *, size: int = 48, frames: int = 30) -> Clip:
    """A clip whose frame t is uniformly gray, the brighter the later."""
    levels = np.linspace(40, 200, frames).round().astype(np.uint8)
    return Clip("utt_1", np.broadcast_to(levels[:, None, None], (frames, size, size)), reference, hypothesis)


def picture(path) -> np.ndarray:
    """(H, W, 3) in 0..1"""
    return matplotlib.image.imread(path)[..., :3]


def count_red(pixels: np.ndarray) -> int:
    red, green, blue = np.moveaxis(pixels, -1, 0)
    return int(((red > 0.6) & (green < 0.2) & (blue < 0.2)).sum())


def test_one_panel_for_each_reported_number(tmp_path):
    values = history(loss=[3.0, 2.0, 1.0], acc=[0.1, 0.5, 0.9])
    assert plot_training(values, tmp_path / "both.png") == ["loss", "acc"]  # cer_ctc was not reported
    assert plot_training(values, tmp_path / "loss.png", names=["loss"], title="experiment") == ["loss"]
    both, loss = picture(tmp_path / "both.png"), picture(tmp_path / "loss.png")
    assert both.shape[1] == 2 * loss.shape[1]
    assert loss.min() < 0.2  # something is drawn


def test_epochs_without_a_value_are_left_out_and_empty_curves_too(tmp_path):
    values = history(loss=[3.0, float("nan"), 1.0], cer_ctc=[float("nan")] * 3)
    assert plot_training(values, tmp_path / "curves.png") == ["loss"]


def test_unknown_numbers_are_an_error_that_lists_the_known(tmp_path):
    with pytest.raises(ConfigError, match=r"found wer; expected acc, loss"):
        plot_training(history(loss=[1.0], acc=[0.5]), tmp_path / "curves.png", names=["wer"])


def test_wrong_words_are_red_and_right_ones_are_not(tmp_path):
    plot_contact_sheet([clip("bin blue at f", "bin blue at f")], tmp_path / "right.png")
    plot_contact_sheet([clip("bin blue at f", "bin green at f")], tmp_path / "wrong.png")
    plot_contact_sheet([clip("bin blue at f", "bin at f")], tmp_path / "left_out.png")
    assert count_red(picture(tmp_path / "right.png")) == 0
    assert count_red(picture(tmp_path / "wrong.png")) > count_red(picture(tmp_path / "left_out.png")) > 10


def test_frames_run_through_the_whole_clip(tmp_path):
    plot_contact_sheet([clip("bin", "bin")], tmp_path / "sheet.png", frames=5)
    row = picture(tmp_path / "sheet.png")[40, :, 0] * 255  # through the middle of the pictures
    shown = [round(float(level)) for level, previous in zip(row[1:], row, strict=False) if level != previous]
    levels = [level for level in dict.fromkeys(shown) if level in {40, 79, 80, 81, 119, 120, 121, 160, 161, 162, 200}]
    assert levels[0] == 40 and levels[-1] == 200 and len(levels) == 5


def test_long_sentences_wrap_instead_of_running_off_the_page(tmp_path):
    plot_contact_sheet([clip("short", "short")], tmp_path / "short.png")
    long = " ".join(["sentence"] * 30)  # 270 characters
    plot_contact_sheet([clip(long, long.replace("sentence", "mistakes", 1))], tmp_path / "long.png")
    short, long = picture(tmp_path / "short.png"), picture(tmp_path / "long.png")
    assert long.shape[1] == short.shape[1]
    line = LINE_INCHES * DOTS_PER_INCH
    assert long.shape[0] - short.shape[0] == pytest.approx(4 * line, abs=2)  # two more pairs of lines
    assert (long[:, -10:] == 1).all()  # the right margin is empty


def test_empty_transcripts_have_a_caption(tmp_path):
    plot_contact_sheet([clip("", "one"), clip("two", "")], tmp_path / "sheet.png")
    assert count_red(picture(tmp_path / "sheet.png")) > 10


@pytest.mark.parametrize("video", [np.zeros((0, 4, 4), np.uint8), np.zeros((3, 4, 4)), np.zeros((4, 4), np.uint8)])
def test_bad_video_is_named(tmp_path, video):
    with pytest.raises(InputError, match="video of utt_9"):
        plot_contact_sheet([Clip("utt_9", video, "a", "a")], tmp_path / "sheet.png")
    with pytest.raises(InputError, match="at least one"):
        plot_contact_sheet([], tmp_path / "sheet.png")


@pytest.fixture
def decoded(tmp_path):
    """Five utterances with video as .npy; the last has no hypothesis."""
    names = [f"u{i}" for i in range(5)]
    for name in names:
        np.save(tmp_path / f"{name}.npy", np.full((6, 32, 32), 128, np.uint8))
    (tmp_path / "video.scp").write_text("".join(f"{name} {tmp_path / name}.npy\n" for name in names))
    (tmp_path / "ref").write_text("".join(f"{name} one two\n" for name in names))
    (tmp_path / "hyp").write_text("".join(f"{name} one too\n" for name in names[:-1]))
    return tmp_path


def run(folder, *more: str) -> int:
    files = ["--video_scp", folder / "video.scp", "--ref", folder / "ref", "--hyp", folder / "hyp"]
    return exit_status(main, ["clips", *map(str, files), "--out", str(folder / "sheet.png"), *more])


def test_command_draws_as_many_rows_as_asked(decoded, capsys):
    heights = []
    for rows in ("1", "3"):
        assert run(decoded, "--rows", rows) == 0
        heights.append(picture(decoded / "sheet.png").shape[0])
    assert heights[1] > 2.5 * heights[0]
    assert capsys.readouterr().out == f"{decoded / 'sheet.png'}\n" * 2


def test_command_names_what_it_cannot_show(decoded, capsys):
    assert run(decoded, "--utts", "u0", "u4", "u7") == 1
    assert "found u4, u7" in capsys.readouterr().err
    assert exit_status(main, ["curves", "--exp", str(decoded), "--out", str(decoded / "curves.png")]) == 1
    assert "no training history" in capsys.readouterr().err
