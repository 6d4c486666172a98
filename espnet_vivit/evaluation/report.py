"""Write one HTML page about an experiment: how it trained and where its errors are; every picture is saved as PNG,
too.

    espnet-vivit plot exp/avsr_TAG --data dump/raw [--out exp/avsr_TAG/report] [--inference_tag TAG]

The page needs no other file: pictures are inside. It shows what there is: training curves always; word error rates by
length, noise and class of word, confused words and lip shapes where something has been decoded; where a ViViT looks, on
one clip of each test set. What is left out is named with its reason. Exit codes: 0 written, 1 an error.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from espnet_vivit.base.templates import render
from espnet_vivit.base.whole_file import make_folder, write_whole
from espnet_vivit.corpora.mini_av.grammar import WORDS
from espnet_vivit.data.scp import read_scp
from espnet_vivit.errors import DataError, EspnetVivitError
from espnet_vivit.evaluation.decoded import CLEAN, Result
from espnet_vivit.evaluation.error_breakdown import by_class, by_length, by_noise, confused_words, viseme_confusions
from espnet_vivit.evaluation.error_plots import plot_by_class, plot_by_length, plot_by_noise, plot_confusions
from espnet_vivit.evaluation.error_rates import Score

PAGE = "report.html"
_LENGTHS_DIFFER = 1.2  # longest clip by shortest, from which length is worth a picture


class Report:
    """Sections of a page, and the PNG files beside it."""

    def __init__(self, folder: Path, title: str):
        self.folder, self._title = make_folder(folder), title
        self._parts: list[tuple[str, object]] = []  # kind, as the template knows it, and content

    def heading(self, text: str) -> None:
        self._parts.append(("heading", text))

    def rows(self, rows: Sequence[Sequence[object]]) -> None:
        """A table; the first row is its head."""
        self._parts.append(("rows", rows))

    def picture(self, name: str, draw: Callable[[Path], object]) -> None:
        """`draw(path)` makes a PNG; one that cannot be made is named with the reason."""
        path = self.folder / f"{name}.png"
        try:
            draw(path)
        except EspnetVivitError as error:
            self.left_out(name.replace("_", " "), str(error))
            return
        self._parts.append(("picture", path))

    def left_out(self, what: str, why: str) -> None:
        self._parts.append(("left_out", (what, why)))

    def write(self) -> Path:
        path = self.folder / PAGE
        write_whole(path, render("experiment.html", title=self._title, parts=self._parts))
        return path


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


def _draw_visemes(score: Score, path: Path) -> None:
    """Raises DataError for words that the synthetic corpus does not say: its visemes are those of its drawn mouths."""
    others = sorted({word for text in score.references.values() for word in text.split()} - set(WORDS))
    if others:
        expected = "those of the synthetic corpus mini_av, whose drawn mouths the table of lip shapes describes"
        raise DataError("lip shapes of other words are not compared", found=", ".join(others[:3]), expected=expected)
    confusions = viseme_confusions(score)
    if confusions is None:
        raise DataError("espeak-ng's phonemes are needed", fix="Type: pip install 'espnet-vivit[mini_av]'")
    title = "lip shapes; – is nothing: left out, or put in"
    plot_confusions(*confusions, path, title=title, said="lip shape said", read="lip shape read")
