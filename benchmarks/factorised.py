"""What a frame costs in each ViViT variant, beside Conv3d-ResNet18 and beside joint attention in windows.

    python benchmarks/factorised.py                                    tiny towers at 96 pixels, one thread
    python benchmarks/factorised.py --size s --patch 16 --only clip    one section: clip, ragged, long or stream

All towers have random weights, which speed does not depend on, and the same spatial width and depth; the factorised
encoder and the causal form have four temporal layers behind them. Clips are uint8, answers at 12.5 Hz, float32. A cost
is the median over rounds of times taken next to each other, per frame of the clips themselves; the difference beside a
stream is to the same clip computed whole. MB: the most that is held beyond input and weights.
"""

import argparse
import statistics
from collections.abc import Callable

import torch
from measure import in_turns, machine, paired_ratio, watched

from espnet_vivit.frontend.resnet import ResNetFrontend
from espnet_vivit.frontend.vivit_encoder import vivit_encoder
from espnet_vivit.units import VIDEO_RATE_HZ

PIXELS, MOUTH = 96, slice(4, 92)  # what ViViT sees, and of it what the ResNet does
CLIP, RAGGED = 150, (40, 75, 100, 150)  # frames
LEFT_CONTEXT = 64  # steps
HEADS = {"ti": 4}  # an even number, of which half goes to time
LONG = ("joint, windows", "factorised encoder", "causal", "dot product")
SECTIONS = ("clip", "ragged", "long", "stream")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS, help="sections to run; all")
    parser.add_argument("--size", default="ti", help="ti, s or b")
    parser.add_argument("--patch", type=int, default=8, help="pixels of a patch's side")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5, help="counted runs of each row")
    parser.add_argument("--towers", nargs="+", help="the joint one and these alone, such as causal vivit-small; all")
    parser.add_argument("--frames", type=int, default=CLIP, help="of the clip")
    parser.add_argument("--longest", type=int, default=600, help="seconds of the longest clip")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    name = f"vivit-{options.size}-{options.patch}x2"
    print(f"{name}, {PIXELS} pixels, {options.threads} thread(s), {options.rounds} rounds, torch {torch.__version__}")
    print(machine())
    towers = variants(name, options.size)
    if options.towers:
        towers = {label: tower for label, tower in towers.items() if label in ("joint, windows", *options.towers)}
    with torch.inference_mode():
        if "clip" in options.only:
            costs(f"a clip of {options.frames} frames", towers, [options.frames], options.rounds)
        if "ragged" in options.only:
            costs(f"a batch of clips of {'/'.join(map(str, RAGGED))} frames", towers, list(RAGGED), options.rounds)
        if "long" in options.only:
            long_clips(towers, options.longest)
        if "stream" in options.only:
            streams(towers["causal"])


def variants(name: str, size: str) -> dict[str, torch.nn.Module]:
    """Towers of one size, and the two presets that go by name."""
    common = {"pretrained": False, "image_size": PIXELS}
    even = {**common, "temporal_positions": "rope"}
    towers = {"joint, windows": vivit_encoder(name, **common, frame_adjust="window")}
    learned = {**common, "attention": "factorised_encoder", "temporal_positions": "learned"}
    towers["factorised encoder, windows"] = vivit_encoder(name, **learned, frame_adjust="window")
    towers["factorised encoder"] = vivit_encoder(name, **common, attention="factorised_encoder")
    towers["causal"] = vivit_encoder(name, **common, attention="causal", left_context=LEFT_CONTEXT)
    towers["self-attention"] = vivit_encoder(name, **even, attention="factorised_self_attention")
    towers["dot product"] = dot_product(name, size, even)
    for preset in ("vivit-small", "vivit-baseline"):
        towers[preset] = vivit_encoder(preset, **common, left_context=LEFT_CONTEXT)
    return {label: tower.eval() for label, tower in towers.items()}


def dot_product(name: str, size: str, options: dict) -> torch.nn.Module:
    from espnet_vivit.frontend.vivit.weights import size_of

    config = size_of(name)
    config["num_attention_heads"] = HEADS.get(size, config["num_attention_heads"])
    return vivit_encoder(config=config, **options, attention="factorised_dot_product")


def costs(title: str, towers: dict, frames: list[int], rounds: int) -> None:
    """Milliseconds of a frame, its cost beside the ResNet's and beside joint windows, parameters, memory."""
    clips = torch.randint(0, 256, (len(frames), max(frames), PIXELS, PIXELS), dtype=torch.uint8)
    lengths, resnet = torch.tensor(frames), ResNetFrontend(feature_rate="tubelet").eval()
    rows: dict[str, Callable] = {"Conv3d-ResNet18, 88 pixels": lambda: resnet(clips[..., MOUTH, MOUTH], lengths)}
    rows |= {label: lambda tower=tower: tower(clips, lengths) for label, tower in towers.items()}
    times = in_turns(rows, rounds)
    first, joint = list(rows)[:2]
    print(f"\n{title}: cost of a frame\n")
    print("| frontend | ms | ResNet18 = 1 | joint = 1 | M parameters | MB |\n|:--|---:|---:|---:|---:|---:|")
    for label, run in rows.items():
        module = towers.get(label, resnet)
        beside = [f"{1 / paired_ratio(times[base], times[label]):.2f}" for base in (first, joint)]
        cells = [f"{1e3 * statistics.median(times[label]) / sum(frames):.2f}", *beside]
        cells += [f"{sum(p.numel() for p in module.parameters()) / 1e6:.1f}", f"{watched(run)[0] / 1e6:.0f}"]
        print(f"| {label} | {' | '.join(cells)} |", flush=True)


def long_clips(towers: dict, longest_s: int) -> None:
    """A second of a long clip must not cost more than one of a short clip, nor hold more and more memory."""
    print("\na second of video, and what is held beyond input and output\n")
    print("| frontend | clip | ms per second | MB |\n|:--|---:|---:|---:|")
    for label in (label for label in LONG if label in towers):
        for seconds in sorted({6, 60, longest_s}):
            clip = torch.randint(0, 256, (1, seconds * VIDEO_RATE_HZ, PIXELS, PIXELS), dtype=torch.uint8)
            run = {label: lambda tower=towers[label], clip=clip: tower(clip)}
            each = 1e3 * min(in_turns(run, 1)[label]) / seconds
            held, features = watched(run[label])
            print(f"| {label} | {seconds} s | {each:.0f} | {(held - features.nbytes) / 1e6:.0f} |", flush=True)


def streams(tower: torch.nn.Module) -> None:
    """A clip that arrives in pieces: what it costs beside the whole clip, and how far its answer is from it."""
    clip = torch.randint(0, 256, (CLIP, PIXELS, PIXELS), dtype=torch.uint8)
    print("\na causal clip that arrives in pieces\n\n| frames at a time | cost, whole clip = 1 | largest difference |")
    print("|---:|---:|---:|")
    for chunk in (1, 2, 4, 16, 50):
        rows = {"whole": lambda: tower(clip[None])[0], "stream": lambda chunk=chunk: streamed(tower, clip, chunk)}
        times = in_turns(rows, 2)
        difference = (rows["stream"]() - rows["whole"]()).abs().max()
        print(f"| {chunk} | {1 / paired_ratio(times['whole'], times['stream']):.2f} | {difference:.1e} |", flush=True)


def streamed(tower: torch.nn.Module, clip: torch.Tensor, chunk: int) -> torch.Tensor:
    stream = tower.stream()
    return torch.cat([*(stream(clip[i : i + chunk]) for i in range(0, len(clip), chunk)), stream.finish()])


if __name__ == "__main__":
    main()
