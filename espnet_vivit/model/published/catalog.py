"""All layouts that can be imported, and which one a file has; the names that one gives to a part of our model."""

import re
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from espnet_vivit.errors import ConfigError
from espnet_vivit.model.published import avhubert, conformers, language_model, relative
from espnet_vivit.model.published.layout import Layout, recognize

RECOGNIZERS = (*conformers.LAYOUTS, *relative.LAYOUTS, *avhubert.LAYOUTS)
PROVENANCE = "provenance.json"  # in the folder of an imported model: where its weights are from, under which terms
LANGUAGE_MODELS = language_model.LAYOUTS


def find_layout(state: Mapping[str, Tensor], modality: str | None = None) -> Layout:
    """The recognizer that a state dict holds; `modality` chooses where it holds more than one (USR).

    Raises WeightsError for an unknown layout, ConfigError for a modality that the file does not have.
    """
    first = recognize(state, RECOGNIZERS)
    if modality is None or modality == first.modality:
        return first
    fitting = [layout for layout in RECOGNIZERS if layout.fits(state)]
    for layout in fitting:
        if layout.modality == modality:
            return layout
    expected = ", ".join(str(layout.modality) for layout in fitting)
    raise ConfigError(f"the file is {first.title}", found=f"modality {modality}", expected=expected)


def find_language_model(state: Mapping[str, Tensor]) -> Layout:
    """The language model that a state dict holds. Raises WeightsError for anything else."""
    return recognize(state, LANGUAGE_MODELS)


_WHOLE_FRONTEND = (  # `vision_encoder: avhubert` -> the same weights in the model that `encoder: avhubert` is
    (r"^vision_encoder\.video\.", "vision_encoder."),
    (r"^vision_encoder\.(norm|linear)\.", r"fusion.\1."),
    (r"^vision_encoder\.transformer\.", "encoder.transformer."),
)


def names_of_part(
    part: str, names: Sequence[str], state: Mapping[str, Tensor]
) -> list[tuple[list[str], Callable[[str], bool]]]:
    """What the layout of `state` calls the parameters `names` of `part`, and which of its names belong to the part.

    Empty for a file of an unknown layout, which may still hold the part under our names.
    """
    layouts = [layout for layout in RECOGNIZERS if layout.fits(state)]
    return [_as_published(layout, part, names) for layout in layouts]


def _as_published(layout: Layout, part: str, names: Sequence[str]) -> tuple[list[str], Callable[[str], bool]]:
    if layout in avhubert.LAYOUTS and any(name.startswith("vision_encoder.transformer.") for name in names):
        inner = list(names)
        for ours, theirs in _WHOLE_FRONTEND:
            inner = [re.sub(ours, theirs, name) for name in inner]
        published = [layout.published_name(name) for name in inner]
        return published, set(published).__contains__
    prefix = layout.published_name(f"{part}.")
    return [layout.published_name(name) for name in names], lambda name: name.startswith(prefix)
