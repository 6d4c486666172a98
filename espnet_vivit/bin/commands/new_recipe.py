"""`espnet-vivit new-recipe`: a recipe of the package as a folder of one's own, which runs from anywhere.

In the repository the recipes of ESPnet2 share a driver (egs/TEMPLATE/avsr1) and presets (conf/), which their files name
by relative paths. The new folder has both, as `template` and in `conf`, and its files name them there. A recipe of
ESPnet3 shares nothing.
"""

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from espnet_vivit.base.installation import recipes_folder, shipped_files
from espnet_vivit.base.whole_file import make_folder, write_whole
from espnet_vivit.bin.command_parser import CommandParser
from espnet_vivit.errors import ConfigError, MediaError, unknown_name

MOVED = {  # a place in the repository, as seen from a recipe -> the same in the new folder; in this order
    "../../../TEMPLATE/avsr1": "../template",  # seen from local/
    "../../TEMPLATE/avsr1": "template",
    "TEMPLATE/avsr1": "template",
    "../../../conf/": "conf/",
}
PATH_SH = """# shellcheck shell=bash
# Sourced, not run. Which Python runs the recipe: $PYTHON when set, else the one that made this folder.
[ -n "${{PYTHON:-}}" ] || PYTHON={python}
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${{BASH_SOURCE[0]}}")/template/path.sh"
"""


def new_recipe(corpus: str, folder: Path, *, espnet3: bool = False) -> Path:
    """Write the recipe of a corpus into a new folder; returns the script that runs it.

    espnet3: run.py with ESPnet3's stages, instead of run.sh with ESPnet2's.
    Raises ConfigError for a corpus without such a recipe and for a folder that exists, MediaError for one that cannot
    be made, DataError if the package has lost its recipes.
    """
    source = recipes_folder()
    start = "run.py" if espnet3 else "run.sh"
    places = {
        path.parents[1].name: path.parent
        for path in source.glob("egs3/*/avsr/run.py" if espnet3 else "egs/*/avsr1/run.sh")
    }
    if corpus not in places:
        raise unknown_name("recipe of ESPnet3" if espnet3 else "recipe", corpus, places)
    if os.path.lexists(folder):
        raise ConfigError(f"{folder} exists", fix="Name a folder that does not: nothing is overwritten")
    layout = {places[corpus]: ""}
    if not espnet3:  # of files with one name the recipe's own, the last, is taken
        layout = {source / "conf": "conf", source / "egs/TEMPLATE/avsr1": "template", **layout}
    files = {}
    for place, target in layout.items():
        inside = place.relative_to(source)
        files |= {
            Path(target, f.relative_to(inside)): source / f for f in shipped_files(source) if f.is_relative_to(inside)
        }
    for name, file in files.items():
        _write(folder / name, _adapted(file.read_text(encoding="utf-8")))
    if not espnet3:
        write_whole(folder / "path.sh", PATH_SH.format(python=shlex.quote(sys.executable)))
    return folder / start


def _adapted(text: str) -> str:
    for place, target in MOVED.items():
        text = text.replace(place, target)
    return text


def _write(path: Path, text: str) -> None:
    """A file of the recipe; one that begins with an interpreter's name can be run."""
    make_folder(path.parent)
    write_whole(path, text)
    if text.startswith("#!"):
        try:
            path.chmod(path.stat().st_mode | 0o111)
        except OSError as error:
            raise MediaError(
                f"cannot let {path} be run ({error.strerror})", fix="Choose a folder elsewhere."
            ) from error


def main(argv: Sequence[str] | None = None) -> None:
    parser = CommandParser(
        prog="espnet-vivit new-recipe",
        description="Write a training recipe into a new folder: run.sh, its stages and the YAML files.",
        epilog="example: espnet-vivit new-recipe folder my_recipe      then: my_recipe/run.sh --folder_root my_videos",
    )
    parser.add_argument(
        "corpus", help="mini_av (synthetic, without download), grid, lrs2, lrs3, or folder (your own videos)"
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder to write")
    parser.add_argument(
        "--espnet3", action="store_true", help="write run.py with ESPnet3's stages instead (mini_av, grid)"
    )
    options = parser.parse_args(argv)
    script = new_recipe(options.corpus, options.folder, espnet3=options.espnet3)
    python = f"{shlex.quote(sys.executable)} " if options.espnet3 else ""
    print(f"{options.folder}: the recipe of {options.corpus}; what it does is in {options.folder / 'README.md'}")
    print(f"next: {python}{shlex.quote(str(script))} --help")
