"""ESPnet's inference with our task: its Speech2Text names ASRTask where it builds the model."""

from collections.abc import Iterator
from contextlib import contextmanager

from espnet_vivit.espnet_compat.names import espnet_module

_INFERENCE = "espnet2.bin.asr_inference"


@contextmanager
def inference_with_task(task: type) -> Iterator[None]:
    """Inside the block, ESPnet's inference module builds models with `task` where it names ASRTask."""
    module = espnet_module(_INFERENCE)
    original = module.ASRTask
    module.ASRTask = task
    try:
        yield
    finally:
        module.ASRTask = original
