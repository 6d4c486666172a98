"""What a training tells: log.jsonl whatever happens, TensorBoard unless it is off, progress, dev WER, warnings."""

import json
import sys
from types import SimpleNamespace

import pytest
import torch
import yaml
from espnet2.tasks import abs_task

from espnet_vivit.bin import avsr_train
from espnet_vivit.errors import MediaError
from espnet_vivit.tasks.training import training_report
from espnet_vivit.tasks.training.greedy_transcripts import GreedyTranscripts
from espnet_vivit.tasks.training.progress import Progress
from espnet_vivit.tasks.training.run_log import RunLog, read_log
from espnet_vivit.tasks.training.trainer import AVSRTrainer
from tests import tiny
from tests.tasks.runs import command, write_corpus
from tests.tasks.training.test_out_of_memory import batch
from tests.tiny_corpus import write_config

EPOCH = {"train_s": 2.0, "valid_s": 1.0, "frames": 500, "warnings": []}


def add(log, epoch, **numbers):
    log.add(epoch=epoch, train={"loss": 2.0, **numbers}, valid={"wer_ctc": 1 / epoch}, **EPOCH)


def test_a_line_per_epoch_that_any_json_reader_takes(tmp_path):
    log = RunLog(tmp_path, finished_epochs=0)
    add(log, 1)
    add(log, 2, grad_norm=float("nan"))
    first, second = (json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines())
    assert first["frames_per_s"] == 250 and first["seconds"] == {"train": 2.0, "valid": 1.0}
    assert second["train"] == {"loss": 2.0, "grad_norm": None} and first["peak_memory_bytes"] > 2**20
    assert log.values("valid", "wer_ctc") == [1.0, 0.5] and log.values("train", "grad_norm") == []


def test_resuming_drops_what_will_come_again_and_half_a_line(tmp_path):
    log = RunLog(tmp_path, finished_epochs=0)
    for epoch in (1, 2, 3):
        add(log, epoch)
    with open(log.path, "a", encoding="utf-8") as lines:
        lines.write('{"epoch": 4, "tra')
    assert [entry["epoch"] for entry in read_log(log.path)] == [1, 2, 3]
    assert RunLog(tmp_path, finished_epochs=2).values("valid", "wer_ctc") == [1.0, 0.5]
    assert [entry["epoch"] for entry in read_log(log.path)] == [1, 2]
    assert read_log(tmp_path / "none.jsonl") == []


def test_a_log_that_cannot_be_written_again_stays_and_is_named(tmp_path, monkeypatch):
    add(RunLog(tmp_path, finished_epochs=0), 1)
    before = (tmp_path / "log.jsonl").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(MediaError, match=r"cannot write .*log\.jsonl .*No space left"):
        RunLog(tmp_path, finished_epochs=0)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [before]


def test_progress_counts_frames_and_tells_the_time_left():
    now_s = 0.0
    batches = [(["a"], {"video_lengths": torch.tensor([50, 25])})] * 4
    stats = {"loss": 41.25, "acc": 0.3125, "other": 1.0}
    options = {"epoch": 3, "max_epoch": 5, "stats": lambda: stats, "epoch_s": 100.0, "clock": lambda: now_s}
    progress = Progress(batches, **options)
    lines = []
    for _ in progress:
        lines.append(progress.line())
        now_s += 5.0
    assert len(progress) == 4 and progress.frames == 300 and progress.seconds == 20
    assert lines[2].startswith("epoch 3/5, batch 2/4, loss 41.2, acc 0.312, 15 frames/s, ")
    assert lines[2].endswith("GiB, 10 s left, 4 min in all")
    of_two = Progress(batches, **options, processes=2)
    of_two.frames, of_two.done, now_s = 150, 2, now_s + 10.0
    assert ", 30 frames/s, " in of_two.line()


