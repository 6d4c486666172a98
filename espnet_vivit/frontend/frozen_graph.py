"""`torch.compile` for inference with the weights as constants of the graph, which it then packs for its products."""

from collections.abc import Callable
from functools import wraps

import torch


def compile_frozen(function: Callable, **options) -> Callable:
    """`torch.compile(function, **options)`, whose graphs made without gradients keep the weights of that moment.

    Inductor looks for its setting `freezing` while it compiles a graph, but PyTorch already while it traces one, where
    `options={"freezing": True}` is not in force yet: weights stay inputs of the graph and nothing is packed.
    """
    import torch._inductor.config as settings

    compiled = torch.compile(function, **options)

    @wraps(function)
    def run(*args, **kwargs):
        with settings.patch(freezing=True):
            return compiled(*args, **kwargs)

    return run
