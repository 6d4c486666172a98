"""How fast `vivit_encoder` is beside the library it wraps, on the same clips, in one process, measured in turns.

    python benchmarks/frontend.py                                      everything, ViViT-B/16x2 at 96 pixels, one thread
    python benchmarks/frontend.py --only window --rounds 5             one section: window, ragged, long or resnet
    python benchmarks/frontend.py --size ti --rounds 2 --no-compile --longest 60        a glance

Ratios are medians over rounds of times taken next to each other; above 1 is faster than the first row, which is stock
`VivitModel` (sdpa, float32). With one thread, times are the processor's, which other programs hardly change. Beside
each: the largest absolute difference of its features (of bfloat16 the relative one, |ours - theirs| / |theirs|), the
share of the rate that matrix products of ViViT-B's shape reach in the same rounds, PyTorch's own or packed for oneDNN,
whichever is faster, and the most memory held beyond input and weights. "packed": after `pack_weights()`. Weights are
random: speed does not depend on them.
"""

import argparse
import copy
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
import yaml
from measure import in_turns, machine, matmul, paired_ratio, watched
from stock_vivit import library_steps, window_flops

from espnet_vivit.base.int8_linear import use_int8
from espnet_vivit.frontend.resnet import ResNetFrontend
from espnet_vivit.frontend.vivit.encoder import VivitEncoder
from espnet_vivit.frontend.vivit.frame_adjust import plan_windows
from espnet_vivit.frontend.vivit_encoder import vivit_encoder
from espnet_vivit.units import VIDEO_RATE_HZ

PIXELS, PATCH, WINDOW = 96, 16, 32
RAGGED = (40, 75, 100, 150)  # frames of the clips of a batch
SCRATCH = Path(__file__).resolve().parents[1] / "conf" / "train_tiny_video.yaml"  # to train without a checkpoint
DTYPES = (torch.float32, torch.bfloat16)
SECTIONS = ("window", "ragged", "long", "resnet")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS, help="sections to run; all")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5, help="counted runs of each row")
    parser.add_argument("--size", default="b", help="ti, s, b, l or h: of the tower in window and ragged")
    parser.add_argument("--no-compile", action="store_true", help="leave the compiled rows out")
    parser.add_argument("--longest", type=int, default=600, help="seconds of the longest clip, for the cost per second")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    name = f"vivit-{options.size}-{PATCH}x2"
    print(f"{name}, {PIXELS} pixels, {options.threads} thread(s), {options.rounds} rounds, torch {torch.__version__}")
    print(f"{machine()}")
    sections = {
        "window": lambda: one_window(windowed(name), options.rounds, compiled=not options.no_compile),
        "ragged": lambda: ragged_batch(windowed(name), options.rounds),
        "long": lambda: cost_per_second(options.rounds, options.longest),
        "resnet": lambda: beside_resnet(options.rounds),
    }
    with torch.inference_mode():
        for section in options.only:
            sections[section]()


# one full window ----------------------------------------------------------------------------------------------------


def one_window(encoder: VivitEncoder, rounds: int, *, compiled: bool) -> None:
    clip = torch.randint(0, 256, (1, WINDOW, PIXELS, PIXELS), dtype=torch.uint8)
    rows = {}
    for kind, one in {"": encoder, ", bfloat16": copy.deepcopy(encoder).bfloat16()}.items():
        packed = copy.deepcopy(one).pack_weights()
        rows[f"stock VivitModel{kind}"] = library_steps(one, clip)
        rows[f"vivit_encoder{kind}"] = lambda one=one: one(clip)
        rows[f"vivit_encoder{kind}, packed"] = lambda packed=packed: packed(clip)
        if compiled:
            rows[f"stock VivitModel{kind}, compiled"] = library_steps(one, clip, compiler=torch.compile)
            graph, packed_graph = copy.deepcopy(one).compile_tower(), copy.deepcopy(one).pack_weights().compile_tower()
            rows[f"vivit_encoder{kind}, compiled"] = lambda graph=graph: graph(clip)
            rows[f"vivit_encoder{kind}, packed, compiled"] = lambda graph=packed_graph: graph(clip)
    int8 = copy.deepcopy(encoder)
    use_int8(int8.vivit.layers)
    int8.pack_weights()
    rows["vivit_encoder, int8, packed"] = lambda: int8(clip)
    report(f"one window of {WINDOW} frames", rows, rounds, work=window_flops(encoder.vivit.config))


# a ragged batch -----------------------------------------------------------------------------------------------------


