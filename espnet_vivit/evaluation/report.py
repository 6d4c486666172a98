"""An experiment in, one HTML page out that shows how it trained and where its errors are; every picture as PNG, too.

    espnet-vivit plot exp/avsr_TAG --data dump/raw [--out exp/avsr_TAG/report] [--inference_tag TAG]

The page needs no other file: pictures are inside. It shows what there is: training curves always; word error rates by
length, noise and class of word, confused words and lip shapes where something has been decoded; where a ViViT looks, on
one clip of each test set. What is left out is named with its reason. Exit codes: 0 written, 1 an error.
"""

import base64
import html
from collections.abc import Callable, Sequence
from pathlib import Path

from espnet_vivit.command_parser import CommandParser
from espnet_vivit.corpora.scp import read_scp
from espnet_vivit.errors import DataError, EspnetVivitError
from espnet_vivit.evaluation.decoded import CLEAN, Result, collect
from espnet_vivit.evaluation.error_breakdown import by_class, by_length, by_noise, confused_words, viseme_confusions
from espnet_vivit.evaluation.error_plots import plot_by_class, plot_by_length, plot_by_noise, plot_viseme_confusions
from espnet_vivit.evaluation.plots import plot_training
from espnet_vivit.evaluation.result_tables import table
from espnet_vivit.evaluation.training_log import read_training_history
from espnet_vivit.whole_file import make_folder, write_whole

PAGE = "report.html"
_LENGTHS_DIFFER = 1.2  # longest clip by shortest, from which length is worth a picture
_STYLE = """
body { font-family: system-ui, "DejaVu Sans", sans-serif; max-width: 1100px; margin: 2rem auto; padding: 0 1rem;
       color: #202020; line-height: 1.45; }
h2 { margin-top: 2.2rem; font-size: 1.15rem; border-bottom: 1px solid #ddd; }
img { max-width: 100%; vertical-align: top; }
table { border-collapse: collapse; font-size: .9rem; }
td, th { padding: .15rem .7rem; text-align: right; border-bottom: 1px solid #eee; }
td:nth-child(-n+3), th:nth-child(-n+3) { text-align: left; }
.left-out { color: #777; font-size: .9rem; }
"""


class Report:
    """Sections of a page, and the PNG files beside it."""

    def __init__(self, folder: Path, title: str):
        self.folder, self._title = make_folder(folder), title
        self._parts: list[str] = []

    def heading(self, text: str) -> None:
        self._parts.append(f"<h2>{html.escape(text)}</h2>")

    def rows(self, rows: Sequence[Sequence[object]]) -> None:
        """A table; the first row is its head."""
        head, *body = ["".join(f"<{{0}}>{html.escape(str(cell))}</{{0}}>" for cell in row) for row in rows]
        lines = [head.format("th"), *(row.format("td") for row in body)]
        self._parts.append("<table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>")

    def picture(self, name: str, draw: Callable[[Path], object]) -> None:
        """`draw(path)` makes a PNG; one that cannot be made is named with the reason."""
        path = self.folder / f"{name}.png"
        try:
            draw(path)
        except EspnetVivitError as error:
            self.left_out(name.replace("_", " "), str(error))
            return
        data = base64.b64encode(path.read_bytes()).decode()
        self._parts.append(f'<img alt="{html.escape(name)}" src="data:image/png;base64,{data}">')

    def left_out(self, what: str, why: str) -> None:
        self._parts.append(f'<p class="left-out">Left out: {html.escape(what)} ({html.escape(why)})</p>')

    def write(self) -> Path:
        path = self.folder / PAGE
        title = html.escape(self._title)
        head = f'<!doctype html><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
        write_whole(path, f"{head}<h1>{title}</h1>{''.join(self._parts)}\n")
        return path


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


