"""The one place that knows where ESPnet keeps things, what importing it costs, and what of it has to be replaced.

`from espnet_vivit.espnet_compat import ASRTask` imports ESPnet quietly. A file for each group of patches: quiet_import,
tables (data types, schedulers, optimizers), inference_task, averaging; names.py says where ESPnet's names live. Each
patch has a test that fails once ESPnet no longer needs it.
"""

from typing import Any

from espnet_vivit.espnet_compat.averaging import separate_averages
from espnet_vivit.espnet_compat.inference_task import inference_with_task
from espnet_vivit.espnet_compat.names import WHERE, find
from espnet_vivit.espnet_compat.quiet_import import quiet_espnet_import
from espnet_vivit.espnet_compat.tables import add_data_type, add_optimizer, add_scheduler

__all__ = [
    "add_data_type",
    "add_optimizer",
    "add_scheduler",
    "inference_with_task",
    "quiet_espnet_import",
    "separate_averages",
]


def __getattr__(name: str) -> Any:
    if name not in WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = find(name)
    return value
