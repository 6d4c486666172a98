"""Stage 12: a trained model and test sets in; one folder of hypotheses for each set, modality and control out.

    python -m espnet_vivit.bin.avsr_decode plan --out exp/avsr_X/decode_Y --config exp/avsr_X/config.yaml \\
        --model exp/avsr_X/valid.acc.ave.pth --sets dump/raw/test_seen [--control_sets dump/raw/test_seen]
    python -m espnet_vivit.bin.avsr_decode part --out exp/avsr_X/decode_Y --part 1 --parts 2 -- <avsr_inference options>
    python -m espnet_vivit.bin.avsr_decode join --out exp/avsr_X/decode_Y

`plan` writes the list of jobs; each `part` decodes its share of every job's utterances in one process, because
importing ESPnet costs more than decoding a small test set; `join` puts the shares together as
`<test set>_<modality>[_<control>]/1best_recog/text`, and only if no utterance is missing. The first part
leaves its options in `decoded_with`, for `espnet-vivit pack --decoded_with exp/avsr_X/decode_Y`.
"""

import argparse
import hashlib
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from espnet_vivit.base.config_file import read_config
from espnet_vivit.base.whole_file import write_lines
from espnet_vivit.bin.command_parser import CommandParser, exit_status
from espnet_vivit.data.data_dir import read_scp
from espnet_vivit.errors import ConfigError, DataError, unknown_name
from espnet_vivit.evaluation.decode_timing import TIMING, join_timings, write_timing
from espnet_vivit.tasks.streams import configured_modality, data_option
from espnet_vivit.units import STREAMS_OF

JOBS = "jobs.tsv"
CONTROLS = ("zero", "shuffle")  # avsr_inference's --video_control: a black video, somebody else's video
LOG_FOLDER = "logdir"
RESULT_FILES = ("text", "token", "token_int", "score")  # what ESPnet writes for each of the n best
WORD_FILES = ("word_times", "confidence")  # what --word_times true adds


@dataclass(frozen=True)
class Job:
    """One test set decoded from certain streams."""

    name: str  # of the folder: <test set>_<modality>[_<control>]
    keys: Path  # a file whose first column is the utterances
    options: tuple[str, ...]  # of avsr_inference: where the streams are, and the control

    def line(self) -> str:
        return "\t".join([self.name, str(self.keys), *self.options])


def plan_jobs(
    served: str, sets: Sequence[Path], control_sets: Sequence[Path], *, modalities: Sequence[str]
) -> list[Job]:
    """The jobs for a model of modality `served`. A noisy set with the videos of another is not lip-read."""
    possible = tuple(STREAMS_OF) if served == "multimodal" else (served,)
    for modality in modalities:
        if modality not in possible:
            raise unknown_name(f"modality for a {served} model", modality, possible)
    chosen = [modality for modality in possible if not modalities or modality in modalities]
    jobs, videos_read = [], set()
    for data in sets:
        for modality in chosen:
            if modality == "video":
                videos = tuple(read_scp(data / "video.scp").items())
                if videos in videos_read:
                    continue
                videos_read.add(videos)
            jobs.append(Job(f"{data.name}_{modality}", data / "text", stream_options(data, STREAMS_OF[modality])))
        if data in control_sets and "video" in chosen:
            for control in CONTROLS:
                options = (*stream_options(data, ["video"]), "--video_control", control)
                jobs.append(Job(f"{data.name}_video_{control}", data / "text", options))
    if not jobs:
        raise ConfigError("nothing to decode", fix="Give test sets with the streams that the model takes.")
    return jobs


def stream_options(data: Path, names: Sequence[str]) -> tuple[str, ...]:
    return tuple(word for name in names for word in ("--data_path_and_name_and_type", data_option(data, name)))


def forget_other_models(out: Path, stamp: str) -> None:
    """Remove the results in `out` if they were made with another model or other options than `stamp` says."""
    path = out / "made_with"
    if path.is_file() and path.read_text(encoding="utf-8") == f"{stamp}\n":
        return
    for folder in out.glob("*/"):
        if (folder / LOG_FOLDER).is_dir() or (folder / "1best_recog").is_dir():
            shutil.rmtree(folder)
    write_lines(path, [stamp])


def plan(args: argparse.Namespace) -> None:
    """Write the list of jobs; results of another model, and of these jobs, are removed."""
    if not args.model.is_file():
        raise ConfigError(
            "no trained model", found=f"no {args.model}", fix="Train (stage 11), or name another checkpoint."
        )
    digest = hashlib.sha256(args.model.read_bytes()).hexdigest()
    args.out.mkdir(parents=True, exist_ok=True)
    forget_other_models(args.out, f"{digest} {args.options}")
    jobs = plan_jobs(
        configured_modality(read_config(args.config)), args.sets, args.control_sets, modalities=args.modalities
    )
    for job in jobs:
        shutil.rmtree(args.out / job.name, ignore_errors=True)
    write_lines(args.out / JOBS, [job.line() for job in jobs])
    print(f"{len(jobs)} jobs: {' '.join(job.name for job in jobs)}")


def read_jobs(out: Path) -> list[Job]:
    path = Path(out) / JOBS
    if not path.is_file():
        raise DataError(f"no list of jobs in {out}", fix="Run `plan` first.")
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]
    return [Job(name, Path(keys), tuple(options)) for name, keys, *options in rows]


