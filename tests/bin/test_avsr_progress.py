"""The epoch lines from a log that ESPnet's own reporter has written."""

import pytest

from espnet_vivit.bin.avsr_progress import progress_lines
from espnet_vivit.units import duration


def log_of_epochs(first: int, last: int) -> list[str]:
    """Lines as `espnet2.train.trainer` writes them; the result lines come from its own Reporter."""
    from espnet_vivit.espnet_compat import quiet_espnet_import

    with quiet_espnet_import():
        from espnet2.train.reporter import Reporter

    reporter, lines = Reporter(), []
    for epoch in range(first, last + 1):
        lines.append(f"[host] 2030-01-01 10:00:00,000 (trainer:289) INFO: {epoch}/{last}epoch started\n")
        reporter.set_epoch(epoch)
        for phase in ("train", "valid"):
            with reporter.observe(phase) as observed:
                for loss in (40.0, 20.0):
                    observed.register({"loss": loss / epoch, "acc": 0.5, "loss_ctc": 7.0}, weight=1)
                    observed.next()
                lines.append(f"[host] (trainer:762) INFO: {observed.log_message()}\n")
        lines.append(f"[host] 2030-01-01 10:00:30,000 (trainer:354) INFO: {reporter.log_message()}\n")
        lines.append("[host] (trainer:400) INFO: There are no improvements in this epoch\n")
    return lines


def ticking(seconds: float):
    """A clock that moves on by `seconds` at each look."""
    now = iter(range(10**6))
    return lambda: next(now) * seconds


def test_one_line_per_epoch_with_losses_accuracy_and_time_left():
    lines = list(progress_lines(log_of_epochs(1, 3), clock=ticking(2.0)))
    assert len(lines) == 3
    assert lines[0].startswith("epoch  1/3  train loss 30.000 acc 0.500 | valid loss 30.000 acc 0.500 | ")
    assert lines[1].startswith("epoch  2/3  train loss 15.000")
    assert "6 s, 12 s left" in lines[0]  # three lines after the start of the epoch, two epochs to come
    assert lines[2].endswith("0 s left")


def test_a_resumed_training_says_where_it_goes_on():
    lines = list(progress_lines(log_of_epochs(3, 4), clock=ticking(1.0)))
    assert lines[0] == "continuing after epoch 2"
    assert lines[1].startswith("epoch  3/4")
    assert "6 s left" not in lines[-1]


def test_long_epochs_show_a_line_a_minute():
    started, *_ = log_of_epochs(1, 1)
    batches = [
        f"[host] INFO: 1epoch:train:{n}-{n + 9}batch: acc=0.25, loss=4.000, train_time=1.0\n" for n in range(1, 60, 10)
    ]
    lines = list(progress_lines([started, *batches], clock=ticking(25.0)))
    assert lines == [
        "epoch  1/1  30 batches, train loss 4.000 acc 0.25",
        "epoch  1/1  60 batches, train loss 4.000 acc 0.25",
    ]


def test_a_terminal_gets_a_bar_that_is_drawn_again_and_a_file_a_line_a_minute():
    numbers = "loss 41.2, acc 0.312, 839 frames/s, 3.1 GiB, 2 min left, 1 h 10 min in all"
    log = [f"[host] (progress:90) INFO: progress: epoch 3/40, batch {done}/80, {numbers}\n" for done in (20, 40, 79)]
    drawn = []
    assert list(progress_lines(log, clock=ticking(50.0), show_bar=drawn.append)) == []
    assert drawn[0] == f"epoch  3/40  [#####---------------]  25%  {numbers}" and len(drawn) == 3
    assert list(progress_lines(log, clock=ticking(50.0))) == [drawn[1]]


def test_warnings_about_the_transcripts_and_of_options_that_do_not_fit_the_corpus_are_shown():
    for text in (
        "epoch 7: the word error rate has not left 100.0%",
        "schedule: total_steps is 9",
        "curriculum: no clip",
    ):
        assert list(progress_lines([f"[host] 2030-01-01 (module:90) WARNING: {text}\n"])) == [f"warning: {text}"]


def test_a_loss_that_is_not_a_number_is_shown():
    line = "[host] INFO: 2epoch results: [train] acc=0.000, loss=nan, [valid] acc=0.000, loss=nan, time=3 seconds\n"
    assert "train loss nan" in next(progress_lines([line]))


@pytest.mark.parametrize(("seconds", "said"), [(0, "0 s"), (89, "89 s"), (700, "12 min"), (11100, "3 h 05 min")])
def test_durations_read_like_a_person_says_them(seconds, said):
    assert duration(seconds) == said
