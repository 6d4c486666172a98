"""GRID with ESPnet3: `python run.py --help`; README.md says which stages there are."""

import sys

from espnet_vivit.bin.avsr_espnet3 import main
from espnet_vivit.bin.command_parser import exit_status

if __name__ == "__main__":  # processes of the trainer and of the cluster import this file again
    sys.exit(exit_status(main))
