"""Decode folders of an experiment in; a section of RESULTS.md out, with every number's counts, interval and origin.

    python -m espnet_vivit.bin.avsr_results --exp exp/avsr_TAG --data dump/raw --out exp/avsr_TAG/RESULTS.md \\
        [--inference_tag TAG] [--corpus mini_av | --chance_wer 86.1] [--target test_seen:video:30]... \\
        [--command "./run.sh --stage 1"] [--missing delete] [--seed 0] [--strict]

Reads `exp/avsr_TAG/decode_<inference tag>/<test set>_<modality>[_<condition>]/1best_recog/text` (which names there are
says decoded.py); without `--inference_tag`, every decode folder. Each gets `score/` with what
`espnet_vivit.evaluation.score` writes. A section stands between markers that name the experiment and replaces its
predecessor in the file; other sections stay. It is printed as well. `--corpus` asks
`espnet_vivit.corpora.<corpus>.grammar.chance_wer(texts)` for the chance level of each test set. Several experiments
after `--exp` give a section each and one that compares them; of those that differ in their seed only, the means. Exit
codes: 0 written (a check that failed says NO), 1 an error, 2 with `--strict` if a check failed.
"""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from espnet_vivit.base.whole_file import make_folder, write_whole
from espnet_vivit.errors import ConfigError, DataError, unknown_name
from espnet_vivit.evaluation.decoded import Result
from espnet_vivit.evaluation.result_checks import Check
from espnet_vivit.evaluation.result_tables import (
    align_table,
    class_table,
    notes,
    table,
)


def section(
    title: str,
    results: Sequence[Result],
    *,
    chance: dict[str, float],
    checks: Sequence[Check],
    origin: Sequence[tuple[str, str]],
) -> str:
    """The Markdown of one experiment: tables, checks, notes, origin (name and value of each line)."""
    parts = [f"## {title}", table(results, chance)]
    if (classes := class_table(results)) is not None:
        parts.append(classes)
    if checks:
        header = ("check", "found", "wanted", "holds")
        parts.append(
            align_table(
                [header, *((c.name, c.found, c.wanted, "yes" if c.holds else "NO") for c in checks)], right_from=4
            )
        )
    lines = notes(results)
    if lines:
        parts.append("\n".join(f"- note: {line}" for line in lines))
    parts.append("\n".join(f"- {name}: {value}" for name, value in origin))
    return "\n\n".join(parts) + "\n"


def replace_section(path: Path, key: str, text: str) -> None:
    """Put `text` between the markers of `key` in the Markdown file, or at its end; the file is replaced whole."""
    begin, end = f"<!-- begin {key} -->", f"<!-- end {key} -->"
    path = Path(path)
    old = path.read_text(encoding="utf-8") if path.is_file() else "# Results\n"
    block = f"{begin}\n{text}{end}"
    if begin in old and end in old:
        new = old[: old.index(begin)] + block + old[old.index(end) + len(end) :]
    else:
        new = old.rstrip("\n") + f"\n\n{block}\n"
    make_folder(path.parent)
    write_whole(path, new)


def chance_levels(results: Sequence[Result], *, corpus: str | None, chance_wer: float | None) -> dict[str, float]:
    """Compute the chance WER (0..1) of each test set: from the references if `corpus` can, else the stated
    percentage.
    """
    references = {result.test_set: list(result.score.references.values()) for result in results}
    if corpus is None:
        return {} if chance_wer is None else dict.fromkeys(references, chance_wer / 100)
    if chance_wer is not None:
        raise ConfigError(
            "--corpus computes the chance level", found="--chance_wer as well", fix="Give one of the two."
        )
    grammars = (Path(__file__).parents[1] / "corpora").glob("*/grammar.py")  # only a grammar has a chance level
    known = {path.parent.name for path in grammars}
    if corpus not in known:
        raise unknown_name("corpus with a grammar", corpus, known)
    grammar = import_module(f"espnet_vivit.corpora.{corpus}.grammar")
    return {test_set: grammar.chance_wer(texts) for test_set, texts in references.items()}


def find_decode_dirs(experiment: Path, inference_tag: str | None) -> list[Path]:
    pattern = f"decode_{inference_tag}" if inference_tag else "decode_*"
    found = sorted(path for path in experiment.glob(pattern) if path.is_dir())
    if not found:
        raise DataError(f"no {pattern} in {experiment}", fix="Run stage 12 first.")
    return found
