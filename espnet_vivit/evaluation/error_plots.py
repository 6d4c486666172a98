"""Draw the error breakdowns as PNG, one matplotlib figure each: length, noise, class of word, lip shape."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from espnet_vivit.evaluation.error_breakdown import Rate
from espnet_vivit.evaluation.plots import new_figure, save_png

COLORS = {"video": "#1f77b4", "audio": "#d62728", "both": "#2ca02c"}


def plot_by_length(groups: Mapping[str, Sequence[tuple[float, float, Rate]]], path: Path) -> None:
    """Draw the word error rate over the length of the clip, a line per modality; points are groups of equally many
    clips.
    """
    figure, axes = _one_panel("length of the clip in seconds", "WER by length")
    for modality, bins in groups.items():
        middles = [(shortest + longest) / 2 for shortest, longest, _ in bins]
        axes.plot(middles, [100 * rate.rate for *_, rate in bins], "o-", label=modality, color=COLORS.get(modality))
    _finish(figure, axes, path)


def plot_by_noise(curves: Mapping[str, Mapping[float, float]], path: Path) -> None:
    """Draw the word error rate over the signal-to-noise ratio, clean sound on the right, a line per modality."""
    figure, axes = _one_panel("signal-to-noise ratio in dB", "WER by noise")
    ratios = sorted({ratio for curve in curves.values() for ratio in curve})
    for modality, curve in curves.items():
        places = [ratios.index(ratio) for ratio in curve]
        axes.plot(places, [100 * wer for wer in curve.values()], "o-", label=modality, color=COLORS.get(modality))
    names = ["clean" if math.isinf(ratio) else f"{ratio:g}" for ratio in ratios]
    axes.set_xticks(range(len(ratios)), names)
    _finish(figure, axes, path)


def plot_by_class(rates: Mapping[str, Mapping[str, Rate]], path: Path) -> None:
    """Draw the share of wrong words of each class, bars grouped by class, one per modality; N is written below."""
    figure, axes = _one_panel("", "wrong words by class")
    names = list(dict.fromkeys(name for by_class in rates.values() for name in by_class))
    width = 0.8 / len(rates)
    for number, (modality, by_class) in enumerate(rates.items()):
        places = np.arange(len(names)) + (number - (len(rates) - 1) / 2) * width
        heights = [100 * by_class[name].rate if name in by_class else 0.0 for name in names]
        axes.bar(places, heights, width, label=modality, color=COLORS.get(modality))
    first = next(iter(rates.values()))
    axes.set_xticks(range(len(names)), [f"{name}s\n(N = {first[name].total})" for name in names])
    _finish(figure, axes, path)


def plot_confusions(names: Sequence[str], counts: np.ndarray, path: Path, *, title: str, said: str, read: str) -> None:
    """Draw (V, V) counts as a matrix: a row is what was said, a column what was read for it, gray is the share of the
    row, the counts are written in. said, read: labels of the axes.
    """
    figure = new_figure(1.6 + 0.42 * len(names), 1.2 + 0.42 * len(names))
    axes = figure.add_subplot()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in zip(*np.nonzero(counts), strict=True):
        color = "white" if shares[row, column] > 0.6 else "black"
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=7, color=color)
    axes.set_xticks(range(len(names)), names, rotation=60)
    axes.set_yticks(range(len(names)), names)
    axes.set_title(title, fontsize=12)
    axes.set_xlabel(read)
    axes.set_ylabel(said)
    figure.tight_layout()
    save_png(figure, path)


def _one_panel(x_label: str, title: str):
    figure = new_figure(5.2, 3.6)
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=12)
    axes.set_xlabel(x_label)
    axes.set_ylabel("%")
    axes.grid(alpha=0.3)
    return figure, axes


def _finish(figure, axes, path: Path) -> None:
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    figure.tight_layout()
    save_png(figure, path)
