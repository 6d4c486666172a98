"""Checkpoints that are whole or absent: `torch.save` to a path writes beside it, syncs, and renames.

ESPnet's trainer writes `checkpoint.pth` in place after every epoch. A training that is killed at that moment would
leave half a file under the name that `--resume` reads, and lose the epochs before it. Files that disks damage later are
met by keeping the checkpoint before the last one (see espnet_vivit.tasks.training.checkpoints, which reads what is
written here).
"""

import os
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from espnet_vivit.base.whole_file import is_disk_error
from espnet_vivit.errors import MediaError

_WRITER = re.compile("PytorchStreamWriter|inline_container|iostream error")  # torch's, when writing has failed
PARTIAL = ".partial"  # ending of what is being written


@contextmanager
def atomic_saves(*, keep_previous: Collection[str] = ()) -> Iterator[None]:
    """Inside the block, `torch.save(value, path)` replaces `path` only when the new file is complete and on disk.

    Of files whose name is in `keep_previous`, the one that is replaced stays as `previous_of(path)`.
    """
    original = torch.save

    def save(value, file, *args, **options) -> None:
        if not isinstance(file, str | os.PathLike):
            original(value, file, *args, **options)
            return
        path = Path(file)
        partial = path.with_name(f".{path.name}{PARTIAL}")
        try:
            with open(partial, "wb") as stream:
                original(value, stream, *args, **options)
                stream.flush()
                os.fsync(stream.fileno())
            if path.name in keep_previous and path.exists():
                _keep(path)
            os.replace(partial, path)
            sync_folder(path.parent)
        except (OSError, RuntimeError) as error:  # torch's writer turns the system's error into a RuntimeError
            if isinstance(error, RuntimeError) and not is_disk_error(error) and not _WRITER.search(str(error)):
                raise
            reason = getattr(error, "strerror", None) or str(error.__context__ or error).split("\n")[0]
            raise MediaError(
                f"cannot write {path} ({reason})",
                fix="Check that the disk has room and the folder may be written to; then resume: "
                "the last finished epoch is whole",
            ) from error
        finally:
            partial.unlink(missing_ok=True)  # is gone already unless the writing failed

    torch.save = save
    try:
        yield
    finally:
        torch.save = original


def previous_of(path: Path) -> Path:
    """`checkpoint.pth` -> `checkpoint.pth.previous`, which no pattern for weights matches."""
    return path.with_name(f"{path.name}.previous")


def sync_folder(folder: Path) -> None:
    """A renamed file is safe from a power cut once its folder is on disk as well."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _keep(path: Path) -> None:
    """A second name for what `path` holds, so that there is a file of either name at every moment."""
    link = path.with_name(f".{path.name}.link{PARTIAL}")
    link.unlink(missing_ok=True)
    try:
        os.link(path, link)
    except OSError:  # a file system without hard links: for a moment there is only the previous one
        link = path
    os.replace(link, previous_of(path))
    if link != path:
        link.unlink(missing_ok=True)  # renaming one name of a file to another of its names does nothing
