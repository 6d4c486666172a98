"""`espnet-vivit plot`: how a model trained and where its errors are, as one HTML page with pictures."""

from collections.abc import Sequence
from pathlib import Path

from espnet_vivit.bin.command_parser import CommandParser
from espnet_vivit.data.scp import read_scp
from espnet_vivit.errors import DataError, EspnetVivitError
from espnet_vivit.evaluation.decoded import collect
from espnet_vivit.evaluation.plots import plot_training
from espnet_vivit.evaluation.report import Report, _add_test_set, _cells, _decode_dir
from espnet_vivit.evaluation.result_tables import table
from espnet_vivit.evaluation.training_log import read_training_history


def write_report(exp: Path, data: Path, folder: Path, *, inference_tag: str | None = None) -> Path:
    """The page of experiment `exp` whose test sets lie in `data`; returns its path.

    Raises DataError: no experiment there, nothing trained, or several decodings and no `inference_tag`.
    """
    if not exp.is_dir():
        raise DataError(f"there is no experiment {exp}")
    report = Report(folder, exp.resolve().name)
    report.heading("Training")
    history = read_training_history(exp)
    report.picture("training_curves", lambda path: plot_training(history, path))
    decode_dir = _decode_dir(exp, inference_tag)
    if decode_dir is None:
        report.left_out("error rates", "nothing has been decoded; run stage 12 of the recipe")
    else:
        results = collect(decode_dir, data)
        report.heading(f"Word error rates ({decode_dir.name})")
        report.rows([_cells(line) for line in table(results, {}).splitlines() if not set(line) <= set("|-: ")])
        for test_set in dict.fromkeys(result.test_set for result in results):
            _add_test_set(report, results, test_set, data)
    _add_attention(report, exp, data, decode_dir)
    return report.write()


def _add_attention(report: Report, exp: Path, data: Path, decode_dir: Path | None) -> None:
    """Where a ViViT looks, on the first clip of the test sets that were decoded."""
    from espnet_vivit.decode.model_files import open_model

    sets = sorted({path.parent.name for path in data.glob("*/video.scp")})
    decoded = [name for name in sets if decode_dir is not None and list(decode_dir.glob(f"{name}_*"))]
    if not decoded:
        report.left_out("where ViViT looks", "no decoded test set has a video.scp")
        return
    try:
        encoder = _vivit_of(open_model(exp))
    except EspnetVivitError as error:
        report.left_out("where ViViT looks", str(error))
        return
    if encoder is None:
        report.left_out("where ViViT looks", "the vision encoder is no ViViT")
        return
    report.heading("Where ViViT looks (attention rollout)")
    for name in decoded:
        utt_id, video = next(iter(read_scp(data / name / "video.scp").items()))
        report.picture(f"{name}_{utt_id}_attention", lambda path, video=video: _draw_attention(encoder, video, path))


def _vivit_of(files):
    from espnet_vivit.espnet_compat import inference_with_task
    from espnet_vivit.frontend.vivit.encoder import VivitEncoder
    from espnet_vivit.tasks.avsr import AVSRTask

    with inference_with_task(AVSRTask):
        model, _ = AVSRTask.build_model_from_file(files.config, files.weights, "cpu")
    return model.vision_encoder.eval() if isinstance(model.vision_encoder, VivitEncoder) else None


def _draw_attention(encoder, video: str, path: Path) -> None:
    import torch

    from espnet_vivit.frontend.vivit.attention_rollout import attention_rollout, write_rollout
    from espnet_vivit.media.files.video_file import read_video
    from espnet_vivit.tasks.loading.augment import crop

    frames = crop(read_video(video), encoder.preset, rng=None).copy()
    write_rollout(path, frames, attention_rollout(encoder, torch.from_numpy(frames)).numpy())


def main(argv: Sequence[str] | None = None) -> int:
    parser = CommandParser(
        prog="espnet-vivit plot",
        description="Report training curves and an error analysis of an experiment, as one HTML page and PNG files.",
        epilog="example: espnet-vivit plot exp/avsr_vivit --data dump/raw",
    )
    parser.add_argument("exp", type=Path, help="experiment folder, exp/avsr_TAG")
    parser.add_argument(
        "--data", type=Path, default=Path("dump/raw"), help="folder of the test sets (default: dump/raw)"
    )
    parser.add_argument("--out", type=Path, help="folder for the page and the PNG files (default: EXP/report)")
    parser.add_argument("--inference_tag", help="decode folder to use, needed if there are several")
    options = parser.parse_args(argv)
    folder = options.out or options.exp / "report"
    print(write_report(options.exp, options.data, folder, inference_tag=options.inference_tag))
    return 0
