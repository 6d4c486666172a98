"""Our data types, schedulers and optimizers in ESPnet's tables, which have no function to add to them."""

from collections.abc import Callable

from espnet_vivit.espnet_compat.names import espnet_module

_DATA_TYPE_TABLES = ("espnet2.train.dataset", "espnet2.train.iterable_dataset")
_TABLES = "espnet2.tasks.abs_task"  # of optimizers and schedulers


def add_data_type(name: str, *, read_scp: Callable, read_value: Callable, help_text: str) -> None:
    """Make `name` a type of `--train_data_path_and_name_and_type`.

    `read_scp(path)` gives a mapping utterance -> array, `read_value(value)` the array of one line's value. It goes into
    ESPnet's map-style and its iterable table: registered in only one, an utterance would be preprocessed twice.
    """
    map_style, iterable = (espnet_module(module).DATA_TYPES for module in _DATA_TYPE_TABLES)
    map_style[name] = {"func": read_scp, "kwargs": [], "help": help_text}
    iterable[name] = read_value


def add_scheduler(name: str, scheduler: type) -> None:
    """Make `name` a choice of `--scheduler`."""
    espnet_module(_TABLES).scheduler_classes[name] = scheduler


def add_optimizer(name: str, optimizer: type) -> None:
    """Make `name` a choice of `--optim`."""
    espnet_module(_TABLES).optim_classes[name] = optimizer
