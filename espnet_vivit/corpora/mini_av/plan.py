"""Which clips `mini_av` has: options → who says what in which split; and the note of those options beside the clips."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from espnet_vivit.base.random_state import rng_for
from espnet_vivit.base.whole_file import write_whole
from espnet_vivit.corpora.mini_av.clip import ClipPlan
from espnet_vivit.corpora.mini_av.grammar import draw_sentences
from espnet_vivit.corpora.mini_av.speakers import SEEN_SPEAKERS, UNSEEN_SPEAKERS
from espnet_vivit.errors import ConfigError

RECIPE_VERSION = 3  # raise it when the same options give other clips
_NOTE_NAME = "mini_av.json"


@dataclass(frozen=True)
class Config:
    """What the clips depend on; kept beside them, so that a re-run with other options is noticed."""

    seed: int
    num_train: int
    num_dev: int
    num_test_seen: int
    num_test_unseen: int
    size: int
    variation: float
    video_format: str
    espeak: str
    version: int = RECIPE_VERSION


def plan_clips(config: Config) -> dict[str, list[ClipPlan]]:
    """Who says what in which split. Utterance ids are numbers and tell nothing of the text."""
    counts = {
        "train": config.num_train,
        "dev": config.num_dev,
        "test_seen": config.num_test_seen,
        "test_unseen": config.num_test_unseen,
    }
    for split, count in counts.items():
        if count < 1:
            raise ConfigError(f"num_{split} must be positive", found=count, expected="at least 1")
    sentences = draw_sentences(counts.values(), rng_for(config.seed, "sentences"))
    plans = {}
    for split, texts in zip(counts, sentences, strict=True):
        speakers = UNSEEN_SPEAKERS if split == "test_unseen" else SEEN_SPEAKERS
        plans[split] = [
            ClipPlan(f"{speaker}_{split}_{number:05d}", speaker, text, config.seed, config.size, config.variation)
            for number, text in enumerate(texts)
            for speaker in [speakers[number % len(speakers)]]
        ]
    return plans


def claim_folder(media_dir: Path, config: Config) -> None:
    """Note the options beside the clips, or compare with those noted there: ConfigError names what differs."""
    path = media_dir / _NOTE_NAME
    wanted = asdict(config)
    if path.exists():
        noted = json.loads(path.read_text(encoding="utf-8"))
        changed = sorted(key for key in wanted.keys() | noted.keys() if wanted.get(key) != noted.get(key))
        if changed:
            raise ConfigError(
                f"{media_dir} holds clips made with other options",
                found=", ".join(f"{key}={noted.get(key)}" for key in changed),
                expected=", ".join(f"{key}={wanted.get(key)}" for key in changed),
                fix="Remove that folder, or write to another one.",
            )
        return
    write_whole(path, json.dumps(wanted, indent=2) + "\n")
