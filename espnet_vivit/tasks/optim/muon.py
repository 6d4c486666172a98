"""`optim: muon`: torch's Muon for the matrices of hidden layers, AdamW for all else, as one optimizer.

    optim: muon
    optim_conf: {lr: 0.001, weight_decay: 0.01, momentum: 0.95, betas: [0.9, 0.98]}

In: a model whose matrices `mark_hidden_matrices` has marked. Out: an optimizer like any other: ESPnet's schedulers,
lr_scale, layer_decay, freeze_until, exclude_weight_decay, float16's scaler and resuming need to know nothing of it.

Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon) replaces the momentum of a matrix by the nearest
orthogonal one; torch.optim.Muon does it, from torch 2.9 on, in bfloat16. Processors that only emulate bfloat16 compute
the same update in float32, because their bfloat16 products are slow. The update is scaled as in Liu et
al. 2025 (arXiv:2502.16982), so that it is as large as AdamW's, and one learning rate and weight decay serve both.

AdamW learns what is no hidden matrix: embeddings and position tables, the linear frontend, which reads pixels, the
output layers, biases, norms and convolutions. Adapters too: LoRA's matrices are factors of one, not layers. So are
the stacked query, key and value of `nn.MultiheadAttention`, and whatever does not train.
"""

import argparse
import inspect
import logging
import re
from collections.abc import Callable, Iterable

import torch
from torch import nn

from espnet_vivit.base.option_types import check_value
from espnet_vivit.errors import ConfigError, MissingDependencyError
from espnet_vivit.espnet_compat import add_optimizer
from espnet_vivit.frontend.linear import LinearFrontend

NAME = "muon"
_MARK = "_hidden_matrix"
_METHODS = ("adamw", "muon")
BFLOAT16_IS_EMULATED = not torch.ops.mkldnn._is_mkldnn_bf16_supported()  # by this processor
_OUTSIDE = re.compile(  # linear layers that read or write tokens, and adapters
    r"^ctc\.|^frame_head$|(^|\.)output_layer$|(^|\.)conditioning_layer$|(^|\.)embed(\.|$)|(^|\.)lora_"
)


class Muon(torch.optim.Optimizer):
    """torch.optim.Muon and torch.optim.AdamW over groups of either; each group says its `method`.

    Args:
        params: parameters or groups of them; a group is split where it holds both marked matrices and others.
        lr, weight_decay: of both.
        betas, eps: AdamW's.
        momentum, nesterov, ns_steps: Muon's.
        muon_lr_scale: the matrices' share of `lr`.

    Raises:
        ConfigError: a value that torch refuses. MissingDependencyError: a torch without Muon.
    """

    def __init__(
        self,
        params: Iterable,
        lr: float = 1e-3,
        *,
        weight_decay: float = 0.01,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_steps: int = 5,
        muon_lr_scale: float = 1.0,
    ):
        check_torch()
        check_value("optim_conf", "muon_lr_scale", muon_lr_scale, where="optim_conf muon_lr_scale")
        stand_in = [nn.Parameter(torch.zeros(1, 1))]
        self.muon_lr_scale = muon_lr_scale
        low, high = betas
        adamw = torch.optim.AdamW(stand_in, lr=lr, weight_decay=weight_decay, betas=(low, high), eps=eps)
        muon = Float32Muon(
            stand_in,
            lr=lr,
            weight_decay=weight_decay,
            momentum=momentum,
            nesterov=nesterov,
            ns_steps=ns_steps,
            adjust_lr_fn="match_rms_adamw",
        )
        self._workers = {"adamw": adamw, "muon": muon}
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})
        self.register_load_state_dict_pre_hook(_compare_methods)

    def add_param_group(self, param_group: dict) -> None:
        params = list(param_group["params"])
        for method in _METHODS:
            members = [p for p in params if hasattr(p, _MARK) == (method == "muon")]
            if not members:
                continue
            defaults = self._workers[method].defaults
            given = {key: value for key, value in param_group.items() if key not in _OPTIONS or key in defaults}
            group = {**defaults, **given, "params": members, "method": method}
            if method == "muon":
                group["lr"] *= self.muon_lr_scale
                group["eps"] = defaults["eps"]  # `eps` of a group is AdamW's
            super().add_param_group(group)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for method, worker in self._workers.items():
            worker.param_groups = [group for group in self.param_groups if group["method"] == method]
            worker.state = self.state  # loading a state puts others in the place of both
            worker.step()
        return loss


