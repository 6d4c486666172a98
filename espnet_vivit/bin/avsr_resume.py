"""Before stage 11: may the training in this folder go on? An experiment and its origin in; yes, or why not, out.

    python -m espnet_vivit.bin.avsr_resume --exp exp/avsr_X --config conf/train.yaml --token_list tokens.txt \\
        --data dump/raw/train --shapes exp/avsr_stats_word/train/text_shape.word \\
        --valid dump/raw/dev --valid_shapes exp/avsr_stats_word/valid/text_shape.word \\
        --prepared data --args "--max_epoch 5" [--resume_changed true]

ESPnet continues whatever `checkpoint.pth` it finds. That is what a run that was stopped wants, and a silent mixture of
two experiments when the YAML, the tokens or the data have changed under the same name. What an experiment is made from
is therefore noted in its folder as `made_from.json` and compared; what an earlier version did not note is taken as it
is, and noted from then on. A checkpoint that is damaged is recognized here,
before anything is loaded; the training will go on from the one before it, or, without one, cannot go on.
"""

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from espnet_vivit.base.whole_file import write_lines
from espnet_vivit.bin.command_parser import CommandParser, exit_status
from espnet_vivit.data.mouth_view import read_mouth_view
from espnet_vivit.data.scp import read_scp
from espnet_vivit.errors import ConfigError, DataError
from espnet_vivit.evaluation.provenance import data_hash
from espnet_vivit.media.files.video_file import probe_video
from espnet_vivit.tasks.training.checkpoints import find_checkpoint

NOTE = "made_from.json"


def content_hash(path: Path) -> str:
    if not Path(path).is_file():
        raise DataError(f"{path} does not exist", fix="Run the stages before this one first.")
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def data_set(data: Path, shapes: Path) -> str:
    """One hash of what the data directory says (texts, times, lengths) and of the utterances that `shapes` keeps."""
    return hashlib.sha256(f"{data_hash([data])} {content_hash(shapes)}".encode()).hexdigest()


def pictures(data: Path, prepared: Path) -> str:
    """The size of the first clip's pictures and how much of the mouth they show; the first stands for all."""
    if not (data / "video.scp").is_file():
        return "none"
    first = probe_video(next(iter(read_scp(data / "video.scp").values())))
    return f"{first.width}x{first.height}, view {read_mouth_view(prepared)}"


def check_resume(experiment: Path, origin: Mapping[str, str], *, resume_changed: bool = False) -> bool:
    """True if a training in `experiment` will be continued, False if one begins; `origin` names what it is made from.

    Raises ConfigError if the note in the folder says that it was made from something else, DataError if it has
    checkpoints and each is damaged. Writes the note.
    """
    experiment = Path(experiment)
    note = experiment / NOTE
    found = find_checkpoint(experiment)
    continues = found.path is not None
    for path, reason in found.damaged:
        print(f"{path} is damaged ({reason}): going on from the one before it", file=sys.stderr)
    if continues:
        noted = json.loads(note.read_text(encoding="utf-8")) if note.is_file() else dict(origin)
        changed = sorted(name for name, value in noted.items() if origin.get(name) != value)
        if changed and not resume_changed:
            raise ConfigError(
                f"{experiment} was trained with another {', '.join(changed)}",
                fix="Give the new one a name with --asr_tag, remove that folder, or go on regardless with "
                "--resume_changed true.",
            )
    write_lines(note, [json.dumps(dict(origin), indent=1)])
    return continues


def main(argv: Sequence[str] | None = None) -> None:
    parser = CommandParser(
        prog="python -m espnet_vivit.bin.avsr_resume",
        description="Check that a training may start or resume in an experiment folder.",
        epilog="example: python -m espnet_vivit.bin.avsr_resume --exp exp/avsr_X --config conf/train.yaml "
        "--token_list data/token_list/word/tokens.txt --data dump/raw/train "
        "--shapes exp/avsr_stats_word/train/text_shape.word --valid dump/raw/dev "
        "--valid_shapes exp/avsr_stats_word/valid/text_shape.word --prepared data",
    )
    parser.add_argument("--exp", type=Path, required=True, help="experiment folder")
    parser.add_argument("--config", type=Path, required=True, help="training YAML")
    parser.add_argument("--token_list", type=Path, required=True, help="tokens.txt")
    parser.add_argument("--data", type=Path, required=True, help="data directory of the training set")
    parser.add_argument("--shapes", type=Path, required=True, help="shape file of the training set")
    parser.add_argument("--valid", type=Path, required=True, help="data directory of the validation set")
    parser.add_argument("--valid_shapes", type=Path, required=True, help="shape file of the validation set")
    parser.add_argument("--prepared", type=Path, required=True, help="folder of the prepared data")
    parser.add_argument("--args", default="", help="further options of avsr_train")
    parser.add_argument(
        "--resume_changed",
        choices=["true", "false"],
        default="false",
        help="true: resume even if data or options have changed (default: false)",
    )
    args = parser.parse_args(argv)
    origin = {
        "configuration": content_hash(args.config),
        "token list": content_hash(args.token_list),
        "training set": data_set(args.data, args.shapes),
        "validation set": data_set(args.valid, args.valid_shapes),
        "size or view of the pictures": pictures(args.data, args.prepared),
        "option in --asr_args": args.args,
    }
    if check_resume(args.exp, origin, resume_changed=args.resume_changed == "true"):
        print(f"continuing the training in {args.exp}")


if __name__ == "__main__":
    sys.exit(exit_status(main))
