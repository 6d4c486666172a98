"""Stage 12: decode a data directory with a trained model. The options have ESPnet's names.

example: python -m espnet_vivit.bin.avsr_inference --asr_train_config exp/avsr/config.yaml
    --asr_model_file exp/avsr/valid.acc.ave.pth --data_path_and_name_and_type dump/raw/test/video.scp,video,video
    --modality video --beam_size 10 --ctc_weight 0.3 --output_dir exp/avsr/decode_video/test
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from espnet_vivit.bin.command_parser import exit_status
from espnet_vivit.decode.options import SearchOptions, decoding_parser
from espnet_vivit.errors import ConfigError


def get_parser() -> argparse.ArgumentParser:
    return decoding_parser(__doc__)


def main(argv: Sequence[str] | None = None) -> None:
    from espnet_vivit.decode.recognize import build_loader, recognize
    from espnet_vivit.decode.speech2text import Speech2Text, streams_to_read
    from espnet_vivit.decode.video_control import write_shuffled_scp
    from espnet_vivit.tasks.launch import check_devices
    from espnet_vivit.tasks.preflight.lists import check_lists

    args = get_parser().parse_args(argv)
    _check_arguments(args)
    check_devices(args.ngpu)
    logging.basicConfig(level=args.log_level, format="%(asctime)s (%(module)s:%(lineno)d) %(levelname)s: %(message)s")
    speech2text = Speech2Text(
        args.asr_train_config,
        args.asr_model_file,
        modality=args.modality,
        **SearchOptions.asked(args).stated(),
        lm_train_config=args.lm_train_config,
        lm_file=args.lm_file,
        lm_weight=args.lm_weight,
        ngram_file=args.ngram_file,
        ngram_weight=args.ngram_weight,
        nbest=args.nbest,
        token_type=args.token_type,
        bpemodel=args.bpemodel,
        device="cuda" if args.ngpu else "cpu",
        precision=args.precision,
    )
    names = [name for _, name, _ in args.data_path_and_name_and_type]
    streams = streams_to_read(names, args.modality, speech2text.asr_model.modality)
    triples = [triple for triple in args.data_path_and_name_and_type if triple[1] in streams]
    check_lists(triples, [args.key_file] if args.key_file else [])
    if args.video_control != "none" and "video" not in streams:
        raise ConfigError(f"video_control {args.video_control} without video", found=" and ".join(streams))
    if args.video_control == "shuffle":
        shuffled = Path(args.output_dir) / "shuffled_video.scp"  # stays there as a record of who got whose
        video_scp = next(path for path, name, _ in triples if name == "video")
        write_shuffled_scp(video_scp, shuffled, seed=args.seed)
        triples = [(str(shuffled) if name == "video" else path, name, kind) for path, name, kind in triples]
    loader = build_loader(
        speech2text,
        triples,
        key_file=args.key_file,
        num_workers=args.num_workers,
        allow_variable_data_keys=args.allow_variable_data_keys,
    )
    count = recognize(
        speech2text,
        loader,
        args.output_dir,
        video_control=args.video_control,
        word_times=args.word_times,
        batch_size=args.batch_size,
    )
    print(f"{count} utterances decoded into {args.output_dir}")


def _check_arguments(args: argparse.Namespace) -> None:
    """Raise ConfigError for what is missing or cannot be meant, before anything is loaded."""
    missing = [
        name for name in ("output_dir", "asr_model_file", "data_path_and_name_and_type") if not getattr(args, name)
    ]
    if missing:
        raise ConfigError("options are missing: " + ", ".join(f"--{name}" for name in missing))
    if not Path(args.asr_model_file).is_file():
        raise ConfigError("no trained model", found=f"no file {args.asr_model_file}", fix="Train one (stage 11).")
    if args.batch_size < 1:
        raise ConfigError("batch_size", found=args.batch_size, expected="1 or more clips")
    if args.ngpu not in (0, 1):
        raise ConfigError("decoding runs on one device", found=f"ngpu={args.ngpu}", expected="0 or 1")


if __name__ == "__main__":
    sys.exit(exit_status(main))
