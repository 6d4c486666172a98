"""A configuration or an experiment in, and a data directory; the arguments of a training on it out, for `check`.

What a recipe's stages 5, 10 and 11 would write and pass on goes into a temporary folder here.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from espnet_vivit.base.whole_file import write_lines
from espnet_vivit.data.data_dir import Utterance
from espnet_vivit.data.token_list import count_symbols, in_espnet_order, read_labels
from espnet_vivit.data.transcripts import read_spoken_transcripts
from espnet_vivit.errors import ConfigError
from espnet_vivit.media.files.video_file import probe_video
from espnet_vivit.tasks.streams import train_options


def read_subject(path: Path) -> tuple[dict, bool]:
    """(options, whether they are an experiment's own) of a YAML, or of the folder of an experiment."""
    from espnet_vivit.base.config_file import read_config

    if path.is_dir():
        if not (path / "config.yaml").is_file():
            raise ConfigError(f"{path} is no experiment", found="no config.yaml", fix="Name a YAML, or exp/avsr_…")
        return read_config(path / "config.yaml"), True
    return read_config(path), False


def check_keys(config: Mapping, path: Path) -> None:
    """Raise ConfigError for a key that is no option of avsr_train, with the nearest one that is."""
    from espnet_vivit.tasks.avsr import AVSRTask
    from espnet_vivit.tasks.options import check_config

    check_config(config, AVSRTask.get_parser(), where=f"in {path}")


def token_type_of(config: Mapping, given: str | None, bpemodel: Path | None) -> str:
    """What the command line says, or the configuration; recipes say it on avsr_train's command line, "word" if not."""
    return given or config.get("token_type") or ("word" if bpemodel is None else "bpe")


def write_token_list(
    config: Mapping, data: Path, folder: Path, *, given: Path | None, token_type: str, bpemodel: Path | None
) -> tuple[Path, dict[str, list[str]], bool]:
    """(file of the token list, utterance -> its tokens, whether the list was made here from the transcripts)."""
    path, made_here = given or config.get("token_list"), False
    if isinstance(path, list):  # an experiment's own
        write_lines(folder / "tokens.txt", path)
        path = folder / "tokens.txt"
    elif path is None:
        if token_type == "bpe":
            raise ConfigError("token_type bpe has no token list", fix="Name --token_list and --bpemodel (stage 5).")
        symbols = count_symbols(list(read_spoken_transcripts(data / "text").values()), token_type)
        write_lines(folder / "tokens.txt", in_espnet_order(symbols))
        path, made_here = folder / "tokens.txt", True
    labels = read_labels(
        data / "text", token_type=token_type, token_list=Path(path), bpemodel=bpemodel or config.get("bpemodel")
    )
    return Path(path), labels, made_here


def training_arguments(
    config: Mapping,
    path: Path,
    data: Path,
    utterances: Sequence[Utterance],
    folder: Path,
    *,
    trained: bool,
    token_list: Path,
    token_type: str,
    bpemodel: Path | None,
    on_gpu: bool,
) -> argparse.Namespace:
    """The arguments that avsr_train would have, with `data` for training and for validation.

    on_gpu: whether the training would have one; some precisions need it.
    """
    from espnet_vivit.tasks.avsr import AVSRTask

    for split in ("train", "valid"):
        _write_shapes(folder / split, utterances)
    words = train_options(config, train=data, valid=data, stats=folder)
    words += ["--output_dir", str(folder / "exp"), "--num_workers", "0", "--ngpu", "1" if on_gpu else "0"]
    words += ["--token_type", token_type, "--token_list", str(token_list)]
    if bpemodel is not None:
        words += ["--bpemodel", str(bpemodel)]
    parser = AVSRTask.get_parser()
    if not trained:
        args = parser.parse_args(["--config", str(path), *words])
    else:  # its config.yaml holds more than options: what training has found out
        args = parser.parse_args(words)
        ours = {"output_dir", "num_workers", "ngpu", "token_list", "token_type", "preprocessor_conf"}
        ours |= {f"{split}_data_path_and_name_and_type" for split in ("train", "valid")}
        ours |= {"train_shape_file", "valid_shape_file"} | ({"bpemodel"} if bpemodel is not None else set())
        vars(args).update((name, value) for name, value in config.items() if name not in ours)
        conf = args.vision_encoder_conf.items()  # the folder was its training's, whose preprocessor_conf is not taken
        args.vision_encoder_conf = {name: value for name, value in conf if name != "feature_cache"}
    AVSRTask.check_required_command_args(args)
    return args


def _write_shapes(folder: Path, utterances: Sequence[Utterance]) -> None:
    """ESPnet's shape files, from the lengths that the data directory states."""
    if utterances[0].video is not None:
        info = probe_video(utterances[0].video)
        rows = [f"{utt.utt_id} {utt.num_frames},{info.height},{info.width}" for utt in utterances]
        write_lines(folder / "video_shape", rows)
    if utterances[0].wav is not None:
        write_lines(folder / "speech_shape", [f"{utt.utt_id} {utt.num_samples}" for utt in utterances])
