"""Find the package's recipes and presets, in a clone of the repository or in an installation by pip.

The folders conf/, egs/ and egs3/ stand at the top of a clone; a wheel holds what is SHIPPED of them in the package's
folder `recipes` (setup.py puts it there). A clone has a Makefile, so hints may say `make`; elsewhere they say `pip`.
"""

from pathlib import Path

from espnet_vivit.errors import DataError

PACKAGE = Path(__file__).resolve().parents[1]
SHIPPED = (  # what recipes are made of; the data and experiments that runs leave beside it are not
    "conf/*.yaml",
    *(f"egs/*/avsr1/{name}" for name in ("*.sh", "README.md", "conf/*.yaml", "local/*.sh")),
    *(f"egs/*/words1/{name}" for name in ("*.sh", "README.md", "conf/*.yaml")),
    *(f"egs3/*/avsr/{name}" for name in ("*.py", "README.md", "conf/*.yaml", "dataset/*.py")),
)


def clone() -> Path | None:
    """The folder of the clone that the package is imported from; None where there is no clone."""
    root = PACKAGE.parent
    return root if (root / "Makefile").is_file() and (root / "egs").is_dir() else None


def recipes_folder() -> Path:
    """The folder that holds conf/, egs/ and egs3/. Raises DataError if there is none."""
    folder = clone() or PACKAGE / "recipes"
    if not folder.is_dir():
        raise DataError(
            f"the recipes that belong to the package in {PACKAGE} are not there",
            fix="Install the package from its wheel, or work in a clone of the repository",
        )
    return folder


def shipped_files(folder: Path) -> list[Path]:
    """The files of SHIPPED in a folder, relative to it. Raises DataError for a pattern without a file."""
    found = []
    for pattern in SHIPPED:
        files = sorted(path.relative_to(folder) for path in folder.glob(pattern))
        if not files:
            raise DataError(f"{folder} lacks parts of the recipes", found=f"no file {pattern}", fix="Install it again")
        found += files
    return found