def test_the_log_file_gets_the_line_that_the_bar_is_made_of(caplog):
    from espnet_vivit.bin.avsr_progress import progress_lines

    now = iter(range(0, 1000, 30))
    batches = [(["a"], {"speech_lengths": torch.tensor([64000])})] * 3
    options = {"epoch": 1, "max_epoch": 2, "stats": lambda: {"loss": 1.0}, "epoch_s": None, "clock": lambda: next(now)}
    with caplog.at_level("INFO"):
        list(Progress(batches, **options))
    clock = iter(range(0, 10000, 100))
    shown = list(progress_lines(caplog.text.splitlines(), clock=lambda: next(clock)))
    assert len(shown) == 3 and shown[0].startswith("epoch  1/2  [######--------------]  33%  loss 1, ")


def test_lines_come_at_most_every_ten_seconds(caplog):
    now_s = 0.0
    options = {"epoch": 1, "max_epoch": 2, "stats": dict, "epoch_s": None, "clock": lambda: now_s}
    with caplog.at_level("INFO"):
        for _ in Progress([(["a"], {"video_lengths": torch.tensor([25])})] * 20, **options):
            now_s += 3.0
    assert len(caplog.records) == 60 // 12  # 12 s are the first step beyond 10 s


@pytest.mark.parametrize(
    ("token_type", "tokens", "text"),
    [
        ("word", ["bin", "blue"], "bin blue"),
        ("char", ["b", "i", "n", "<space>", "a"], "bin a"),
        ("bpe", ["▁bin", "▁bl", "ue"], "bin blue"),
    ],
)
def test_tokens_become_text(token_type, tokens, text):
    assert GreedyTranscripts(token_type).spell(tokens) == text


def test_transcripts_are_those_of_greedy_ctc_over_valid_steps():
    torch.manual_seed(0)
    model = tiny.randomize(tiny.tiny_e2e("multimodal", ctc_weight=0.3)).eval()
    transcripts = GreedyTranscripts("word")
    with torch.no_grad(), transcripts.listening(model):
        model(**batch())
        streams = {name: value for name, value in batch().items() if "text" not in name}
        states, lengths = model.encode(**streams)
    with torch.no_grad():
        model(**batch())  # not listened to
    assert list(transcripts.hypotheses) == ["u0", "u1", "u2", "u3"]
    for row, utt_id in enumerate(transcripts.hypotheses):
        best = model.ctc.ctc_lo(states[row, : lengths[row]]).argmax(-1).tolist()
        collapsed = [index for at, index in enumerate(best) if index and (at == 0 or index != best[at - 1])]
        assert transcripts.hypotheses[utt_id].split() == [model.token_list[index] for index in collapsed]
        assert transcripts.references[utt_id].split() == [model.token_list[index] for index in batch()["text"][row]]
    assert any(transcripts.hypotheses.values())


def test_without_ctc_there_is_no_error_rate():
    transcripts, model = GreedyTranscripts("word"), tiny.tiny_e2e("multimodal", ctc_weight=0.0).eval()
    with torch.no_grad(), transcripts.listening(model):
        model(**batch())
    assert transcripts.word_error_rate() is None


