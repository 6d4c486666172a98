"""Is a recording read as its parts are? GRID's clips one by one, and the same clips as one recording, cut by ourselves.

    python benchmarks/concatenated.py --grid_root DIR --model egs/grid/avsr1/exp/avsr_train_vsr_vivit_word --split dev

DIR holds mouth crops with manifest.tsv and align.tsv, as egs/grid/avsr1 takes them; they are put one behind another
without encoding them again. With `--faces`, the whole face videos that the manifest's column `original` names are read
instead, as far as there are some. Printed are word errors, and how far the right words' boundaries are from the known,
and from those of the same words read one by one.
"""

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from measure import machine
from recordings import concatenate
from tqdm import tqdm

from espnet_vivit.corpora.grid_crops import read_table, word_times
from espnet_vivit.data.word_times import WordTime
from espnet_vivit.evaluation.boundary_errors import boundary_errors
from espnet_vivit.evaluation.error_rates import score
from espnet_vivit.transcription.transcriber import Transcriber
from espnet_vivit.units import seconds_of_frames

RECORDING = "recording"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grid_root", type=Path, required=True)
    parser.add_argument("--model", required=True, help="experiment or package that reads lips")
    parser.add_argument("--split", default="dev", help="of manifest.tsv")
    parser.add_argument("--faces", action="store_true", help="whole face videos instead of mouth crops")
    parser.add_argument("--limit", type=int, help="only so many clips")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    column = "original" if options.faces else "video"
    rows = read_table(options.grid_root / "manifest.tsv", ("utt_id", "split", "n_frames", "text", column))
    rows = [row for row in rows if row["split"] == options.split and row[column]][: options.limit]
    if not rows:
        parser.error(f"no row of {options.grid_root}/manifest.tsv has split {options.split} and a file in {column}")
    known = word_times(options.grid_root / "align.tsv")
    detector = "auto" if options.faces else "centre"
    transcriber = Transcriber(options.model, modality="video", detector=detector, min_confidence=0)
    print(f"{machine()}\n{len(rows)} clips of {options.split}, pieces of at most {transcriber.longest_piece_s:g} s")

    clips = [options.grid_root / row[column] for row in rows]
    texts = {row["utt_id"]: row["text"] for row in rows}
    found = {row["utt_id"]: words_of(transcriber, clip) for row, clip in zip(tqdm(rows), clips, strict=True)}
    report("one by one", texts, known, found)

    with tempfile.TemporaryDirectory() as folder:
        words = words_of(transcriber, concatenate(clips, Path(folder)))
    begins, frames = {}, 0
    for row in rows:
        begins[row["utt_id"]] = seconds_of_frames(frames)
        frames += int(row["n_frames"])
    strung = {RECORDING: in_recording(known, begins)}
    report("as one recording", {RECORDING: " ".join(texts.values())}, strung, {RECORDING: words})
    print("\nthe recording's words against the same words read one by one:")
    print(boundary_errors({RECORDING: in_recording(found, begins)}, {RECORDING: words}).table())


def in_recording(words: Mapping[str, Sequence[WordTime]], begins: Mapping[str, float]) -> list[WordTime]:
    """The words of clips that begin at `begins` seconds of a recording, at its times."""
    return [
        WordTime(word.start_s + begin_s, word.end_s + begin_s, word.word)
        for utt_id, begin_s in begins.items()
        for word in words[utt_id]
    ]


def words_of(transcriber: Transcriber, video: Path) -> list[WordTime]:
    return [WordTime(word.start_s, word.end_s, word.text) for word in transcriber.transcribe(video).words]


def report(title: str, texts: Mapping[str, str], known: Mapping, found: Mapping[str, Sequence[WordTime]]) -> None:
    heard = {utt_id: " ".join(word.word for word in words) for utt_id, words in found.items()}
    result = score(texts, heard)
    counts = result.words
    print(
        f"\n{title}: WER {100 * result.wer:.1f} %, {counts.substitutions} substituted, {counts.deletions} deleted, "
        f"{counts.insertions} inserted of {counts.reference} words"
    )
    print(boundary_errors({utt_id: known[utt_id] for utt_id in found}, found).table())


if __name__ == "__main__":
    main()
