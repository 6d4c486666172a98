"""Measure the seconds of each part of a training step: preprocessing, model parts and optimizer.

    python benchmarks/step.py                                               the recipe of GRID's lip reader
    python benchmarks/step.py --config conf/train_tiny_both.yaml --frames 75 --batch 8

Clips are noise, weights are random. Preprocessing, with the configuration's augmentation, runs in processes of its own
in a training (`num_workers`): it counts only where it takes longer than the rest together. Seconds are those of the
processor, with one thread.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from measure import machine
from torch import nn

from espnet_vivit import E2E, AVSRTask
from espnet_vivit.units import AUDIO_RATE_HZ, MOUTH_SIZE, STREAMS_OF, VIDEO_RATE_HZ

GRID = Path(__file__).resolve().parents[1] / "egs" / "grid" / "avsr1" / "conf" / "train_vsr_vivit.yaml"
WORDS = [f"word{number}" for number in range(51)]
WORDS_PER_S = 2.0
TOWERS, ENCODER, LOSSES = "towers and fusion", "encoder", "CTC, decoder and losses"
clock = time.process_time


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=GRID, help="training configuration (default: GRID's)")
    parser.add_argument("--batch", type=int, default=8, help="clips in a batch (default: 8)")
    parser.add_argument("--frames", type=int, default=75, help="frames of a clip (default: 75)")
    parser.add_argument("--steps", type=int, default=20, help="timed steps (default: 20)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{machine()}, one thread, torch {torch.__version__}: {options.config.name}, ", end="")
    print(f"{options.batch} clips of {options.frames} frames, median of {options.steps} steps\n")
    found = measure(options.config, batch=options.batch, frames=options.frames, steps=options.steps)
    whole = sum(each for name, each in found.items() if name != "preprocessing")
    print("| part | ms | share of the step |\n|:--|---:|---:|")
    for name, seconds in sorted(found.items(), key=lambda item: -item[1]):
        share = "beside it" if name == "preprocessing" else f"{seconds / whole:.0%}"
        print(f"| {name} | {1e3 * seconds:.1f} | {share} |")
    print(f"| a step | {1e3 * whole:.1f} | |")


def measure(config: Path, *, batch: int, frames: int, steps: int) -> dict[str, float]:
    """Median seconds of each part in a training step, its forward and backward passes together."""
    args = AVSRTask.get_parser().parse_args(["--config", str(config), "--token_type", "word"])
    args.preprocessor_conf.pop("noise_scp", None)  # it would need a corpus
    args.token_list = ["<blank>", "<unk>", *WORDS, "<sos/eos>"]
    torch.manual_seed(0)
    preprocess, collate = AVSRTask.build_preprocess_fn(args, train=True), AVSRTask.build_collate_fn(args, train=True)
    model = AVSRTask.build_model(args).train()
    (optimizer,) = AVSRTask.build_optimizers(args, model)
    clips = [draw_clip(args.modality, frames, word_times=model.frame_loss_weight > 0) for _ in range(batch)]
    stamps = watch(model)
    rows = []
    for _ in range(1 + steps):
        begun_s = clock()
        _, inputs = collate([(str(number), preprocess(str(number), dict(one))) for number, one in enumerate(clips)])
        stamps.clear()
        stamps["begin"] = clock()
        loss, _, _ = model(**inputs)
        stamps["loss"] = clock()
        loss.sum().backward()
        stamps["end"] = clock()
        nn.utils.clip_grad_norm_(model.parameters(), args.grad_clip)
        optimizer.step()
        optimizer.zero_grad()
        rows.append(parts(stamps) | {"preprocessing": stamps["begin"] - begun_s, "optimizer": clock() - stamps["end"]})
    return {name: statistics.median(row[name] for row in rows[1:]) for name in rows[0]}


def watch(model: E2E) -> dict[str, float]:
    """Fill the returned stamps in each step: when an output is there, and when its gradient is complete."""
    stamps: dict[str, float] = {}

    def stamp(name: str) -> Callable:
        def hook(module: nn.Module, inputs: tuple, output: torch.Tensor | tuple) -> None:
            stamps[name] = clock()
            states = output[0] if isinstance(output, tuple) else output
            states = states[0] if isinstance(states, tuple) else states  # with intermediate CTC
            states.register_hook(lambda gradient: stamps.update({f"{name}'s gradient": clock()}))

        return hook

    model.fusion.register_forward_hook(stamp("fusion"))
    model.encoder.register_forward_hook(stamp("encoder"))
    return stamps


def parts(stamps: dict[str, float]) -> dict[str, float]:
    after = {
        TOWERS: [("begin", "fusion"), ("fusion's gradient", "end")],
        ENCODER: [("fusion", "encoder"), ("encoder's gradient", "fusion's gradient")],
        LOSSES: [("encoder", "loss"), ("loss", "encoder's gradient")],
    }
    return {name: sum(stamps[end] - stamps[begin] for begin, end in spans) for name, spans in after.items()}


def draw_clip(modality: str, frames: int, *, word_times: bool) -> dict:
    rng = np.random.default_rng(0)
    count = max(1, round(WORDS_PER_S * frames / VIDEO_RATE_HZ))
    chosen = rng.choice(WORDS, count)
    clip = {
        "text": " ".join(chosen),
        "video": rng.integers(0, 256, (frames, MOUTH_SIZE, MOUTH_SIZE), dtype=np.uint8),
        "speech": rng.normal(0, 0.1, frames * AUDIO_RATE_HZ // VIDEO_RATE_HZ).astype(np.float32),
    }
    kept = {name: value for name, value in clip.items() if name == "text" or name in STREAMS_OF[modality]}
    if word_times:
        edges = np.linspace(0, frames / VIDEO_RATE_HZ, count + 1)
        kept["word_times"] = " ".join(f"{b:.3f}:{e:.3f}:{w}" for b, e, w in zip(edges, edges[1:], chosen, strict=False))
    return kept


if __name__ == "__main__":
    main()