def decode_part(
    jobs: Sequence[Job],
    out: Path,
    options: Sequence[str],
    *,
    part: int,
    parts: int,
    decode: Callable[[Sequence[str]], object],
    report: Callable[[str], object],
) -> None:
    """Decode every `parts`-th utterance of each job, from number `part` (1..parts) on; one line to `report` per job."""
    if not 1 <= part <= parts:
        raise ConfigError("part of the decoding", found=f"{part} of {parts}", expected="1 to the number of parts")
    begun_s = time.monotonic()
    for number, job in enumerate(jobs, 1):
        keys = list(read_scp(job.keys))[part - 1 :: parts]
        if not keys:
            continue
        folder = out / job.name / LOG_FOLDER
        write_lines(folder / f"keys.{part}.scp", [f"{key} {key}" for key in keys])
        job_begun_s = time.monotonic()
        arguments = ["--output_dir", folder / f"output.{part}", "--key_file", folder / f"keys.{part}.scp"]
        decode([*map(str, arguments), *job.options, *options])
        now_s = time.monotonic()
        left_s = (now_s - begun_s) / number * (len(jobs) - number)
        report(
            f"{number}/{len(jobs)} {job.name}: {len(keys)} clips in {now_s - job_begun_s:.0f} s, {left_s:.0f} s left"
        )


def join_parts(job: Job, out: Path) -> int:
    """Put a job's shares together, in the order of its utterances; returns how many. A missing one is an error."""
    folder = out / job.name
    keys = list(read_scp(job.keys))
    shares = sorted((folder / LOG_FOLDER).glob("output.*"))
    for nbest in sorted({path.name for share in shares for path in share.glob("*best_recog")} | {"1best_recog"}):
        timed = any((share / nbest / WORD_FILES[0]).is_file() for share in shares)
        for file in (*RESULT_FILES, *WORD_FILES) if timed else RESULT_FILES:
            rows = {}
            for path in (share / nbest / file for share in shares):
                if path.is_file():
                    lines = path.read_text(encoding="utf-8").split("\n")
                    rows.update((line.split(maxsplit=1)[0], line.rstrip()) for line in lines if line.strip())
            missing = [key for key in keys if key not in rows]
            if missing and nbest == "1best_recog":
                raise DataError(
                    f"{job.name}: {len(missing)} of {len(keys)} utterances have no {file}, as {missing[0]}",
                    fix=f"See the logs in {out / 'logs'} and run stage 12 again.",
                )
            write_lines(folder / nbest / file, [rows[key] for key in keys if key in rows])
    timing = join_timings([share / TIMING for share in shares])
    if timing is not None:
        write_timing(folder / TIMING, timing.spent_s, timing.clip_s)
    return len(keys)


def part(args: argparse.Namespace) -> None:
    def report(line: str) -> None:
        print(line, file=terminal, flush=True)

    terminal = sys.stdout
    with redirect_stdout(sys.stderr):  # what libraries print goes to the log
        from espnet_vivit.bin.avsr_inference import main as decode
        from espnet_vivit.decode.options import decoding_parser
        from espnet_vivit.decode.package_decoding import write_made_with

        options = [option for option in args.options if option != "--"]
        if args.part == 1:  # for `espnet-vivit pack --decoded_with`
            write_made_with(args.out, decoding_parser().parse_args(options))
        decode_part(
            read_jobs(args.out), args.out, options, part=args.part, parts=args.parts, decode=decode, report=report
        )


def join(args: argparse.Namespace) -> None:
    counts = [join_parts(job, args.out) for job in read_jobs(args.out)]
    print(f"{sum(counts)} utterances in {len(counts)} folders of {args.out}")


def main(argv: Sequence[str] | None = None) -> None:
    parser = CommandParser(
        prog="python -m espnet_vivit.bin.avsr_decode",
        description="Decode test sets with every modality of a model, in parallel jobs.",
        formatter_class=argparse.RawTextHelpFormatter,
    )
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("plan", help="write the list of jobs")
    command.add_argument("--config", type=Path, required=True, help="the experiment's config.yaml")
    command.add_argument("--model", type=Path, required=True, help="weights file to decode with")
    command.add_argument("--sets", type=Path, nargs="+", required=True, help="data directories to decode")
    command.add_argument(
        "--control_sets",
        type=Path,
        nargs="*",
        default=[],
        help="data directories to decode with black and with exchanged videos too",
    )
    command.add_argument(
        "--modalities", nargs="*", default=[], help="modalities to decode with (default: all of the model)"
    )
    command.add_argument(
        "--options", default="", help="options of avsr_inference; results of other options are removed"
    )
    command.set_defaults(run=plan)
    command = commands.add_parser("part", help="decode one part of every job")
    command.add_argument("--part", type=int, required=True, help="number of this part, from 1")
    command.add_argument("--parts", type=int, required=True, help="number of parts")
    command.set_defaults(run=part)
    command.add_argument("options", nargs=argparse.REMAINDER, help="after --: options of avsr_inference")
    command = commands.add_parser("join", help="join the parts")
    command.set_defaults(run=join)
    for command in commands.choices.values():
        command.add_argument("--out", type=Path, required=True, help="decode folder of the experiment")
    args = parser.parse_args(argv)
    args.run(args)


if __name__ == "__main__":
    sys.exit(exit_status(main))
