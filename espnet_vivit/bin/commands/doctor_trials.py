"""What `espnet-vivit doctor` tries: parts that fail in ways a version does not show. Each trial is a Finding.

Nothing here raises because something is missing: that is what is to be found out.
"""

import logging
from collections.abc import Callable
from importlib import metadata
from typing import Literal

from espnet_vivit.base.finding import OK, Finding
from espnet_vivit.errors import ConfigError, EspnetVivitError

VIVIT = "google/vivit-b-16x2-kinetics400"
ABSENT, BROKEN = "absent", "BROKEN"  # most things work without it; nothing does
CODECS: dict[Literal["r", "w"], tuple[str, ...]] = {  # PyAV's mode -> FFmpeg's names
    "r": ("h264", "hevc", "av1", "vp9", "vp8", "mpeg1video", "mpeg2video", "mpeg4", "aac", "opus", "mp3"),
    "w": ("ffv1", "libx264", "flac"),
}
NEEDED_CODECS = (("h264", "r"), ("ffv1", "w"))
REINSTALL_AV = "pip install --force-reinstall av"
MAX_FOUR_BIT_ERROR = 0.3  # of a layer's output; NF4 errs by about a tenth


def installed_version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def try_devices() -> Finding:
    """Whether torch loads, and what it can compute on."""
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: one of its libraries cannot be loaded
        return Finding(
            BROKEN, "torch loads", str(error).splitlines()[0], "pip install --force-reinstall torch torchaudio"
        )
    if not torch.cuda.is_available():
        return Finding(OK, "torch computes on", f"CPU, {torch.get_num_threads()} threads (no CUDA device)")
    devices = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    listed = ", ".join(f"{device.name} ({device.total_memory / 2**30:.0f} GiB)" for device in devices)
    return Finding(OK, "torch computes on", listed)