# --- through ESPnet's trainer ---


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(experiment, what collapse_warnings was asked) after three epochs chosen by wer_ctc, with TensorBoard."""
    root = tmp_path_factory.mktemp("report")
    corpus, asked = write_corpus(root / "corpus"), []

    def warnings(hypotheses, references, wer_history):
        asked.append((hypotheses, references, list(wer_history)))
        return ["all say nothing"] if len(wer_history) == 3 else []

    changes = {"max_epoch": 3, "best_model_criterion": [["valid", "wer_ctc", "min"]], "use_tensorboard": ...}
    config = write_config(root / "train.yaml", **changes)
    patch = pytest.MonkeyPatch()
    patch.setattr(training_report, "collapse_warnings", warnings)
    logged = stand_in_for_wandb(patch)
    try:
        for epochs in ("2", "3"):  # the second start resumes
            avsr_train.main([*command(corpus, root / "exp", config), "--max_epoch", epochs, "--use_wandb", "true"])
    finally:
        patch.undo()
    (root / "wandb.json").write_text(json.dumps(logged))
    return root / "exp", asked


def stand_in_for_wandb(patch):
    """What is logged to it, as it comes."""
    logged = []
    fake = SimpleNamespace(
        __spec__=object(),
        errors=SimpleNamespace(UsageError=ValueError),
        login=lambda: True,
        init=lambda **options: logged.append({"project": options["project"], "resume": options["resume"]}),
        config=SimpleNamespace(update=lambda args, **options: None),
        log=lambda numbers: logged.append({name: float(value) for name, value in numbers.items()}),
        run=None,
    )
    patch.setitem(sys.modules, "wandb", fake)
    patch.setattr(abs_task, "wandb", fake)
    return logged


def test_each_epoch_has_its_numbers_and_its_error_rate(trained):
    entries = read_log(trained[0] / "log.jsonl")
    assert [entry["epoch"] for entry in entries] == [1, 2, 3]
    reporter = torch.load(trained[0] / "checkpoint.pth", weights_only=False)["reporter"]["stats"]
    for entry in entries:
        for phase in ("train", "valid"):
            for name in ("loss", "acc", "loss_ctc"):
                assert entry[phase][name] == pytest.approx(float(reporter[entry["epoch"]][phase][name]))
        assert entry["valid"]["wer_ctc"] == pytest.approx(reporter[entry["epoch"]]["valid"]["wer_ctc"])
        assert entry["frames"] == 191 and entry["frames_per_s"] > 0


def test_the_transcripts_are_watched_with_the_whole_history_also_after_resuming(trained):
    exp, asked = trained
    assert [len(history) for _, _, history in asked] == [1, 2, 3]
    entries = read_log(exp / "log.jsonl")
    assert asked[2][2] == pytest.approx([entry["valid"]["wer_ctc"] for entry in entries])
    texts = [line.split(maxsplit=1)[1] for line in (exp.parent / "corpus/valid/text").read_text().splitlines()]
    assert sorted(asked[0][1]) == sorted(texts)
    assert [entry["warnings"] for entry in entries] == [[], [], ["all say nothing"]]


def test_epochs_can_be_chosen_by_the_error_rate(trained):
    assert (trained[0] / "valid.wer_ctc.best.pth").is_symlink() and (trained[0] / "valid.wer_ctc.ave.pth").is_file()


def test_tensorboard_is_written_unless_it_is_off_and_has_the_error_rate(trained):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert yaml.safe_load((trained[0] / "config.yaml").read_text())["use_tensorboard"] is True
    events = EventAccumulator(str(trained[0] / "tensorboard/valid")).Reload()
    assert any("wer_ctc" in name for name in events.Tags()["scalars"])


def test_wandb_gets_each_epochs_numbers_if_it_is_asked_for(trained):
    """Its real offline mode has been run by hand; here a stand-in writes down what it is given."""
    begun, first, second, resumed, third = json.loads((trained[0].parent / "wandb.json").read_text())
    assert begun == resumed == {"project": "ESPnet_AVSRTask", "resume": True}
    for entry, numbers in zip(read_log(trained[0] / "log.jsonl"), (first, second, third), strict=True):
        assert numbers["epoch"] == entry["epoch"]
        assert numbers["valid/valid_wer_ctc_epoch"] == pytest.approx(entry["valid"]["wer_ctc"])
        assert numbers["train/train_loss_epoch"] == pytest.approx(entry["train"]["loss"])


def test_a_training_that_had_stopped_early_is_not_trained_on(trained, caplog):
    exp, _ = trained
    states = torch.load(exp / "checkpoint.pth", weights_only=False)
    for epoch, phases in states["reporter"]["stats"].items():
        phases["valid"]["loss"] = float(epoch)  # the first was best
    torch.save(states, exp / "checkpoint.pth")
    before = (exp / "log.jsonl").read_bytes()
    options = ["--max_epoch", "9", "--patience", "1", "--early_stopping_criterion", "valid", "loss", "min"]
    avsr_train.main([*command(exp.parent / "corpus", exp, exp.parent / "train.yaml"), *options])
    assert "this training was stopped early after epoch 3: nothing is left to train" in caplog.text
    assert not (exp / "4epoch.pth").exists() and (exp / "log.jsonl").read_bytes() == before


def test_the_trainer_keeps_nothing_between_runs(trained):
    assert AVSRTrainer.halving is None and not hasattr(AVSRTrainer, "report")
