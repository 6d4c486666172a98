"""`espnet-vivit import-auto-avsr`: the earlier name of `espnet-vivit import`."""

from collections.abc import Sequence
from importlib import import_module


def main(argv: Sequence[str] | None = None) -> int:
    command = import_module("espnet_vivit.bin.commands.import")  # a keyword, which no import statement can name
    return command.main(argv, prog="espnet-vivit import-auto-avsr")
