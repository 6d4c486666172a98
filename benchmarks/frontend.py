"""How fast `vivit_encoder` is beside the library it wraps, on the same clips, in one process, measured in turns.

    python benchmarks/frontend.py                       ViViT-B/16x2 at 96 pixels, one thread (10 minutes or so)
    python benchmarks/frontend.py --size ti --rounds 2 --no-compile --longest 60        a glance

Ratios are medians over rounds of times taken next to each other; above 1 is faster than the first row, which is stock
`VivitModel` (sdpa, float32). With one thread, times are the processor's, which other programs hardly change. Beside
each: the largest absolute difference of its features (of bfloat16 the relative one, |ours - theirs| / |theirs|), the
share of the rate that matrix products of ViViT-B's shape reach in the same rounds, and the most memory held beyond
input and weights. Weights are random: speed does not depend on them.
"""

import argparse
import copy
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
import yaml
from measure import in_turns, machine, matmul, paired_ratio, peak_bytes
from transformers import VivitModel

from espnet_vivit.frontend.resnet import ResNetFrontend
from espnet_vivit.frontend.vivit_clips import VivitEncoder
from espnet_vivit.frontend.vivit_encoder import vivit_encoder
from espnet_vivit.frontend.windows import plan_windows
from espnet_vivit.units import VIDEO_RATE_HZ

PIXELS, PATCH, WINDOW = 96, 16, 32
RAGGED = (40, 75, 100, 150)  # frames of the clips of a batch
SCRATCH = (
    Path(__file__).resolve().parents[1] / "conf" / "train_tiny_video.yaml"
)  # a ViViT to train without a checkpoint
FREEZE = {"freezing": True}  # the compiler packs weights beforehand
PEAKS = {torch.float32: "matrix products, float32", torch.bfloat16: "matrix products, bfloat16"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5, help="counted runs of each row")
    parser.add_argument("--size", default="b", help="ti, s, b, l or h")
    parser.add_argument("--no-compile", action="store_true", help="leave the compiled rows out")
    parser.add_argument("--longest", type=int, default=600, help="seconds of the longest clip, for the cost per second")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    name = f"vivit-{options.size}-{PATCH}x2"
    print(f"{name}, {PIXELS} pixels, {options.threads} thread(s), {options.rounds} rounds, torch {torch.__version__}")
    print(f"{machine()}\n")
    encoder = vivit_encoder(name, pretrained=False, image_size=PIXELS, frame_adjust="window").eval()
    with torch.inference_mode():
        one_window(encoder, options.rounds, compiled=not options.no_compile)
        ragged_batch(encoder, options.rounds)
        cost_per_second(options.rounds, options.longest)
        beside_resnet(options.rounds)


# one full window ----------------------------------------------------------------------------------------------------


def one_window(encoder: VivitEncoder, rounds: int, *, compiled: bool) -> None:
    clip = torch.randint(0, 256, (1, WINDOW, PIXELS, PIXELS), dtype=torch.uint8)
    half = copy.deepcopy(encoder).bfloat16()
    rows = {
        "stock VivitModel": library_steps(encoder, clip),
        "vivit_encoder": lambda: encoder(clip),
        "stock VivitModel, bfloat16": library_steps(half, clip),
        "vivit_encoder, bfloat16": lambda: half(clip),
    }
    if compiled:
        compiled_stock = library_steps(encoder, clip, options=FREEZE)
        fast, fast_half = (copy.deepcopy(one).compile_tower(options=FREEZE) for one in (encoder, half))
        rows["stock VivitModel, compiled"] = compiled_stock
        rows["vivit_encoder, compiled"] = lambda: fast(clip)
        rows["vivit_encoder, bfloat16, compiled"] = lambda: fast_half(clip)
    work = dict.fromkeys(rows, window_flops(encoder.vivit.config))
    report(f"one window of {WINDOW} frames", rows, rounds, work=work)


