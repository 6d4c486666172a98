"""What a checkpoint holds of a tower with adapters, and the check that they meet their own base again.

A base that can be loaded again by name is left out of every checkpoint; in its place stands a hash of its weights,
compared at loading. So resuming and decoding keep the adapters, n-best averaging never meets packed 4-bit bytes, and
files stay small. A base that cannot be found again stays in the checkpoint (lora only), where averaging may round its
last bit; weights of the same tower without adapters, such as ESPnet's `--init_param` loads, then fit as well.
"""

import hashlib
from functools import partial

import torch
from torch import nn

from espnet_vivit.errors import WeightsError

HASH_KEY = "adapter_base"  # among the tower's weights
# Interpolated when a tower is loaded at another picture size, with last bits that may differ between machines.
_RECOMPUTED = (
    *("embeddings.position_embeddings", "embeddings.position_embedding.weight", "embeddings.time_embeddings"),
    *("spatial_embeddings.position_embeddings", "temporal_embeddings.position_embeddings"),
)


class StoredBase:
    """Made from a tower's base before it is changed; `watch` then hooks into the saving and loading of the result.

    Raises (at loading) WeightsError: a base with other weights, or weights that would replace the base.
    """

    def __init__(self, base: nn.Module, *, name: str, source: str | None, adapted: list[str]):
        self.name, self.source, self.adapted = name, source, adapted
        self.hash = None if source is None else hash_of(base)
        self._forgiven: set[str] = set()

    def watch(self, base: nn.Module) -> None:
        base.register_load_state_dict_pre_hook(self._before_loading)
        if self.hash is not None:
            base.register_state_dict_post_hook(partial(StoredBase._leave_base_out, self))  # PyTorch marks the hook
            base.register_load_state_dict_post_hook(self._forgive_base)

    def _leave_base_out(self, base: nn.Module, state_dict: dict, prefix: str, local_metadata) -> None:
        trained = _trained_names(base)
        for key in [key for key in state_dict if key.startswith(prefix)]:
            if key[len(prefix) :] not in trained:
                del state_dict[key]
        if self.hash is not None:
            state_dict[prefix + HASH_KEY] = self.hash.clone()

    def _before_loading(self, base, state_dict, prefix, local_metadata, strict, missing, unexpected, errors) -> None:
        for layer in self.adapted:
            for part in ("weight", "bias"):
                plain = f"{prefix}{layer}.{part}"
                if plain in state_dict:
                    state_dict[f"{prefix}{layer}.base_layer.{part}"] = state_dict.pop(plain)
        if self.hash is None:
            return
        frozen = {prefix + key for key in _frozen_names(base)}
        given = sorted(frozen & state_dict.keys())
        if given:
            raise WeightsError(
                f"{self.name} has adapters on weights that are loaded from {self.source}; others in their place would "
                "not be found again for decoding",
                found=f"{len(given)} weights of the base, {given[0]} among them",
                fix="Leave them out of init_param, or name their own folder as the tower's model_name",
            )
        found = state_dict.pop(prefix + HASH_KEY, None)
        if found is None:
            missing.append(prefix + HASH_KEY)
        elif not torch.equal(found.detach().cpu().float(), self.hash):
            raise WeightsError(
                f"the adapters of {self.name} were trained on other weights than {self.source} holds now",
                found=f"a base with hash {_hex(self.hash)}",
                expected=_hex(found),
                fix=f"Give the revision that was trained on, or its local folder, in {self.name}_conf",
            )
        self._forgiven = frozen

    def _forgive_base(self, base: nn.Module, incompatible) -> None:
        incompatible.missing_keys[:] = [key for key in incompatible.missing_keys if key not in self._forgiven]


def hash_of(base: nn.Module) -> torch.Tensor:
    """(32,) float32: SHA-256 of the weights. As whole numbers in floats it survives ESPnet's averaging unchanged."""
    digest = hashlib.sha256()
    for name, value in sorted(base.state_dict().items()):
        if name not in _RECOMPUTED:
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return torch.tensor(list(digest.digest()), dtype=torch.float32)


def _trained_names(base: nn.Module) -> set[str]:
    return {name for name, parameter in base.named_parameters() if "lora_" in name}


def _frozen_names(base: nn.Module) -> set[str]:
    persistent = {name for name, _ in base.named_buffers()}
    return {name for name, _ in base.named_parameters() if "lora_" not in name} | persistent


def _hex(numbers: torch.Tensor) -> str:
    return bytes(int(number) for number in numbers.tolist()).hex()[:12] + "…"
