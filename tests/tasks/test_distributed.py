"""Two processes train as one with the same batches; and what is started wrongly is refused."""

import json
import os
import subprocess
import sys
from argparse import Namespace

import pytest
import torch
import yaml

from espnet_vivit.errors import ConfigError, MissingDependencyError, NonFiniteLossError
from espnet_vivit.espnet_compat import Trainer
from espnet_vivit.tasks import launch
from espnet_vivit.tasks.avsr import AVSRTask
from espnet_vivit.tasks.launch import adapt_launch, espnets_trainer
from espnet_vivit.tasks.training.trainer import AVSRTrainer
from tests.tasks.runs import ROOT, command, free_port, perform, write_corpus
from tests.tiny_corpus import CONFIG, TOKENS, write_config

NO_DROPOUT = {
    "encoder_conf": {**CONFIG["encoder_conf"], "dropout_rate": 0.0, "positional_dropout_rate": 0.0},
    "decoder_conf": {**CONFIG["decoder_conf"], "dropout_rate": 0.0, "positional_dropout_rate": 0.0},
    "model_conf": {"ctc_weight": 0.3, "lsm_weight": 0.1},  # a mean over frames would weigh the halves otherwise
    "optim": "sgd",
    "optim_conf": {"lr": 0.05},
    "scheduler": ...,
    "scheduler_conf": ...,
    "batch_frames": 120,
    "max_padding": 0.9,
    "max_epoch": 2,
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of the experiments one, two (processes), the same with live BatchNorm, and with dropped streams."""
    root = tmp_path_factory.mktemp("distributed")
    corpus = write_corpus(root / "corpus")
    config = write_config(root / "train.yaml", **NO_DROPOUT)
    dropping = {**NO_DROPOUT, "modality_dropout": {"video": 0.5, "audio": 0.5}, "max_epoch": 3}
    dropping |= {"optim": "muon", "optim_conf": {"lr": 0.001}, "scheduler": "cosine_with_warmup", "scheduler_conf": {}}
    dropping |= {"curriculum": {"max_frames": 24, "epochs": 1}, "batch_frames": 60}
    dropping = write_config(root / "dropping.yaml", **dropping)
    deepspeed = {"train_micro_batch_size_per_gpu": 4, "optimizer": {"type": "AdamW"}, "zero_optimization": {"stage": 2}}
    (root / "deepspeed.json").write_text(json.dumps(deepspeed))
    with_deepspeed = ["--use_deepspeed", "true", "--deepspeed_config", str(root / "deepspeed.json"), "--max_epoch", "0"]
    with_deepspeed += ["--resume", "false"]
    under_slurm = ["--multiprocessing_distributed", "true", "--dist_launcher", "slurm", "--max_epoch", "1"]
    os.environ["DEEPSPEED_RECORD"] = str(root / "record.json")

    def run(name, processes, *options, config=config, **more):
        return {"args": [[*command(corpus, root / name, config), *options]] * processes, **more}

    plan = [
        run("one", 1, patch=["freeze_batch_norm", "draw_nothing"]),
        run("two", 2, patch=["freeze_batch_norm", "draw_nothing"]),
        run("one_live", 1, patch=["draw_nothing"]),
        run("two_live", 2, patch=["draw_nothing"]),
        run("dropping", 2, config=dropping),
        run("deepspeed", 2, *with_deepspeed, patch=["record_deepspeed"]),
        run("slurm", 2, *under_slurm, patch=["freeze_batch_norm", "draw_nothing"], slurm=True),
    ]
    plan = [{**run, "log": str(root / f"{number}.log")} for number, run in enumerate(plan)]
    codes = perform(plan, root)
    assert codes == [[0], [0, 0], [0], [0, 0], [0, 0], [0, 0], [0, 0]], (root / "5.log").read_text()[-3000:]
    return root


def losses(exp):
    entries = [json.loads(line) for line in (exp / "log.jsonl").read_text().splitlines()]
    return torch.tensor([[entry[phase]["loss"] for phase in ("train", "valid")] for entry in entries])


def test_two_processes_have_the_losses_and_weights_of_one(trained):
    one, two = losses(trained / "one"), losses(trained / "two")
    torch.testing.assert_close(two, one, rtol=1e-5, atol=0)
    assert (one[0] - one[1]).abs().min() > 1e-3  # it does learn
    weights = [torch.load(trained / name / "2epoch.pth", weights_only=True) for name in ("one", "two")]
    torch.testing.assert_close(weights[1], weights[0], rtol=0, atol=1e-5)


def test_the_transcripts_of_all_processes_make_one_error_rate(trained):
    entries = [json.loads((trained / name / "log.jsonl").read_text().splitlines()[-1]) for name in ("one", "two")]
    assert entries[0]["valid"]["wer_ctc"] == entries[1]["valid"]["wer_ctc"] > 0


def test_frames_are_those_of_all_processes(trained):
    logs = [(trained / name / "log.jsonl").read_text().splitlines() for name in ("one", "two")]
    one, two = ([json.loads(line)["frames"] for line in lines] for lines in logs)
    assert one == two and min(one) > 0


def test_with_live_batch_norm_the_difference_is_there_and_small(trained, record_property):
    one, two = losses(trained / "one_live"), losses(trained / "two_live")
    difference = float(((two - one) / one).abs().max())
    record_property("relative_difference", difference)
    print(f"BatchNorm sees half a batch in each process: the losses differ by up to {difference:.1e}")
    assert 1e-5 < difference < 0.1


def test_tasks_of_slurm_on_several_machines_train_as_torchruns_processes(trained):
    assert torch.equal(losses(trained / "slurm"), losses(trained / "two")[:1])


def test_dropped_streams_need_no_unused_parameters_with_muon_either(trained):
    assert "muon learns" in (trained / "4.log").read_text()
    assert losses(trained / "dropping").isfinite().all() and len(losses(trained / "dropping")) == 3


def test_a_schedule_without_a_length_has_that_of_each_of_two_processes(trained):
    scheduler = torch.load(trained / "dropping/checkpoint.pth", weights_only=False)["schedulers"][0]
    written = yaml.safe_load((trained / "dropping/config.yaml").read_text())["scheduler_conf"]
    assert scheduler["last_epoch"] == scheduler["total_steps"] == written["total_steps"] > 3


def test_deepspeed_gets_its_configuration_as_it_is(trained):
    assert json.loads((trained / "record.json").read_text()) == json.loads((trained / "deepspeed.json").read_text())


@pytest.mark.slow
def test_torchrun_starts_it(trained, tmp_path):
    words = command(trained / "corpus", tmp_path / "exp", trained / "train.yaml")
    # its own augmentation draws in each process, so only the losses' nearness is asked for
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port"]
    start = [*launcher, str(free_port()), "-m", "espnet_vivit.bin.avsr_train", *words]
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*start, "--ngpu", "0"], cwd=ROOT, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    torch.testing.assert_close(losses(tmp_path / "exp"), losses(trained / "two_live"), rtol=0.1, atol=0)


# --- what is refused ---


def arguments(**changes):
    options = {
        "ngpu": 0,
        "multiprocessing_distributed": True,
        "dist_backend": "nccl",
        "dist_world_size": None,
        "dist_launcher": None,
        "on_out_of_memory": "stop",
        "use_deepspeed": False,
        "deepspeed_config": None,
        "use_wandb": False,
        "accum_grad": 1,
        "optim": "adamw",
        "modality_dropout": {},
        "local_rank": None,
    }
    return Namespace(**{**options, **changes})


@pytest.fixture
def gpus(monkeypatch):
    """As if there were four."""
    monkeypatch.setattr(launch, "cuda_devices", lambda: 4)


def test_torchruns_processes_are_not_taken_for_machines(gpus):
    args = arguments(ngpu=4)
    adapt_launch(args, {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "4", "LOCAL_RANK": "1"})
    assert (args.ngpu, args.multiprocessing_distributed, args.dist_backend) == (1, False, "nccl")


def test_without_a_gpu_the_processes_talk_through_gloo():
    args = arguments()
    adapt_launch(args, {})
    assert args.dist_backend == "gloo"


@pytest.mark.parametrize(
    ("changes", "environ", "message"),
    [
        ({"ngpu": 2, "multiprocessing_distributed": False}, {}, "2 GPUs in one process.*or start with torchrun"),
        ({"ngpu": 2, "on_out_of_memory": "halve"}, {}, "works on one device"),
        ({"on_out_of_memory": "halve"}, {"WORLD_SIZE": "2"}, "works on one device"),
        ({"use_deepspeed": True}, {}, "needs several processes"),
        ({"use_deepspeed": True, "ngpu": 2, "deepspeed_config": "none.json"}, {}, "none.json cannot be read"),
    ],
)
def test_what_cannot_work_is_refused(gpus, changes, environ, message):
    with pytest.raises(ConfigError, match=message):
        adapt_launch(arguments(**changes), environ)


@pytest.mark.parametrize(
    ("config", "changes", "message"),
    [
        ({"bf16": {"enabled": True}}, {}, "sets bf16. Leave bf16 out there and set amp_dtype"),
        ({"zero_optimization": {}}, {}, "names no optimizer"),
        ({"optimizer": {}}, {"lr_scale": {"encoder": 0.1}, "accum_grad": 2}, "knows nothing of lr_scale or accum_grad"),
        ({"optimizer": {}}, {"optim": "muon"}, "knows nothing of optim: muon"),
    ],
)
def test_a_deepspeed_configuration_that_would_be_ignored_is_refused(gpus, tmp_path, config, changes, message):
    (tmp_path / "ds.json").write_text(json.dumps(config))
    changes = {**changes, "use_deepspeed": True, "ngpu": 2, "deepspeed_config": str(tmp_path / "ds.json")}
    with pytest.raises(ConfigError, match=message):
        adapt_launch(arguments(**changes), {})


@pytest.mark.parametrize("package", ["wandb", "deepspeed"])
def test_a_package_that_is_missing_is_named(gpus, tmp_path, package, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (tmp_path / "ds.json").write_text('{"optimizer": {}}')
    changes = {f"use_{package}": True, "ngpu": 2, "deepspeed_config": str(tmp_path / "ds.json")}
    with pytest.raises(MissingDependencyError, match=f"use_{package} needs {package}"):
        adapt_launch(arguments(**changes), {})


@pytest.mark.parametrize(
    ("ngpu", "environ", "found"),
    [
        (5, {}, "ngpu: 5, and 4 CUDA devices"),
        (
            1,
            {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "8", "LOCAL_RANK": "6"},
            "ngpu: 1, LOCAL_RANK 6, and 4 CUDA devices",
        ),
    ],
)
def test_more_gpus_than_there_are_is_one_sentence(gpus, ngpu, environ, found):
    adapt_launch(arguments(ngpu=4), {})
    with pytest.raises(ConfigError, match=rf"{found}\. Say --ngpu 0"):
        adapt_launch(arguments(ngpu=ngpu), environ)


@pytest.mark.parametrize("options", [["--ngpu", "2"], ["--ngpu", "1", "--amp_dtype", "bfloat16"]])
def test_gpus_where_there_are_none_are_refused_before_pytorch_is_asked_for_them(tmp_path, monkeypatch, options):
    monkeypatch.setattr(launch, "cuda_devices", lambda: 0)
    (tmp_path / "tokens.txt").write_text("<blank>\n<unk>\na\n<sos/eos>\n")
    common = ["--vision_encoder", "linear", "--token_list", str(tmp_path / "tokens.txt")]
    with pytest.raises(ConfigError, match=r"more GPUs are asked for than PyTorch finds here.*and 0 CUDA devices"):
        AVSRTask.main(cmd=[*common, "--output_dir", str(tmp_path / "exp"), *options])


def test_deepspeed_without_cuda_or_with_dropout_by_epoch_is_refused(tmp_path, monkeypatch):
    (tmp_path / "ds.json").write_text('{"optimizer": {}}')
    options = {"use_deepspeed": True, "dist_world_size": 2, "deepspeed_config": str(tmp_path / "ds.json")}
    monkeypatch.setattr(launch, "cuda_devices", lambda: 0)
    with pytest.raises(ConfigError, match="DeepSpeed on CUDA alone"):
        adapt_launch(arguments(**options), {})
    monkeypatch.setattr(launch, "cuda_devices", lambda: 2)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    adapt_launch(arguments(**options), {})
    with pytest.raises(ConfigError, match=r"modality_dropout by epoch. Give each stream one number"):
        adapt_launch(arguments(**options, modality_dropout={"video": {1: 0.0, 10: 0.5}}), {})


def test_under_deepspeed_the_first_loss_that_is_not_finite_ends_the_training(tmp_path):
    args = AVSRTask.get_parser().parse_args(["--config", str(write_config(tmp_path / "train.yaml"))])
    args.token_list, args.use_deepspeed = list(TOKENS), True
    model = AVSRTask.build_model(args)
    with pytest.raises(NonFiniteLossError, match="1 training losses in a row were not finite, the last with u7"):
        model.non_finite.check(torch.tensor(float("nan")), ["u7"])


def test_under_deepspeed_espnet_sees_its_own_trainer_and_afterwards_ours_is_back():
    with pytest.raises(RuntimeError), espnets_trainer(AVSRTask):
        assert AVSRTask.trainer is Trainer
        AVSRTask.trainer = type("DeepSpeedTrainer", (), {})  # as ESPnet does
        raise RuntimeError
    assert AVSRTask.trainer is AVSRTrainer


def test_wandb_without_an_account_is_an_error_and_not_a_training_without_it(monkeypatch):
    class UsageError(Exception):
        pass

    def login():
        raise UsageError("api_key not configured")

    fake = Namespace(login=login, errors=Namespace(UsageError=UsageError), __spec__=object())
    monkeypatch.setitem(sys.modules, "wandb", fake)
    with pytest.raises(ConfigError, match=r"no account here \(api_key not configured\). Run wandb login, or set"):
        adapt_launch(arguments(use_wandb=True), {})
    fake.login = lambda: True
    adapt_launch(arguments(use_wandb=True), {})
