"""Every error that a user can meet. Each message says what was found, what was expected, and what to do.

They derive from the built-in class a caller would think of (`ValueError`, `OSError`, …), so code written
against those keeps working, and from `EspnetVivitError`, so that all of ours can be caught at once.
"""

from collections.abc import Iterable


class EspnetVivitError(Exception):
    """Base of all errors of this package.

    `what` alone is a finished sentence; with the keywords, the message reads
    "<what>: found <found>; expected <expected>. <fix>".
    """

    def __init__(self, what: str, *, found: object = None, expected: object = None, fix: str | None = None):
        message = what
        if found is not None:
            message += f": found {found}"
        if expected is not None:
            message += f"; expected {expected}" if found is not None else f": expected {expected}"
        if fix is not None:
            message = message.rstrip(".") + f". {fix}"
        super().__init__(message)  # one positional argument, so that workers can pickle the error


class ConfigError(EspnetVivitError, ValueError):
    """An option that does not exist, has a bad value, or contradicts another one."""


class InputError(EspnetVivitError, ValueError):
    """A tensor or array with the wrong rank, channels, dtype, lengths or values."""


class TooShortError(InputError):
    """An input of zero frames or fewer samples than one feature step needs."""


class WeightsError(EspnetVivitError, OSError):
    """Pretrained weights that cannot be found, read or matched with the model."""


class DataError(EspnetVivitError, ValueError):
    """A data directory, manifest or list that is missing, empty, inconsistent or badly formed."""


class MediaError(EspnetVivitError, OSError):
    """A video or audio file that cannot be opened or decoded; any file or folder that cannot be written."""


class MissingDependencyError(EspnetVivitError, ImportError):
    """An optional package or system library that the requested part needs."""


class BatchTooLargeError(EspnetVivitError, MemoryError):
    """A training batch that does not fit into the device's memory."""


class NonFiniteLossError(EspnetVivitError, ArithmeticError):
    """A training whose losses have stopped being numbers."""


def unknown_name(kind: str, name: object, choices: Iterable[str]) -> ConfigError:
    """The error for a misspelt choice, with the nearest existing name as a suggestion."""
    names = sorted(choices)
    near = nearest_name(name, names)
    hint = f"Did you mean {near!r}?" if near else "Choose one of these names."
    return ConfigError(f"unknown {kind}", found=repr(name), expected="one of " + ", ".join(names), fix=hint)


def no_model(path: object) -> DataError:
    """The error for a trained model that is not where it is said to be."""
    return DataError(
        f"there is no model at {path}",
        expected="an experiment folder, a package, or an archive of either",
        fix="Train one (run.sh), or get a package; Package.from_pretrained fetches one from the hub",
    )


def nearest_name(name: object, choices: Iterable[str], *, likeness: float = 0.6) -> str | None:
    """What `name` may have been meant to be: the most alike of the choices, None if none is as alike as `likeness`."""
    import difflib

    return next(iter(difflib.get_close_matches(str(name), list(choices), n=1, cutoff=likeness)), None)