def library_steps(encoder: VivitEncoder, clip: torch.Tensor, *, options: dict | None = None) -> Callable:
    """The library's way with uint8 windows (W, 32, H, W'): normalised RGB through `VivitModel`, averaged over space."""
    config = copy.deepcopy(encoder.vivit.config)
    config.hidden_act = "gelu_fast"  # as in the published configuration
    model = VivitModel._from_config(config, attn_implementation="sdpa", add_pooling_layer=False).eval()
    model.load_state_dict(encoder.vivit.state_dict())
    model = model.to(encoder.vivit.dtype)
    per_step = (PIXELS // PATCH) ** 2
    if options is not None:
        model = torch.compile(model, options=options)

    def run(windows: torch.Tensor = clip) -> torch.Tensor:
        rgb = (windows.float() / 127.5 - 1)[:, :, None].expand(-1, -1, 3, -1, -1)
        tokens = model(rgb.to(encoder.vivit.dtype)).last_hidden_state[:, 1:]
        return tokens.unflatten(1, (-1, per_step)).mean(2).float()

    return run


def window_flops(config) -> float:
    """Floating point operations of a full window, two for each multiplication and sum: products and attention."""
    frames, height, width = config.tubelet_size
    tokens = 1 + (WINDOW // frames) * (PIXELS // height) * (PIXELS // width)
    size, inner = config.hidden_size, config.intermediate_size
    layer = 2 * tokens * (4 * size**2 + 2 * size * inner) + 4 * tokens**2 * size
    return config.num_hidden_layers * layer + 2.0 * (tokens - 1) * frames * height * width * size


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
    for overlap in (0, encoder.window_overlap):
        computed = sum(w.frames for n in RAGGED for w in plan_windows(n // 2 * 2, num_frames=WINDOW, overlap=overlap))
        ours = copy.deepcopy(encoder)
        ours.window_overlap = overlap
        rows[f"vivit_encoder, overlap {overlap} ({computed} frames)"] = lambda ours=ours: ours(batch, lengths)[0]
    inside = [n // WINDOW * WINDOW // 2 for n in RAGGED]  # a last window sees padding in the library, none in ours

    def of_full_windows(steps: torch.Tensor) -> torch.Tensor:
        return torch.cat([row[:count] for row, count in zip(steps, inside, strict=True)])

    other = f"overlap {encoder.window_overlap}"  # whose windows begin elsewhere, so that its steps see other frames
    title = f"a batch of clips of {'/'.join(map(str, RAGGED))} frames"
    report(title, rows, rounds, comparable=of_full_windows, incomparable=other)


# against the length of the clip, and against the field's baseline ---------------------------------------------------


def cost_per_second(rounds: int, longest_s: int) -> None:
    """A longer clip must not cost more per second of video; with a small tower, to last minutes and not hours."""
    encoder = vivit_encoder("vivit-ti-16x2", pretrained=False, image_size=PIXELS, frame_adjust="window").eval()
    print(f"\nvivit-ti-16x2, overlap {encoder.window_overlap}: cost of a second of video\n")
    print("| clip | ms per second of video | ratio to 4 s | MB beyond input and output |\n|---:|---:|---:|---:|")
    rows, clips = {}, {}
    for seconds in sorted({4, 30, min(60, longest_s), longest_s}):
        clip = torch.randint(0, 256, (1, seconds * VIDEO_RATE_HZ, PIXELS, PIXELS), dtype=torch.uint8)
        rows[seconds], clips[seconds] = (lambda clip=clip: encoder(clip)), clip
    times = in_turns(rows, rounds)
    for seconds, run in rows.items():
        each = [taken / seconds for taken in times[seconds]]
        ratio = statistics.median(a / b * 4 for a, b in zip(each, times[4], strict=True))
        beyond = (peak_bytes(run) - run().nbytes) / 1e6
        print(f"| {seconds} s | {1e3 * statistics.median(each):.1f} | {ratio:.2f} | {beyond:.1f} |", flush=True)


def beside_resnet(rounds: int) -> None:
    """Frontends to train from random weights, on a clip of six seconds, overlap of the windows included."""
    frames = 150
    clip = torch.randint(0, 256, (1, frames, PIXELS, PIXELS), dtype=torch.uint8)
    lengths = torch.tensor([frames])
    resnet = ResNetFrontend().eval()
    preset = yaml.safe_load(SCRATCH.read_text(encoding="utf-8"))["vision_encoder_conf"]
    scratch = vivit_encoder(**preset, feature_rate="frame").eval()
    options = {"pretrained": False, "image_size": PIXELS, "frame_adjust": "window", "stem": "conv"}
    rows = {"Conv3d-ResNet18, 88 pixels": lambda: resnet(clip[..., 4:92, 4:92], lengths)}
    side = scratch.vivit.config.image_size
    edge = (PIXELS - side) // 2
    cropped = clip[..., edge : edge + side, edge : edge + side]
    rows[f"ViViT of conf/{SCRATCH.name}, {side} pixels"] = lambda: scratch(cropped, lengths)
    for size in ("ti", "s"):
        encoder = vivit_encoder(f"vivit-{size}-16x2", **options).eval()
        rows[f"vivit-{size}-16x2, stem: conv, {PIXELS} pixels"] = lambda encoder=encoder: encoder(clip, lengths)
    print(f"\na clip of {frames} frames, float32: cost of a frame\n")
    print("| frontend | ms per frame | cost, ResNet18 = 1 | MB |\n|:--|---:|---:|---:|")
    times = in_turns(rows, rounds)
    first = next(iter(rows))
    for label, run in rows.items():
        cost = 1 / paired_ratio(times[first], times[label])
        each = 1e3 * statistics.median(times[label]) / frames
        print(f"| {label} | {each:.2f} | {cost:.2f} | {peak_bytes(run) / 1e6:.0f} |", flush=True)


# the table ----------------------------------------------------------------------------------------------------------


def report(
    title: str,
    rows: dict[str, Callable],
    rounds: int,
    *,
    work: dict[str, float] | None = None,
    comparable: Callable = lambda features: features,
    incomparable: str | None = None,
) -> None:
    """Time the rows and matrix products in turns and print each row's ratio to the first, and what stands beside it.

    work: operations of each row, for the share of the peak. comparable: the part of the features that must be equal.
    """
    print(f"\n{title}\n\n| | seconds | ratio | difference | share of peak | MB |\n|:--|---:|---:|---:|---:|---:|")
    products = {dtype: matmul(dtype) for dtype in PEAKS} if work else {}
    times = in_turns({**rows, **{PEAKS[dtype]: run for dtype, (run, _) in products.items()}}, rounds)
    peaks = {dtype: flops / min(times[PEAKS[dtype]]) for dtype, (_, flops) in products.items()}
    first = next(iter(rows))
    theirs = comparable(rows[first]())
    for label, run in rows.items():
        seconds, ratio = statistics.median(times[label]), paired_ratio(times[first], times[label])
        dtype = torch.bfloat16 if "bfloat16" in label else torch.float32
        difference = "" if label == first else "not comparable"
        if label != first and (incomparable is None or incomparable not in label):
            ours = comparable(run())
            relative = dtype == torch.bfloat16
            difference = (ours - theirs).norm() / theirs.norm() if relative else (ours - theirs).abs().max()
            difference = f"{difference:.1e}{' relative' if relative else ''}"
        share = f"{work[label] / min(times[label]) / peaks[dtype]:.2f}" if work else ""
        megabytes = peak_bytes(run) / 1e6
        print(f"| {label} | {seconds:.3f} | {ratio:.2f} | {difference} | {share} | {megabytes:.0f} |", flush=True)
    for dtype, peak in peaks.items():
        print(f"\n{PEAKS[dtype]}: {peak / 1e9:.0f} GFLOP/s at best")


if __name__ == "__main__":
    main()
