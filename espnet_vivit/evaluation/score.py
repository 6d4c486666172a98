"""Score transcript files: a line with the word error rate, readable alignments, and files for sclite.

    espnet-vivit score --ref data/test/text --hyp 1best_recog/text --out DIR
                                 [--missing delete] [--compare OTHER/1best_recog/text] [--seed 0] [--resamples 10000]

prints one line and writes in DIR: result.txt (alignments), wer.json (all counts, the interval, per utterance),
ref.trn and hyp.trn (for `sclite -r ref.trn trn -h hyp.trn trn -i rm`). Both inputs hold `utterance-id words...` per
line, and exactly the same ids must occur in both; with `--missing delete` an utterance without hypothesis counts as
all its words deleted, and how many did is printed and stored. `--compare` adds a line that sets the WER against that
of another hypothesis file by paired bootstrap. A collapsed model (one answer for everything) is warned of on stderr.
Exit code 0: scored; 1: an error, which names the utterances or the file.
"""

import json
import unicodedata
from dataclasses import asdict
from pathlib import Path

import jiwer

from espnet_vivit.base.whole_file import make_folder, write_whole
from espnet_vivit.data.transcripts import format_trn
from espnet_vivit.evaluation.bootstrap import LEVEL, Interval
from espnet_vivit.evaluation.error_rates import Counts, Score


def write_report(scored: Score, folder: str | Path, *, interval: Interval, resamples: int, seed: int) -> None:
    """Write result.txt, wer.json, ref.trn and hyp.trn to `folder`; each is replaced whole, wer.json last.

    Raises MediaError for what cannot be written.
    """
    folder = make_folder(folder)
    write_whole(folder / "result.txt", render_alignments(scored) + "\n" + scored.summary(interval) + "\n")
    write_whole(folder / "ref.trn", format_trn(scored.references))
    write_whole(folder / "hyp.trn", format_trn(scored.hypotheses))
    report = {
        "utterances": len(scored.references),
        "words": _with_rate(scored.words),
        "characters": _with_rate(scored.characters),
        "wer_interval": {**asdict(interval), "level": LEVEL, "resamples": resamples, "seed": seed},
        "empty_references": [utt for utt, text in scored.references.items() if not text],
        "missing_hypotheses": list(scored.missing),
        "collapse": asdict(scored.collapse) if scored.collapse else None,
        "per_utterance": {
            utt: dict(zip(("hits", "substitutions", "deletions", "insertions"), counts, strict=True))
            for utt, counts in zip(scored.utt_ids, scored.word_counts.tolist(), strict=True)
        },
    }
    write_whole(folder / "wer.json", json.dumps(report, indent=1, ensure_ascii=False) + "\n")


def render_alignments(scored: Score) -> str:
    """Render every utterance as three aligned lines: reference, hypothesis, and S, D or I under each error."""
    blocks = []
    for utt, chunks, counts in zip(scored.utt_ids, scored.alignments, scored.word_counts.tolist(), strict=True):
        hits, subs, dels, ins = counts
        header = f"{utt}  N {hits + subs + dels} Sub {subs} Del {dels} Ins {ins}"
        columns = align_words(scored.references[utt].split(), scored.hypotheses[utt].split(), chunks)
        rows = [("REF:", "HYP:", "    "), *((ref or "*", hyp or "*", mark) for ref, hyp, mark in columns)]
        widths = [max(_width(cell) for cell in row) for row in rows]
        lines = (
            " ".join(row[line] + " " * (width - _width(row[line])) for row, width in zip(rows, widths, strict=True))
            for line in range(3)
        )
        blocks.append("\n".join([header, *(line.rstrip() for line in lines)]) + "\n")
    return "\n".join(blocks)


def align_words(
    reference: list[str], hypothesis: list[str], chunks: list[jiwer.AlignmentChunk]
) -> list[tuple[str, str, str]]:
    """The alignment as columns (reference word or "", hypothesis word or "", mark): mark is "", "S", "D" or "I"."""
    marks = {"equal": "", "substitute": "S", "delete": "D", "insert": "I"}
    columns = []
    for chunk in chunks:
        refs = reference[chunk.ref_start_idx : chunk.ref_end_idx]
        hyps = hypothesis[chunk.hyp_start_idx : chunk.hyp_end_idx]
        length = max(len(refs), len(hyps))
        refs, hyps = refs + [""] * (length - len(refs)), hyps + [""] * (length - len(hyps))
        columns += [(ref, hyp, marks[chunk.type]) for ref, hyp in zip(refs, hyps, strict=True)]
    return columns


def _with_rate(counts: Counts) -> dict[str, int | float]:
    return {"reference": counts.reference, **asdict(counts), "errors": counts.errors, "rate": counts.rate}


def _width(text: str) -> int:
    """Count terminal columns: wide East Asian characters take two, combining marks none."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )
