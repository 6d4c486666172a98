"""Record how much of the mouth prepared pictures show: a number in the file `mouth_view` beside the data
directories.

Preparing writes it; training takes it over, or refuses a configuration that says otherwise: with another view a trained
model would be shown mouths of another size when it transcribes, and read nonsense without any error.
"""

import os
from pathlib import Path

from espnet_vivit.base.whole_file import replacing
from espnet_vivit.errors import DataError

VIEW_NAME = "mouth_view"


def write_mouth_view(folder: str | os.PathLike, view: int) -> None:
    """Note in `folder`, which holds data directories, how many pixels in the middle of the 96-pixel crop are shown."""
    with replacing(Path(folder) / VIEW_NAME) as path:
        path.write_text(f"{view}\n", encoding="utf-8")


def read_mouth_view(folder: str | os.PathLike) -> int | None:
    """The number of pixels, or None where none is noted. Raises DataError if the note holds anything else."""
    path = Path(folder) / VIEW_NAME
    if not path.is_file():
        return None
    text = path.read_text(encoding="utf-8").strip()
    if not text.isascii() or not text.isdigit():
        raise DataError(
            f"{path} does not say how much of the mouth is shown", found=repr(text), expected="pixels, as 64"
        )
    return int(text)
