"""Mixed precision by the name of its dtype: `amp_dtype: float16 | bfloat16 | none`.

In: a name and the device of the data. Out: the context in which the model computes, and the one in which it computes
losses (float32). PyTorch also accepts dtypes that a device only emulates, slower than float32: those are refused. The
context is opened inside the model, so that it holds wherever the model is called from, also on the CPU.
"""

import logging
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn

from espnet_vivit.errors import ConfigError, unknown_name

AMP_DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "none": None}
_NATIVE_BFLOAT16 = (8, 0)  # CUDA compute capability: Ampere


class Precision:
    """`autocast(device)` for the towers, `exact(device)` for the losses. Raises ConfigError for an unknown name."""

    def __init__(self, amp_dtype: str | None = None):
        amp_dtype = "none" if amp_dtype is None else amp_dtype
        if amp_dtype not in AMP_DTYPES:
            raise unknown_name("amp_dtype", amp_dtype, AMP_DTYPES)
        self.name, self.dtype = amp_dtype, AMP_DTYPES[amp_dtype]
        self._checked: set[str] = set()  # devices

    def autocast(self, device: torch.device) -> AbstractContextManager:
        """Raises ConfigError where the device has no arithmetic for this dtype."""
        if self.dtype is None:  # whatever surrounds the model, such as ESPnet's use_amp
            return nullcontext()
        if str(device) not in self._checked:
            check_amp_dtype(self.name, device)
            self._checked.add(str(device))
        return torch.autocast(device.type, dtype=self.dtype)

    def exact(self, device: torch.device) -> AbstractContextManager:
        """Float32 for the losses; without an amp_dtype, whatever surrounds the model."""
        return nullcontext() if self.dtype is None else torch.autocast(device.type, enabled=False)


class ExactLoss(nn.Module):
    """A criterion of (scores, targets) that computes in float32 inside autocast."""

    def __init__(self, criterion: nn.Module):
        super().__init__()
        self.criterion = criterion

    def forward(self, scores: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        with torch.autocast(scores.device.type, enabled=False):
            return self.criterion(scores.float(), targets)


def precision_for_inference(amp_dtype: str | None, device: torch.device) -> Precision:
    """That of the training, or float32, and a line in the log, where the device lacks it."""
    try:
        check_amp_dtype(amp_dtype, device)
    except ConfigError as error:
        logging.warning("computing in float32: %s", error)
        return Precision()
    return Precision(amp_dtype)


def check_amp_dtype(amp_dtype: str | None, device: torch.device) -> None:
    """Raise ConfigError, with the reason, if mixed precision in this dtype would not help on this device."""
    if amp_dtype in (None, "none"):
        return
    if device.type == "cpu" and amp_dtype == "float16":
        raise ConfigError(
            "amp_dtype: float16 needs a GPU: on the CPU PyTorch emulates it, slower than float32",
            fix="Use bfloat16, which the CPU has, or none",
        )
    if device.type == "cuda" and amp_dtype == "bfloat16":
        capability = torch.cuda.get_device_capability(device)
        if capability < _NATIVE_BFLOAT16:
            raise ConfigError(
                "amp_dtype: bfloat16 is only emulated by this GPU",
                found=f"{torch.cuda.get_device_name(device)}, compute capability {capability[0]}.{capability[1]}",
                expected="8.0 or more",
                fix="Use float16, or none",
            )
