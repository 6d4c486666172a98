"""What `run.py` of a recipe in egs3/ calls: ESPnet3's options in, its stages run.

    python run.py --training_config conf/training.yaml --stages create_dataset train_tokenizer collect_stats train
    python run.py --training_config conf/training.yaml --inference_config conf/inference.yaml \\
        --metrics_config conf/metrics.yaml --stages infer measure

What the YAML files do not say is as in ESPnet's own template for recognition, egs3/TEMPLATE/esp2_asr.
"""

import sys
from collections.abc import Sequence

from espnet_vivit.bin.command_parser import exit_status


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stages that `argv` names, or the command line."""
    from espnet_vivit.tasks.espnet3 import names

    names.require_espnet3()
    from espnet_vivit.bin.espnet3_system import AVSRSystem  # late: it imports ESPnet3, and all that a training needs

    names.launch(AVSRSystem, conf_package=names.TEMPLATE, argv=argv)


if __name__ == "__main__":
    sys.exit(exit_status(main))