class Float32Muon(torch.optim.Muon):
    """torch.optim.Muon with `adjust_lr_fn="match_rms_adamw"`; on processors without bfloat16 units in float32."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        trained = [(group, p) for group in self.param_groups for p in group["params"] if p.grad is not None]
        on_cpu = all(parameter.device.type == "cpu" for _, parameter in trained)
        if not (on_cpu and BFLOAT16_IS_EMULATED):
            return super().step(closure)
        assert closure is None  # our own Muon has called it
        for group, parameter in trained:
            momentum = self.state[parameter].setdefault("momentum_buffer", torch.zeros_like(parameter.grad))
            momentum.lerp_(parameter.grad, 1 - group["momentum"])
            update = parameter.grad.lerp(momentum, group["momentum"]) if group["nesterov"] else momentum
            update = orthogonalized(update, group["ns_coefficients"], group["ns_steps"], group["eps"])
            scale = 0.2 * max(parameter.shape) ** 0.5  # Liu et al. 2025: the root mean square of AdamW's updates
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
            parameter.add_(update, alpha=-group["lr"] * scale)
        return None


def orthogonalized(matrix: torch.Tensor, coefficients: Iterable[float], steps: int, eps: float) -> torch.Tensor:
    """(M, N) -> (M, N) with singular values near 1: the quintic Newton-Schulz iteration of Jordan et al. 2024."""
    a, b, c = coefficients
    x = matrix.T if matrix.size(0) > matrix.size(1) else matrix  # wide: the smaller Gram matrix
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if matrix.size(0) > matrix.size(1) else x


_OPTIONS = set(inspect.signature(Muon).parameters)  # what optim_conf may hold, which ESPnet puts into some groups


def check_torch() -> None:
    """Raise MissingDependencyError if torch has no Muon."""
    if not hasattr(torch.optim, "Muon"):
        fix = "pip install 'torch>=2.9', or say optim: adamw"
        raise MissingDependencyError("optim: muon needs a torch that has it", found=torch.__version__, fix=fix)


def mark_hidden_matrices(args: argparse.Namespace, model: nn.Module) -> None:
    """Mark what Muon shall learn, once it is known what trains. Raises ConfigError if that is nothing."""
    if args.sharded_ddp:
        raise ConfigError("sharded_ddp cuts the parameters before muon sees them", fix="Leave one of the two out")
    matrices = hidden_matrices(model)
    if not matrices:
        raise ConfigError("muon has no matrix to learn: what trains is adapters or no layer", fix="Say optim: adamw")
    for matrix in matrices.values():
        setattr(matrix, _MARK, True)
    count = sum(matrix.numel() for matrix in matrices.values())
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    logging.info(
        "muon learns %s parameters in %d matrices, AdamW %s", f"{count:,}", len(matrices), f"{trained - count:,}"
    )


def hidden_matrices(model: nn.Module) -> dict[str, torch.Tensor]:
    """The weights (out, in) of the linear layers between input and output that train, by name."""
    inputs = {id(module.projection) for module in model.modules() if isinstance(module, LinearFrontend)}
    return {
        f"{name}.weight": module.weight
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
        and module.weight.requires_grad
        and id(module) not in inputs
        and not _OUTSIDE.search(name)
    }


def _compare_methods(optimizer: torch.optim.Optimizer, state: dict) -> None:
    saved, own = (
        [f"{len(group['params'])} of {group.get('method')}" for group in groups]
        for groups in (state["param_groups"], optimizer.param_groups)
    )
    if saved != own:
        other = any("method" not in group for group in state["param_groups"])
        raise ConfigError(
            "the training to be resumed does not fit optim: muon",
            found="another optim" if other else f"groups of {', '.join(saved)} parameters",
            expected=None if other else ", ".join(own),
            fix="Resume with the optim, rates and freeze_param that it had, or begin a new experiment with init_param",
        )


add_optimizer(NAME, Muon)
