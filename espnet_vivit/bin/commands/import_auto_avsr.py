"""A published Auto-AVSR checkpoint in, an experiment folder like those of our own trainings out.

    espnet-vivit import-auto-avsr vsr_trlrs3_base.pth exp/auto_avsr --token_list unigram5000_units.txt
                                  [--bpemodel unigram5000.model]

writes exp/auto_avsr/config.yaml and auto_avsr.pth: for espnet_vivit.bin.avsr_inference, and for a training's
`init_param: [exp/auto_avsr/auto_avsr.pth]`. The tokens are not in the checkpoint: `--token_list` is Auto-AVSR's file of
units (`token index` per line, from <unk> 1; blank and end are added) or a list in ESPnet's order, one token per line.
`--bpemodel`, the sentencepiece model beside it, is for training only.
"""

from collections.abc import Sequence
from pathlib import Path

from espnet_vivit.bin.command_parser import CommandParser
from espnet_vivit.data.token_list import BLANK, END, has_unit_ids, read_units
from espnet_vivit.errors import DataError

WEIGHTS = "auto_avsr.pth"


def import_auto_avsr(checkpoint: Path, out: Path, *, token_list: Path, bpemodel: Path | None = None) -> Path:
    """Write the folder `out`; returns the path of the weights in it.

    Raises:
        WeightsError: the checkpoint cannot be read, holds more than tensors, or is no whole Auto-AVSR model.
        DataError, ConfigError: `out` exists, or the tokens cannot be used or are too many or too few.
    """
    import torch  # late, as are the next: --help shall not wait for ESPnet
    import yaml

    from espnet_vivit.e2e_asr_conformer import E2E
    from espnet_vivit.model.auto_avsr import model_options, read_state_dict
    from espnet_vivit.tasks.avsr import AVSRTask

    out = Path(out)
    if out.exists():
        raise DataError(f"{out} exists already", fix="Name a new folder")
    if bpemodel is not None and not Path(bpemodel).is_file():
        raise DataError(f"the sentencepiece model {bpemodel} does not exist")
    tokens = read_tokens(token_list)
    state = read_state_dict(checkpoint)
    model = E2E.from_auto_avsr(state, token_list=tokens)
    args = AVSRTask.get_parser().parse_args([])
    options = {name: value for name, value in model_options(state).items() if name != "odim"}
    bpe = {"token_type": "bpe", "bpemodel": None if bpemodel is None else str(bpemodel)}
    config = {**vars(args), **options, **bpe, "token_list": tokens, "output_dir": str(out)}
    out.mkdir(parents=True)
    torch.save(model.state_dict(), out / WEIGHTS)
    (out / "config.yaml").write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
    AVSRTask.build_model_from_file(out / "config.yaml", out / WEIGHTS)  # raises WeightsError if a weight does not fit
    return out / WEIGHTS


def read_tokens(path: Path) -> list[str]:
    """The token list, in ESPnet's order, of Auto-AVSR's file of units or of a list in that order."""
    from espnet_vivit.tasks.model_config import read_token_list

    if not Path(path).is_file():
        raise DataError(f"the token list {path} does not exist", fix="Auto-AVSR's is spm/unigram/unigram5000_units.txt")
    if not has_unit_ids(path):
        return read_token_list(path)
    return read_token_list([BLANK, *read_units(path)[1:], END])


def main(argv: Sequence[str] | None = None) -> int:
    parser = CommandParser(
        prog="espnet-vivit import-auto-avsr",
        description="Make an experiment folder of a published Auto-AVSR model, video or audio.",
        epilog="example: espnet-vivit import-auto-avsr vsr_trlrs3_base.pth exp/auto_avsr "
        "--token_list unigram5000_units.txt",
    )
    parser.add_argument("checkpoint", type=Path, help="the .pth file from Auto-AVSR's model zoo")
    parser.add_argument("out", type=Path, help="folder to write; must not exist")
    parser.add_argument("--token_list", type=Path, required=True, help="unigram5000_units.txt, or one token per line")
    parser.add_argument("--bpemodel", type=Path, help="unigram5000.model; needed for training, not for decoding")
    options = parser.parse_args(argv)
    print(import_auto_avsr(options.checkpoint, options.out, token_list=options.token_list, bpemodel=options.bpemodel))
    return 0
