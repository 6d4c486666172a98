"""A published layout as one table: the names that mark it, its names beside ours, the sizes that its weights tell.

In: a state dict of somebody else's model. Out: the `Layout` that it has, and our model filled with it. A file is
recognized by the names and shapes in it, never by its own name: five of Auto-AVSR's files exist twice under one name,
with different parameter names inside. Names are compared in both directions: a weight without a place, or a place
without a weight, is an error that names it.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn

from espnet_vivit.base.torch_file import check_numbers
from espnet_vivit.errors import WeightsError

_SHOWN = 8  # names of a kind in an error


@dataclass(frozen=True)
class Terms:
    """Under which terms weights are published: an identifier or a sentence, where from, and which attribution is asked.

    license_text_needed: the license has to go along, word for word, with every copy.
    """

    license: str
    source: str
    attribution: str | None = None
    license_text_needed: bool = False

    def to_be_carried(self) -> dict[str, str]:
        """What every package with these weights in it has to say, under the names of its provenance."""
        said = {"licence of the weights": self.license, "attribution": self.attribution}
        needed = f"it is at {self.source}" if self.license_text_needed else None
        return {name: text for name, text in (said | {"licence text needed": needed}).items() if text is not None}


class Sizes:
    """Sizes read from weights: `sizes("ctc.ctc_lo.weight", "V, D", "V")`. Raises WeightsError where one is missing."""

    def __init__(self, state: Mapping[str, Tensor], title: str):
        self.state, self.title = state, title

    def __call__(self, name: str, axes: str, axis: str) -> int:
        """The size of one of the axes of the weight `name`."""
        if name not in self.state:
            raise WeightsError(
                f"the checkpoint has no {name}, which tells a size", expected=f"({axes})", fix=_incomplete(self.title)
            )
        if self.state[name].dim() != _rank(axes):
            found = tuple(self.state[name].shape)
            fix = _incomplete(self.title)
            raise WeightsError(f"{name} has the wrong shape", found=found, expected=f"({axes})", fix=fix)
        return self.state[name].size(axes.split(", ").index(axis))

    def count(self, prefix: str) -> int:
        """How many blocks follow `prefix`, by the highest number; a missing one is reported when loading."""
        block = re.compile(rf"{re.escape(prefix)}\.(\d+)\.")
        numbers = [int(match.group(1)) for match in map(block.match, self.state) if match]
        if not numbers:
            raise WeightsError(f"the checkpoint has no {prefix}.0", fix=_incomplete(self.title))
        return max(numbers) + 1


@dataclass(frozen=True)
class Layout:
    """One published architecture.

    title: what a user is told the file is. marks: published name -> its axes; a file of this layout has all of them, in
    that rank. lacks: beginnings of names that no file of it has, which tell it from a layout that contains it.
    names: (our name as a regular expression, the published one), applied in turn; all others are the same in both.
    options: the arguments of our model, as plain numbers and strings. unused: published names, as regular expressions,
    that need no place, and why. values: published name -> how its tensor is changed on the way. modality: of the model;
    None for what is not a recognizer. decoding: options of the search that the publisher used, under our names.
    """

    title: str
    marks: Mapping[str, str]
    names: Sequence[tuple[str, str]]
    options: Callable[[Sizes], dict]
    terms: Terms
    lacks: Sequence[str] = ()
    unused: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Callable[[Tensor], Tensor]] = field(default_factory=dict)
    modality: str | None = None
    decoding: Mapping[str, float] = field(default_factory=dict)

    def fits(self, state: Mapping[str, Tensor]) -> bool:
        """Whether a state dict has this layout's marks, and nothing that it lacks."""
        marked = all(name in state and state[name].dim() == _rank(axes) for name, axes in self.marks.items())
        return marked and not any(name.startswith(tuple(self.lacks)) for name in state if self.lacks)

    def published_name(self, name: str) -> str:
        """The published name of the parameter that our model calls `name`."""
        for ours, theirs in self.names:
            name = re.sub(ours, theirs, name)
        return name

    def model_options(self, state: Mapping[str, Tensor]) -> dict:
        """The arguments of our model with the same parameters. Raises WeightsError where a size cannot be read."""
        return self.options(Sizes(state, self.title))

    def recognizer_options(self, state: Mapping[str, Tensor]) -> dict:
        """`model_options` of a whole recognizer. Raises WeightsError for a file without a decoder."""
        options = self.model_options(state)
        if "odim" not in options:
            fix = "Start a training of your own from it: `espnet-vivit import FILE OUT` writes what that needs"
            raise WeightsError(f"{self.title}: it cannot transcribe", found="neither CTC nor a decoder", fix=fix)
        return options

    def why_unused(self, name: str) -> str | None:
        """Why the published weight `name` needs no place in our model; None where it needs one."""
        return next((why for pattern, why in self.unused.items() if re.match(pattern, name)), None)

    def unused_in(self, state: Mapping[str, Tensor]) -> dict[str, int]:
        """What of a state dict stays behind: reason -> number of weights."""
        reasons = [why for why in map(self.why_unused, state) if why is not None]
        return {why: reasons.count(why) for why in dict.fromkeys(reasons)}

    def load(self, model: nn.Module, state: Mapping[str, Tensor]) -> None:
        """Copy `state` into `model`; raise WeightsError, which names what does not fit, unless the two fit exactly."""
        places = {ours: (self.published_name(ours), value) for ours, value in model.state_dict().items()}
        state = {name: self.values[name](value) if name in self.values else value for name, value in state.items()}
        used = {name for name, _ in places.values()}
        misshapen = {
            f"{name} {tuple(state[name].shape)} for {tuple(value.shape)}": None
            for name, value in places.values()
            if name in state and state[name].shape != value.shape
        }
        problems = {
            "missing": list(dict.fromkeys(name for name, _ in places.values() if name not in state)),
            "without a place": [name for name in state if name not in used and self.why_unused(name) is None],
            "of another shape": list(misshapen),
        }
        if any(problems.values()):
            found = "; ".join(f"{len(names)} {kind}: {_some(names)}" for kind, names in problems.items() if names)
            raise WeightsError(
                f"the checkpoint is not a complete model of {self.title}", found=found, fix=_incomplete(self.title)
            )
        found = {ours: state[name] for ours, (name, _) in places.items()}
        check_numbers(found, f"the checkpoint of {self.title}", like=model.state_dict())
        model.load_state_dict(found, strict=True)


def recognize(state: Mapping[str, Tensor], layouts: Sequence[Layout]) -> Layout:
    """The first of `layouts` that fits. Raises WeightsError, which says what the file holds and what was looked for."""
    for layout in layouts:
        if layout.fits(state):
            return layout
    parts = sorted({".".join(name.split(".")[:2]) for name in state})
    nearest = max(layouts, key=lambda layout: sum(name in state for name in layout.marks))
    marks = " and ".join(f"{name} ({axes})" for name, axes in nearest.marks.items())
    raise WeightsError(
        "the checkpoint has none of the layouts that can be imported",
        found=f"weights of {_some(parts)}",
        expected=f"one of {len(layouts)}; the nearest is {nearest.title}, with {marks}",
        fix="Is the file complete, and that of the model alone? docs/published_models.md lists what can be imported",
    )


def _rank(axes: str) -> int:
    return len(axes.split(", ")) if axes else 0


def _incomplete(title: str) -> str:
    return f"By its names the file is {title}. Get it again; a file cut or changed by hand is refused"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
