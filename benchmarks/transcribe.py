"""How long transcribing takes, stage by stage: seconds of work per second of video (the real-time factor).

    python benchmarks/transcribe.py --clips ../shared/data/grid/original      single clips, and long recordings of them
    python benchmarks/transcribe.py --clips FOLDER --model exp/avsr_train --minutes 2
    python benchmarks/transcribe.py --memory                                  10 s, 10 minutes and an hour

The long recording is made of the clips without encoding them again; `--minutes` has a length for each of `--sizes`, so
that the slow model need not read as much as the quick one. Without --model the models of conf/ are built with random
weights: speed does not depend on them, except that such a model finds no end, so the search is held to the two words a
second that GRID's speakers say. `total` is what the clock says; `cpu` the computing time of the process, which a busy
machine falsifies less. The last column is the largest memory that the process has had so far.

`--memory` needs no clips: drawn noise of 48 pixels with sound is read by a tiny model, for each length in a process of
its own, whose largest memory is printed. It exits with 1 where the longest takes more than MEMORY_BOUND times the
shortest.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import torch
import yaml
from measure import machine
from recordings import concatenate
from tqdm import tqdm

from espnet_vivit.base.config_file import read_config
from espnet_vivit.corpora.mini_av.grammar import WORDS
from espnet_vivit.media.faces.detectors import choose_detector
from espnet_vivit.tasks.avsr import AVSRTask
from espnet_vivit.transcription.transcriber import Transcriber
from espnet_vivit.units import AUDIO_RATE_HZ, VIDEO_RATE_HZ

ROOT = Path(__file__).resolve().parents[1]
STAGES = ("decode", "detect", "crop", "audio", "judge", "encode", "search", "total")
COLUMNS = (*STAGES, "cpu")
WORDS_PER_FRAME = 2 / 25
LONGEST_PIECE_S = 4.8  # of models that nobody trained: what one of 3-s clips would take
MEMORY_LENGTHS_S = (10, 600, 3600)
MEMORY_BOUND = 1.1  # largest memory of an hour against that of 10 s
MEMORY_MODEL = {  # as little work as a ViViT and a Conformer can have
    "vision_encoder_conf": {
        "pretrained": False, "image_size": 32, "frame_adjust": "window", "output_dim": 16,
        "config": {"num_frames": 32, "tubelet_size": [2, 16, 16], "hidden_size": 16, "num_hidden_layers": 1,
                   "num_attention_heads": 1, "intermediate_size": 16},
    },
    "audio_encoder_conf": {"channels": 2, "stem_stride": 16},
    "encoder_conf": {"output_size": 16, "attention_heads": 1, "linear_units": 16, "num_blocks": 1},
    "decoder_conf": {"attention_heads": 1, "linear_units": 16, "num_blocks": 1},
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, help="folder of video files of one kind, at any depth")
    parser.add_argument("--count", type=int, default=20, help="single clips to read")
    parser.add_argument(
        "--minutes", type=float, nargs="+", default=[10, 3], help="long recording of each size (10 3); 0: none"
    )
    parser.add_argument("--sizes", nargs="+", default=["tiny", "base"], help="of conf/train_<size>_both.yaml")
    parser.add_argument("--model", help="a trained model instead")
    parser.add_argument("--modality", default="auto")
    parser.add_argument("--detector", default="auto")
    parser.add_argument("--search", default="beam", choices=("beam", "ctc_greedy"))
    parser.add_argument("--precision", default="float32", help="float32, bfloat16 (of a ViViT) or int8")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory", action="store_true", help="memory by length instead of time")
    parser.add_argument("--seconds", type=int, nargs="+", default=MEMORY_LENGTHS_S, help="lengths for --memory")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.memory:
        sys.exit(measure_memory(options.seconds, threads=options.threads))
    if options.clips is None:
        parser.error("--clips is missing")
    measure_time(options)


def measure_time(options: argparse.Namespace) -> None:
    clips = sorted(path for path in options.clips.rglob("*") if path.suffix in (".mpg", ".mp4", ".mkv", ".mov"))
    detector = options.detector if options.detector != "auto" else choose_detector("auto")
    print(f"{machine()}, {options.threads} threads, torch {torch.__version__}, detector {detector}")
    print(f"search: {options.search}, {'a trained model' if options.model else 'random weights'}\n")
    print("| model | recording | seconds | " + " | ".join(COLUMNS) + " | MB |")
    print("|---|---|---:|" + "---:|" * (len(COLUMNS) + 1), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        singles = clips[:: max(1, len(clips) // options.count)][: options.count]
        for number, size in enumerate([options.model] if options.model else options.sizes):
            transcriber = prepared(size, Path(folder), options)
            transcriber.transcribe(clips[0])  # what is loaded or compiled at the first call counts for nobody
            chosen = {f"{len(singles)} clips": singles}
            if minutes := options.minutes[min(number, len(options.minutes) - 1)]:
                chosen[f"{minutes:g} minutes"] = [concatenate(clips, Path(folder), minutes * 60)]
            for name, videos in chosen.items():
                print(row(Path(str(size)).name, name, transcriber, videos), flush=True)


def prepared(size: str, folder: Path, options: argparse.Namespace) -> Transcriber:
    """The trained model as it is, or the preset `size` with random weights, held to a speaker's number of words."""
    names = ("modality", "detector", "search", "precision")
    common = {name: getattr(options, name) for name in names}
    if options.model:
        return Transcriber(size, **common)
    model = build(size, folder / size)
    transcriber = Transcriber(model, **common, min_confidence=0.0, longest_piece_s=LONGEST_PIECE_S)
    transcriber.recognizer.speech2text.length_ratios = (WORDS_PER_FRAME, 0.0)
    return transcriber


