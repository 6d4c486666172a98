"""Gradient checkpointing of any tower: activations of its blocks are computed twice instead of kept (Chen et al. 2016).

    gradient_checkpointing: [vision_encoder, encoder]

In: a model and the names of towers. Out: the same model; in training each block of these towers keeps its input alone.
Memory falls from what all layers produce to what one does, for about a third more time; gradients are the same. Blocks
are those of transformers' towers (its own switch), the layers of Conformer and decoder, the residual blocks of the
ResNets.

A block that runs twice would count a batch twice in its BatchNorm's running statistics: the second run leaves them.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from espnet_vivit.errors import ConfigError, unknown_name
from espnet_vivit.frontend.vivit.family_tower import FamilyTower
from espnet_vivit.frontend.vivit.tower import recompute_layers
from espnet_vivit.model.adapters.attach import base_of
from espnet_vivit.model.adapters.config import TOWERS

_LAYERS = ("layers", "encoders", "decoders")  # what ViViT, the Conformer and ESPnet's decoder call them


def checkpoint_towers(towers: Mapping[str, nn.Module | None], names: Sequence[str] | None) -> int:
    """Switch it on for the towers named; the number of blocks concerned.

    Raises ConfigError for a name that is no tower, a tower that the model lacks, or one that has no blocks.
    """
    count = 0
    for name in check_tower_names(names):
        tower = towers.get(name)
        if tower is None:
            has = ", ".join(key for key, value in towers.items() if value is not None)
            raise ConfigError(f"gradient_checkpointing names {name}, which the model does not have", found=has)
        base = base_of(tower)
        of_library = isinstance(base, PreTrainedModel)
        blocks = [part for part in base.modules() if isinstance(part, GradientCheckpointingLayer)]
        blocks = blocks if of_library else blocks_of(base)
        if not blocks:
            fix = f"Leave {name} out: it has no layers between which anything could be dropped"
            raise ConfigError(f"gradient_checkpointing of {name}", found=type(tower).__name__, fix=fix)
        if of_library or isinstance(base, FamilyTower):
            recompute_layers(base)
        else:
            for block in blocks:
                block.forward = _Recomputed(block)
        count += len(blocks)
    return count


def check_tower_names(names: Sequence[str] | None) -> list[str]:
    """The option's value as a list. Raises ConfigError for what is no list of towers."""
    if names is None:
        return []
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise ConfigError("gradient_checkpointing", found=repr(names), expected="a list such as [vision_encoder]")
    for name in names:
        if name not in TOWERS:
            raise unknown_name("tower in gradient_checkpointing", name, TOWERS)
    return list(names)


def blocks_of(base: nn.Module) -> list[nn.Module]:
    """Layers that follow each other: those of a transformer, or the blocks of a ResNet's stages."""
    lists = [child for name, child in base.named_children() if name in _LAYERS]
    if hasattr(base, "temporal"):  # a factorised ViViT's second transformer
        lists += [base.get_submodule("temporal.layers")]
    if hasattr(base, "trunk"):
        lists = [stage for name, stage in base.get_submodule("trunk").named_children() if name.startswith("layer")]
    return [block for blocks in lists for block in blocks.children()]


class _Recomputed:
    """Stands in place of `block.forward`."""

    def __init__(self, block: nn.Module):
        self.block, self.original = block, block.forward

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        if not (self.block.training and torch.is_grad_enabled()):
            return self.original(*inputs, **options)
        return recomputed(self.original, self.block, *inputs, **options)


def recomputed(run: Callable, module: nn.Module, *inputs: Any, **options: Any) -> Any:
    """`run(…)`, of which the backward pass keeps the inputs alone and runs it again, with the same random numbers.

    What `run` changes in the BatchNorm layers of `module` is changed once.
    """

    def contexts():
        return contextlib.nullcontext(), statistics_kept(module)

    return checkpoint(run, *inputs, use_reentrant=False, context_fn=contexts, **options)


@contextlib.contextmanager
def statistics_kept(module: nn.Module) -> Iterator[None]:
    """Inside the block BatchNorm normalises by its batch and leaves its running statistics as they are."""
    layers = [part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    kept = [(layer, layer.running_mean, layer.running_var, layer.num_batches_tracked) for layer in layers]
    for layer, *buffers in kept:
        for name, buffer in zip(("running_mean", "running_var", "num_batches_tracked"), buffers, strict=True):
            if buffer is not None:
                layer._buffers[name] = buffer.clone()  # what is updated in here is thrown away
    try:
        yield
    finally:
        for layer, mean, variance, count in kept:
            layer._buffers.update(running_mean=mean, running_var=variance, num_batches_tracked=count)
