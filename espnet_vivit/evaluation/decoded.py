"""Decode folders in; one scored result per test set, modality and condition out.

A decode folder is `<test set>_<modality>[_<condition>]` with the hypotheses in `1best_recog/text`; the references are
`<data>/<test set>/text`. Modality: video, audio, both (or multimodal). Condition: none for clean; `0db`, `-5db`,
`babble0db` for noise; `zeroed` (or zero, blank) and `shuffled` (or shuffle, exchanged) for videos spoiled as a control;
any other word is shown as it is. A test set may carry noise or control in its own name (`test_seen_0db` beside
`test_seen`): `test_seen_0db_audio` is shown in the same row as `test_seen_audio_0db` would be.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from espnet_vivit.data.transcripts import read_transcripts
from espnet_vivit.errors import DataError
from espnet_vivit.evaluation.bootstrap import RESAMPLES, Interval
from espnet_vivit.evaluation.error_rates import Score, score
from espnet_vivit.evaluation.score import write_report

SHOWN_MODALITIES = {"video": "video", "audio": "audio", "both": "both", "multimodal": "both"}  # folder name -> shown
CONTROLS = {
    **dict.fromkeys(("zeroed", "zero", "blank"), "video zeroed"),
    **dict.fromkeys(("shuffled", "shuffle", "exchanged"), "video shuffled"),
}
NOISE = re.compile(r"([a-z]*?)_?(-?\d+)_?db", re.IGNORECASE)
CLEAN = "clean"


@dataclass(frozen=True)
class Result:
    """The score of one decode folder."""

    test_set: str
    modality: str  # video, audio or both
    condition: str  # clean, `0 dB babble`, `video zeroed`, ...
    folder: Path
    score: Score
    interval: Interval


def parse_decode_name(name: str, test_sets: Sequence[str]) -> tuple[str, str, str, str] | None:
    """Parse `<test set>_<modality>[_<condition>]` into (reference folder, test set, modality, condition); None if it
    is another name.
    """
    longest_first = sorted(test_sets, key=len, reverse=True)
    for folder in longest_first:
        if not name.startswith(f"{folder}_"):
            continue
        modality, _, suffix = name[len(folder) + 1 :].partition("_")
        if modality not in SHOWN_MODALITIES:
            continue
        for original in longest_first:  # a set whose own name says what was done to another one
            spoiled = folder.removeprefix(f"{original}_")
            if spoiled != folder and (NOISE.fullmatch(spoiled) or spoiled in CONTROLS) and not suffix:
                return folder, original, SHOWN_MODALITIES[modality], condition_name(spoiled)
        return folder, folder, SHOWN_MODALITIES[modality], condition_name(suffix)
    return None


def condition_name(suffix: str) -> str:
    """Translate a folder's suffix into the name in the table: `""` is clean, `babble0db` "0 dB babble", `shuffle`
    "video shuffled".
    """
    if not suffix:
        return CLEAN
    if match := NOISE.fullmatch(suffix):
        return f"{int(match[2])} dB {match[1]}".rstrip()
    return CONTROLS.get(suffix, suffix.replace("_", " "))


def collect(
    decode_dir: Path, data: Path, *, missing: str = "error", seed: int = 0, resamples: int = RESAMPLES
) -> list[Result]:
    """Score every decode folder in `decode_dir`, write its `score/`, and return the rows in the table's order."""
    test_sets = [path.parent.name for path in Path(data).glob("*/text")]
    if not test_sets:
        raise DataError(f"no data directories in {data}", expected="<test set>/text", fix="Run stages 1 to 4 first.")
    results = []
    for folder in sorted(path for path in Path(decode_dir).iterdir() if path.is_dir()):
        hypothesis = folder / "1best_recog" / "text"
        parsed = parse_decode_name(folder.name, test_sets)
        if parsed is None and not hypothesis.is_file():
            continue  # logs and the like
        if parsed is None:
            raise DataError(
                f"decode folder {folder}",
                found=f"a name of no test set in {data}",
                expected=f"<{' | '.join(sorted(test_sets))}>_<{' | '.join(SHOWN_MODALITIES)}>[_<condition>]",
            )
        reference, test_set, modality, condition = parsed
        scored = score(read_transcripts(Path(data) / reference / "text"), read_transcripts(hypothesis), missing=missing)
        interval = scored.interval(seed=seed, resamples=resamples)
        write_report(scored, folder / "score", interval=interval, seed=seed, resamples=resamples)
        results.append(Result(test_set, modality, condition, folder, scored, interval))
    if not results:
        raise DataError(f"nothing decoded in {decode_dir}", fix="Run stage 12 first.")
    return sorted(results, key=table_order)


def table_order(result: Result) -> tuple:
    """The sort key of results: by test set, then clean, noisy and other conditions."""
    noise = re.match(r"-?\d+(?= dB)", result.condition)
    kind = 0 if result.condition == CLEAN else 1 if noise else 2
    return (
        result.test_set,
        kind,
        -int(noise[0]) if noise else 0,
        result.condition,
        list(SHOWN_MODALITIES).index(result.modality),
    )
