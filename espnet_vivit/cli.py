"""The command `espnet-vivit`: a name for each public function that is useful in a terminal, and nothing more.

Exit codes: 0 done; 1 an error, printed as one sentence; 2 a command line that cannot be understood.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from espnet_vivit import __version__
from espnet_vivit.errors import EspnetVivitError, unknown_name

# command -> (module whose main(argv) it is, what it does); imported when called, so that --help answers at once
COMMANDS = {
    "check": ("espnet_vivit.check", "do these data and this model fit? validates, learns one batch by heart"),
    "calibrate": ("espnet_vivit.calibrate", "from which confidence on a model's words are believed"),
    "doctor": ("espnet_vivit.doctor", "what works on this machine, what is missing, and what to type"),
    "export": ("espnet_vivit.export", "a trained model's video side as an ONNX file"),
    "import-auto-avsr": ("espnet_vivit.import_auto_avsr", "a published Auto-AVSR model, made an experiment folder"),
    "inspect": ("espnet_vivit.inspect_video", "what is in videos, whether their mouths can be read, contact sheets"),
    "merge-adapters": ("espnet_vivit.merge_adapters", "a trained model with LoRA or QLoRA adapters, made plain"),
    "pack": ("espnet_vivit.pack", "a trained model as a folder or a file that loads anywhere, offline"),
    "prepare": ("espnet_vivit.prepare", "data directories of mouth crops from a corpus or a folder of videos"),
    "page": ("espnet_vivit.page", "a local web page to try a model on"),
    "plot": ("espnet_vivit.report", "how an experiment trained and where its errors are: a page and pictures"),
    "score": ("espnet_vivit.score", "word and character error rates of a hypothesis file against a reference"),
    "transcribe": ("espnet_vivit.transcribe", "text, subtitles and word times of video and sound files"),
}

EXAMPLES = """examples:
  espnet-vivit check conf/train_avsr_vivit.yaml dump/raw/train --token_list tokens.txt
  espnet-vivit calibrate exp/avsr_train --ref dump/raw/dev/text --hyp DECODED/1best_recog --modality video
  espnet-vivit doctor
  espnet-vivit export exp/avsr_train model.onnx --int8
  espnet-vivit import-auto-avsr vsr_trlrs3_base.pth exp/auto_avsr --token_list unigram5000_units.txt
  espnet-vivit inspect corpus/ --out inspected
  espnet-vivit merge-adapters exp/avsr_qlora exp/avsr_merged
  espnet-vivit pack exp/avsr_train package.zip --licence CC-BY-4.0
  espnet-vivit prepare folder my_videos out
  espnet-vivit page --model exp/avsr_train
  espnet-vivit plot exp/avsr_train --data dump/raw
  espnet-vivit score --ref data/test/text --hyp 1best_recog/text --out score
  espnet-vivit transcribe talk.mp4 --model exp/avsr_train --output txt,srt
"""


def build_parser() -> argparse.ArgumentParser:
    commands = "\n".join(f"  {name:16} {purpose}" for name, (_, purpose) in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="espnet-vivit",
        description=f"Lip reading and audio-visual speech recognition for ESPnet.\n\ncommands:\n{commands}",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"espnet-vivit {__version__}")
    parser.add_argument("command", help="one of the commands above")
    parser.add_argument(
        "arguments", nargs=argparse.REMAINDER, help="its own options; see `espnet-vivit COMMAND --help`"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    parser = build_parser()
    argv = sys.argv[1:] if argv is None else argv
    if not argv:
        parser.print_help(sys.stderr)
        return 2
    options = parser.parse_args(argv)
    if options.command not in COMMANDS:
        parser.error(str(unknown_name("command", options.command, COMMANDS)))
    module, _ = COMMANDS[options.command]
    try:
        return import_module(module).main(options.arguments)
    except EspnetVivitError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
