"""Stages 6 to 8: train a language model of ESPnet on transcripts and compute its perplexity.

    python -m espnet_vivit.bin.avsr_lm shapes --train dump/raw/train/text --valid dump/raw/dev/text \\
        --out exp/lm_stats_word --token_list tokens.txt --token_type word
    python -m espnet_vivit.bin.avsr_lm train <options of espnet2.bin.lm_train>
    python -m espnet_vivit.bin.avsr_lm perplexity <options of espnet2.bin.lm_calc_perplexity>

The model and its training are ESPnet's; its `--collect_stats` is replaced by counting tokens, which needs no model.
"""

import inspect
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from espnet_vivit.base.text_file import read_lines
from espnet_vivit.base.whole_file import write_lines
from espnet_vivit.bin.command_parser import CommandParser, exit_status
from espnet_vivit.data.token_list import read_labels
from espnet_vivit.errors import ConfigError, unknown_name


def write_text_shapes(text: Path, out: Path, *, token_list: Path, token_type: str, bpemodel: Path | None) -> None:
    """Write `utterance L,V` for every transcript of the Kaldi file `text`."""
    labels = read_labels(text, token_type=token_type, token_list=token_list, bpemodel=bpemodel)
    size = sum(1 for _ in read_lines(token_list))
    write_lines(out, [f"{utt_id} {len(label)},{size}" for utt_id, label in labels.items()])


def shapes(argv: Sequence[str]) -> None:
    parser = CommandParser(prog="python -m espnet_vivit.bin.avsr_lm shapes")
    parser.add_argument("--train", type=Path, required=True, help="transcripts to train on")
    parser.add_argument("--valid", type=Path, required=True, help="transcripts to validate on")
    parser.add_argument("--out", type=Path, required=True, help="folder for train/ and valid/")
    parser.add_argument("--token_list", type=Path, required=True, help="tokens.txt of the recognizer")
    parser.add_argument("--token_type", required=True, help="char, word or bpe")
    parser.add_argument("--bpemodel", type=Path, help="sentencepiece model for token_type bpe")
    args = parser.parse_args(argv)
    for split, text in (("train", args.train), ("valid", args.valid)):
        write_text_shapes(
            text,
            args.out / split / f"text_shape.{args.token_type}",
            token_list=args.token_list,
            token_type=args.token_type,
            bpemodel=args.bpemodel,
        )


def train(argv: Sequence[str]) -> None:
    from espnet_vivit.base.option_types import check_option_types
    from espnet_vivit.base.sole_run import sole_run
    from espnet_vivit.base.torch_file import data_only
    from espnet_vivit.espnet_compat import quiet_espnet_import

    with quiet_espnet_import():
        from espnet2.tasks.lm import LMTask, lm_choices
    args, _ = LMTask.get_parser().parse_known_args(argv)
    model = lm_choices.get_class(args.lm)  # ESPnet passes lm_conf to it unseen
    assert model is not None  # ESPnet's parser knows the choices
    known = [name for name in inspect.signature(model).parameters if name != "vocab_size"]
    for option in args.lm_conf:
        if option not in known:
            raise unknown_name(f"option in lm_conf for lm: {args.lm}", option, known)
    check_option_types(f"lm_conf for lm: {args.lm}", args.lm_conf, model)
    alone = nullcontext() if args.output_dir is None else sole_run(args.output_dir)
    with alone, data_only():  # of --resume and --init_param
        LMTask.main(cmd=list(argv))


def perplexity(argv: Sequence[str]) -> None:
    from espnet_vivit.base.torch_file import data_only
    from espnet_vivit.espnet_compat import quiet_espnet_import

    with quiet_espnet_import():
        from espnet2.bin.lm_calc_perplexity import main as calculate
    with data_only():
        calculate(cmd=list(argv))


COMMANDS = {"shapes": shapes, "train": train, "perplexity": perplexity}


def main(argv: Sequence[str] | None = None) -> None:
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv[:1] in (["--help"], ["-h"]):
        print(__doc__)
        return
    if not argv or argv[0] not in COMMANDS:
        raise ConfigError("avsr_lm needs a command", found=" ".join(argv[:1]) or "none", expected=" or ".join(COMMANDS))
    COMMANDS[argv[0]](argv[1:])


if __name__ == "__main__":
    sys.exit(exit_status(main))
