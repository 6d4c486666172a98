"""From a corpus, or a folder of videos, to data directories to train on: mouths found, cropped, judged, and listed.

    espnet-vivit prepare folder my_videos out --nj 8

What can be prepared is in CORPORA; each is a generator of clips in espnet_vivit/corpora. In OUT: a data directory for
each set, `clips/`, report.tsv and report.html with every clip and what became of it. The same command goes on where a
run was stopped.

Exit codes: 0 done (clips that were left out are in the report); 1 an error; 130 stopped by Ctrl-C.
"""

import argparse
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from espnet_vivit.bin.command_parser import CommandParser, add_track_options
from espnet_vivit.errors import ConfigError
from espnet_vivit.units import MOUTH_SIZE

if TYPE_CHECKING:
    from espnet_vivit.corpora.preparing.prepare import Prepared

STOPPED = 130
CORPORA = {
    "folder": "your own videos in any language, with a transcript beside each video or one table",
    "grid": "GRID: original videos (--download fetches them), or mouth crops with manifest.tsv",
    "lrs2": "LRS2 as the BBC distributes it",
    "lrs3": "LRS3 as it is distributed",
    "lrw": "LRW, isolated words, as the BBC distributes it",
    "auto-avsr": "mouth crops prepared by Auto-AVSR, with its CSV lists",
    "av-hubert": "mouth crops prepared by AV-HuBERT, with its TSV lists",
}
EXAMPLES = {
    "folder": "espnet-vivit prepare folder my_videos out",
    "grid": "espnet-vivit prepare grid grid_videos out --download --protocol unseen --nj 8",
    "lrs2": "espnet-vivit prepare lrs2 LRS2-BBC out --nj 32",
    "lrs3": "espnet-vivit prepare lrs3 lrs3 out --dask-scheduler tcp://head:8786",
    "lrw": "espnet-vivit prepare lrw LRW out --modality video --nj 32",
    "auto-avsr": "espnet-vivit prepare auto-avsr ROOT out --list train=train.csv --list dev=dev.csv --units units.txt",
    "av-hubert": "espnet-vivit prepare av-hubert ROOT out --list train=train.tsv --list dev=valid.tsv",
}
CROPS = {"auto-avsr", "av-hubert"}  # have been cropped: no face is looked for
OF_CROPS = {"corpus", "root", "out", "size", "view", "nj", "write_av_hubert"}  # what `prepare grid` heeds for crops
SHOWN_CAUSES = 5


def build_parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="espnet-vivit prepare",
        description="Crop the mouths in the videos of a corpus, check their quality and write data directories.",
        epilog="exit codes: 0 done, 1 an error, 130 interrupted; running the same command again resumes\nexample: "
        + "\nexample: ".join(EXAMPLES.values()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    corpora = parser.add_subparsers(dest="corpus", required=True, metavar="CORPUS")
    for name, purpose in CORPORA.items():
        corpus = corpora.add_parser(
            name, help=purpose, description=purpose[0].upper() + purpose[1:] + ".", epilog=f"example: {EXAMPLES[name]}"
        )
        corpus.add_argument("root", type=Path, metavar="ROOT", help="folder of the corpus")
        corpus.add_argument("out", type=Path, metavar="OUT", help="folder for the data directories")
        _OWN_OPTIONS[name](corpus)
        _add_common(corpus, crops=name in CROPS)
    return parser


def _add_common(parser: argparse.ArgumentParser, *, crops: bool) -> None:
    detector = "centre" if crops else "auto"
    parser.add_argument(
        "--nj", type=int, default=os.cpu_count() or 1, help="number of processes (default: one per core)"
    )
    parser.add_argument(
        "--dask-scheduler",
        metavar="ADDRESS",
        help="use a Dask cluster whose workers see the same files, such as tcp://head:8786",
    )
    parser.add_argument(
        "--detector",
        default=detector,
        help=f"face detector: auto, mediapipe or haar; centre for mouth crops (default: {detector})",
    )
    parser.add_argument("--detect_every", type=int, default=1, help="detect faces in every k-th frame (default: 1)")
    parser.add_argument(
        "--modality", choices=("multimodal", "video"), default="multimodal",
        help="video: the sound is ignored; multimodal: clips without sound are rejected (default: multimodal)",
    )  # fmt: skip
    parser.add_argument(
        "--codec",
        choices=("h264", "ffv1"),
        default="h264",
        help="codec of the crops: h264 is small, ffv1 is lossless (default: h264)",
    )
    parser.add_argument(
        "--view",
        type=int,
        default=MOUTH_SIZE,
        help="side of the centre region of the 96-pixel crop that is kept, in pixels (default: 96)",
    )
    parser.add_argument(
        "--size", type=int, default=MOUTH_SIZE, help="side of the written crops in pixels (default: 96)"
    )
    parser.add_argument(
        "--max_s", type=float, default=60.0, help="longest clip in seconds; longer clips are rejected (default: 60)"
    )
    parser.add_argument(
        "--retry_rejected", action="store_true", help="process clips again that an earlier run rejected"
    )
    add_track_options(parser)
    parser.add_argument(
        "--write_av_hubert", action="store_true", help="also write OUT/<set>.tsv and .wrd for AV-HuBERT"
    )
    parser.add_argument(
        "--write_auto_avsr", nargs=2, type=Path, metavar=("MODEL", "UNITS"),
        help="also write OUT/<set>.csv for Auto-AVSR (with root OUT), in the tokens of its sentencepiece MODEL "
        "(unigram5000.model), numbered by UNITS (unigram5000_units.txt)",
    )  # fmt: skip


def _folder_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--table", type=Path, help="TSV with the columns video and text (default: the one in ROOT)")
    parser.add_argument("--dev", type=float, default=0.1, help="share held out for validation (default: 0.1)")
    parser.add_argument("--test", type=float, default=0.1, help="share held out for testing (default: 0.1)")
    parser.add_argument("--seed", type=int, default=0, help="random seed of the split (default: 0)")


def _grid_options(parser: argparse.ArgumentParser) -> None:
    from espnet_vivit.corpora.download import GRID_RECORD
    from espnet_vivit.corpora.grid_videos import PROTOCOLS

    parser.add_argument(
        "--protocol",
        default="overlapped",
        choices=PROTOCOLS,
        help="test on speakers seen in training (overlapped) or not (unseen); default: overlapped",
    )
    parser.add_argument("--download", action="store_true", help="download the public corpus into ROOT first")
    parser.add_argument("--record", default=GRID_RECORD, metavar="URL", help=argparse.SUPPRESS)
    parser.add_argument("--speakers", nargs="+", metavar="s1", help="with --download: these speakers only")


def _lrs_options(parser: argparse.ArgumentParser) -> None:
    from espnet_vivit.corpora.lrs import MAX_CUT_S

    parser.add_argument("--no_pretrain", action="store_true", help="leave out the folder pretrain")
    parser.add_argument(
        "--max_cut_s", type=float, default=MAX_CUT_S, help="longest segment cut from pretrain, in seconds (default: 16)"
    )


def _auto_avsr_options(parser: argparse.ArgumentParser) -> None:
    _list_options(parser)
    parser.add_argument(
        "--units", type=Path, required=True, help="token list that the ids refer to, unigram5000_units.txt"
    )


def _list_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--list", action="append", required=True, metavar="SET=FILE", help="list file of a set; repeat for each set"
    )


