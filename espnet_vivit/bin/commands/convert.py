"""`espnet-vivit convert`: write a scenic ViViT checkpoint as a folder that `model_name` reads."""

from collections.abc import Sequence
from pathlib import Path

from espnet_vivit.bin.command_parser import CommandParser
from espnet_vivit.errors import ConfigError


def main(argv: Sequence[str] | None = None) -> int:
    parser = CommandParser(
        prog="espnet-vivit convert",
        description="Write a ViViT checkpoint of google-research/scenic as a folder for the option model_name. "
        "Its sizes and variant are read from the file; joint attention becomes a Hugging Face VivitModel.",
        epilog="example: espnet-vivit convert vivit_base_16x2_fe/checkpoint exp/vivit_base_fe",
    )
    parser.add_argument("checkpoint", type=Path, help="scenic's file, named checkpoint or checkpoint_<step>")
    parser.add_argument("folder", type=Path, help="folder to write; must not exist")
    parser.add_argument(
        "--attention", help="variant, needed only for factorised_dot_product, which the file does not show"
    )
    parser.add_argument(
        "--attention_order", help="order in factorised_self_attention: space_time or time_space (default: time_space)"
    )
    parser.add_argument("--num_frames", type=int, default=32, help="frames per training window (default: %(default)s)")
    parser.add_argument(
        "--image_size", type=int, nargs=2, help="height and width in pixels (default: square, from the file)"
    )
    options = parser.parse_args(argv)
    if options.folder.exists():
        raise ConfigError("the folder to write exists", found=options.folder, fix="Name another one")
    from espnet_vivit.frontend.vivit.family_weights import read_scenic, save_tower  # late: --help answers at once

    tower = read_scenic(
        options.checkpoint,
        attention=options.attention,
        num_frames=options.num_frames,
        image_size=options.image_size,
        options={} if options.attention_order is None else {"attention_order": options.attention_order},
    )
    attention = getattr(tower.config, "attention", "joint")
    count = sum(parameter.numel() for parameter in tower.parameters())
    print(f"{attention}, {count / 1e6:.1f} M parameters, tubelets of {list(tower.config.tubelet_size)}")
    print(save_tower(tower, options.folder))
    return 0
