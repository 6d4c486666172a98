"""Measure how time and memory grow with clip length, batch size, number of list lines and number of threads.

    python benchmarks/growth.py                          the tables
    python benchmarks/growth.py --plot growth.png        and a picture of them

Each row fits cost = a · size^p by least squares over the logarithms: p is 1 for what grows in proportion, and 0
for what does not grow. The bytes are the most that tensors take beyond what was there before, for lists the most that
Python allocates. One thread, but in the row of threads. Weights are random.
"""

import argparse
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from measure import machine, peak_bytes
from search import Case, build

from espnet_vivit import vivit_encoder
from espnet_vivit.tasks.loading.dataset import AVSRDataset
from espnet_vivit.units import VIDEO_RATE_HZ

PIXELS, WIDTH, HEADS, LINEAR_UNITS, VOCABULARY = 48, 256, 4, 1024, 500
STEPS_PER_TOKEN = 4


@dataclass(frozen=True)
class Subject:
    name: str
    unit: str
    sizes: tuple[int, ...]
    prepare: Callable[[int], Callable[[], object]]  # size -> what is measured
    measure_bytes: Callable[[Callable], int] = peak_bytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, help="number of sizes, the smallest ones, for a glance (default: all)")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="picture to write")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{machine()}, torch {torch.__version__}\n")
    print("| | from | to | s at the largest | grows with power | MB at the largest | grows with power |")
    print("|:--|--:|--:|--:|--:|--:|--:|")
    found = {}
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        for subject in subjects(Path(folder)):
            found[subject] = rows = [(size, *measure(subject, size)) for size in subject.sizes[: options.sizes]]
            print(row(subject, rows), flush=True)
    if options.plot:
        draw(found, options.plot)


def subjects(folder: Path) -> list[Subject]:
    torch.manual_seed(0)
    encoder = vivit_encoder("vivit-ti-16x2", pretrained=False, image_size=PIXELS, frame_adjust="window").eval()
    case = Case(WIDTH, HEADS, LINEAR_UNITS, VOCABULARY, encoder_steps=0, beam_size=10, tokens=0)
    model, search, _ = build(case, "cpu")

    def clip(frames: int) -> Callable:
        video = torch.randint(0, 256, (1, frames, PIXELS, PIXELS), dtype=torch.uint8)
        return lambda: encoder(video)

    def states(steps: int) -> Callable:
        features, lengths = torch.randn(1, steps, WIDTH), torch.tensor([steps])
        return lambda: model.encoder(features, lengths)

    def searches(clips: int, steps: int) -> Callable:
        features, tokens = torch.randn(clips, steps, WIDTH), float(steps // STEPS_PER_TOKEN)
        return lambda: search(features, torch.full((clips,), steps), ratios=[(-tokens, 0.0)] * clips)

    def lines(count: int) -> Callable:
        path = folder / f"{count}.scp"
        path.write_text("".join(f"utterance{number:07d} {folder}/{number}.npy\n" for number in range(count)))
        return lambda: list(AVSRDataset([(str(path), "video", "video")]))

    def threads(count: int) -> Callable:
        video = torch.randint(0, 256, (1, 8 * 32, PIXELS, PIXELS), dtype=torch.uint8)

        def run() -> None:
            torch.set_num_threads(count)
            encoder(video)
            torch.set_num_threads(1)

        return run

    frames = tuple(length_s * VIDEO_RATE_HZ for length_s in (4, 8, 16, 32, 64, 150, 300, 600))
    return [
        Subject("ViViT in windows", "frames", frames, clip),
        Subject("Conformer", "steps", (50, 100, 200, 400, 800, 1600), states),
        Subject("search, one clip", "steps", (50, 100, 200, 400), lambda steps: searches(1, steps)),
        Subject("search, clips of 75 steps", "clips", (1, 2, 4, 8, 16), lambda clips: searches(clips, 75)),
        Subject("list of videos", "lines", (1_000, 3_000, 10_000, 30_000, 100_000), lines, allocated_bytes),
        Subject("ViViT, 256 frames", "threads", (1, 2, 3, 4), threads),
    ]


def measure(subject: Subject, size: int) -> tuple[float, int]:
    """(seconds, bytes), the first the lower of two runs."""
    run, times = subject.prepare(size), []
    for _ in range(2):
        begun_s = time.perf_counter()
        run()
        times.append(time.perf_counter() - begun_s)
    return min(times), subject.measure_bytes(run)


def allocated_bytes(run: Callable) -> int:
    tracemalloc.start()
    kept = run()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    del kept
    return peak


def power(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """p of cost = a · size^p."""
    return float(np.polyfit(np.log(sizes), np.log(np.maximum(costs, 1e-9)), 1)[0])


def row(subject: Subject, rows: Sequence[tuple[int, float, int]]) -> str:
    sizes, seconds, held = zip(*rows, strict=True)
    cells = [subject.name, f"{sizes[0]}", f"{sizes[-1]} {subject.unit}", f"{seconds[-1]:.2f}"]
    cells += [f"{power(sizes, seconds):.2f}", f"{held[-1] / 1e6:.1f}", f"{power(sizes, held):.2f}"]
    return f"| {' | '.join(cells)} |"


def draw(found: dict[Subject, list[tuple[int, float, int]]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.2 * len(found), 5.6), layout="constrained")
    for axes, (subject, rows) in zip(figure.subplots(2, len(found)).T, found.items(), strict=True):
        sizes, *costs = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
        for axis, values, label in zip(axes, (costs[0], costs[1] / 1e6), ("seconds", "MB"), strict=True):
            slope = power(sizes, values)
            fit = np.exp(np.mean(np.log(np.maximum(values, 1e-9)) - slope * np.log(sizes))) * sizes**slope
            axis.loglog(sizes, values, "o", sizes, fit, "-")
            axis.set(title=f"{subject.name}: power {slope:.2f}", xlabel=subject.unit, ylabel=label)
            axis.title.set_fontsize(9)
    figure.savefig(path, dpi=80)


if __name__ == "__main__":
    main()