def row(model: str, name: str, transcriber: Transcriber, videos: list[Path]) -> str:
    """A line of the table: the real-time factor of each stage."""
    spent, seconds = dict.fromkeys(STAGES, 0.0), 0.0
    begun_s = time.process_time()
    for video in tqdm(videos, desc=f"{model}, {name}", unit="file"):
        result = transcriber.transcribe(video)
        seconds += result.duration_s
        for stage in STAGES:
            spent[stage] += result.seconds.get(stage, 0.0)
    spent["cpu"] = time.process_time() - begun_s
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    factors = " | ".join(f"{spent[stage] / seconds:.3f}" for stage in COLUMNS)
    return f"| {model} | {name} | {seconds:.0f} | {factors} | {megabytes:.0f} |"


def build(size: str, folder: Path, **changes) -> Path:
    """An experiment folder of a preset with random weights; `changes` replace whole keys of it."""
    config = read_config(ROOT / f"conf/train_{size}_both.yaml") | changes
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


def measure_memory(lengths_s: Sequence[int], *, threads: int) -> int:
    """A row for each length, measured in a process of its own; 1 if memory grows by more than MEMORY_BOUND."""
    print("| recording | largest memory, MB | real-time factor |\n|---:|---:|---:|", flush=True)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        model = build("tiny", Path(folder) / "model", **MEMORY_MODEL)
        clip = noise(Path(folder) / "noise.mkv")
        for length_s in lengths_s:
            recording = concatenate([clip], Path(folder), length_s)
            command = [sys.executable, "-c", _READ_ALONE, str(model), str(recording), str(threads)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            megabytes, seconds, cpu = map(float, done.stdout.split()[-3:])
            assert abs(seconds - length_s) < 1, f"{seconds} s were read of {length_s}"
            print(f"| {length_s} s | {megabytes:.0f} | {cpu / seconds:.3f} |", flush=True)
            found.append(megabytes)
    growth = found[-1] / found[0]
    print(f"\n{lengths_s[-1]} s take {growth:.3f} times the memory of {lengths_s[0]} s (bound {MEMORY_BOUND})")
    return int(growth > MEMORY_BOUND)


_READ_ALONE = """
import resource, sys, time, torch
from espnet_vivit.transcription.transcriber import Transcriber
torch.set_num_threads(int(sys.argv[3]))
reader = Transcriber(sys.argv[1], detector="centre", search="ctc_greedy", min_confidence=0.0, nbest=1)
begun_s = time.process_time()
result = reader.transcribe(sys.argv[2])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, result.duration_s, time.process_time() - begun_s)
"""


def noise(path: Path, length_s: int = 10) -> Path:
    """A clip of 48x48 pixels that change all the time, with sound."""
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as target:
        video = target.add_stream("mpeg4", rate=VIDEO_RATE_HZ)
        video.height = video.width = 48
        video.pix_fmt, video.thread_count = "yuv420p", 1
        audio = target.add_stream("pcm_s16le", rate=AUDIO_RATE_HZ, layout="mono")
        for second in range(length_s):
            change = np.cumsum(rng.integers(-3, 4, (VIDEO_RATE_HZ, 48, 48)), axis=0)
            for picture in (change % 100 + 60).astype(np.uint8):
                target.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="gray").reformat(format="yuv420p")))
            sound = (3000 * rng.standard_normal((1, AUDIO_RATE_HZ))).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(sound, format="s16", layout="mono")
            frame.sample_rate, frame.pts = AUDIO_RATE_HZ, second * AUDIO_RATE_HZ
            target.mux(audio.encode(frame))
        target.mux(video.encode(None))
        target.mux(audio.encode(None))
    return path


if __name__ == "__main__":
    main()
