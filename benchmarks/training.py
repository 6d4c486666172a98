"""What a training step costs: time, frames per second, peak memory, trainable bytes; and MFU on a GPU.

    python benchmarks/training.py                      CPU: the towers at full size, one window, a small Conformer
    python benchmarks/training.py --device cuda        all at full size, 8 × 96 frames

Rows are a visual tower (ViViT-B at 96 pixels, Conv3d-ResNet18) trained in full, frozen, with LoRA or with QLoRA, in
float32 (no TF32) or bfloat16, with and without gradient checkpointing of tower and Conformer; behind it the same
Conformer, CTC and decoder, which all train. Weights are random: cost does not depend on them.

Each row has a process of its own. Its peak memory is what tensors take at most in a step: weights, gradients,
optimizer state, activations; on a GPU by torch.cuda.max_memory_allocated, on the CPU by the records of PyTorch's
allocator in a step that is not timed. With one thread on the CPU, seconds are those of processor time, which other
programs do not change. MFU is the model's multiplications and additions (counted by PyTorch's FlopCounterMode on a step
without checkpointing, times 2) per second, over the peak given by --peak_tflops, dense, of the row's dtype;
recomputation is not counted.
"""

import argparse
import gc
import json
import multiprocessing
import statistics
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable

import torch
from measure import machine, peak_bytes
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils.flop_counter import FlopCounterMode

from espnet_vivit import E2E
from espnet_vivit.tasks.training.recompute import checkpoint_towers

WAYS = ("full", "frozen", "lora", "qlora")
DTYPES = {"fp32": "none", "bf16": "bfloat16"}
FULL = {
    "vivit": {"config": {}, "pixels": 96},  # VivitConfig's own sizes: B, 16 × 16 pixels, 2 frames
    "resnet": {"channels": 64, "pixels": 88},
    "conformer": {"output_size": 768, "attention_heads": 12, "linear_units": 3072, "num_blocks": 12},
    "decoder": {"num_blocks": 6},
    "batch": (8, 96),
}
REDUCED = FULL | {
    "conformer": {"output_size": 256, "attention_heads": 4, "linear_units": 1024, "num_blocks": 2},
    "decoder": {"num_blocks": 1},
    "batch": (1, 32),
}
VOCABULARY, TOKENS, LEARNING_RATE = 500, 12, 1e-4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--size", choices=["full", "reduced"], help="default: full on cuda, reduced on cpu")
    parser.add_argument("--steps", type=int, default=2, help="timed, after others (%(default)s)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--peak_tflops", type=json.loads, default={}, help='for MFU: {"fp32": 67, "bf16": 989} (H200)')
    parser.add_argument("--batch", nargs=2, type=int, metavar=("UTTERANCES", "FRAMES"), help="other than the size's")
    parser.add_argument("--towers", nargs="*", choices=["vivit", "resnet"], default=["vivit", "resnet"])
    parser.add_argument("--ways", nargs="*", choices=WAYS, default=list(WAYS), help="how the tower is trained")
    options = parser.parse_args()
    options.size = options.size or ("full" if options.device == "cuda" else "reduced")
    sizes = FULL if options.size == "full" else REDUCED
    options.batch = utterances, frames = options.batch or sizes["batch"]
    where = machine() if options.device == "cpu" else "cuda"
    print(f"{where}, {options.size} size, {utterances} × {frames} frames, {options.threads} thread(s), ", end="")
    print(f"torch {torch.__version__}, median of {options.steps} steps\n")
    print("| tower | trained | dtype | recomputed | s/step | × fp32 | frames/s | peak MiB | of full fp32 |", end="")
    print(" trainable MiB | MFU |\n|---|---|---|---|---:|---:|---:|---:|---:|---:|---:|", flush=True)
    with tempfile.TemporaryDirectory(prefix="training_benchmark_") as folder:
        if "vivit" in options.towers:
            in_its_own_process(save_tower, sizes["vivit"], folder)
        for tower in options.towers:
            print_rows(options, tower, folder)


def print_rows(options: argparse.Namespace, tower: str, folder: str) -> None:
    utterances, frames = options.batch
    full, exact = None, {}  # bytes of full fp32; seconds of fp32 by the rest of the row
    for row in rows(tower, options.ways):
        found = in_its_own_process(measure, options, folder, **row)
        if "error" not in found:
            full = found["peak"] if full is None and row["way"] == "full" else full
            exact.setdefault((row["way"], row["recompute"]), found["seconds"])
        peak = options.peak_tflops.get(row["dtype"])
        print(line(row, found, utterances * frames, full, exact.get((row["way"], row["recompute"])), peak), flush=True)


def rows(tower: str, ways: list[str]):
    for way in ways:
        if tower == "resnet" and way == "qlora":
            continue  # nothing in it is a linear layer, and its checkpoint has no name to be found again by
        for dtype in DTYPES:
            for recompute in (False, True):
                yield {"tower": tower, "way": way, "dtype": dtype, "recompute": recompute}


