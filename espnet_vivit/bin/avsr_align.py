"""Write word times of a data directory by forced alignment with a trained model, or compare them with known ones.

    python -m espnet_vivit.bin.avsr_align --asr_model_file exp/avsr/valid.acc.ave.pth --data dump/raw/train \\
        --out dump/raw/train/word_times
    python -m espnet_vivit.bin.avsr_align --asr_model_file exp/avsr/valid.acc.ave.pth --data dump/raw/test_seen --report
    python -m espnet_vivit.bin.avsr_align --decoded exp/avsr/decode_X/test_seen_video/1best_recog \\
        --data dump/raw/test_seen --report

The first command writes targets for `frame_loss_weight`. They can be made for any corpus with sound: train a model on
sound, align with it, then train on video with these times. Run the second command on a set with known times first;
decode/word_times.py describes the method and its accuracy. The last command reports on words that were decoded with
`avsr_inference --word_times true`; only correct words count.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

from espnet_vivit.base.whole_file import write_lines
from espnet_vivit.bin.command_parser import CommandParser, exit_status
from espnet_vivit.data.data_dir import WordTime, format_word_times, parse_word_times, read_scp
from espnet_vivit.data.transcripts import read_transcripts
from espnet_vivit.errors import ConfigError, DataError, InputError

WORD_TIMES = "word_times"


def read_word_times(path: Path) -> dict[str, tuple[WordTime, ...]]:
    """utterance -> its words with times; an utterance without words has none."""
    return {utt_id: parse_word_times(line) for utt_id, line in read_transcripts(path).items()}


def align(
    data: Path, model_file: Path, *, config: Path | None = None, modality: str | None = None, frame_head: bool = True
) -> dict[str, tuple[WordTime, ...]]:
    """utterance -> the words of its transcript with the times that the model finds; a DataError names what fails."""
    from espnet_vivit.decode.recognize import build_loader
    from espnet_vivit.decode.speech2text import Speech2Text, streams_to_read
    from espnet_vivit.tasks.streams import DATA_FILES, data_option

    model_file = Path(model_file)
    speech2text = Speech2Text(config or model_file.parent / "config.yaml", model_file, modality=modality)
    names = [name for name in ("speech", "video") if (data / DATA_FILES[name][0]).is_file()]
    streams = streams_to_read(names, modality, speech2text.asr_model.modality)
    triples = []
    for name in streams:
        path, name_in_batch, kind = data_option(data, name).split(",")
        triples.append((path, name_in_batch, kind))
    texts, found = read_scp(data / "text"), {}
    loader = build_loader(speech2text, triples, num_workers=0)
    for (utt_id,), batch in tqdm(loader, desc="align", unit="clip", total=len(texts), file=sys.stderr):
        if utt_id not in texts:
            raise DataError(f"utterance {utt_id!r} has no text in {data / 'text'}")
        try:
            words = speech2text.align(texts[utt_id], frame_head=frame_head, **_streams(batch, streams))
        except InputError as error:
            raise DataError(f"utterance {utt_id!r}: {error}") from error
        found[utt_id] = tuple(WordTime(word.start_s, word.end_s, word.text) for word in words)
    missing = sorted(texts.keys() - found.keys())
    if missing:
        raise DataError(f"{len(missing)} utterances have a text but no {' or '.join(streams)}, as {missing[0]}")
    return found


def _streams(batch: Mapping, names: Sequence[str]) -> dict:
    return {name: batch[name][0].numpy() for name in names}


def main(argv: Sequence[str] | None = None) -> None:
    parser = CommandParser(
        prog="python -m espnet_vivit.bin.avsr_align",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--asr_model_file", type=Path, help="weights file of a trained model")
    parser.add_argument("--asr_train_config", type=Path, help="(default: config.yaml beside the weights file)")
    parser.add_argument("--modality", help="streams to use: video, audio or multimodal (default: all there are)")
    parser.add_argument("--ctc_only", action="store_true", help="align with CTC even if the model has a frame head")
    parser.add_argument("--decoded", type=Path, help="folder with decoded word_times, used instead of a model")
    parser.add_argument("--data", type=Path, required=True, help="data directory with text and the model's streams")
    parser.add_argument("--out", type=Path, help="word_times file to write")
    parser.add_argument("--report", action="store_true", help="print the differences from --known")
    parser.add_argument("--known", type=Path, help="reference word_times (default: those of the data directory)")
    args = parser.parse_args(argv)
    if (args.asr_model_file is None) == (args.decoded is None):
        raise ConfigError("times come from a model or from a decoding", fix="Give --asr_model_file or --decoded.")
    if args.out is None and not args.report:
        raise ConfigError("nothing to do with the times", fix="Give --out, --report, or both.")
    if args.out is not None and args.decoded is not None:
        raise ConfigError("--out writes what a model aligned", found="--decoded", fix="Copy its word_times instead.")
    known_path = args.known or args.data / WORD_TIMES
    if args.report and not known_path.is_file():
        raise DataError("no known word times to compare with", found=f"no file {known_path}", fix="Name one: --known.")
    if args.report and args.out is not None and args.out.resolve() == known_path.resolve():
        raise ConfigError(f"--out would replace the known times {known_path}", fix="Choose another file for --out.")
    if args.decoded is not None:
        found = read_word_times(args.decoded / WORD_TIMES)
    else:
        options = {"config": args.asr_train_config, "modality": args.modality, "frame_head": not args.ctc_only}
        found = align(args.data, args.asr_model_file, **options)
    if args.out is not None:
        write_lines(args.out, [f"{utt_id} {format_word_times(found[utt_id])}" for utt_id in sorted(found)])
    if args.report:
        from espnet_vivit.evaluation.boundary_errors import boundary_errors

        print(boundary_errors(read_word_times(known_path), found).table())


if __name__ == "__main__":
    sys.exit(exit_status(main))