def ragged_batch(encoder: VivitEncoder, rounds: int) -> None:
    """Clips of 40 to 150 frames. What the library gets: all padded to the longest, or, as no sorting by length can do
    better, each padded to its own whole windows."""
    lengths = torch.tensor(RAGGED)
    batch = torch.randint(0, 256, (len(RAGGED), max(RAGGED), PIXELS, PIXELS), dtype=torch.uint8)
    whole = [-(-n // WINDOW) for n in RAGGED]
    longest = max(whole)
    padded = torch.nn.functional.pad(batch, (0, 0, 0, 0, 0, longest * WINDOW - max(RAGGED)))
    windows = padded.unflatten(1, (longest, WINDOW))  # (B, K, 32, H, W)
    library = library_steps(encoder, windows)
    by_length = torch.cat([clip[:count] for clip, count in zip(windows, whole, strict=True)])

    def of_padded() -> torch.Tensor:
        return library(windows.flatten(0, 1)).unflatten(0, (len(RAGGED), longest)).flatten(1, 2)

    def of_sorted() -> torch.Tensor:
        return torch.nn.utils.rnn.pad_sequence(
            [steps.flatten(0, 1) for steps in library(by_length).split(whole)], batch_first=True
        )

    rows = {f"stock, padded ({len(RAGGED) * longest * WINDOW} frames)": of_padded}
    rows[f"stock, sorted by length ({sum(whole) * WINDOW} frames)"] = of_sorted
    packed = copy.deepcopy(encoder).pack_weights()
    for overlap in (0, encoder.window_overlap):
        computed = sum(w.frames for n in RAGGED for w in plan_windows(n // 2 * 2, num_frames=WINDOW, overlap=overlap))
        for kind, tower in {"": encoder, ", packed": packed}.items():
            ours = copy.copy(tower)  # the same weights
            ours.window_overlap = overlap
            label = f"vivit_encoder, overlap {overlap} ({computed} frames){kind}"
            rows[label] = lambda ours=ours: ours(batch, lengths)[0]
    inside = [n // WINDOW * WINDOW // 2 for n in RAGGED]  # a last window sees padding in the library, none in ours

    def of_full_windows(steps: torch.Tensor) -> torch.Tensor:
        return torch.cat([row[:count] for row, count in zip(steps, inside, strict=True)])

    other = f"overlap {encoder.window_overlap}"  # whose windows begin elsewhere, so that its steps see other frames
    title = f"a batch of clips of {'/'.join(map(str, RAGGED))} frames"
    report(title, rows, rounds, comparable=of_full_windows, incomparable=other, second=list(rows)[1])


# against the length of the clip, and against the field's baseline ---------------------------------------------------


def cost_per_second(rounds: int, longest_s: int) -> None:
    """A longer clip must not cost more per second of video; with the smallest tower, to last minutes and not hours.

    Beside the cost stands how often a frame is computed: what it would rise by if nothing but windows cost time.
    """
    encoder = scratch_encoder()
    side, overlap = encoder.vivit.config.image_size, encoder.window_overlap
    print(f"\nViViT of conf/{SCRATCH.name}, overlap {overlap}: cost of a second of video\n")
    print("| clip | ms per second of video | ratio to 4 s | times a frame is computed | MB beyond input and output |")
    print("|---:|---:|---:|---:|---:|")
    rows = {}
    for seconds in sorted({4, 30, min(60, longest_s), longest_s}):
        clip = torch.randint(0, 256, (1, seconds * VIDEO_RATE_HZ, side, side), dtype=torch.uint8)
        rows[seconds] = lambda clip=clip: encoder(clip)
    times = in_turns(rows, rounds)
    for seconds, run in rows.items():
        each = [taken / seconds for taken in times[seconds]]
        ratio = statistics.median(a / b * 4 for a, b in zip(each, times[4], strict=True))
        frames = seconds * VIDEO_RATE_HZ
        computed = sum(w.frames for w in plan_windows(frames, num_frames=WINDOW, overlap=overlap)) / frames
        held, features = watched(run)
        beyond = (held - features.nbytes) / 1e6
        cells = [f"{seconds} s", f"{1e3 * statistics.median(each):.1f}", f"{ratio:.2f}", f"{computed:.2f}"]
        print(f"| {' | '.join(cells)} | {beyond:.1f} |", flush=True)


def beside_resnet(rounds: int) -> None:
    """Frontends to train from random weights, on a clip of six seconds, overlap of the windows included."""
    frames = 150
    clip = torch.randint(0, 256, (1, frames, PIXELS, PIXELS), dtype=torch.uint8)
    lengths = torch.tensor([frames])
    resnet = ResNetFrontend().eval()
    scratch = scratch_encoder()
    rows = {"Conv3d-ResNet18, 88 pixels": lambda: resnet(clip[..., 4:92, 4:92], lengths)}
    side = scratch.vivit.config.image_size
    edge = (PIXELS - side) // 2
    cropped = clip[..., edge : edge + side, edge : edge + side]
    rows[f"ViViT of conf/{SCRATCH.name}, {side} pixels"] = lambda: scratch(cropped, lengths)
    for size in ("ti", "s"):
        encoder = windowed(f"vivit-{size}-16x2", stem="conv")
        packed = copy.deepcopy(encoder).pack_weights()
        label = f"vivit-{size}-16x2, stem: conv, {PIXELS} pixels"
        rows[label] = lambda encoder=encoder: encoder(clip, lengths)
        rows[f"{label}, packed"] = lambda packed=packed: packed(clip, lengths)
    print(f"\na clip of {frames} frames, float32: cost of a frame\n")
    print("| frontend | ms per frame | cost, ResNet18 = 1 | MB |\n|:--|---:|---:|---:|")
    times = in_turns(rows, rounds)
    first = next(iter(rows))
    for label, run in rows.items():
        cost = 1 / paired_ratio(times[first], times[label])
        each = 1e3 * statistics.median(times[label]) / frames
        print(f"| {label} | {each:.2f} | {cost:.2f} | {watched(run)[0] / 1e6:.0f} |", flush=True)


@torch.inference_mode(False)  # as it was loaded long before
def windowed(name: str, *, stem: str = "tubelet") -> VivitEncoder:
    return vivit_encoder(name, pretrained=False, image_size=PIXELS, frame_adjust="window", stem=stem).eval()


@torch.inference_mode(False)
def scratch_encoder() -> VivitEncoder:
    """The ViViT of a recipe that trains without a checkpoint."""
    preset = yaml.safe_load(SCRATCH.read_text(encoding="utf-8"))["vision_encoder_conf"]
    return vivit_encoder(**preset, feature_rate="frame").eval()


# the table ----------------------------------------------------------------------------------------------------------


def report(
    title: str,
    rows: dict[str, Callable],
    rounds: int,
    *,
    work: float | None = None,
    comparable: Callable = lambda features: features,
    incomparable: str | None = None,
    second: str | None = None,
) -> None:
    """Time the rows in turns and print each one's ratio to the first, and what stands beside it.

    work: operations of a row, for the share of the peak. comparable: the part of the features that must be equal, in
    rows whose label does not hold `incomparable`. second: a row to which ratios are printed too.
    """
    products = {(dtype, packed): matmul(dtype, packed=packed) for dtype in DTYPES for packed in (False, True)}
    timed = rows | {key: run for key, (run, _) in products.items() if work}
    times = in_turns(timed, rounds)
    rates = {key: flops / min(times[key]) for key, (_, flops) in products.items() if work}
    peaks = {dtype: max(rates[dtype, packed] for packed in (False, True)) for dtype in DTYPES if work}
    columns = ["", "seconds", "ratio"] + [f"ratio to {second}"] * bool(second) + ["difference"]
    print(f"\n{title}\n\n| {' | '.join(columns)} | {'share of peak | ' * bool(work)}MB |")
    print("|:--" + "|---:" * (len(columns) + bool(work)) + "|")
    first, theirs = next(iter(rows)), None
    for label, run in rows.items():
        held, features = watched(run)
        theirs = comparable(features) if theirs is None else theirs
        cells = [label, f"{statistics.median(times[label]):.3f}"]
        cells += [f"{paired_ratio(times[base], times[label]):.2f}" for base in (first, second) if base]
        if label == first or (incomparable and incomparable in label):
            cells += ["" if label == first else "not comparable"]
        else:
            cells += [difference(comparable(features), theirs, relative="bfloat16" in label)]
        cells += [f"{work / min(times[label]) / peaks[dtype_of(label)]:.2f}"] if work else []
        print(f"| {' | '.join(cells)} | {held / 1e6:.0f} |", flush=True)
    if work:
        print_bounds(rates, peaks, work=work, stock_s=statistics.median(times[first]))


def difference(ours: torch.Tensor, theirs: torch.Tensor, *, relative: bool) -> str:
    if relative:
        return f"{(ours - theirs).norm() / theirs.norm():.1e} relative"
    return f"{(ours - theirs).abs().max():.1e}"


def dtype_of(label: str) -> torch.dtype:
    return torch.bfloat16 if "bfloat16" in label else torch.float32


def print_bounds(rates: dict, peaks: dict, *, work: float, stock_s: float) -> None:
    """What this processor allows: the rates of matrix products, and the ratio of a program that is nothing else."""
    print()
    for dtype in DTYPES:
        plain, packed = (rates[dtype, way] / 1e9 for way in (False, True))
        bound = stock_s / (work / peaks[dtype])
        name = str(dtype).removeprefix("torch.")
        rate = f"{plain:.0f} GFLOP/s, packed {packed:.0f}, {peaks[dtype] / peaks[torch.float32]:.2f} times float32's"
        print(f"Matrix products in {name}: {rate}; at that rate the whole window would have a ratio of {bound:.2f}.")


if __name__ == "__main__":
    main()
