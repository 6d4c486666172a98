"""Train a model for isolated words: the options of `avsr_train` that mean something for one label a clip.

`--help` lists them all; those of a recipe stand in its `conf/*.yaml`, and `--print_config` shows every default.
"""

import sys
from collections.abc import Sequence

from espnet_vivit.bin.command_parser import exit_status


def main(argv: Sequence[str] | None = None) -> None:
    """Example: python -m espnet_vivit.bin.words_train --config conf/train.yaml --token_list tokens.txt
    --output_dir exp/a --train_data_path_and_name_and_type dump/raw/train/video.scp,video,video …
    """
    from espnet_vivit.tasks.words import WordsTask  # late: `--help` of the other commands shall not wait for ESPnet

    WordsTask.main(cmd=argv)


if __name__ == "__main__":
    sys.exit(exit_status(main))
