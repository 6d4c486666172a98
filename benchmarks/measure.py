"""What the benchmarks measure with: times in turns, peak memory, the rate of matrix products, the machine's name."""

import statistics
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

BFLOAT16_FLAGS = ("amx_bf16", "avx512_bf16")
PEAK_SHAPE = (577, 768, 3072)  # the matrix product that ViViT-B spends most of its time in


def in_turns(rows: Mapping[str, Callable], rounds: int, *, device: str = "cpu") -> dict[str, list[float]]:
    """Seconds of each row's runs, one of each row a round, so that all see the same machine; one round is not counted.

    With one thread of a CPU these are seconds of processor time, which other programs do not change; on a GPU each run
    is waited for. Ratios are to be taken within a round.
    """
    on_gpu = device.startswith("cuda")
    clock = time.process_time if torch.get_num_threads() == 1 and not on_gpu else time.perf_counter
    wait = torch.cuda.synchronize if on_gpu else lambda: None
    seconds = {label: [] for label in rows}
    for _ in range(1 + rounds):
        for label, run in rows.items():
            wait()
            begun = clock()
            run()
            wait()
            seconds[label].append(clock() - begun)
    return {label: each[1:] for label, each in seconds.items()}


def paired_ratio(baseline: list[float], ours: list[float]) -> float:
    """How many times faster: the median over rounds."""
    return statistics.median(a / b for a, b in zip(baseline, ours, strict=True))


def peak_bytes(run: Callable) -> int:
    """What PyTorch's CPU allocator holds at most during a run, beyond what was held before."""
    return watched(run)[0]


def watched(run: Callable) -> tuple[int, Any]:
    """`peak_bytes` of a run, and what it returned."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says how its own events are kept
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as records:
            result = run()
    held = peak = 0
    for event in records.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak, result


def matmul(dtype: torch.dtype, *, packed: bool = False, repeats: int = 10) -> tuple[Callable, float]:
    """A row of matrix products and its number of floating point operations (two for each multiplication and sum).

    packed: the second factor is arranged for oneDNN beforehand, as `pack_weights` does.
    """
    m, k, n = PEAK_SHAPE
    a, b = torch.randn(m, k).to(dtype), torch.randn(k, n).to(dtype)
    flops = 2.0 * m * k * n * repeats
    if not packed:
        return lambda: [a @ b for _ in range(repeats)], flops
    weight = torch.ops.mkldnn._reorder_linear_weight(b.t().contiguous(), None)
    product = torch.ops.mkldnn._linear_pointwise
    return lambda: [product(a, weight, None, "none", [], "") for _ in range(repeats)], flops


def machine() -> str:
    """Processor and what it has for bfloat16."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").is_file() else []
    facts = dict(line.split(":", 1) for line in lines if ":" in line)
    facts = {name.strip(): value.strip() for name, value in facts.items()}
    flags = facts.get("flags", "").split()
    bfloat16 = [name for name in BFLOAT16_FLAGS if name in flags] or ["no arithmetic for bfloat16"]
    return (
        f"{facts.get('model name', 'unknown CPU')} ({torch.backends.cpu.get_cpu_capability()}, {', '.join(bfloat16)})"
    )
