"""Features of a frozen tower kept on disk: a clip that comes again with the same pixels is not computed again.

An entry's name is a hash of all that decides its content: the tower's weights, configuration and dtype, how frames
become steps, and the pixels of the clip. So an entry is never stale; it can only be unused, and the least recently
used go when the folder outgrows its bound. Each file carries a checksum of its bytes: a damaged one is computed anew.
Clips that are cropped, mirrored or masked at random hardly ever come again: see
`espnet_vivit.tasks.preflight.feature_cache`.
"""

import contextlib
import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from espnet_vivit.base.whole_file import make_folder, replacing
from espnet_vivit.errors import ConfigError

Compute = Callable[[torch.Tensor, list[int], list[int]], torch.Tensor]  # -> (B, S, D), padded
_CHECKSUM_BYTES = 32  # of sha256, in front of the data
DEFAULT_MAX_BYTES = 20 * 2**30


class FeatureCache:
    """Pooled steps (S, D) float32 of single clips, in `folder`; `fingerprint()` names the tower that computes them.

    `max_bytes` is the bound of the whole folder. The processes of a distributed training keep it together, each by the
    supposition that the others have written as much as itself since it last looked through the folder.
    """

    def __init__(self, folder: str, fingerprint: Callable[[], str], *, max_bytes: int = DEFAULT_MAX_BYTES):
        self.folder = Path(folder)
        self.fingerprint = fingerprint
        self.max_bytes = max_bytes
        self.hits = self.misses = self.damaged = 0
        self.last_hits = 0.0  # share of the clips of the last batch that were known
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"feature_cache is not a folder that can be written: {error}") from error
        self._seen = sum(size for _, size, _ in self._entries())  # bytes, when the folder was last looked through
        self._written = 0  # bytes since then, by this process

    def lookup(self, clips: torch.Tensor, frames: list[int], counts: list[int], compute: Compute) -> list[torch.Tensor]:
        """The steps of each clip of a batch (B, C, T, H, W): read where known, else computed together and kept."""
        tower = self.fingerprint()
        paths = [self._path(tower, clips[b, :, : frames[b]], counts[b]) for b in range(len(frames))]
        steps = [self._read(path, count) for path, count in zip(paths, counts, strict=True)]
        absent = [b for b, known in enumerate(steps) if known is None]
        if absent:
            computed = compute(clips[absent], [frames[b] for b in absent], [counts[b] for b in absent])
            for b, new in zip(absent, computed, strict=True):
                steps[b] = kept = new[: counts[b]].detach().float()
                self._write(paths[b], kept)
            self._evict()
        self.hits += len(frames) - len(absent)
        self.misses += len(absent)
        self.last_hits = 1 - len(absent) / len(frames)
        return [known.to(clips.device) for known in steps if known is not None]  # by now none is

    def _path(self, tower: str, clip: torch.Tensor, count: int) -> Path:
        pixels = clip.detach().cpu().contiguous()
        name = hashlib.sha256(f"{tower} {tuple(pixels.shape)} {pixels.dtype} {count}".encode())
        name.update(pixels.view(torch.uint8).numpy().data)
        digest = name.hexdigest()
        return self.folder / digest[:2] / f"{digest[2:]}.steps"

    def _read(self, path: Path, count: int) -> torch.Tensor | None:
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        checksum, data = content[:_CHECKSUM_BYTES], content[_CHECKSUM_BYTES:]
        if hashlib.sha256(data).digest() != checksum:
            self.damaged += 1
            logging.warning("feature cache: %s is damaged and is computed anew", path)
            return None
        with contextlib.suppress(FileNotFoundError):  # another worker dropped it after it was read
            os.utime(path)  # the order in which entries go
        return torch.from_numpy(np.frombuffer(data, dtype=np.float32).reshape(count, -1).copy())

    def _write(self, path: Path, steps: torch.Tensor) -> None:
        data = steps.cpu().contiguous().numpy().tobytes()
        make_folder(path.parent)
        with contextlib.suppress(FileNotFoundError):  # a damaged entry, if no other worker has dropped it meanwhile
            self._written -= path.stat().st_size
        self._written += len(data) + _CHECKSUM_BYTES
        with replacing(path) as temporary:  # workers that write the same entry write the same bytes
            temporary.write_bytes(hashlib.sha256(data).digest() + data)

    def _entries(self) -> list[tuple[int, int, Path]]:
        """(last use in ns, bytes, path) of every entry; other workers may drop some while we look."""
        entries = []
        for path in self.folder.glob("*/[!.]*.steps"):  # none that is just being written
            with contextlib.suppress(FileNotFoundError):
                stat = path.stat()
                entries.append((stat.st_mtime_ns, stat.st_size, path))
        return entries

    def _evict(self) -> None:
        if self._seen + self._written * _processes() <= self.max_bytes:
            return
        entries = sorted(self._entries())
        self._seen, self._written = sum(size for _, size, _ in entries), 0
        if self._seen <= self.max_bytes:  # the others have written less than was supposed
            return
        for _, size, entry in entries:
            if self._seen <= self.max_bytes * 0.9:  # room for a while, so that not each batch looks through the folder
                break
            entry.unlink(missing_ok=True)
            self._seen -= size


def _processes() -> int:
    """That share the folder, each with a cache of its own: those of a distributed training; else this one alone."""
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_world_size() if distributed else 1


class Fingerprint:
    """`fingerprint(module)` -> a hash of its weights, computed again only when one of its tensors has changed."""

    def __init__(self):
        self._tensors, self._hash = None, ""

    def __call__(self, module: torch.nn.Module) -> str:
        values = module.state_dict(keep_vars=True).values()
        tensors = [(v.data_ptr(), 0 if v.is_inference() else v._version, v.dtype) for v in values]
        if self._tensors != tensors:
            self._tensors, self._hash = tensors, _hash_of(module)
        return self._hash


def _hash_of(module: torch.nn.Module) -> str:
    """Of names, dtypes, shapes and bytes."""
    digest = hashlib.sha256()
    for name, value in module.state_dict().items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
