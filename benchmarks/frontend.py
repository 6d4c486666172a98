"""How fast `vivit_encoder` is beside the library it wraps, on the same clips, in one process, measured in turns.

    python benchmarks/frontend.py                       ViViT-B/16x2 at 96 pixels, one thread
    python benchmarks/frontend.py --threads 2 --rounds 5 --size ti

Every row is a ratio of medians to stock `VivitModel` (sdpa, float32) in the same run, with the largest absolute
difference of the features beside it. Weights are random: speed does not depend on them.
"""

import argparse
import copy
import statistics
import time
from collections.abc import Callable

import torch
from transformers import VivitModel

from espnet_vivit.frontend.resnet import ResNetFrontend
from espnet_vivit.frontend.vivit_encoder import vivit_encoder
from espnet_vivit.frontend.windows import plan_windows

PIXELS = 96
RAGGED = (40, 75, 100, 150)  # frames of the clips of a padded batch
WINDOW = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3, help="counted runs of each row, after one that is not")
    parser.add_argument("--size", default="b", help="ti, s, b, l or h")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    name = f"vivit-{options.size}-16x2"
    print(f"{name}, {PIXELS} pixels, {options.threads} thread(s), torch {torch.__version__}, {options.rounds} rounds")
    peak = matmul_peak()
    print(f"matrix products of (577, 768) by (768, 3072) in this run: {peak / 1e9:.0f} GFLOP/s\n")
    print(
        f"| {'what':58} | seconds | ratio | max abs difference |\n|{'-' * 60}|--------:|------:|-------------------:|"
    )
    encoder = vivit_encoder(name, pretrained=False, image_size=PIXELS, frame_adjust="window").eval()
    library = stock(encoder)
    with torch.inference_mode():
        one_window(encoder, library, options.rounds)
        ragged_batch(encoder, library, options.rounds)
        cost_per_second(encoder, options.rounds)
        resnet(options.rounds)


