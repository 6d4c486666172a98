"""Train a model: ESPnet's options, our errors.

Stage 11 of a recipe. `--help` lists several hundred options; those of a recipe stand in its `conf/*.yaml`, and
`--print_config` shows every one with its default. `--collect_stats true` reads every clip and writes its shapes instead
of training; a recipe's stage 10 (espnet_vivit.bin.avsr_shapes) does so without reading them.
"""

import sys
from collections.abc import Sequence

from espnet_vivit.bin.command_parser import exit_status


def main(argv: Sequence[str] | None = None) -> None:
    """Example: python -m espnet_vivit.bin.avsr_train --config conf/train.yaml --token_list tokens.txt
    --output_dir exp/a --train_data_path_and_name_and_type dump/raw/train/video.scp,video,video …
    """
    from espnet_vivit.tasks.avsr import AVSRTask  # late: `--help` of the other commands shall not wait for ESPnet

    AVSRTask.main(cmd=argv)


if __name__ == "__main__":
    sys.exit(exit_status(main))
