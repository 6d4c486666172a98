"""What a model's card says: what it was trained on, for what it is meant, what it cannot do, and what was measured.

In: `card.yaml`, which a recipe keeps in its conf/ because only a person can write it, and the experiment, from which
the rest is taken (pack.py). Out: README.md in Markdown, with the hub's metadata on top.

    title: Lip reading of one GRID speaker
    licence: CC-BY-4.0                  # of the weights, which the data may bind; an SPDX identifier or a sentence
    language: en
    data:
        - The GRID audio-visual speech corpus (Cooke et al. 2006), CC BY 4.0
    intended_use:
        - trying the package out on clips of that speaker
    limits:
        - one speaker; other faces are read far worse
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from espnet_vivit.errors import ConfigError, unknown_name
from espnet_vivit.evaluation.calibration import curve_rows

NOT_STATED = "not stated"
_LISTS = ("data", "intended_use", "limits")
_TAGS = {"video": ["lip-reading"], "audio": ["speech"], "multimodal": ["lip-reading", "audio-visual-speech"]}


@dataclass(frozen=True)
class CardText:
    """What a person says about a model; each of the tuples is a list of sentences, empty if nothing was said."""

    title: str = "A model of espnet_vivit"
    licence: str | None = None
    language: str | None = None  # ISO 639-1
    data: tuple[str, ...] = ()
    intended_use: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()


def read_card(path: str | Path) -> CardText:
    """A card.yaml. Raises ConfigError: no such file, not YAML, a misspelt key, or a value of another kind."""
    from espnet_vivit.base.config_file import read_config

    given = read_config(path)
    known = [field.name for field in fields(CardText)]
    for key, value in given.items():
        if key not in known:
            raise unknown_name(f"key in {path}", key, known)
        texts = value if key in _LISTS and isinstance(value, list) else [value]
        if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
            expected = "a sentence, or a list of them" if key in _LISTS else "one line of text"
            raise ConfigError(f"{path}: {key}", found=repr(value), expected=expected)
    lists = {key: (given[key],) if isinstance(given[key], str) else tuple(given[key]) for key in _LISTS if key in given}
    return CardText(**{**given, **lists})


def results_of(experiment: Path) -> str | None:
    """The tables of the experiment's own RESULTS.md, one level down; None if nothing has been scored."""
    path = experiment / "RESULTS.md"
    if not path.is_file():
        return None
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith(("<!--", "# "))]
    text = "\n".join(f"#{line}" if line.startswith("##") else line for line in lines).strip()
    return text or None


def model_card(
    card: CardText,
    config: Mapping,
    *,
    licence: str,
    history: Mapping,
    size: Mapping,
    results: str | None,
    search: str = NOT_STATED,
    reliability: Mapping | None = None,
) -> str:
    """README.md. history: where the weights come from; size: name and value of what the model takes; both as lists.

    search: its options, with which `results` were measured and which transcribing takes unless told otherwise.
    reliability: what `espnet-vivit calibrate` measured, by modality.
    """
    from huggingface_hub import ModelCardData

    simple = licence.lower() if " " not in licence else "other"
    metadata = ModelCardData(
        license=simple,
        license_name=None if simple != "other" else "see-package-json",
        language=card.language,
        library_name="espnet_vivit",
        pipeline_tag="automatic-speech-recognition",
        tags=["espnet", *_TAGS[config["modality"]]],
    )
    parts = " and ".join(str(config[kind]) for kind in ("vision_encoder", "audio_encoder") if config.get(kind))
    sections = {
        "Use": "    espnet-vivit transcribe VIDEO --model FOLDER",
        "Intended use": _listed(card.intended_use),
        "Limits": _listed(card.limits),
        "Data": _listed(card.data),
        "Licence of the weights": licence,
        "Size": _listed([f"{name}: {value}" for name, value in size.items()]),
        "Search": search,
        "Results": results or "not measured",
        "Confidence": "\n\n".join(_confidence(*of_modality) for of_modality in (reliability or {}).items())
        or "not measured (`espnet-vivit calibrate`)",
        "Where it comes from": _listed([f"{name}: {value}" for name, value in history.items()]),
    }
    body = "".join(f"\n## {title}\n\n{text}\n" for title, text in sections.items())
    return (
        f"---\n{metadata.to_yaml()}\n---\n\n# {card.title}\n\n{config['modality'].capitalize()} speech recognition "
        f"with {parts}, {len(config['token_list'])} tokens.\n{body}"
    )


def _confidence(modality: str, measured: Mapping) -> str:
    """The threshold of a modality, and of each set that it was measured on what it keeps and the reliability curve."""
    lines = [f"{modality}: pieces with a mean confidence from {measured['min_confidence']:.2f} on are believed."]
    for name, of_set in (measured.get("sets") or {}).items():
        right = "none" if of_set["right_of_kept"] is None else f"{of_set['right_of_kept']:.0%} of them right"
        lines.append(f"\nOf {name} ({of_set['words']} words) {of_set['kept_words']:.0%} are believed, {right}:\n")
        lines += ["| confidence of a word | words | mean | right |", "|---|---:|---:|---:|"]
        lines += [f"| {' | '.join(row)} |" for row in curve_rows(of_set["curve"])]
    return "\n".join(lines)


def _listed(texts: Sequence[str]) -> str:
    return "\n".join(f"* {text}" for text in texts) or NOT_STATED
