"""`torch.compile` for inference with the weights as constants of the graph, which it then packs for its products."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch


def compile_frozen(function: Callable, *, options: dict[str, Any] | None = None, **others: Any) -> Callable:
    """`torch.compile(function, ...)` by Inductor, whose graphs made without gradients keep the weights of that moment.

    Inductor looks for its setting `freezing` while it compiles a graph, but PyTorch already while it traces one, where
    `options={"freezing": True}` is not in force yet: weights stay inputs of the graph and nothing is packed. As an
    option it is still needed: it keeps these graphs apart from others of the same function that are not frozen.
    """
    import torch._inductor.config as settings

    compiled = torch.compile(function, options={**(options or {}), "freezing": True}, **others)

    @wraps(function)
    def run(*args, **kwargs):
        with settings.patch(freezing=True):
            return compiled(*args, **kwargs)

    return run