_OWN_OPTIONS: dict[str, Callable[[argparse.ArgumentParser], None]] = {
    "folder": _folder_options,
    "grid": _grid_options,
    "lrs2": _lrs_options,
    "lrs3": _lrs_options,
    "lrw": lambda parser: None,  # nothing but what all corpora have
    "auto-avsr": _auto_avsr_options,
    "av-hubert": _list_options,
}


def _note(sentence: str) -> None:
    print(f"note: {sentence}", file=sys.stderr)


def clips_of(options: argparse.Namespace) -> Iterable:
    """The corpus's clips, read as they are asked for."""
    root = options.root
    if options.corpus == "folder":
        from espnet_vivit.corpora.folder import folder_clips

        held_out = {"dev": options.dev, "test": options.test, "seed": options.seed}
        return folder_clips(root, table=options.table, leave_out=options.out, note=_note, **held_out)
    if options.corpus == "grid":
        from espnet_vivit.corpora.grid_videos import grid_clips

        return grid_clips(root, protocol=options.protocol)
    if options.corpus in ("lrs2", "lrs3"):
        from espnet_vivit.corpora.lrs2 import lrs2_clips
        from espnet_vivit.corpora.lrs3 import lrs3_clips

        clips = lrs2_clips if options.corpus == "lrs2" else lrs3_clips
        return clips(root, pretrain=not options.no_pretrain, max_s=options.max_cut_s)
    if options.corpus == "lrw":
        from espnet_vivit.corpora.lrw import lrw_clips

        return lrw_clips(root)
    from espnet_vivit.corpora.manifests import auto_avsr_clips, av_hubert_clips
    from espnet_vivit.data.token_list import read_units

    manifests = dict(_set_and_file(text) for text in options.list)
    if options.corpus == "auto-avsr":
        return auto_avsr_clips(root, manifests, units=read_units(options.units))
    return av_hubert_clips(manifests, root=root)


def _set_and_file(text: str) -> tuple[str, Path]:
    name, _, path = text.partition("=")
    if not name or not path:
        raise ConfigError("bad --list", found=repr(text), expected="SET=FILE, such as train=train.csv")
    return name, Path(path)


