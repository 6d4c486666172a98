"""Measure the error rate and the latency of live recognition against the same model offline.

    python benchmarks/live.py --grid_root DIR --model egs/grid/avsr1/exp/avsr_live [--split test_seen] [--limit 20]

DIR holds GRID's mouth crops with manifest.tsv and align.tsv, as egs/grid/avsr1 takes them. Each clip is pushed picture
by picture, one thread, mouths found beforehand. Printed for each chunk:

    latency     of the algorithm: a chunk, and what the frontends look ahead
    first       when a word that is right was shown first, after its true end; median
    final       when it was settled, or its sentence over, after its true end; median
    revised     share of the words shown that the final sentence has otherwise
    real time   seconds of processor time per second of video

Times are those of the video and of the computation of the push.
"""

import argparse
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from measure import machine
from tqdm import tqdm

from espnet_vivit.corpora.grid_crops import read_table, word_times
from espnet_vivit.data.word_times import WordTime
from espnet_vivit.evaluation.error_rates import score
from espnet_vivit.media.files.audio_file import read_wav
from espnet_vivit.media.files.video_file import read_video
from espnet_vivit.transcription.streaming import StreamingRecognizer
from espnet_vivit.units import SAMPLES_PER_FRAME, seconds_of_frames

CHUNKS_MS = (160, 320, 640)
HEAD = "| chunk | WER | latency s | first s | final s | revised | real time |\n|---|--:|--:|--:|--:|--:|--:|"


@dataclass
class Reading:
    """The results of live recognition over several clips."""

    texts: dict[str, str] = field(default_factory=dict)
    first_s: list[float] = field(default_factory=list)  # after the true end of a right word
    final_s: list[float] = field(default_factory=list)
    shown: int = 0  # words shown while a sentence ran, each place and word once
    revised: int = 0
    spent_s: float = 0.0
    video_s: float = 0.0

    def row(self, name: str, wer: float, latency_s: float) -> str:
        delays = " | ".join(f"{statistics.median(some):.2f}" if some else "" for some in (self.first_s, self.final_s))
        revised = f"{100 * self.revised / max(1, self.shown):.1f} %"
        real_time = self.spent_s / self.video_s
        return f"| {name} | {100 * wer:.1f} % | {latency_s:.2f} | {delays} | {revised} | {real_time:.3f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grid_root", type=Path, required=True)
    parser.add_argument("--model", required=True, help="experiment or package, trained with chunk_steps")
    parser.add_argument("--split", default="test_seen", help="of manifest.tsv")
    parser.add_argument("--limit", type=int, help="only so many clips")
    options = parser.parse_args()
    torch.set_num_threads(1)
    columns = ("utt_id", "split", "text", "video", "audio")
    rows = [row for row in read_table(options.grid_root / "manifest.tsv", columns) if row["split"] == options.split]
    rows, known = rows[: options.limit], word_times(options.grid_root / "align.tsv")
    if not rows:
        parser.error(f"no row of {options.grid_root}/manifest.tsv has split {options.split}")
    print(f"{machine()}\n{len(rows)} clips of {options.split}\n\n{HEAD}", flush=True)
    truth = {row["utt_id"]: row["text"] for row in rows}
    for chunk_ms in CHUNKS_MS:
        recognizer, reading = StreamingRecognizer(options.model, chunk_ms=chunk_ms, min_confidence=0), Reading()
        for row in tqdm(rows, desc=f"{chunk_ms} ms", disable=None):
            frames, samples = streams(row, options.grid_root, recognizer.modality)
            read(recognizer, row["utt_id"], frames, samples, known[row["utt_id"]], reading)
        wer = score(truth, reading.texts).wer
        print(reading.row(f"{chunk_ms} ms", wer, recognizer.latency_s), flush=True)
    wer, real_time = offline(recognizer, rows, options.grid_root)
    print(f"| whole clip | {100 * wer:.1f} % | | | | | {real_time:.3f} |")


def streams(row: dict[str, str], root: Path, modality: str) -> tuple[np.ndarray | None, np.ndarray | None]:
    """(frames, samples) of a clip, what the modality does not take None; the sound as long as the video."""
    frames = read_video(root / row["video"])
    samples = np.zeros(len(frames) * SAMPLES_PER_FRAME, np.float32)
    if modality != "video":
        sound = read_wav(root / row["audio"])[: len(samples)]
        samples[: len(sound)] = sound
    return (None if modality == "audio" else frames), (None if modality == "video" else samples)


def read(
    recognizer: StreamingRecognizer,
    utt_id: str,
    frames: np.ndarray | None,
    samples: np.ndarray | None,
    known: Sequence[WordTime],
    reading: Reading,
) -> None:
    """Push one clip picture by picture, and add what came of it."""
    count = len(frames) if frames is not None else len(samples) // SAMPLES_PER_FRAME
    shown_s: dict[tuple[int, str], float] = {}  # (place, word) -> when it was first shown
    settled_s: dict[tuple[int, str], float] = {}
    final: list[tuple[str, float]] = []
    for index in range(count + 1):
        begun_s = time.process_time()
        if index == count:
            update = recognizer.finish()
        else:
            sound = None if samples is None else samples[index * SAMPLES_PER_FRAME : (index + 1) * SAMPLES_PER_FRAME]
            update = recognizer.push(None if frames is None else frames[index : index + 1], sound)
        took_s = time.process_time() - begun_s
        now_s = seconds_of_frames(min(index + 1, count)) + took_s
        reading.spent_s += took_s
        final += [(word.text, now_s) for piece in update.finished for word in piece.words]
        for place, word in enumerate(update.words, len(final)):
            shown_s.setdefault((place, word), now_s)
            if place < len(final) + update.settled:
                settled_s.setdefault((place, word), now_s)
    reading.video_s += seconds_of_frames(count)
    reading.texts[utt_id] = " ".join(word for word, _ in final)
    reading.shown += len(shown_s)
    reading.revised += sum(final[place][0] != word if place < len(final) else 1 for place, word in shown_s)
    for place, ((word, final_s), true) in enumerate(zip(final, known, strict=False)):
        if word == true.word:
            reading.final_s.append(settled_s.get((place, word), final_s) - true.end_s)
            if (place, word) in shown_s:
                reading.first_s.append(shown_s[place, word] - true.end_s)


def offline(recognizer: StreamingRecognizer, rows: Sequence[dict[str, str]], root: Path) -> tuple[float, float]:
    """WER and real-time factor of the same model over whole clips, by beam search."""
    recognizer.model.encoder.set_chunk(0)
    recognizer.speech2text.seconds = {}
    texts, spent_s, video_s = {}, 0.0, 0.0
    for row in tqdm(rows, desc="whole clips", disable=None):
        frames, samples = streams(row, root, recognizer.modality)
        begun_s = time.process_time()
        seen = None if frames is None else recognizer.recognizer.seen(frames)
        (best, *_) = recognizer.speech2text.recognize(samples, seen)
        spent_s += time.process_time() - begun_s
        video_s += seconds_of_frames(len(samples) // SAMPLES_PER_FRAME if frames is None else len(frames))
        texts[row["utt_id"]] = best.text
    return score({row["utt_id"]: row["text"] for row in rows}, texts).wer, spent_s / video_s


if __name__ == "__main__":
    main()