def stock(encoder) -> Callable[[torch.Tensor], torch.Tensor]:
    """The library's way: RGB float windows (W, 32, 3, H, W') through `VivitModel`, tokens averaged over space."""
    config = copy.deepcopy(encoder.vivit.config)
    config.hidden_act = "gelu_fast"  # as in the published configuration
    model = VivitModel._from_config(config, attn_implementation="sdpa", add_pooling_layer=False).eval()
    model.load_state_dict(encoder.vivit.state_dict())
    per_step = (PIXELS // 16) ** 2

    def run(windows: torch.Tensor) -> torch.Tensor:
        tokens = model(windows).last_hidden_state[:, 1:]
        return tokens.unflatten(1, (-1, per_step)).mean(2)

    return run


def as_the_library_wants(gray: torch.Tensor) -> torch.Tensor:
    """(W, 32, H, W') uint8 -> (W, 32, 3, H, W') float in [-1, 1]."""
    return (gray.float() / 127.5 - 1)[:, :, None].expand(-1, -1, 3, -1, -1)


def one_window(encoder, library, rounds: int) -> None:
    clip = torch.randint(0, 256, (1, WINDOW, PIXELS, PIXELS), dtype=torch.uint8)
    frames = torch.tensor([WINDOW])
    rows = {
        "one window of 32 frames: stock VivitModel": lambda: library(as_the_library_wants(clip)),
        "  vivit_encoder, uint8 gray": lambda: encoder(clip, frames)[0],
    }
    report(rows, rounds)


def ragged_batch(encoder, library, rounds: int) -> None:
    """Clips of 40 to 150 frames: the library sees what a user would give it, all clips padded to whole windows."""
    lengths = torch.tensor(RAGGED)
    batch = torch.randint(0, 256, (len(RAGGED), max(RAGGED), PIXELS, PIXELS), dtype=torch.uint8)
    count = -(-max(RAGGED) // WINDOW)
    padded = torch.nn.functional.pad(batch, (0, 0, 0, 0, 0, count * WINDOW - max(RAGGED)))

    def padded_windows() -> torch.Tensor:
        windows = padded.unflatten(1, (count, WINDOW)).flatten(0, 1)
        steps = library(as_the_library_wants(windows)).unflatten(0, (len(RAGGED), count)).flatten(1, 2)
        return steps[:, : max(RAGGED) // 2]

    rows = {"clips of 40/75/100/150 frames: stock, padded": padded_windows}
    default = encoder.window_overlap
    report(
        {**rows, "  vivit_encoder, overlap 0": lambda: with_overlap(encoder, 0, batch, lengths)}, rounds, ragged=True
    )
    computed = sum(window.frames for n in RAGGED for window in plan_windows(n, num_frames=WINDOW, overlap=default))
    label = f"  vivit_encoder, overlap {default} ({computed} frames computed)"
    report({**rows, label: lambda: with_overlap(encoder, default, batch, lengths)}, rounds, ragged=True, compare=False)


def with_overlap(encoder, overlap: int, batch, lengths) -> torch.Tensor:
    before, encoder.window_overlap = encoder.window_overlap, overlap
    try:
        return encoder(batch, lengths)[0]
    finally:
        encoder.window_overlap = before


def cost_per_second(encoder, rounds: int) -> None:
    """A longer clip must not cost more per second of video."""
    rows = {}
    for seconds in (4, 16, 32):
        clip = torch.randint(0, 256, (1, seconds * 25, PIXELS, PIXELS), dtype=torch.uint8)
        rows[f"vivit_encoder, a clip of {seconds} s, per second of video"] = (clip, seconds)
    baseline = None
    for label, (clip, seconds) in rows.items():
        taken = median_time(lambda clip=clip: encoder(clip), 1) / seconds
        baseline = baseline or taken
        print(f"| {label:58} | {taken:7.3f} | {taken / baseline:5.2f} | {'':18} |")


def resnet(rounds: int) -> None:
    """The field's baseline on one second of video, and ours beside it."""
    clip = torch.randint(0, 256, (1, WINDOW, 88, 88), dtype=torch.uint8)
    frontend = ResNetFrontend().eval()
    taken = median_time(lambda: frontend(clip, torch.tensor([WINDOW])), rounds)
    print(f"| {'Conv3d-ResNet18 at 88 pixels, 32 frames':58} | {taken:7.3f} | {'':5} | {'':18} |")


def report(rows: dict[str, Callable], rounds: int, *, ragged: bool = False, compare: bool = True) -> None:
    """Time the rows in turns and print each one's ratio to the first (larger is faster)."""
    times = {label: [] for label in rows}
    answers = {label: run() for label, run in rows.items()}  # not counted
    for _ in range(rounds):
        for label, run in rows.items():
            begun = time.perf_counter()
            run()
            times[label].append(time.perf_counter() - begun)
    first = next(iter(rows))
    for label in rows:
        seconds = statistics.median(times[label])
        ratio = statistics.median(a / b for a, b in zip(times[first], times[label], strict=True))
        difference = difference_of(answers[first], answers[label], ragged) if compare and label != first else None
        shown = "" if difference is None else f"{difference:.1e}"
        print(f"| {label:58} | {seconds:7.3f} | {ratio:5.2f} | {shown:>18} |", flush=True)


def difference_of(library: torch.Tensor, ours: torch.Tensor, ragged: bool) -> float:
    """Over whole windows: where a clip ends inside one, the library attends to padding and ours does not."""
    if not ragged:
        return float((library - ours).abs().max())
    whole = [n // WINDOW * WINDOW // 2 for n in RAGGED]
    return max(float((library[b, :n] - ours[b, :n]).abs().max()) for b, n in enumerate(whole))


def median_time(run: Callable, rounds: int) -> float:
    run()
    times = []
    for _ in range(rounds):
        begun = time.perf_counter()
        run()
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def matmul_peak() -> float:
    """FLOP/s of the matrix product that ViViT-B spends most of its time in."""
    a, b = torch.randn(577, 768), torch.randn(768, 3072)
    seconds = median_time(lambda: [a @ b for _ in range(20)], 5) / 20
    return 2 * 577 * 768 * 3072 / seconds


if __name__ == "__main__":
    main()