def try_precision() -> Finding:
    """In which dtypes mixed precision (`amp_dtype`) computes natively on this machine's devices."""
    try:
        import torch

        from espnet_vivit.model.precision import AMP_DTYPES, check_amp_dtype
    except (ImportError, OSError) as error:
        return Finding(ABSENT, "mixed precision", str(error).splitlines()[0], "see torch above")
    devices = [torch.device("cpu")] + [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
    parts = []
    for device in devices:
        dtypes = []
        for name, dtype in AMP_DTYPES.items():
            if dtype is None:
                continue
            try:
                check_amp_dtype(name, device)
                with torch.autocast(device.type, dtype=dtype):
                    product = torch.ones(8, 8, device=device) @ torch.ones(8, 8, device=device)
            except (ConfigError, RuntimeError):
                continue  # refused or failed: this device lacks the dtype
            if product.dtype is dtype and float(product[0, 0]) == 8:
                dtypes.append(name)
        parts.append(f"{device}: {' or '.join(dtypes) or 'none'}")
    return Finding(OK, "mixed precision", "; ".join(parts))


def try_video() -> Finding:
    """Whether codecs are there: those that corpora are read from and drawn to, and those of other people's videos."""
    try:
        from av.codec import Codec
    except (ImportError, OSError) as error:
        return Finding(BROKEN, "video codecs", str(error).splitlines()[0], REINSTALL_AV)
    missing = []
    for mode, names in CODECS.items():
        for name in names:
            try:
                Codec(name, mode)
            except (ImportError, OSError, ValueError):  # PyAV: an unknown codec is a ValueError
                missing.append((name, mode))
    if needed := [name for name, mode in missing if (name, mode) in NEEDED_CODECS]:
        return Finding(BROKEN, "video codecs", "no " + ", ".join(needed), REINSTALL_AV)
    here = [name for mode, names in CODECS.items() for name in names if (name, mode) not in missing]
    if missing:
        return Finding(ABSENT, "video codecs", "no " + ", ".join(name for name, _ in missing), REINSTALL_AV)
    return Finding(OK, "video codecs", ", ".join(here))


def try_haar() -> Finding:
    """Whether OpenCV finds its cascades: the detector that needs no other file. Transcribing needs one of the two."""
    from espnet_vivit.media.faces.detectors import haar, mediapipe

    if (reason := haar.missing()) is not None:
        state = ABSENT if mediapipe.missing() is None else BROKEN
        return Finding(state, "faces by Haar", reason, "pip install 'espnet-vivit[media]'")
    return Finding(OK, "faces by Haar", f"OpenCV {installed_version('opencv-python-headless') or ''}".rstrip())


def try_mediapipe() -> Finding:
    """Whether MediaPipe computes with its model file: more exact than Haar, and it measures the lips."""
    import numpy as np

    from espnet_vivit.media.faces.detectors import mediapipe

    name, reason = "faces by MediaPipe", mediapipe.missing()
    if reason is None:
        detector = mediapipe.MediapipeDetector()
        try:
            detector.detect(np.full((64, 64, 3), 128, np.uint8))
        except EspnetVivitError as error:
            reason = str(error)
        finally:
            detector.close()
    if reason is not None:
        return Finding(ABSENT, name, reason, f"{mediapipe.how_to_install()}; without it faces are found by Haar")
    return Finding(OK, name, f"MediaPipe {installed_version('mediapipe') or ''}".rstrip())


def try_four_bits() -> Finding:
    """Whether bitsandbytes can store a layer in 4 bits and compute with it, on the GPU if there is one."""
    name = "4-bit weights"
    try:
        import torch

        from espnet_vivit.model.adapters.config import AdapterConfig
        from espnet_vivit.model.adapters.quantize import quantize_linears

        logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # kernels it would rather have are no finding
        device = "cuda" if torch.cuda.is_available() else "cpu"
        layers = torch.nn.Sequential(torch.nn.Linear(64, 64)).to(device)
        given = torch.randn(4, 64, device=device)
        with torch.no_grad():
            exact = layers(given)
            quantize_linears("a trial", layers, AdapterConfig(type="qlora"), None)
            error = float((layers(given) - exact).norm() / exact.norm())
    except (EspnetVivitError, ImportError, OSError, RuntimeError) as error:
        return Finding(ABSENT, name, str(error).splitlines()[0], "pip install 'espnet-vivit[qlora]'")
    if not error < MAX_FOUR_BIT_ERROR:
        found = f"wrong by {100 * error:.0f} % on {device}"
        return Finding(ABSENT, name, found, "pip install --upgrade bitsandbytes, or use type: lora")
    return Finding(OK, name, f"bitsandbytes {installed_version('bitsandbytes')} on {device}")


def try_espeak() -> Finding:
    """Whether espeak-ng, wherever it comes from, can be loaded."""
    try:
        from espnet_vivit.corpora.mini_av.speech import espeak_version

        return Finding(OK, "espeak-ng", espeak_version())
    except (EspnetVivitError, ImportError) as error:
        return Finding(ABSENT, "espeak-ng", "cannot be loaded", str(error))


def try_weights() -> Finding:
    """Whether ViViT's published weights are in the local cache; without network nothing else can bring them."""
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError as error:
        return Finding(BROKEN, "Hugging Face hub", str(error), "pip install huggingface-hub")
    files = ("model.safetensors", "pytorch_model.bin")
    if any(isinstance(try_to_load_from_cache(VIVIT, name), str) for name in files):
        return Finding(OK, "ViViT weights", f"{VIVIT}, cached")
    return Finding(ABSENT, "ViViT weights", "not cached", f"with network: hf download {VIVIT}; else pretrained=False")


TRIALS: tuple[Callable[[], Finding], ...] = (
    try_devices,
    try_precision,
    try_four_bits,
    try_video,
    try_haar,
    try_mediapipe,
    try_espeak,
    try_weights,
)  # in the order of the report