def _decode_dir(exp: Path, inference_tag: str | None) -> Path | None:
    folders = sorted(path for path in exp.glob("decode_*") if path.is_dir())
    if inference_tag is not None:
        folders = [path for path in folders if path.name in (inference_tag, f"decode_{inference_tag}")]
        if not folders:
            raise DataError(f"{exp} has no decode folder {inference_tag}")
    if len(folders) > 1:
        found = ", ".join(path.name for path in folders)
        raise DataError(f"{exp} was decoded in several ways", found=found, fix="Choose one with --inference_tag.")
    return folders[0] if folders else None


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def _add_test_set(report: Report, results: Sequence[Result], test_set: str, data: Path) -> None:
    clean = {
        result.modality: result.score for result in results if (result.test_set, result.condition) == (test_set, CLEAN)
    }
    if not clean:
        return
    report.heading(f"Where the errors are: {test_set}")
    report.picture(f"{test_set}_by_class", lambda path: plot_by_class({m: by_class(s) for m, s in clean.items()}, path))
    frames = data / test_set / "utt2num_frames"
    if frames.is_file():
        lengths = {utt_id: int(count) for utt_id, count in read_scp(frames).items()}
        groups = {modality: by_length(score, lengths) for modality, score in clean.items()}
        if max(lengths.values()) < _LENGTHS_DIFFER * min(lengths.values()):
            report.left_out(f"word error rates by length of {test_set}", "its clips are about equally long")
        else:
            report.picture(f"{test_set}_by_length", lambda path: plot_by_length(groups, path))
    if curves := by_noise(results, test_set):
        report.picture(f"{test_set}_by_noise", lambda path: plot_by_noise(curves, path))
    modality = "video" if "video" in clean else next(iter(clean))
    confused = confused_words(clean[modality])
    if confused:
        report.heading(f"What was taken for what: {test_set}, {modality}")
        report.rows([("said", "read", "times"), *confused])
        report.picture(f"{test_set}_lip_shapes", lambda path: _draw_visemes(clean[modality], path))


def _draw_visemes(score, path: Path) -> None:
    confusions = viseme_confusions(score)
    if confusions is None:
        raise DataError("espeak-ng's phonemes are needed", fix="Type: pip install 'espnet-vivit[mini_av]'")
    plot_viseme_confusions(*confusions, path)


def _add_attention(report: Report, exp: Path, data: Path, decode_dir: Path | None) -> None:
    """Where a ViViT looks, on the first clip of the test sets that were decoded."""
    from espnet_vivit.model_files import open_model

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
    from espnet_vivit.frontend.vivit_clips import VivitEncoder
    from espnet_vivit.tasks.avsr import AVSRTask

    with inference_with_task(AVSRTask):
        model, _ = AVSRTask.build_model_from_file(files.config, files.weights, "cpu")
    return model.vision_encoder.eval() if isinstance(model.vision_encoder, VivitEncoder) else None


def _draw_attention(encoder, video: str, path: Path) -> None:
    import torch

    from espnet_vivit.frontend.attention_rollout import attention_rollout, write_rollout
    from espnet_vivit.media.video_file import read_video
    from espnet_vivit.tasks.augment import crop

    frames = crop(read_video(video), encoder.preset, rng=None).copy()
    write_rollout(path, frames, attention_rollout(encoder, torch.from_numpy(frames)).numpy())


def main(argv: Sequence[str] | None = None) -> int:
    parser = CommandParser(
        prog="espnet-vivit plot",
        description="How an experiment trained and where its errors are: one HTML page, and its pictures as PNG.",
        epilog="example: espnet-vivit plot exp/avsr_vivit --data dump/raw",
    )
    parser.add_argument("exp", type=Path, help="the experiment, exp/avsr_TAG")
    parser.add_argument("--data", type=Path, default=Path("dump/raw"), help="folder of the test sets (dump/raw)")
    parser.add_argument("--out", type=Path, help="folder for page and pictures (default: EXP/report)")
    parser.add_argument("--inference_tag", help="which decoding, if there are several")
    options = parser.parse_args(argv)
    folder = options.out or options.exp / "report"
    print(write_report(options.exp, options.data, folder, inference_tag=options.inference_tag))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
