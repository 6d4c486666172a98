"""What the recipe driver must know of a training YAML: which streams the model takes, and at which feature rate.

    python -m espnet_vivit.bin.avsr_streams --config conf/train_avsr_vivit.yaml --ask feature_rate
    python -m espnet_vivit.bin.avsr_streams --config conf/train_avsr_vivit.yaml --ask train_options \\
        --train dump/raw/train --valid dump/raw/dev --stats exp/avsr_stats_word [--modality video]

`train_options` prints, one word per line, the options that tell avsr_train where its data are. A stream that the model
does not take is not read at all; `word_times`, which the frame-level loss learns from, are given where both sets have
them. `preprocessor_conf: {noise_scp: train}` in the YAML becomes the training set's own wav.scp, that is, babble.
`--modality`, `--feature_rate`, `--mouth_view` and the encoders may be given as on avsr_train's command line and win
over the YAML. `--prepared` names the folder in which stage 1 has noted how much of the mouth the pictures show;
`mouth_view` follows from that, and one that says otherwise is an error.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from espnet_vivit.base.config_file import read_config
from espnet_vivit.bin.command_parser import CommandParser, exit_status
from espnet_vivit.tasks.presets import configuration_file
from espnet_vivit.tasks.streams import configured_modality, feature_rate_of, train_options, view_options

OVERRIDES = ("modality", "feature_rate", "vision_encoder", "audio_encoder", "mouth_view")


def main(argv: Sequence[str] | None = None) -> None:
    parser = CommandParser(
        prog="python -m espnet_vivit.bin.avsr_streams",
        description="Print which streams and options a training configuration needs.",
        epilog="example: python -m espnet_vivit.bin.avsr_streams --config conf/train_avsr_vivit.yaml --ask modality",
        allow_abbrev=False,
    )
    parser.add_argument("--config", required=True, help="training YAML, or a preset such as tiny_both")
    parser.add_argument("--prepared", type=Path, help="folder of stage 1, in which a mouth_view may be noted")
    parser.add_argument(
        "--ask", choices=["modality", "feature_rate", "train_options"], required=True, help="what to print"
    )
    for name in ("train", "valid", "stats"):
        parser.add_argument(
            f"--{name}", type=Path, help="data directory, or stage 10's folder (--stats), for train_options"
        )
    for name in OVERRIDES:
        parser.add_argument(f"--{name}", help=f"overrides the YAML's {name}")
    args, _ = parser.parse_known_args(argv)  # the rest are other options of avsr_train
    config = read_config(configuration_file(args.config))
    given = {name: getattr(args, name) for name in OVERRIDES if getattr(args, name) is not None}
    config.update({name: yaml.safe_load(value) for name, value in given.items()})  # as in the file: null is nothing
    if args.ask == "modality":
        print(configured_modality(config))
    elif args.ask == "feature_rate":
        print(feature_rate_of(config))
    else:
        options = train_options(config, train=args.train, valid=args.valid, stats=args.stats)
        options += [] if args.prepared is None else view_options(config, args.prepared)
        print("\n".join(options))


if __name__ == "__main__":
    sys.exit(exit_status(main))
