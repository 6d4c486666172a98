"""`espnet-vivit export`: a trained model's video side as an ONNX file."""

from collections.abc import Sequence
from pathlib import Path

from espnet_vivit.bin.command_parser import CommandParser
from espnet_vivit.errors import ConfigError
from espnet_vivit.release.export import export_frontend, export_model


def main(argv: Sequence[str] | None = None) -> int:
    parser = CommandParser(
        prog="espnet-vivit export",
        description="Export the visual frontend, encoder and CTC of a trained model as an ONNX file for onnxruntime.",
        epilog="example: espnet-vivit export exp/avsr_train model.onnx --int8",
    )
    parser.add_argument("model", type=Path, help="experiment folder, weights file in an experiment folder, or package")
    parser.add_argument("out", type=Path, help="ONNX file to write")
    parser.add_argument(
        "--frontend", action="store_true", help="export the visual frontend only; the output is features"
    )
    parser.add_argument("--int8", action="store_true", help="store the weights of linear layers as 8-bit integers")
    options = parser.parse_args(argv)
    from espnet_vivit.decode.model_files import open_model
    from espnet_vivit.tasks.avsr import AVSRTask  # late: --help shall not wait for ESPnet

    files = open_model(options.model)
    model, _ = AVSRTask.build_model_from_file(files.config, files.weights)
    if options.frontend:
        if model.vision_encoder is None:
            raise ConfigError(f"{options.model} has no visual frontend", found=f"modality {model.modality!r}")
        print(export_frontend(model.vision_encoder, options.out, int8=options.int8, facts=files.facts))
    else:
        print(export_model(model, options.out, int8=options.int8, facts=files.facts))
    return 0
