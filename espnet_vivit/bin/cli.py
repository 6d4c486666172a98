"""The command `espnet-vivit`: a name for each public function that is useful in a terminal, and nothing more.

Exit codes: 0 done; 1 an error, printed as one sentence; 2 a command line that cannot be understood; 130 stopped by
Ctrl-C; 141 nobody reads what is printed any more (`| head`), as the shell says of programs that this ends.
"""

import argparse
import os
import select
import sys
from collections.abc import Sequence
from importlib import import_module

from espnet_vivit.bin.command_parser import exit_status
from espnet_vivit.errors import unknown_name
from espnet_vivit.version import __version__

STOPPED, UNREAD = 130, 141  # 128 + the signal's number: SIGINT, SIGPIPE
COMMANDS = {  # command -> what it does, in the order of the work, from a machine and videos to a model for others
    "doctor": "report what works on this machine, what is missing and how to install it",
    "face-model": "download the model file of the face detector MediaPipe (3.8 MB)",
    "prepare": "make data directories of mouth crops from a corpus or a folder of videos",
    "inspect": "check whether videos are fit for lip reading, with contact sheets",
    "check": "validate data against a configuration, then overfit one batch",
    "new-recipe": "write a training recipe (run.sh and its YAMLs) for a corpus or your own videos",
    "transcribe": "write text, subtitles and word times of video and sound files",
    "live": "print words while somebody speaks, from a camera and a microphone or a file",
    "calibrate": "find the confidence threshold at which a given share of the words is correct",
    "page": "serve a local web page to try a model on",
    "plot": "report training curves and an error analysis as an HTML page",
    "score": "compute word and character error rates of a hypothesis file",
    "pack": "pack a trained model into a folder or file that loads offline",
    "export": "export the visual encoder and CTC of a trained model as an ONNX file",
    "convert": "convert a scenic ViViT checkpoint into a folder for the option model_name",
    "import": "convert a published model (Auto-AVSR, VSR-ML, AV-HuBERT, RAVEn, USR)",
    "merge-adapters": "merge LoRA or QLoRA adapters into the base weights",
}

ALIASES = {"import-auto-avsr": "import"}  # earlier names

EXAMPLES = """examples:
  espnet-vivit doctor
  espnet-vivit face-model
  espnet-vivit prepare folder my_videos out
  espnet-vivit inspect corpus/ --out inspected
  espnet-vivit check tiny_both dump/raw/train --token_list tokens.txt
  espnet-vivit new-recipe folder my_recipe
  espnet-vivit transcribe talk.mp4 --model exp/avsr_train --output txt,srt
  espnet-vivit live --model exp/avsr_live --source webcam
  espnet-vivit calibrate exp/avsr_train --ref dump/raw/dev/text --hyp DECODED/1best_recog --modality video
  espnet-vivit page --model exp/avsr_train
  espnet-vivit plot exp/avsr_train --data dump/raw
  espnet-vivit score --ref data/test/text --hyp 1best_recog/text --out score
  espnet-vivit pack exp/avsr_train package.zip --licence CC-BY-4.0
  espnet-vivit export exp/avsr_train model.onnx --int8
  espnet-vivit convert vivit_base_16x2_fe/checkpoint exp/vivit_base_fe
  espnet-vivit import vsr_trlrs3_base.pth exp/auto_avsr --tokens unigram5000_units.txt
  espnet-vivit merge-adapters exp/avsr_qlora exp/avsr_merged
"""


def build_parser() -> argparse.ArgumentParser:
    commands = "\n".join(f"  {name:16} {purpose}" for name, purpose in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="espnet-vivit",
        usage="espnet-vivit [-h] [--version] COMMAND ...        (espnet-vivit COMMAND --help: options of a command)",
        description=f"Lip reading and audio-visual speech recognition for ESPnet.\n\ncommands:\n{commands}",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"espnet-vivit {__version__}")
    for name, nargs in (("command", None), ("arguments", argparse.REMAINDER)):
        parser.add_argument(name, nargs=nargs, help=argparse.SUPPRESS)  # they are listed above
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    try:
        try:
            return run(sys.argv[1:] if argv is None else argv)
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()  # now, not when Python ends: a pipe that is closed is found out here
    except KeyboardInterrupt:
        print("\nstopped" if sys.stderr.isatty() else "stopped", file=sys.stderr)  # below ^C and a progress bar
        return STOPPED
    except BrokenPipeError:
        if not (unread := _unread()):
            raise  # a pipe of our own
        for descriptor in unread:
            os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)  # for what Python writes when it ends
        return UNREAD


def run(argv: Sequence[str]) -> int:
    """Run a command; errors of ours are printed."""
    parser = build_parser()
    if not argv:
        parser.print_help(sys.stderr)
        return 2
    options = parser.parse_args(argv)
    command = ALIASES.get(options.command, options.command)
    if command not in COMMANDS:
        parser.error(str(unknown_name("command", command, COMMANDS)))
    module = f"espnet_vivit.bin.commands.{command.replace('-', '_')}"  # imported now: --help answers at once
    return exit_status(import_module(module).main, options.arguments)


def _unread() -> list[int]:
    """Which of standard output and error are pipes without a reader."""
    poll = select.poll()
    for descriptor in (1, 2):
        poll.register(descriptor, 0)
    return [descriptor for descriptor, event in poll.poll(0) if event & select.POLLERR]


if __name__ == "__main__":
    sys.exit(main())
