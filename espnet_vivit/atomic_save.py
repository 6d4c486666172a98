"""Checkpoints that are whole or absent: `torch.save` to a path writes beside it, syncs, and renames.

ESPnet's trainer writes `checkpoint.pth` in place after every epoch. A training that is killed at that moment would
leave half a file under the name that `--resume` reads, and lose the epochs before it.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch


@contextmanager
def atomic_saves() -> Iterator[None]:
    """Inside the block, `torch.save(value, path)` replaces `path` only when the new file is complete and on disk."""
    original = torch.save

    def save(value, file, *args, **options) -> None:
        if not isinstance(file, str | os.PathLike):
            original(value, file, *args, **options)
            return
        path = Path(file)
        partial = path.with_name(f".{path.name}.partial")
        try:
            with open(partial, "wb") as stream:
                original(value, stream, *args, **options)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)  # is gone already unless the writing failed

    torch.save = save
    try:
        yield
    finally:
        torch.save = original