def prepare(options: argparse.Namespace) -> "Prepared":
    """Prepare what the options say."""
    from espnet_vivit.corpora.preparing.make_clip import ClipOptions
    from espnet_vivit.corpora.preparing.prepare import CLIPS_NAME, prepare_clips
    from espnet_vivit.corpora.write_manifests import read_pieces, write_manifests

    if options.write_av_hubert and options.modality == "video":
        raise ConfigError("--write_av_hubert with --modality video", expected="sound, which AV-HuBERT's lists name")
    pieces = read_pieces(*options.write_auto_avsr) if options.write_auto_avsr else None
    if not 0 < options.size <= options.view <= MOUTH_SIZE or options.view % 2:
        found = f"size {options.size}, view {options.view}"
        raise ConfigError("bad picture sizes", found=found, expected=f"size <= view <= {MOUTH_SIZE}, view even")
    how = ClipOptions(
        folder=str((options.out / CLIPS_NAME).resolve()), detector=options.detector, modality=options.modality,
        codec=options.codec, view=options.view, size=options.size, max_s=options.max_s,
        detect_every=options.detect_every, audio_track=options.audio_track, video_track=options.video_track,
    )  # fmt: skip
    prepared = prepare_clips(
        clips_of(options), options.out, options=how, nj=options.nj, dask_scheduler=options.dask_scheduler,
        retry_rejected=options.retry_rejected,
    )  # fmt: skip
    write_manifests(
        options.out, prepared.directories, av_hubert=options.write_av_hubert, auto_avsr=pieces,
        withdrawn=prepared.withdrawn,
    )  # fmt: skip
    return prepared


def get_grid(options: argparse.Namespace) -> None:
    """Download and unpack GRID's record into ROOT. Raises MediaError that lists what stayed bad."""
    from espnet_vivit.corpora.download import download_grid

    for problem in download_grid(options.root, speakers=options.speakers, url=options.record):
        print(f"damaged in the record, and left out: {problem}", file=sys.stderr)


def prepare_grid_crops(options: argparse.Namespace) -> dict[str, Path]:
    """Data directories of crops, which are neither looked for nor judged.

    Raises ConfigError for options that would do nothing here. Those that say what they say by default are let pass:
    a recipe gives them all.
    """
    from espnet_vivit.corpora import grid_crops as grid
    from espnet_vivit.corpora.write_manifests import write_manifests
    from espnet_vivit.data.mouth_view import write_mouth_view

    usual = vars(build_parser().parse_args(["grid", "ROOT", "OUT"]))
    unheard = [name for name, value in vars(options).items() if name not in OF_CROPS and value != usual[name]]
    manifest = options.root / "manifest.tsv"
    if unheard:
        raise ConfigError(
            f"{manifest} says that these are crops, and which sets they are in", expected="no other options than "
            + ", ".join(f"--{name}" for name in sorted(OF_CROPS - {"corpus", "root", "out"})),
            found=", ".join("--dask-scheduler" if name == "dask_scheduler" else f"--{name}" for name in unheard),
        )  # fmt: skip
    if options.write_av_hubert and (options.view, options.size) != (MOUTH_SIZE, MOUTH_SIZE):
        raise ConfigError(
            "--write_av_hubert", found=f"--view {options.view} --size {options.size}",
            expected=f"crops as they are ({MOUTH_SIZE} pixels): shrunken ones are .npy files, which it does not read",
        )  # fmt: skip
    directories = grid.prepare(options.root, options.out, size=options.size, view=options.view, nj=options.nj)
    write_mouth_view(options.out, options.view)
    write_manifests(options.out, directories, av_hubert=options.write_av_hubert)
    return directories


def summary(prepared: "Prepared", out: Path) -> str:
    """A line for each set, what was left out and the commonest causes, and where to look."""
    from espnet_vivit.corpora.preparing.report import PAGE_NAME, REPORT_NAME, commonest_causes

    lines = []
    for split, directory in prepared.directories.items():
        kept = prepared.counts.get((split, "ok"), 0), prepared.counts.get((split, "warn"), 0)
        rejected = prepared.counts.get((split, "reject"), 0)
        lines.append(f"{split}: {sum(kept)} clips in {directory} ({kept[1]} to look at), {rejected} left out")
    for split in prepared.withdrawn:
        lines.append(f"{split}: no longer in this corpus; {out / split} of an earlier run lost its `text`")
    causes = commonest_causes(out / REPORT_NAME, SHOWN_CAUSES)
    lines += ["left out because:"] if causes else []
    lines += [f"  {count} × {cause}" for cause, count in causes]
    lines.append(f"every clip: {out / REPORT_NAME}; pictures: {out / PAGE_NAME}")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else list(argv)
    options = build_parser().parse_args(argv)
    try:
        crops = options.corpus == "grid" and (options.root / "manifest.tsv").is_file()
        if options.corpus == "grid" and options.download and not crops:
            get_grid(options)
        if crops:
            for split, directory in prepare_grid_crops(options).items():
                print(f"{split}: {directory}")
            return 0
        prepared = prepare(options)
    except KeyboardInterrupt:
        print(f"\nstopped; go on with: espnet-vivit prepare {shlex.join(argv)}", file=sys.stderr)
        return STOPPED
    print(summary(prepared, options.out))
    return 0
