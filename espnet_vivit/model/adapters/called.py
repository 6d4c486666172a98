"""Which layers of a tower compute what they hold: adapters on others would have no effect, 4-bit weights would break.

Most layers are called. Some only lend their weights to a function of torch: a ViViT's patch projection
(frontend/vivit/embedding.py), the projections in WavLM's attention, the last one in torch's own.
"""

from torch import nn

_LENDING = {"WavLMAttention": ("q_proj", "k_proj", "v_proj", "out_proj"), "MultiheadAttention": ("out_proj",)}
_PATCHES = ("patch_embeddings.projection", "patch_embeddings.proj")


def layers_not_called(base: nn.Module) -> set[str]:
    """Full names of the layers of `base` whose weights are read instead; of patches, whoever reads them."""
    names = {name for name, _ in base.named_modules() if name.endswith(_PATCHES)}
    for name, module in base.named_modules():
        names |= {f"{name}.{layer}" for layer in _LENDING.get(type(module).__name__, ())}
    return names
