"""Trainings in processes of their own, after one import of ESPnet for all of them: a plan in, what happened out.

    python tests/tasks/runs.py PLAN.json

The plan is a list of runs `{"args": [[…], …], "kill": …, "patch": …}`: `args` are the options of avsr_train, one list
per process; several are ranks of one distributed training, with the environment that torchrun would give them.
`kill`: "batch 5" (at the fifth batch that the trainer asks for), "write checkpoint.pth 2" (in the middle of writing it
for the second time) or "rename 2epoch.pth 1" (instead of giving the finished file its name), all by SIGKILL.
`kill_at` 0.4: after that share of the time that the first run of the plan has taken, wherever it then is.
`slurm`: the ranks get the environment of srun, as tasks of several machines. `patch`: names of the changes in PATCHES.
`cut`: before the run, this file loses its last 1000 bytes. `log`: a file for what the run says. Prints a JSON list of
the exit codes, one list per run.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import types
from pathlib import Path

from tests.tiny_corpus import data_options, write_tiny_corpus

ROOT = Path(__file__).resolve().parents[2]


def write_corpus(folder: Path) -> Path:
    """The tiny corpus with video_shape, so that batches are made by frames."""
    corpus = write_tiny_corpus(folder)
    for split in ("train", "valid"):
        lines = (corpus / split / "utt2num_frames").read_text().splitlines()
        (corpus / split / "video_shape").write_text("".join(f"{line},24,24\n" for line in lines))
    return corpus


def command(corpus: Path, exp: Path, config: Path) -> list[str]:
    """The options of avsr_train that train on it and continue what is in `exp`."""
    options = ["--config", config, "--token_list", corpus / "tokens.txt", "--output_dir", exp, "--resume", "true"]
    shapes = [f"--{split}_shape_file={corpus / split / 'video_shape'}" for split in ("train", "valid")]
    return [*map(str, options), *data_options(corpus), *shapes]


def perform(plan: list[dict], folder: Path, *, timeout_s: float = 160) -> list[list[int]]:
    """Run a plan in a fresh interpreter; the exit codes of each run's processes, negative for signals."""
    path = folder / "plan.json"
    path.write_text(json.dumps(plan))
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, __file__, str(path)], cwd=ROOT, env=environ, capture_output=True, text=True, timeout=timeout_s
    )
    if done.returncode:
        raise AssertionError(done.stderr[-5000:])
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    from espnet_vivit.tasks.avsr import AVSRTask

    codes, whole_s = [], None
    for run in json.loads(Path(sys.argv[1]).read_text()):
        port = free_port()
        if "cut" in run:
            path = Path(run["cut"])
            path.write_bytes(path.read_bytes()[:-1000])
        begun_s = time.monotonic()
        children = [start(AVSRTask, run, rank, port) for rank in range(len(run["args"]))]
        if "kill_at" in run:
            time.sleep(run["kill_at"] * whole_s)
            for child in children:
                os.kill(child, signal.SIGKILL)  # is not waited for yet, so its number is still its own
        codes.append([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])
        whole_s = whole_s or time.monotonic() - begun_s
    print(json.dumps(codes))


def start(task, run: dict, rank: int, port: int) -> int:
    """The id of a process that trains."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        if "log" in run:
            os.dup2(os.open(run["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
        os.dup2(2, 1)
        count = len(run["args"])
        if count > 1:
            os.environ.update((slurm if run.get("slurm") else torchrun)(rank, count), MASTER_PORT=str(port))
        for name in run.get("patch", ()):
            PATCHES[name]()
        if run.get("kill"):
            plan_kill(*run["kill"].split())
        task.main(cmd=run["args"][rank])
        code = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def torchrun(rank: int, count: int) -> dict[str, str]:
    """What torchrun sets for a process of one machine."""
    ranks = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)}
    return {"TORCHELASTIC_RUN_ID": "test", "MASTER_ADDR": "127.0.0.1", **ranks}


def slurm(rank: int, count: int) -> dict[str, str]:
    """What srun sets for one task on each of `count` machines, all of them this one."""
    step = {"SLURM_STEP_NUM_NODES": str(count), "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": str(count)}
    return {**step, "SLURM_PROCID": str(rank), "SLURM_NODEID": str(rank), "SLURM_LOCALID": "0"}


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def plan_kill(what: str, *where: str) -> None:
    name, left = (where[0] if len(where) > 1 else None), int(where[-1])

    def count() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    if what == "batch":
        from espnet_vivit.tasks.training import progress

        original = progress.frames_of

        def frames_of(batch):
            count()
            return original(batch)

        progress.frames_of = frames_of
    elif what == "write":
        import torch

        original = torch.save

        def save(value, file, *args, **options):
            path = getattr(file, "name", "")
            if not isinstance(file, str | os.PathLike) and Path(path).name == f".{name}.partial":
                file.write(b"PK\3\4 half a file")
                file.flush()
                count()
                file.seek(0)
                file.truncate()
            original(value, file, *args, **options)

        torch.save = save
    elif what == "rename":
        original = os.replace

        def replace(source, target):
            if Path(target).name == name:
                count()
            original(source, target)

        os.replace = replace
    else:
        raise ValueError(what)


def freeze_batch_norm() -> None:
    """BatchNorm keeps its statistics in training, so that a batch cut in two is what it was."""
    from torch.nn.modules.batchnorm import _BatchNorm

    from espnet_vivit import E2E

    original = E2E.train

    def train(self, mode=True):
        original(self, mode)
        for module in self.modules():
            if isinstance(module, _BatchNorm):
                module.eval()
        return self

    E2E.train = train


def draw_nothing() -> None:
    """Clips are prepared for training as for validation: no crop or shift depends on which process draws it."""
    from espnet_vivit.tasks.avsr import AVSRTask

    original = AVSRTask.build_preprocess_fn
    AVSRTask.build_preprocess_fn = lambda args, train: original(args, train=False)


def record_deepspeed() -> None:
    """A stand-in for DeepSpeed that writes down what it is given and trains nothing."""
    fake = types.ModuleType("deepspeed")
    fake.__spec__ = types.SimpleNamespace(name="deepspeed")
    fake.DeepSpeedEngine = type("DeepSpeedEngine", (), {})
    fake.init_distributed = lambda: None

    def initialize(*, model, model_parameters, config):
        if os.environ["RANK"] == "0":
            (Path(os.environ["DEEPSPEED_RECORD"])).write_text(json.dumps(config))
        return model, None, None, None

    fake.initialize = initialize
    sys.modules["deepspeed"] = fake

    from espnet_vivit.tasks import launch

    launch.cuda_devices = lambda: 1


PATCHES = {change.__name__: change for change in (freeze_batch_norm, draw_nothing, record_deepspeed)}

if __name__ == "__main__":
    main()
