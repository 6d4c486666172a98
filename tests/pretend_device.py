"""A GPU that is not there: tensors that say they are on "cuda:0", compute on the CPU, and refuse to meet the CPU's.

    with PretendCuda() as cuda:
        model = cuda.moved(model)
        model(cuda.moved(video))          # a tensor made on the CPU inside, and mixed in, raises DeviceMixture
    cuda.waits                            # how often the program waited for the device: .item(), .tolist(), bool() …

What it sees is Python's calls (`torch.overrides.TorchFunctionMode`), so code that torch runs below Python, and backward
passes, go unchecked. A 0-dimensional CPU tensor may be mixed in, and a CPU index may select, as on a real device.
"""

import numpy as np
import torch
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils._pytree import tree_flatten, tree_map

CUDA, CPU = torch.device("cuda:0"), torch.device("cpu")
WAITS = {"item", "tolist", "__bool__", "__int__", "__float__", "__index__", "nonzero", "cpu", "unique", "masked_select"}
FREE = {"__get__", "__set__", "size", "dim", "numel", "stride", "is_floating_point", "__len__", "register_hook"}
INDEXING = {"__getitem__", "__setitem__", "index_put_", "index_put"}
MOVES = {"to", "cuda", "cpu"}


class DeviceMixture(AssertionError):
    """What PyTorch would refuse: "Expected all tensors to be on the same device"."""


def is_on_cuda(value: object) -> bool:
    return isinstance(value, torch.Tensor) and getattr(value, "on_pretend_cuda", False)


def mark(value: object) -> object:
    if isinstance(value, torch.Tensor):
        value.on_pretend_cuda = True
    return value


class PretendCuda(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.waits = 0

    def moved(self, value):
        """A tensor, or a module with all its parameters and buffers, as if it were on the device."""
        if isinstance(value, torch.nn.Module):
            for tensor in (*value.parameters(), *value.buffers()):
                mark(tensor)
            return value
        return mark(value.clone())

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if name == "__get__" and func == torch.Tensor.device.__get__:
            return CUDA if is_on_cuda(args[0]) else func(*args)
        if name == "__get__" and func == torch.Tensor.is_cuda.__get__:
            return is_on_cuda(args[0])
        if func is torch.device:
            return func(*args, **kwargs)
        if name == "get_device":
            return 0 if is_on_cuda(args[0]) else -1
        if name in MOVES:
            return self._move(func, name, args, kwargs)
        tensors = [leaf for leaf in tree_flatten((args, kwargs))[0] if isinstance(leaf, torch.Tensor)]
        on_cuda = [tensor for tensor in tensors if is_on_cuda(tensor)]
        if on_cuda and name not in FREE:
            self._check(func, name, args, tensors)
        if on_cuda and name in WAITS:
            self.waits += 1
        if on_cuda and name in ("numpy", "__array__"):
            raise DeviceMixture("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first")
        asked = kwargs.get("device")
        kwargs = {key: _real(value) for key, value in kwargs.items()}
        result = func(*tree_map(_real, args), **kwargs)
        if asked is not None:
            to_cuda = torch.device(asked).type == "cuda"
        elif name in ("tensor", "as_tensor", "from_numpy"):
            to_cuda = False
        else:
            to_cuda = bool(on_cuda)
        return tree_map(mark, result) if to_cuda else result

    def _move(self, func, name, args, kwargs):
        target = next((_device(a) for a in (*args[1:], *kwargs.values()) if _device(a) is not None), None)
        if name in ("cuda", "cpu"):
            target = CUDA if name == "cuda" else CPU
        was = is_on_cuda(args[0])
        self.waits += was and target is not None and target.type == "cpu"
        result = args[0] if name != "to" else func(*map(_real, args), **{k: _real(v) for k, v in kwargs.items()})
        stays = was if target is None else target.type == "cuda"
        if stays == is_on_cuda(result):
            return result
        result = result.clone() if result is args[0] or is_on_cuda(result) else result
        result.on_pretend_cuda = stays
        return result

    def _check(self, func, name, args, tensors) -> None:
        if name in INDEXING:
            tensors = [tensor for tensor in (args[0], *args[2:]) if isinstance(tensor, torch.Tensor)]
        strangers = [tensor for tensor in tensors if not is_on_cuda(tensor) and tensor.dim() > 0]
        if strangers and any(map(is_on_cuda, tensors)) and name != "copy_":
            shapes = ", ".join(f"{'cuda' if is_on_cuda(t) else 'cpu'} {tuple(t.shape)}" for t in tensors)
            raise DeviceMixture(f"{resolve_name(func) or name} got tensors on two devices: {shapes}")


def _device(value: object) -> torch.device | None:
    if isinstance(value, torch.Tensor):
        return CUDA if is_on_cuda(value) else CPU
    if isinstance(value, torch.device) or (isinstance(value, str) and value.split(":")[0] in ("cuda", "cpu")):
        return torch.device(value)
    return None


def _real(value: object) -> object:
    """A device, or its name, as what there is on this machine."""
    if isinstance(value, torch.Tensor | np.ndarray):
        return value
    return CPU if _device(value) is not None else value
