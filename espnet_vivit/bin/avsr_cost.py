"""What a trained model costs: its parameters, and its multiply-accumulates for each frame of video or 40 ms of sound.

    python -m espnet_vivit.bin.avsr_cost --asr_model_file exp/avsr/valid.acc.ave.pth --out exp/avsr/cost.json

Counted is one forward pass of frontends, fusion and encoder over four seconds, by torch's FlopCounterMode (matrix
products, convolutions and attention; two operations are one multiply-accumulate). The decoder's work depends on what
is said and is not counted; how long all of it takes is in the `timing` that decoding leaves behind.
"""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from espnet_vivit.base.whole_file import make_folder, write_whole
from espnet_vivit.bin.command_parser import CommandParser, exit_status

if TYPE_CHECKING:
    from espnet_vivit.e2e_asr_conformer import E2E

FRAMES = 100  # four seconds


def cost_of(model: "E2E", *, video_size: tuple[int, int] | None) -> dict:
    """Of a model in evaluation mode; `video_size`: height and width in pixels of what its vision encoder sees, if any.

    Returns {"parameters": {"all": …, part: …}, "gmacs_per_frame": {"all": …, part: …}}, parts as in `model.towers()`;
    the decoder counts as parameters only.
    """
    import torch

    from espnet_vivit.units import SAMPLES_PER_FRAME

    lengths = torch.tensor([FRAMES])
    batch = {}
    if video_size is not None:
        batch |= {"video": torch.zeros(1, FRAMES, *video_size, dtype=torch.uint8), "video_lengths": lengths}
    if model.audio_encoder is not None:
        batch |= {
            "speech": torch.zeros(1, FRAMES * SAMPLES_PER_FRAME),
            "speech_lengths": lengths * SAMPLES_PER_FRAME,
        }
    gmacs = count_gmacs(lambda: model.encode(**batch, utt_id=None))
    towers = {name: tower for name, tower in model.towers().items() if tower is not None}
    parts = {"all": gmacs["Global"], **{name: gmacs.get(type(tower).__name__, 0.0) for name, tower in towers.items()}}
    return {
        "parameters": {"all": _parameters(model), **{name: _parameters(tower) for name, tower in towers.items()}},
        "gmacs_per_frame": {name: number / FRAMES for name, number in parts.items() if number},
    }


def count_gmacs(run: Callable[[], object]) -> dict[str, float]:
    """Multiply-accumulates of one call in billions: "Global" for all of it, and for each class of module in it."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    # the CPU's fused attention is unknown to the counter; its plain form is two products
    with counter, sdpa_kernel(SDPBackend.MATH):
        run()
    return {name: sum(counts.values()) / 2 / 1e9 for name, counts in counter.get_flop_counts().items()}


def _parameters(module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def measure(model_file: Path, config: Path | None = None) -> dict:
    """`cost_of` the model in a checkpoint of ours; `config` is its config.yaml, else the one beside it."""
    from espnet_vivit.base.config_file import read_config
    from espnet_vivit.frontend.presets import trained_preset
    from espnet_vivit.tasks.avsr import AVSRTask
    from espnet_vivit.tasks.training_facts import MOUTH_SIZES, training_facts

    config = config or Path(model_file).parent / "config.yaml"
    options = read_config(config)
    model, _ = AVSRTask.build_model_from_file(config, model_file, "cpu")
    size = None
    if model.vision_encoder is not None:
        height = training_facts(options, config.parent).mouth_size or max(MOUTH_SIZES)
        size = trained_preset(options).crop_shape(height)
    return cost_of(model.eval(), video_size=size)


def main(argv: Sequence[str] | None = None) -> None:
    parser = CommandParser(
        prog="python -m espnet_vivit.bin.avsr_cost",
        description="Count a trained model's parameters and multiply-accumulates per frame.",
        epilog="example: python -m espnet_vivit.bin.avsr_cost --asr_model_file exp/avsr/valid.acc.ave.pth "
        "--out exp/avsr/cost.json",
    )
    parser.add_argument("--asr_model_file", type=Path, required=True, help="weights file of a trained model")
    parser.add_argument("--asr_train_config", type=Path, help="(default: config.yaml beside the weights file)")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    args = parser.parse_args(argv)
    found = measure(args.asr_model_file, args.asr_train_config)
    make_folder(args.out.parent)
    write_whole(args.out, json.dumps(found, indent=1) + "\n")
    frames, parameters = found["gmacs_per_frame"], found["parameters"]
    for name, count in parameters.items():
        work = f", {frames[name]:.3g} GMACs per frame" if name in frames else ""
        print(f"{name}: {count:,} parameters{work}")


if __name__ == "__main__":
    sys.exit(exit_status(main))