def in_its_own_process(run: Callable, *args, **options) -> dict:
    """What `run` returns. Forked, so that nothing is imported again, and before anything has touched the GPU."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_run_and_send, args=(sender, run, args, options))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        return {"error": f"killed, exit code {process.exitcode}"}
    finally:
        process.join()


def _run_and_send(sender, run: Callable, args: tuple, options: dict) -> None:
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        sender.send(run(*args, **options))
    except Exception as error:
        traceback.print_exc()
        sender.send({"error": f"{type(error).__name__}: {error}".splitlines()[0]})


def line(
    row: dict, found: dict, frames: int, full: float | None, exact: float | None, peak_tflops: float | None
) -> str:
    start = f"| {row['tower']} | {row['way']} | {row['dtype']} | {'yes' if row['recompute'] else 'no'} | "
    if "error" in found:
        return start + found["error"] + " |"
    mfu = f"{found['flops'] / found['seconds'] / peak_tflops / 1e12:.0%}" if peak_tflops and found["flops"] else "–"
    share = "–" if full is None else f"{found['peak'] / full:.0%}"
    return start + (
        f"{found['seconds']:.3f} | {exact / found['seconds']:.2f} | {frames / found['seconds']:.0f} | "
        f"{found['peak'] / 2**20:.0f} | {share} | {found['trainable'] / 2**20:.1f} | {mfu} |"
    )


# --- one row ---


def measure(options: argparse.Namespace, folder: str, *, tower: str, way: str, dtype: str, recompute: bool) -> dict:
    """{"seconds", "peak", "trainable", "flops"} of a training step, in seconds, bytes and operations."""
    torch.set_num_threads(options.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    sizes = FULL if options.size == "full" else REDUCED
    torch.manual_seed(0)
    batch = make_batch(options.batch, sizes[tower]["pixels"], options.device)
    model = build(sizes, tower, way, dtype, folder).to(options.device).train()
    flops = count_flops(model, batch) if options.device == "cuda" else 0
    if recompute:
        checkpoint_towers(model.towers(), ["encoder"] if way == "frozen" else ["vision_encoder", "encoder"])
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=LEARNING_RATE)

    def step() -> None:
        loss, _, _ = model(**batch)
        loss.sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    if options.device == "cuda":
        step()
        times, peak = timed_on_cuda(step, options.steps)
    else:
        step()  # the optimizer's state is there from now on
        peak = held_bytes() + peak_bytes(step)
        clock = time.process_time if options.threads == 1 else time.perf_counter
        times = [seconds_of(step, clock) for _ in range(options.steps)]
    trainable = sum(parameter.numel() * parameter.element_size() for parameter in trained)
    return {"seconds": statistics.median(times), "peak": peak, "trainable": trainable, "flops": flops}


def timed_on_cuda(step: Callable, steps: int) -> tuple[list[float], int]:
    """(seconds, bytes at most)"""

    def finished() -> None:
        step()
        torch.cuda.synchronize()

    gc.collect()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    return [seconds_of(finished, time.perf_counter) for _ in range(steps)], torch.cuda.max_memory_allocated()


def seconds_of(run: Callable, clock: Callable[[], float]) -> float:
    begun_s = clock()
    run()
    return clock() - begun_s


def held_bytes() -> int:
    """The bytes of all dense tensors that exist, including scales of 4-bit weights and the optimizer's state."""
    gc.collect()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # looking at some objects imports what they stand for
        tensors = [thing for thing in gc.get_objects() if issubclass(type(thing), torch.Tensor)]
        tensors = [
            tensor for tensor in tensors if tensor.layout is torch.strided and not isinstance(tensor, FakeTensor)
        ]
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(storages.values())


def make_batch(shape: tuple[int, int], pixels: int, device: str) -> dict:
    utterances, frames = shape
    batch = {
        "video": torch.randint(0, 256, (utterances, frames, pixels, pixels), dtype=torch.uint8),
        "text": torch.randint(1, VOCABULARY - 1, (utterances, TOKENS)),
    }
    lengths = {"video_lengths": torch.full((utterances,), frames), "text_lengths": torch.full((utterances,), TOKENS)}
    return {name: value.to(device) for name, value in (batch | lengths).items()}


def build(sizes: dict, tower: str, way: str, dtype: str, folder: str) -> E2E:
    options = {"encoder_conf": sizes["conformer"], "decoder_conf": sizes["decoder"], "amp_dtype": DTYPES[dtype]}
    options |= {"ctc_weight": 0.1, "report_cer": False, "report_wer": False}
    if tower == "resnet":
        options["vision_encoder_conf"] = {"channels": sizes[tower]["channels"]}
        targets = {"target_modules": ["conv1", "conv2"]}
    else:
        conf = {"model_name": folder, "image_size": sizes[tower]["pixels"]}
        options["vision_encoder_conf"] = {**conf, "frame_adjust": "window", "frozen": way == "frozen"}
        targets = {}
    if way in ("lora", "qlora"):
        options["tower_adapters"] = {"vision_encoder": {"type": way, "r": 16, **targets}}
    model = E2E(VOCABULARY, vision_encoder=tower, **options)
    if tower == "resnet" and way == "frozen":
        model.vision_encoder.requires_grad_(False)
    return model


def save_tower(size: dict, folder: str) -> dict:
    """Random weights in `folder`: qlora takes only what it could find again."""
    from espnet_vivit import vivit_encoder

    config = {"image_size": size["pixels"], **size["config"]}
    vivit_encoder(pretrained=False, image_size=size["pixels"], config=config).vivit.save_pretrained(folder)
    return {}


def count_flops(model: E2E, batch: dict) -> int:
    with FlopCounterMode(display=False) as counter:
        loss, _, _ = model(**batch)
        loss.sum().backward()
    model.zero_grad(set_to_none=True)
    return counter.get_total_flops()


if __name__ == "__main__":
    main()
