"""ESPnet's `init_param`, looked through before ESPnet loads it: what each entry will fill, or why it cannot.

In: entries `FILE[:PART OF THE FILE[:PART OF THE MODEL[:NAMES LEFT OUT]]]`, as espnet2.torch_utils.load_pretrained_model
takes them apart. ESPnet carries out as nothing what matches nothing, and ends in a list of all names where some do not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

from torch import Tensor, nn

from espnet_vivit.base.torch_file import check_numbers, read_tensors
from espnet_vivit.errors import ConfigError, WeightsError
from espnet_vivit.model.init_parts import LoadedPart
from espnet_vivit.model.stored_tokens import check_same_tokens

_SHOWN = 5


@dataclass(frozen=True)
class Entry:
    """An entry's four fields; "" and None where ESPnet takes all."""

    file: str
    source: str = ""
    target: str = ""
    left_out: str | None = None

    @classmethod
    def of(cls, text: str) -> "Entry":
        fields = str(text).split(":")
        if len(fields) > 4 or not fields[0]:
            expected = "FILE:PART OF THE FILE:PART OF THE MODEL:NAMES LEFT OUT, of which FILE alone is needed"
            raise ConfigError("init_param", found=repr(text), expected=expected)
        return cls(*fields)

    def chosen(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weights it asks for, under the names that they shall have. Raises WeightsError if there are none."""
        kept = state
        if self.left_out is not None:
            kept = {name: x for name, x in state.items() if not name.startswith(tuple(self.left_out.split(",")))}
            if not kept:
                fix = "End the entry before its last colon to leave out nothing"
                found = f"names that begin with {self.left_out!r}: all of them"
                raise WeightsError(f"init_param leaves nothing of {self.file}", found=found, fix=fix)
        if not self.source:
            return dict(kept)
        named = {name[len(self.source) + 1 :]: x for name, x in kept.items() if name.startswith(f"{self.source}.")}
        if not named:
            raise WeightsError(
                f"no weight of {self.file} that init_param may load begins with {self.source}",
                found=_some(sorted({name.partition(".")[0] for name in kept})),
                fix="Name one of these",
            )
        return named


def check_init_param(model: nn.Module, entries: Sequence[str], *, ignore_mismatch: bool) -> list[LoadedPart]:
    """What the entries will fill, for the table of weights.

    Raises ConfigError for an entry that is none, or a part that the model lacks; WeightsError for a file that cannot be
    read, or that fills nothing, or does not fit.
    """
    return [part for text in entries for part in _check(model, Entry.of(text), text, ignore_mismatch)]


def _check(model: nn.Module, entry: Entry, text: str, ignore_mismatch: bool) -> list[LoadedPart]:
    chosen, targets = entry.chosen(read_tensors(entry.file)), _targets(_part_of(model, entry.target))
    fitting = [name for name, x in chosen.items() if name in targets and targets[name].shape == x.shape]
    if len(fitting) < len(chosen) and not (ignore_mismatch and fitting):
        strangers = [name for name in chosen if name not in targets]
        misshapen = [
            f"{name} {tuple(chosen[name].shape)} for {tuple(targets[name].shape)}"
            for name in chosen
            if name in targets and name not in fitting
        ]
        found = [f"{len(strangers)} without a place: {_some(strangers)}"] if strangers else []
        found += [f"{len(misshapen)} of another shape: {_some(misshapen)}"] if misshapen else []
        raise WeightsError(
            f"init_param {text} does not fit {entry.target or 'the model'}", found="; ".join(found),
            expected=f"weights such as {_some(list(targets)[:2])}",
            fix="Name the parts that fit, FILE:encoder:encoder, or say ignore_init_mismatch: true",
        )  # fmt: skip
    check_numbers({name: chosen[name] for name in fitting}, entry.file, like=targets)
    full = [f"{entry.target}.{name}" if entry.target else name for name in fitting]
    check_same_tokens(model, full, entry.file)
    counts: dict[str, int] = {}
    for short, name in zip(fitting, full, strict=True):
        part = name.partition(".")[0]
        counts[part] = counts.get(part, 0) + (chosen[short].numel() if isinstance(targets[short], nn.Parameter) else 0)
    return [LoadedPart(part, entry.file, count) for part, count in counts.items()]


def _part_of(model: nn.Module, path: str) -> nn.Module:
    if not path:
        return model
    try:
        return reduce(lambda module, name: dict(module.named_children())[name], path.split("."), model)
    except KeyError:
        known = [name for name, child in model.named_children() if next(child.parameters(), None) is not None]
        found, expected = path, ", ".join(known) + ", or a module in one of them"
        raise ConfigError("init_param names a part that the model lacks", found=found, expected=expected) from None


def _targets(module: nn.Module) -> dict[str, Tensor]:
    """Names as a model without adapters has them, which the loading of adapters takes as well, and their own."""
    own = module.state_dict(keep_vars=True) | dict(module.named_parameters()) | dict(module.named_buffers())
    return own | {name.replace(".base_layer.", "."): value for name, value in own.items()}


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
