"""Measure how often a lip reader accepts a wrong transcript, for speakers in and outside its training set.

    python benchmarks/nonsense.py --model exp/avsr_train --manifests grid/manifest.tsv grid_more/manifest.tsv \
        --splits dev test_seen test_unseen

A manifest is a table as in egs/grid/avsr1/README.md: of each clip `video` is read, a mouth crop or a face, or where
there is none `original`. A clip is nonsense if the words that are accepted have a word error rate above 50 %. The
threshold is the model's, calibrated (reliability.json) or not, unless --min_confidence says another one.
"""

import argparse
import csv
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jiwer
from tqdm import tqdm

from espnet_vivit.media.files.video_file import probe_video
from espnet_vivit.transcription.result import Transcription
from espnet_vivit.transcription.transcriber import Transcriber
from espnet_vivit.units import MOUTH_SIZE

NONSENSE_WER = 0.5


@dataclass(frozen=True)
class Clip:
    utt_id: str
    split: str
    text: str
    path: Path
    is_mouth: bool


def clips_of(manifest: Path, splits: list[str]) -> Iterator[Clip]:
    with open(manifest, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            if row["split"] in splits:
                name = row["video"] or row["original"]
                path = manifest.parent / name
                yield Clip(row["utt_id"], row["split"], row["text"], path, probe_video(path).height == MOUTH_SIZE)


def is_nonsense(clip: Clip, result: Transcription) -> bool:
    return bool(result.text) and jiwer.wer(clip.text, result.text) > NONSENSE_WER


def right_words(clip: Clip, result: Transcription) -> int:
    return jiwer.process_words(clip.text, result.text).hits if result.text else 0


def measure(clips: list[Clip], options: dict, *, shown: bool) -> list[str]:
    """A line for each split."""
    readers = {mouth: Transcriber(detector="centre" if mouth else "auto", **options) for mouth in (True, False)}
    results = [(clip, readers[clip.is_mouth].transcribe(clip.path)) for clip in tqdm(clips, leave=False)]
    for clip, result in results if shown else ():
        best = " / ".join(nbest[0].text for nbest in result.nbest if nbest)
        reasons = "; ".join(reason for piece in result.unclear for reason in piece.reasons)
        mark = "nonsense" if is_nonsense(clip, result) else "unclear" if not result.text else "read"
        print(f"{clip.utt_id} {mark}: {best} ({clip.text}) {result.confidence:.2f} {reasons}")
    lines = []
    for split in dict.fromkeys(clip.split for clip in clips):
        of_split = [pair for pair in results if pair[0].split == split]
        accepted, nonsense = sum(bool(r.text) for _, r in of_split), sum(is_nonsense(*pair) for pair in of_split)
        right, words = sum(right_words(*pair) for pair in of_split), sum(len(c.text.split()) for c, _ in of_split)
        share = f"{nonsense / len(of_split):.1%}"
        lines.append(f"{split:12} {len(of_split):5} {accepted:8} {nonsense:8} {share:>6} {right:5} of {words}")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="experiment folder or package of a lip reader")
    parser.add_argument("--manifests", nargs="+", type=Path, required=True)
    parser.add_argument("--splits", nargs="+", default=["dev", "test_seen", "test_unseen"])
    parser.add_argument("--searches", nargs="+", default=["beam", "ctc_greedy"])
    parser.add_argument("--min_confidence", type=float, help="instead of the model's")
    parser.add_argument("--shown", action="store_true", help="print every clip")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    clips = [clip for manifest in options.manifests for clip in clips_of(manifest, options.splits)]
    for search in options.searches:
        chosen = {"model": options.model, "search": search, "min_confidence": options.min_confidence}
        lines = measure(clips, chosen | {"modality": "video"}, shown=options.shown)
        print(f"{search}\nsplit        clips accepted nonsense  share right words", *lines, sep="\n")


if __name__ == "__main__":
    main()
