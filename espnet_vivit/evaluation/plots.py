"""Draw an experiment: its training curves, and a contact sheet of clips with references and hypotheses.

    python -m espnet_vivit.bin.avsr_contact_sheet curves --exp exp/avsr_TAG --out curves.png [--names loss acc cer_ctc]
    python -m espnet_vivit.bin.avsr_contact_sheet clips --video_scp dump/raw/test/video.scp --ref dump/raw/test/text \\
        --hyp .../1best_recog/text --out clips.png [--utts ID...] [--rows 8] [--frames 10]

`curves` reads what training_log.py finds; a number that was never reported gets no panel. `clips` shows
the named utterances, or `--rows` of them at even distances in the order of their ids: not the best ones. Words that are
wrong are red, words that were left out are a red dash. Exit codes: 0 written, 1 an error.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import jiwer
import numpy as np

from espnet_vivit.base.whole_file import make_folder, replacing
from espnet_vivit.data.transcripts import read_transcripts
from espnet_vivit.errors import ConfigError, DataError, InputError
from espnet_vivit.evaluation.score import align_words
from espnet_vivit.evaluation.training_log import TrainingHistory

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CURVES = ("loss", "acc", "cer_ctc")
LABELS = {"loss": "loss", "acc": "token accuracy of the decoder", "cer_ctc": "character error rate of CTC"}
PHASE_COLORS = {"train": "#1f77b4", "valid": "#d62728"}
RIGHT, WRONG, FAINT = {"color": "#202020"}, {"color": "#c00000", "weight": "bold"}, {"color": "#707070"}
LEFT_OUT = "–"
DOTS_PER_INCH = 100
FRAME_INCHES = 1.1  # width of one frame on the contact sheet
LINE_INCHES = 0.24  # height of one line of text there
MARGIN_INCHES = 0.15
FONT = "DejaVu Sans Mono"  # matplotlib ships it
TEXT_POINTS = 11
CHARACTER_INCHES = 0.602 * TEXT_POINTS / 72  # that font's advance is 0.602 of its size; a point is 1/72 inch


@dataclass(frozen=True)
class Clip:
    """The frames and texts of one utterance of the contact sheet."""

    utt_id: str
    video: np.ndarray  # (T, H, W) uint8
    reference: str
    hypothesis: str


def plot_training(
    history: TrainingHistory, path: str | Path, *, names: Sequence[str] = CURVES, title: str = ""
) -> list[str]:
    """Draw a panel for each reported number, training and validation over epochs, as PNG. Returns the names drawn."""
    drawn = [name for name in names if any(_finite(history.curve(phase, name)) for phase in PHASE_COLORS)]
    if not drawn:
        reported = sorted({name for values in history.phases.values() for name in values})
        raise ConfigError("no such numbers in the training", found=", ".join(names), expected=", ".join(reported))
    from matplotlib.ticker import AutoLocator  # late, as in new_figure

    figure = new_figure(4.6 * len(drawn), 3.6)
    for panel, name in enumerate(drawn, start=1):
        axes = figure.add_subplot(1, len(drawn), panel)
        for phase, color in PHASE_COLORS.items():
            if curve := _finite(history.curve(phase, name)):
                marker = "o" if len(curve) < 40 else None
                axes.plot(list(curve), list(curve.values()), color=color, label=phase, marker=marker, markersize=3.5)
        axes.set_title(LABELS.get(name, name), fontsize=12)
        axes.set_xlabel("epoch")
        whole = AutoLocator()
        whole.set_params(integer=True)
        axes.xaxis.set_major_locator(whole)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    if title:
        figure.suptitle(title, fontsize=13)
    figure.tight_layout()
    save_png(figure, path)
    return drawn


def _finite(curve: dict[int, float]) -> dict[int, float]:
    """Drop the epochs in which ESPnet had nothing to report, which it stores as NaN."""
    return {epoch: value for epoch, value in curve.items() if np.isfinite(value)}


def plot_contact_sheet(clips: Sequence[Clip], path: str | Path, *, frames: int = 10) -> None:
    """Draw a row per clip: `frames` pictures at equal distances in time, below them the reference and the
    hypothesis.
    """
    if not clips:
        raise InputError("a contact sheet needs at least one clip")
    pictures = [_filmstrip(clip, frames) for clip in clips]  # each (H, frames * (W + gap))
    strips = [frames * FRAME_INCHES * picture.shape[0] / picture.shape[1] for picture in pictures]  # heights, inches
    captions = [_caption(clip, characters=int(frames * FRAME_INCHES / CHARACTER_INCHES)) for clip in clips]
    width = frames * FRAME_INCHES + 2 * MARGIN_INCHES
    height = sum(strips) + sum(len(lines) + 1 for lines in captions) * LINE_INCHES + MARGIN_INCHES
    figure = new_figure(width, height)
    top = height - MARGIN_INCHES
    for picture, strip, lines in zip(pictures, strips, captions, strict=True):
        place = (MARGIN_INCHES / width, (top - strip) / height, 1 - 2 * MARGIN_INCHES / width, strip / height)
        axes = figure.add_axes(place)
        axes.imshow(picture, cmap="gray", vmin=0, vmax=255, aspect="auto")
        axes.set_axis_off()
        top -= strip + LINE_INCHES * 0.8
        for line in lines:
            for column, text, style in line:
                x = (MARGIN_INCHES + column * CHARACTER_INCHES) / width
                figure.text(x, top / height, text, family=FONT, fontsize=TEXT_POINTS, va="center", **style)
            top -= LINE_INCHES
        top -= LINE_INCHES * 0.2
    save_png(figure, path)


def _filmstrip(clip: Clip, frames: int) -> np.ndarray:
    """Put frames at equal distances side by side, with white lines between: (H, frames * (W + gap)) uint8."""
    if clip.video.ndim != 3 or clip.video.dtype != np.uint8 or 0 in clip.video.shape:
        found = f"{clip.video.dtype} {clip.video.shape}"
        raise InputError(f"video of {clip.utt_id}", found=found, expected="uint8 (T, H, W), none of them 0")
    chosen = clip.video[np.linspace(0, len(clip.video) - 1, frames).round().astype(int)]  # (frames, H, W)
    gap = max(1, clip.video.shape[2] // 48)
    return np.concatenate(np.pad(chosen, ((0, 0), (0, 0), (0, gap)), constant_values=255), axis=1)


def _caption(clip: Clip, *, characters: int) -> list[list[tuple[int, str, dict]]]:
    """Lay out lines of (column, text, style) in a monospaced grid: id and errors, then reference above hypothesis,
    wrapped.
    """
    aligned = jiwer.process_words(" ".join(clip.reference.split()), " ".join(clip.hypothesis.split()))
    columns = align_words(aligned.references[0], aligned.hypotheses[0], aligned.alignments[0])
    wrong = sum(bool(mark) for *_, mark in columns)
    lines = [
        [
            (
                0,
                f"{clip.utt_id}    {wrong} {'error' if wrong == 1 else 'errors'} in {len(aligned.references[0])} words",
                FAINT,
            )
        ]
    ]
    said, read = [(0, "said", FAINT)], [(0, "read", FAINT)]
    column = indent = len("said") + 2
    for reference, hypothesis, mark in columns:
        length = max(len(reference), len(hypothesis), 1)
        if column + length > characters and column > indent:
            lines += [said, read]
            said, read, column = [], [], indent
        said.append((column, reference, RIGHT))
        read.append((column, hypothesis or LEFT_OUT, WRONG if mark else RIGHT))
        column += length + 1
    return [*lines, said, read]


def new_figure(width_inches: float, height_inches: float) -> "Figure":
    """Make a figure outside pyplot: it needs no window system and shares no global state with a caller's own plots."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_inches, height_inches), facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def save_png(figure: "Figure", path: str | Path) -> None:
    path = Path(path)
    make_folder(path.parent)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DOTS_PER_INCH)


def read_clips(video_scp: Path, ref: Path, hyp: Path, *, utts: Sequence[str] = (), rows: int = 8) -> list[Clip]:
    """The clips named in `utts`, or `rows` of those with a hypothesis, at even distances in the order of their ids."""
    from espnet_vivit.data.data_dir import read_scp
    from espnet_vivit.media.files.video_file import read_video

    videos, references, hypotheses = read_scp(video_scp), read_transcripts(ref), read_transcripts(hyp)
    shared = sorted(videos.keys() & references.keys() & hypotheses.keys())
    if unknown := sorted(set(utts) - set(shared)):
        raise DataError("not in all of video list, reference and hypothesis", found=", ".join(unknown))
    if not shared:
        raise DataError("no utterance is in all of video list, reference and hypothesis", found=f"{video_scp}, {hyp}")
    evenly = np.linspace(0, len(shared) - 1, min(rows, len(shared))).round().astype(int)
    chosen = list(utts) or [shared[index] for index in evenly]
    return [Clip(utt, read_video(videos[utt]), references[utt], hypotheses[utt]) for utt in chosen]
