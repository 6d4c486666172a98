"""Checkpoint files of google-research/scenic, read with `msgpack` alone: no flax, no jax, no pickle.

A file is one msgpack map as `flax.serialization` writes it. Where the parameters lie in it has changed over the years;
all layouts are read. Arrays are msgpack's extension type 1: a packed (shape, dtype name, bytes in C order, little
endian), numpy scalars type 3; arrays beyond 2**30 bytes are cut into chunks. The file is data, nothing in it is run.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import msgpack
import numpy as np

from espnet_vivit.errors import WeightsError

_ARRAY, _SCALAR = 1, 3  # msgpack's extension types, as flax numbers them
_DTYPES = (
    "float32",
    "float64",
    "float16",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "bool",
)
_CHUNKED = "__msgpack_chunked_array__"


def read_scenic_params(path: str | Path) -> dict[str, np.ndarray]:
    """The parameters of a checkpoint file, "Transformer/encoder_norm/bias" -> array; bfloat16 comes as float32.

    Raises `WeightsError` for a file that cannot be read, is damaged, or holds no parameters.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"the scenic checkpoint cannot be read: {error}", fix="Check the path of weights") from error
    try:
        tree = msgpack.unpackb(content, ext_hook=_read_extension, raw=False, strict_map_key=False)
    except WeightsError:
        raise
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        raise _not_scenic(path, f"{len(content)} bytes that are not one msgpack map ({error})") from error
    if not isinstance(tree, Mapping):
        raise _not_scenic(path, f"a {type(tree).__name__}")
    flat = _flatten(_params_of(path, tree))
    if not flat:
        raise _not_scenic(path, "no arrays among its parameters")
    return flat


def _params_of(path: Path, tree: Mapping) -> Mapping:
    """`params` of a train state; in older files `optimizer/target`, and one more `params` in the oldest."""
    params = tree.get("params")
    if params is None:
        optimizer = tree.get("optimizer")
        params = optimizer.get("target") if isinstance(optimizer, Mapping) else None
    if isinstance(params, Mapping) and isinstance(params.get("params"), Mapping):
        params = params["params"]
    if not isinstance(params, Mapping):
        raise _not_scenic(path, f"a map of {', '.join(sorted(map(str, tree))[:8]) or 'nothing'}")
    return params


def _flatten(tree: Mapping, prefix: str = "") -> dict[str, np.ndarray]:
    flat = {}
    for name, value in tree.items():
        if isinstance(value, Mapping) and value.get(_CHUNKED):
            flat[f"{prefix}{name}"] = _join_chunks(f"{prefix}{name}", value)
        elif isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{name}/")
        elif isinstance(value, np.ndarray):
            flat[f"{prefix}{name}"] = value
    return flat


def _join_chunks(name: str, value: Mapping) -> np.ndarray:
    """The chunks and the axes of the shape are maps with keys "0", "1", ..., "10"."""
    try:
        shape = [int(value["shape"][key]) for key in sorted(value["shape"], key=int)]
        chunks = [value["chunks"][key] for key in sorted(value["chunks"], key=int)]
        return np.concatenate(chunks).reshape(shape)
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"the chunks of {name} in the scenic checkpoint do not make an array: {error}") from error


def _read_extension(code: int, data: bytes):
    if code not in (_ARRAY, _SCALAR):
        return None  # complex numbers, which no ViViT holds
    shape, dtype, content = msgpack.unpackb(data, raw=True)
    array = _array(shape, dtype.decode(), content)
    return array if code == _ARRAY else array[()]


def _array(shape: list[int], dtype: str, content: bytes) -> np.ndarray:
    if dtype not in (*_DTYPES, "bfloat16"):
        raise WeightsError("an array of the scenic checkpoint has a dtype that is not read", found=dtype)
    stored = np.dtype("uint16" if dtype == "bfloat16" else dtype).newbyteorder("<")
    if min(shape, default=0) < 0 or math.prod(shape) * stored.itemsize != len(content):
        found = f"{len(content)} bytes for {shape} of {dtype}"
        raise WeightsError("an array of the scenic checkpoint is damaged", found=found)
    array = np.frombuffer(content, stored).reshape(shape)
    if dtype == "bfloat16":  # the upper half of a float32
        array = (array.astype(np.uint32) << 16).view(np.float32)
    return array


def _not_scenic(path: Path, found: str) -> WeightsError:
    return WeightsError(
        f"{path} is not a checkpoint of scenic",
        found=found,
        expected="a msgpack map with params or optimizer/target, as flax writes it",
        fix="weights takes the file that scenic calls checkpoint or checkpoint_<step>, downloaded completely",
    )
