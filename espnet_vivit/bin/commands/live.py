"""`espnet-vivit live`: words while somebody speaks, from a camera and a microphone, or from a file at its own pace."""

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import closing, nullcontext
from dataclasses import asdict
from pathlib import Path

from espnet_vivit.base.whole_file import check_writable, write_whole
from espnet_vivit.bin.command_parser import CommandParser
from espnet_vivit.media.faces.face_stream import open_faces
from espnet_vivit.media.live_source import WEBCAM, open_live
from espnet_vivit.transcription.result import Piece
from espnet_vivit.units import MODALITIES

_DIM, _PLAIN, _CLEAR_LINE = "\x1b[2m", "\x1b[0m", "\r\x1b[K"


def get_parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="espnet-vivit live",
        description="Print words while somebody speaks, from lip movements, sound, or both.",
        epilog="example: espnet-vivit live --model exp/avsr_live --source webcam --srt talk.srt",
    )
    parser.add_argument(
        "--model", required=True, help="experiment folder, weights file in an experiment folder, or package"
    )
    parser.add_argument(
        "--source",
        default=WEBCAM,
        help="webcam, media file, or FFmpeg device as FORMAT:NAME, such as v4l2:/dev/video1 (default: webcam)",
    )
    parser.add_argument("--microphone", help="FFmpeg device as FORMAT:NAME (default: the system's, or the source's)")
    parser.add_argument(
        "--modality",
        default="auto",
        choices=("auto", *MODALITIES),
        help="streams to use (default: auto, all that model and source have)",
    )
    parser.add_argument("--chunk_ms", type=int, help="time read at once in ms (default: the longest in training)")
    parser.add_argument(
        "--detector",
        default="auto",
        help="face detector: auto, mediapipe or haar; centre for mouth crops (default: auto)",
    )
    parser.add_argument(
        "--weights", help="weights file in the experiment folder (default: the average of the best epochs)"
    )
    parser.add_argument("--device", default="cpu", help="device, such as cpu or cuda (default: cpu)")
    parser.add_argument(
        "--min_confidence",
        type=float,
        help="mean confidence below which a sentence is reported as unclear (default: as calibrated)",
    )
    parser.add_argument("--json", action="store_true", help="print a JSON object per line, also for running sentences")
    parser.add_argument("--srt", type=Path, help="subtitle file, written again after each sentence")
    parser.add_argument("--as_fast", action="store_true", help="read a file as fast as possible")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    options = get_parser().parse_args(argv)
    if options.srt is not None:
        check_writable(options.srt.absolute().parent)
    with open_live(options.source, microphone=options.microphone, as_fast=options.as_fast) as source:
        from espnet_vivit.transcription.live import LiveTranscript, read_live  # late: ESPnet takes seconds
        from espnet_vivit.transcription.streaming import StreamingRecognizer
        from espnet_vivit.transcription.subtitles.formats import FORMATS

        recognizer = StreamingRecognizer(
            options.model,
            modality=None if options.modality == "auto" else options.modality,
            present=source.streams,
            chunk_ms=options.chunk_ms,
            weights=options.weights,
            device=options.device,
            min_confidence=options.min_confidence,
        )
        transcript, show = LiveTranscript(), _Json() if options.json else _Terminal()
        faces = None
        if recognizer.modality != "audio":
            assert source.info is not None  # StreamingRecognizer has compared what is there
            faces = open_faces(source.info, detector=options.detector, face="largest")
        with nullcontext() if faces is None else closing(faces):
            for update in read_live(source.events(), recognizer, faces):
                transcript.add(update)
                show.update(update)
                if options.srt is not None and update.finished:
                    write_whole(options.srt, FORMATS["srt"](transcript.result(options.source), options.srt.stem))
    return 0


class _Terminal:
    """A line for each sentence, and on a terminal below them the running one, dim where it may change."""

    def update(self, update) -> None:
        on_terminal = sys.stdout.isatty()
        for piece in update.finished:
            print(f"{_CLEAR_LINE if on_terminal else ''}{_line(piece)}", flush=True)
        if on_terminal:
            settled, rest = " ".join(update.words[: update.settled]), " ".join(update.words[update.settled :])
            print(f"{_CLEAR_LINE}{settled} {_DIM}{rest}{_PLAIN}", end="", flush=True)


class _Json:
    """An object for each sentence, and for each change of the running one."""

    def __init__(self):
        self._last: tuple = ((), 0)

    def update(self, update) -> None:
        for piece in update.finished:
            print(json.dumps({"sentence": asdict(piece)}, ensure_ascii=False), flush=True)
        if (update.words, update.settled) != self._last:
            self._last = (update.words, update.settled)
            running = {"read_s": update.read_s, "words": update.words, "settled": update.settled}
            print(json.dumps(running, ensure_ascii=False), flush=True)


def _line(piece: Piece) -> str:
    words = " ".join(word.text for word in piece.words) or f"[unclear: {'; '.join(piece.reasons)}]"
    return f"{piece.start_s:7.1f} s  {words}"
