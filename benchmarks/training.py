"""What a training step costs: time, frames per second, peak memory, trainable bytes; and MFU on a GPU.

    python benchmarks/training.py                      CPU: reduced sizes, small batch
    python benchmarks/training.py --device cuda        full size: ViViT-B at 96 pixels and Conv3d-ResNet18

Rows are a visual tower trained in full, frozen, with LoRA or with QLoRA, in float32 (no TF32) or bfloat16, with and
without gradient checkpointing of tower and Conformer; behind it the same Conformer, CTC and decoder, which all train.
Each row has a process of its own, so that its peak memory is its own: on a GPU what tensors took at most, on the CPU
how far the resident size rose above that before the model was built. Weights are random: cost does not depend on them.
MFU is the model's multiplications and additions (counted by PyTorch's FlopCounterMode on a step without checkpointing,
times 2) per second, over the peak given by --peak_tflops, dense, of the row's dtype; recomputation is not counted.
"""

import argparse
import gc
import json
import multiprocessing
import resource
import statistics
import tempfile
import time
import traceback

import torch
from torch.utils.flop_counter import FlopCounterMode

from espnet_vivit import E2E
from espnet_vivit.tasks.recompute import checkpoint_towers

WAYS = ("full", "frozen", "lora", "qlora")
DTYPES = {"fp32": "none", "bf16": "bfloat16"}
FULL = {
    "vivit": {"config": {}, "pixels": 96},  # VivitConfig's own sizes: B, 16 × 16 pixels, 2 frames
    "resnet": {"channels": 64, "pixels": 88},
    "conformer": {"output_size": 768, "attention_heads": 12, "linear_units": 3072, "num_blocks": 12},
    "decoder": {"num_blocks": 6},
    "batch": (8, 96),
}
TINY = {"hidden_size": 192, "num_hidden_layers": 4, "num_attention_heads": 3, "intermediate_size": 768}
REDUCED = {
    "vivit": {"config": TINY, "pixels": 96},
    "resnet": {"channels": 16, "pixels": 48},
    "conformer": {"output_size": 144, "attention_heads": 4, "linear_units": 576, "num_blocks": 2},
    "decoder": {"num_blocks": 1},
    "batch": (2, 48),
}
VOCABULARY, TOKENS, LEARNING_RATE = 500, 12, 1e-4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--size", choices=["full", "reduced"], help="default: full on cuda, reduced on cpu")
    parser.add_argument("--steps", type=int, default=3, help="timed steps after one that is not (%(default)s)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--peak_tflops", type=json.loads, default={}, help='for MFU: {"fp32": 67, "bf16": 989} (H200)')
    parser.add_argument("--towers", nargs="*", choices=["vivit", "resnet"], default=["vivit", "resnet"])
    parser.add_argument("--ways", nargs="*", choices=WAYS, default=list(WAYS), help="how the tower is trained")
    options = parser.parse_args()
    options.size = options.size or ("full" if options.device == "cuda" else "reduced")
    sizes = FULL if options.size == "full" else REDUCED
    utterances, frames = sizes["batch"]
    print(
        f"{options.device}, {options.size} size, {utterances} × {frames} frames, {options.threads} thread(s), ", end=""
    )
    print(f"torch {torch.__version__}, median of {options.steps} steps\n")
    print(
        "| tower  | trained | dtype | recomputed | s/step | frames/s | peak MiB | of full fp32 | trainable MiB | MFU |"
    )
    print(
        "|--------|---------|-------|------------|-------:|---------:|---------:|-------------:|--------------:|----:|"
    )
    for tower in options.towers:
        full = None
        for row in rows(tower, options.ways):
            found = in_its_own_process(options, row)
            full = full or found.get("peak")
            print(line(row, found, utterances * frames, full, options.peak_tflops), flush=True)


def rows(tower: str, ways: list[str]):
    for way in ways:
        if tower == "resnet" and way == "qlora":
            continue  # nothing in it is a linear layer, and its checkpoint has no name to be found again by
        for dtype in DTYPES:
            for recompute in (False, True):
                yield {"tower": tower, "way": way, "dtype": dtype, "recompute": recompute}


