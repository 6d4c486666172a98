"""Draw the front page's picture: mouth crops, where ViViT looks, and the words at their times.

    python tools/draw_picture.py EXP DATA picture.png [--utterance ID] [--modality video]

EXP is a trained model with a ViViT (an experiment folder or a package), DATA a data directory of clips as that model
was trained on, such as dump/raw/test_seen. The first row shows frames of one clip, the second the same frames with the
attention rollout of ViViT (Abnar & Zuidema, arXiv:2005.00928), the third the words that the model reads, each at its
time, darker where the confidence is higher. Words that the transcript does not have are red. Without --utterance the
clip is the first of the directory.
"""

import argparse
from pathlib import Path

import jiwer
import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from espnet_vivit.data.scp import read_scp
from espnet_vivit.decode.speech2text import Speech2Text
from espnet_vivit.decode.word_times import Word
from espnet_vivit.errors import ConfigError, DataError
from espnet_vivit.frontend.vivit.attention_rollout import attention_rollout, overlay
from espnet_vivit.frontend.vivit.encoder import VivitEncoder
from espnet_vivit.media.files.video_file import read_video
from espnet_vivit.tasks.loading.augment import crop
from espnet_vivit.units import TUBELET_FRAMES, VIDEO_RATE_HZ

SHOWN = 10  # frames, at even distances in the clip
WIDTH_INCHES, DOTS_PER_INCH = 11.0, 100
COLORS = 192  # of the PNG's palette


def read_clip(data: Path, utterance: str | None) -> tuple[str, str, str]:
    """The id, the path of the mouth crops and the transcript of one utterance. Raises DataError for an unknown id."""
    videos, texts = read_scp(data / "video.scp"), read_scp(data / "text")
    utterance = utterance or next(iter(videos))
    if utterance not in videos:
        raise DataError(
            f"{data} has no such utterance", found=utterance, expected=f"an id such as {next(iter(videos))}"
        )
    return utterance, videos[utterance], texts[utterance]


def draw(frames: np.ndarray, maps: np.ndarray, words: tuple[Word, ...], transcript: str, path: Path) -> None:
    """Write the PNG of frames (T, H, W) uint8, maps (T', h, w), T' = T or T // 2, and the words read."""
    seconds = len(frames) / VIDEO_RATE_HZ
    figure = Figure(figsize=(WIDTH_INCHES, 3.3), dpi=DOTS_PER_INCH)
    canvas = FigureCanvasAgg(figure)
    left, right = 0.10, 0.995
    shown = [min(int((place + 0.5) / SHOWN * len(frames)), len(frames) - 1) for place in range(SHOWN)]
    per_step = 1 if len(maps) == len(frames) else TUBELET_FRAMES
    for row, (bottom, label) in enumerate(((0.66, "mouth crops"), (0.34, "where\nViViT looks"))):
        figure.text(left - 0.01, bottom + 0.15, label, ha="right", va="center", fontsize=9)
        for place, frame in enumerate(shown):
            width = (right - left) / SHOWN
            axes = figure.add_axes((left + place * width, bottom, width * 0.98, 0.31))
            step = min(frame // per_step, len(maps) - 1)
            gray = np.repeat(frames[frame][..., None], 3, axis=2)
            axes.imshow(gray if row == 0 else overlay(frames[frame], maps[step], strength=0.5), interpolation="bicubic")
            axes.set_axis_off()
    axes = figure.add_axes((left, 0.135, right - left, 0.17))
    figure.text(left - 0.01, 0.22, "words read", ha="right", va="center", fontsize=9)
    wrong = wrong_words([word.text for word in words], transcript)
    for position, word in enumerate(words):
        face = "#c62828" if position in wrong else "#1f5fa8"
        box = {"facecolor": face, "alpha": 0.25 + 0.6 * word.confidence, "edgecolor": "white"}
        axes.barh(0, word.end_s - word.start_s, left=word.start_s, height=1, **box)
        middle = (word.start_s + word.end_s) / 2
        axes.text(middle, 0, f"{word.text}\n{word.confidence:.2f}", ha="center", va="center", fontsize=8)
    axes.set_xlim(0, seconds)
    axes.set_ylim(-0.5, 0.5)
    axes.set_yticks([])
    axes.tick_params(labelsize=8)
    axes.set_xlabel(f"seconds; the number below a word is its confidence; transcript: {transcript}", fontsize=8)
    for side in ("top", "left", "right"):
        axes.spines[side].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    picture.quantize(COLORS).save(path, format="png", optimize=True)  # a palette: a third of the bytes


def wrong_words(read: list[str], transcript: str) -> set[int]:
    """Positions of the words read that the alignment with the transcript counts as substituted or inserted."""
    chunks = jiwer.process_words(transcript, " ".join(read)).alignments[0]
    wrong = [chunk for chunk in chunks if chunk.type in ("substitute", "insert")]
    return {position for chunk in wrong for position in range(chunk.hyp_start_idx, chunk.hyp_end_idx)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="experiment folder or package")
    parser.add_argument("data", type=Path, help="data directory of mouth crops")
    parser.add_argument("out", type=Path, help="PNG to write")
    parser.add_argument("--utterance", help="id of the clip (default: the first)")
    parser.add_argument("--modality", default="video", help="streams to read: video, audio or multimodal")
    options = parser.parse_args()

    recognizer = Speech2Text.from_pretrained(options.model, modality=options.modality)
    encoder = recognizer.asr_model.vision_encoder
    if not isinstance(encoder, VivitEncoder):
        raise ConfigError("the attention rollout needs a ViViT", found=type(encoder).__name__)
    utterance, video, transcript = read_clip(options.data, options.utterance)
    frames = crop(read_video(video), encoder.preset, rng=None).copy()
    best = recognizer.recognize(video=frames)[0]
    draw(frames, attention_rollout(encoder, torch.from_numpy(frames)).numpy(), best.words, transcript, options.out)
    print(f"{options.out}: {utterance}, read {best.text!r}, transcript {transcript!r}")


if __name__ == "__main__":
    main()
