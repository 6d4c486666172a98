"""`espnet-vivit import`: a published checkpoint, made an experiment folder that `transcribe` takes."""

from collections.abc import Sequence
from pathlib import Path

from espnet_vivit.bin.command_parser import CommandParser

MODALITIES = ("video", "audio", "multimodal")


def main(argv: Sequence[str] | None = None) -> int:
    parser = CommandParser(
        prog="espnet-vivit import",
        description="Convert a published model (Auto-AVSR, VSR-ML, AV-HuBERT, RAVEn, USR) into an experiment folder. "
        "What the file is, is read from the names and shapes in it.",
        epilog="example: espnet-vivit import LRS3_V_WER19.1/model.pth exp/vsr --tokens unigram5000_units.txt "
        "--lm lm_en_subword/model.pth",
    )
    parser.add_argument("file", type=Path, help="checkpoint file as published")
    parser.add_argument("out", type=Path, help="folder to write; must not exist")
    help_text = "units.txt, model.json, dict.txt, vocab.json, or one token per line (default: the one beside the file)"
    parser.add_argument("--tokens", "--token_list", type=Path, help=help_text)
    parser.add_argument("--lm", type=Path, help="published language model over the same tokens")
    parser.add_argument(
        "--decoding",
        type=Path,
        help="VSR-ML's configs/NAME.ini with its search options (default: beam 40, CTC weight 0.1)",
    )
    parser.add_argument("--modality", choices=MODALITIES, help="recognizer to take from a file with several (USR)")
    parser.add_argument("--bpemodel", type=Path, help="sentencepiece model; needed for training only")
    parser.add_argument("--licence_file", type=Path, help="licence text of the publisher, copied into packages")
    options = vars(parser.parse_args(argv))

    from espnet_vivit.release.import_published import import_published  # late: --help shall not wait for ESPnet

    checkpoint, out = options.pop("file"), options.pop("out")
    imported = import_published(checkpoint, out, **options)
    terms = imported.layout.terms
    print(f"{checkpoint} is {imported.layout.title}: {imported.parameters:,} parameters")
    for why, count in imported.unused.items():
        print(f"left behind: {count} weights ({why})")
    print(f"licence of the weights: {terms.license}")
    print(f"from: {terms.source}")
    if terms.attribution is not None:
        print(f"attribution: {terms.attribution}")
    if imported.tokens is None:
        print(f"it has no decoder; {out / 'start.yaml'} says how a training of your own starts from it")
    else:
        print(f"{imported.tokens} tokens; search: {imported.search or 'as usual'}")
        print(f"now: espnet-vivit transcribe VIDEO --model {out}")
    print(imported.weights)
    return 0