def in_its_own_process(options: argparse.Namespace, row: dict) -> dict:
    """Forked, so that nothing is imported again, and before anything has touched the GPU."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measure_and_send, args=(sender, options, row))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        return {"error": f"killed, exit code {process.exitcode}"}
    finally:
        process.join()


def _measure_and_send(sender, options: argparse.Namespace, row: dict) -> None:
    try:
        sender.send(measure(options, **row))
    except Exception as error:
        traceback.print_exc()
        sender.send({"error": f"{type(error).__name__}: {error}".splitlines()[0]})


def line(row: dict, found: dict, frames: int, full: float | None, peaks: dict) -> str:
    start = f"| {row['tower']:6} | {row['way']:7} | {row['dtype']:5} | {'yes' if row['recompute'] else 'no':10} | "
    if "error" in found:
        return start + found["error"]
    peak = peaks.get(row["dtype"])
    mfu = f"{found['flops'] / found['seconds'] / peak / 1e12:.0%}" if peak else "–"
    return start + (
        f"{found['seconds']:6.3f} | {frames / found['seconds']:8.0f} | {found['peak'] / 2**20:8.0f} | "
        f"{found['peak'] / full:12.0%} | {found['trainable'] / 2**20:13.1f} | {mfu:>3} |"
    )


# --- one row ---


def measure(options: argparse.Namespace, *, tower: str, way: str, dtype: str, recompute: bool) -> dict:
    """{"seconds", "peak", "trainable", "flops"} of a training step, in seconds, bytes and operations."""
    torch.set_num_threads(options.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    sizes = FULL if options.size == "full" else REDUCED
    torch.manual_seed(0)
    batch = make_batch(sizes, tower, options.device)
    if way in ("lora", "qlora"):
        from espnet_vivit.adapters import attach, quantize

        attach._import_peft(), way == "qlora" and quantize._import_bitsandbytes()  # their code is not the step's memory
    before = resident_bytes()
    model = build(sizes, tower, way, dtype).to(options.device).train()
    flops = count_flops(model, batch) if options.device == "cuda" else 0
    if recompute:
        checkpoint_towers(model.towers(), ["encoder"] if way == "frozen" else ["vision_encoder", "encoder"])
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=LEARNING_RATE)
    gc.collect()
    if options.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    times = []
    for _ in range(options.steps + 1):
        begun_s = time.perf_counter()
        optimizer.zero_grad()
        loss, _, _ = model(**batch)
        loss.sum().backward()
        optimizer.step()
        if options.device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - begun_s)
    peak = torch.cuda.max_memory_allocated() if options.device == "cuda" else peak_resident_bytes() - before
    trainable = sum(parameter.numel() * parameter.element_size() for parameter in trained)
    return {"seconds": statistics.median(times[1:]), "peak": peak, "trainable": trainable, "flops": flops}


def make_batch(sizes: dict, tower: str, device: str) -> dict:
    utterances, frames = sizes["batch"]
    pixels = sizes[tower]["pixels"]
    batch = {
        "video": torch.randint(0, 256, (utterances, frames, pixels, pixels), dtype=torch.uint8),
        "text": torch.randint(1, VOCABULARY - 1, (utterances, TOKENS)),
    }
    lengths = {"video_lengths": torch.full((utterances,), frames), "text_lengths": torch.full((utterances,), TOKENS)}
    return {name: value.to(device) for name, value in (batch | lengths).items()}


def build(sizes: dict, tower: str, way: str, dtype: str) -> E2E:
    options = {"encoder_conf": sizes["conformer"], "decoder_conf": sizes["decoder"], "amp_dtype": DTYPES[dtype]}
    options |= {"ctc_weight": 0.1, "report_cer": False, "report_wer": False}
    if tower == "resnet":
        options["vision_encoder_conf"] = {"channels": sizes[tower]["channels"]}
        targets = {"target_modules": ["conv1", "conv2"]}
    else:
        conf = {"model_name": saved_tower(sizes[tower]), "image_size": sizes[tower]["pixels"]}
        options["vision_encoder_conf"] = {**conf, "frame_adjust": "window", "frozen": way == "frozen"}
        targets = {}
    if way in ("lora", "qlora"):
        options["tower_adapters"] = {"vision_encoder": {"type": way, "r": 16, **targets}}
    model = E2E(VOCABULARY, vision_encoder=tower, **options)
    if tower == "resnet" and way == "frozen":
        model.vision_encoder.requires_grad_(False)
    return model


def saved_tower(size: dict) -> str:
    """A folder with random weights: qlora takes only what it could find again."""
    from espnet_vivit import vivit_encoder

    folder = tempfile.mkdtemp(prefix="training_benchmark_")
    config = {"image_size": size["pixels"], **size["config"]}
    vivit_encoder(pretrained=False, image_size=size["pixels"], config=config).vivit.save_pretrained(folder)
    return folder


def count_flops(model: E2E, batch: dict) -> int:
    with FlopCounterMode(display=False) as counter:
        loss, _, _ = model(**batch)
        loss.sum().backward()
    model.zero_grad(set_to_none=True)
    return counter.get_total_flops()


def resident_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as fields:
        return int(fields.read().split()[1]) * resource.getpagesize()


def peak_resident_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
