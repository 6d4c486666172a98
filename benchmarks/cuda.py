"""Measure ViViT's forward pass, the beam search and transcription on a GPU; training.py measures training steps.

    python benchmarks/cuda.py                                   on the first GPU
    python benchmarks/cuda.py --device cpu --small              the same in small, to see that it works
    python benchmarks/cuda.py --only forward --peak_tflops '{"float32": 67, "bfloat16": 989}'

`benchmarks/cuda.sh` runs this and training.py. Ratios are against the first row of each table, in turns in one process;
weights are random. float32 is computed without TF32. The share of the peak counts the multiplications and additions of
the full windows, two for each pair, over the dense rate that `--peak_tflops` states for the dtype.
"""

import argparse
import copy
import json
import tempfile
import time
from pathlib import Path

import search
import torch
import transcribe
from frontend import difference, windowed
from measure import in_turns, paired_ratio
from recordings import concatenate
from stock_vivit import library_steps, window_flops

from espnet_vivit.transcription.transcriber import Transcriber

FULL = {"tower": "vivit-b-16x2", "windows": 16, "case": search.CASES[-1], "preset": "base", "recording_s": 60}
SMALL = {
    "tower": "vivit-ti-16x2",
    "windows": 2,
    "case": search.Case(64, 2, 64, 41, encoder_steps=20, beam_size=4, tokens=8),
    "preset": "tiny",
    "recording_s": 4,
}
SECTIONS = ("forward", "search", "transcribe")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS, help="sections to run; all")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="small models and inputs")
    parser.add_argument("--rounds", type=int, default=5, help="counted runs of each row")
    parser.add_argument("--no-compile", action="store_true", help="leave the compiled rows out")
    parser.add_argument(
        "--peak_tflops", type=json.loads, default={}, help="dense rates by dtype, for the share of peak"
    )
    options = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    sizes = SMALL if options.small else FULL
    where = torch.cuda.get_device_name() if options.device.startswith("cuda") else options.device
    print(f"{where}, torch {torch.__version__}, {options.rounds} rounds")
    sections = {"forward": forward, "search": beam_search, "transcribe": recording}
    for section in options.only:
        sections[section](options, sizes)


@torch.inference_mode()
def forward(options: argparse.Namespace, sizes: dict) -> None:
    with torch.inference_mode(False):
        encoder = windowed(sizes["tower"]).to(options.device)
    clips = torch.randint(0, 256, (sizes["windows"], 32, 96, 96), dtype=torch.uint8, device=options.device)
    rows = {}
    for kind, one in {"": encoder, ", bfloat16": copy.deepcopy(encoder).bfloat16()}.items():
        rows[f"stock VivitModel{kind}"] = library_steps(one, clips)
        rows[f"vivit_encoder{kind}"] = lambda one=one: one(clips)
        if not options.no_compile:
            graph = copy.deepcopy(one).compile_tower()
            rows[f"vivit_encoder{kind}, compiled"] = lambda graph=graph: graph(clips)
    seconds = in_turns(rows, options.rounds, device=options.device)
    work = window_flops(encoder.vivit.config) * sizes["windows"]
    print(f"\nforward: {sizes['tower']}, {sizes['windows']} windows of 32 frames, 96 pixels\n")
    print("| | ms | ratio | difference | of peak |\n|:--|---:|---:|---:|---:|")
    first, theirs = next(iter(rows)), None
    for label, run in rows.items():
        features = run().float()
        theirs = features if theirs is None else theirs
        off = difference(features, theirs, relative="bfloat16" in label)
        peak = options.peak_tflops.get("bfloat16" if "bfloat16" in label else "float32")
        best = min(seconds[label])
        share = f"{work / best / peak / 1e12:.2f}" if peak else "–"
        print(f"| {label} | {1e3 * best:.2f} | {paired_ratio(seconds[first], seconds[label]):.2f} | {off} | {share} |")


def beam_search(options: argparse.Namespace, sizes: dict) -> None:
    print(f"\n{search.HEAD}")
    print(search.compare(sizes["case"], options.rounds, device=options.device)[0], flush=True)


def recording(options: argparse.Namespace, sizes: dict) -> None:
    """Seconds of each stage per second of a drawn recording, whose mouth is its middle."""
    seconds = sizes["recording_s"]
    print(f"\ntranscribe: conf/train_{sizes['preset']}_both.yaml with random weights, {seconds} s of drawn pictures\n")
    print("| precision | real-time factor | the model's part |\n|:--|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        model = transcribe.build(sizes["preset"], Path(folder) / "model")
        video = concatenate([transcribe.noise(Path(folder) / "noise.mkv", min(10, seconds))], Path(folder), seconds)
        for dtype in ("float32", "bfloat16"):
            reader = Transcriber(model, device=options.device, precision=dtype, detector="centre", search="ctc_greedy")
            reader.transcribe(video)  # what is loaded or compiled at the first call counts for nobody
            begun_s = time.perf_counter()
            result = reader.transcribe(video)
            total = (time.perf_counter() - begun_s) / result.duration_s
            model_s = result.seconds["encode"] + result.seconds["search"]
            print(f"| {dtype} | {total:.3f} | {model_s / result.duration_s:.3f} |", flush=True)


if __name__ == "__main__":
    main()
