"""Adapters onto a tower that is built: frozen base, LoRA matrices beside its layers, 4-bit base weights for qlora.

In: the model's towers by name, and what `tower_adapters` says. Out: the same towers, changed in place; their output is
the same as before until the first step of training (with 4-bit weights: that of the rounded base). The work is done by
peft and bitsandbytes.

What is frozen is a tower's base: ViViT itself for the vision encoder `vivit`, the library's tower for `huggingface`
(the projection and upsampling behind them start fresh and train), all of any other tower. BatchNorm in a base keeps
the statistics it has.
"""

from collections.abc import Mapping

import torch
from torch import nn

from espnet_vivit.errors import ConfigError, MissingDependencyError
from espnet_vivit.model.adapters.called import layers_not_called
from espnet_vivit.model.adapters.config import AdapterConfig
from espnet_vivit.model.adapters.quantize import quantize_linears
from espnet_vivit.model.adapters.stored import StoredBase

ADAPTER = "default"  # peft's name of the only set of adapters
_DEFAULT_TARGETS = (
    ("q_proj", "k_proj", "v_proj", "o_proj", "fc1", "fc2"),  # transformers 5
    ("q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj"),  # its DINOv3
    ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"),  # its CLIP, SigLIP and Whisper
    ("q_proj", "k_proj", "v_proj", "out_proj", "intermediate_dense", "output_dense"),  # its HuBERT, also in AV-HuBERT
    ("intermediate_dense", "output_dense"),  # its WavLM, whose attention's layers are not called
    ("query", "key", "value", "proj", "fc1", "fc2"),  # its V-JEPA 2
    ("query", "key", "value", "dense"),  # its VideoMAE
    ("qkv", "temporal_dense", "dense"),  # its TimeSformer
    ("linear_q", "linear_k", "linear_v", "linear_out", "w_1", "w_2"),  # ESPnet
)


def attach_adapters(
    towers: Mapping[str, nn.Module | None],
    adapters: Mapping[str, AdapterConfig],
    *,
    sources: Mapping[str, str],
    default_compute_dtype: torch.dtype | None = None,
) -> None:
    """Put the adapters of each tower named in `adapters` onto it.

    `sources` says for a tower where its base can be loaded from again, for people to read; checkpoints then leave the
    base out. A tower without one keeps its base in the checkpoint.

    Raises:
        ConfigError: a tower that the model does not have or that cannot train, target_modules that match nothing, or
            4-bit weights for a base that could not be found again.
        MissingDependencyError: peft or bitsandbytes is not installed.
    """
    for name, config in adapters.items():
        tower = towers.get(name)
        if tower is None:
            found = "a model with " + ", ".join(key for key, value in towers.items() if value is not None)
            raise ConfigError(f"tower_adapters names {name}, which the model does not have", found=found)
        if getattr(tower, "frozen", False):
            fix = "Leave frozen out: with adapters the tower's own weights are frozen anyway"
            raise ConfigError(f"{name} is frozen as a whole, so its adapters would never train", fix=fix)
        if config.type == "qlora" and name not in sources:
            raise ConfigError(
                f"qlora keeps only 4-bit weights, and those of {name} could not be found again for decoding",
                found="a base that is not loaded by name",
                expected="vivit or huggingface with pretrained: true",
                fix=f"Use type: lora for {name}: its checkpoints hold the base as well",
            )
        _attach(name, base_of(tower), config, sources.get(name), default_compute_dtype)


def base_of(tower: nn.Module) -> nn.Module:
    """The part of a tower that adapters freeze."""
    return getattr(tower, "vivit", getattr(tower, "tower", tower))


def hold_statistics(tower: nn.Module) -> None:
    """Keep BatchNorm of a frozen base as it is; to be called after each `train()`."""
    for module in base_of(tower).modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def _attach(name: str, base: nn.Module, config: AdapterConfig, source: str | None, compute_dtype) -> None:
    peft = _import_peft()
    targets = target_names(name, base, config)
    stored = StoredBase(base, name=name, source=source, adapted=targets)  # hashes what is about to be quantised
    if config.type == "qlora":
        quantize_linears(name, base, config, compute_dtype)
        base.is_loaded_in_4bit = True  # pyright: ignore[reportArgumentType]  a plain attribute, which peft goes by
    lora = peft.LoraConfig(
        r=config.r,
        lora_alpha=config.alpha,  # pyright: ignore[reportArgumentType]  peft says int, and only divides it by r
        lora_dropout=config.dropout,
        target_modules=targets,
    )
    peft.inject_adapter_in_model(lora, base, adapter_name=ADAPTER)
    for parameter in base.parameters():
        if parameter.requires_grad:  # by now the adapters alone
            parameter.data = parameter.data.float()
    stored.watch(base)


def target_names(name: str, base: nn.Module, config: AdapterConfig) -> list[str]:
    """Full names of the layers of `base` that get adapters."""
    absent = layers_not_called(base)
    layers = [layer for layer, module in base.named_modules() if layer not in absent and _is_adaptable(module)]
    known = sorted({layer.rpartition(".")[2] for layer in layers})
    if config.target_modules is None:
        wanted = next((names for names in _DEFAULT_TARGETS if set(names) <= set(known)), None)
        if wanted is None:
            fix = f"Name some in target_modules; {_list_of(known)}"
            raise ConfigError(f"there is no default for which layers of {name} get adapters", fix=fix)
    else:
        wanted = config.target_modules
    for target in wanted:
        if not any(_matches(layer, target) for layer in layers):
            raise ConfigError(
                f"target_modules of {name} name no layer of it", found=repr(target), expected=_list_of(known)
            )
    return [layer for layer in layers if any(_matches(layer, target) for target in wanted)]


def _is_adaptable(module: nn.Module) -> bool:
    plain_conv = isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d) and module.groups == 1
    return isinstance(module, nn.Linear) or plain_conv


def _matches(layer: str, target: str) -> bool:
    return layer == target or layer.endswith("." + target)


def _list_of(names: list[str]) -> str:
    return "its layers are called " + ", ".join(names) if names else "it has no linear or convolutional layer"


def _import_peft():
    try:
        import peft
    except ImportError as error:
        fix = "pip install espnet-vivit[qlora]"
        raise MissingDependencyError(
            f"tower_adapters need peft, which cannot be imported ({error})", fix=fix
        ) from error
    return peft
