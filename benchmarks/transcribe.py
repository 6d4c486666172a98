"""How long transcribing takes, stage by stage: seconds of work per second of video (the real-time factor).

    python benchmarks/transcribe.py --clips ../shared/data/grid/original          single clips, and 10 minutes of them
    python benchmarks/transcribe.py --clips FOLDER --minutes 2 --model exp/avsr_train

The long recording is made of the clips without encoding them again. Without --model the models of conf/ are built with
random weights: speed does not depend on them, except that such a model finds no end, so the search is held to the
two words a second that GRID's speakers say. `total` is what the clock says; `cpu` the computing time of all processes,
which a busy machine falsifies less. The last column is the largest memory that the process has had so far.
"""

import argparse
import math
import os
import resource
import tempfile
import time
from pathlib import Path

import av
import torch
import yaml
from tqdm import tqdm

from espnet_vivit.corpora.mini_av_grammar import WORDS
from espnet_vivit.tasks.avsr import AVSRTask
from espnet_vivit.tasks.options import read_config
from espnet_vivit.transcribe import Transcriber, duration_s
from espnet_vivit.units import VIDEO_RATE_HZ

ROOT = Path(__file__).resolve().parents[1]
STAGES = ("decode", "detect", "crop", "audio", "judge", "encode", "search", "total")
COLUMNS = (*STAGES, "cpu")
WORDS_PER_FRAME = 2 / 25


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True, help="folder of video files of one kind, at any depth")
    parser.add_argument("--count", type=int, default=20, help="single clips to read")
    parser.add_argument("--minutes", type=float, default=10.0, help="length of the long recording; 0: none")
    parser.add_argument("--sizes", nargs="+", default=["tiny", "base"], help="of conf/train_<size>_both.yaml")
    parser.add_argument("--model", help="a trained model instead")
    parser.add_argument("--modality", default="auto")
    parser.add_argument("--detector", default="auto")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    clips = sorted(path for path in options.clips.rglob("*") if path.suffix in (".mpg", ".mp4", ".mkv", ".mov"))
    print(f"{options.threads} threads, torch {torch.__version__}, detector {options.detector}\n")
    print("| model | recording | seconds | " + " | ".join(COLUMNS) + " | MB |")
    print("|---|---|---:|" + "---:|" * (len(COLUMNS) + 1))
    with tempfile.TemporaryDirectory() as folder:
        chosen = {f"{min(options.count, len(clips))} clips": clips[:: max(1, len(clips) // options.count)]}
        if options.minutes:
            chosen[f"{options.minutes:g} minutes"] = [concatenate(clips, Path(folder), options.minutes * 60)]
        for size in [options.model] if options.model else options.sizes:
            model = options.model or build(size, Path(folder) / size)
            transcriber = Transcriber(
                model, modality=options.modality, detector=options.detector, min_confidence=0.0, longest_piece_s=4.8
            )
            if not options.model:
                transcriber.recogniser.speech2text.length_ratios = (WORDS_PER_FRAME, 0.0)
            transcriber.transcribe(clips[0])  # what is loaded or compiled at the first call counts for nobody
            for name, videos in chosen.items():
                print(row(Path(str(size)).name, name, transcriber, videos), flush=True)


def row(model: str, name: str, transcriber: Transcriber, videos: list[Path]) -> str:
    """A line of the table: the real-time factor of each stage."""
    spent, seconds = dict.fromkeys(STAGES, 0.0), 0.0
    begun_s = cpu_s()
    for video in tqdm(videos, desc=f"{model}, {name}", unit="file"):
        result = transcriber.transcribe(video)
        seconds += result.duration_s
        for stage in STAGES:
            spent[stage] += result.seconds.get(stage, 0.0)
    spent["cpu"] = cpu_s() - begun_s
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    factors = " | ".join(f"{spent[stage] / seconds:.3f}" for stage in COLUMNS)
    return f"| {model} | {name} | {seconds:.0f} | {factors} | {megabytes:.0f} |"


def cpu_s() -> float:
    """Computing time of this process and of its children, such as the one that MediaPipe runs in (Linux)."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    total_s = time.process_time() + ended.ru_utime + ended.ru_stime
    for task in Path("/proc/self/task").glob("*/children"):
        for child in task.read_text().split():
            fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
            total_s += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total_s


def build(size: str, folder: Path) -> Path:
    """An experiment folder of a preset with random weights."""
    config = read_config(ROOT / f"conf/train_{size}_both.yaml")
    config["vision_encoder_conf"]["pretrained"] = False
    folder.mkdir()
    (folder / "train.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    args = AVSRTask.get_parser().parse_args(["--config", str(folder / "train.yaml"), "--token_type", "word"])
    args.token_list = ["<blank>", "<unk>", *WORDS, "<sos/eos>"]
    torch.manual_seed(0)
    model = AVSRTask.build_model(args)
    (folder / "config.yaml").write_text(yaml.safe_dump(vars(args)), encoding="utf-8")
    torch.save(model.state_dict(), folder / "valid.acc.ave.pth")
    return folder


def concatenate(clips: list[Path], folder: Path, length_s: float) -> Path:
    """The clips one after the other, round and round, their packets copied with new times, until `length_s`."""
    path, begun_s, number = folder / "long.mkv", 0.0, 0
    with av.open(str(clips[0])) as first, av.open(str(path), "w") as target:
        kinds = [stream.type for stream in (first.streams.video[0], *first.streams.audio[:1])]
        streams = {kind: target.add_stream_from_template(getattr(first.streams, kind)[0]) for kind in kinds}
        while begun_s < length_s:
            clip = clips[number % len(clips)]
            with av.open(str(clip)) as source:
                kept = [getattr(source.streams, kind)[0] for kind in kinds]
                origin_s = min(float(stream.start_time * stream.time_base) for stream in kept)
                for packet in source.demux(kept):
                    if packet.dts is None:
                        continue
                    shift = round((begun_s - origin_s) / packet.time_base)
                    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                    packet.stream = streams[packet.stream.type]
                    target.mux(packet)
            begun_s += math.ceil(duration_s(clip) * VIDEO_RATE_HZ) / VIDEO_RATE_HZ
            number += 1
    return path


if __name__ == "__main__":
    main()
