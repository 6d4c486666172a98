"""ESPnet imported fast and without a word.

Measured on one core with release 202511: `import espnet2.tasks.asr` 12.5 s, through here 6 s, because
  * `g2p_en` (phonemes, unused by us) tries to download nltk data in every process; it is loaded on first use only;
  * typeguard parses the source of every checked function at import; here each is instrumented at its first call;
  * ESPnet's line on Flash Attention, which nobody here asked for, is dropped, and so are its modules' warnings about
    torch's newer names; what else they print goes to stderr, not into the output of `--print_config > file`.
"""

import functools
import importlib
import importlib.util
import io
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import TextIO


@contextmanager
def quiet_espnet_import() -> Iterator[None]:
    """ESPnet modules imported inside the block load fast, print to stderr and download nothing; re-entrant."""
    import typeguard

    _defer("g2p_en")
    checked = typeguard.typechecked
    try:
        typeguard.typechecked = functools.partial(_check_from_first_call, checked)
        quiet = _WithoutFlashAttention(sys.stderr)  # 202511 prints the line, 202609 and later write it to stderr
        with redirect_stdout(quiet), redirect_stderr(quiet), warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning, module=r"espnet2?\.")
            yield
    finally:
        typeguard.typechecked = checked


class _WithoutFlashAttention(io.TextIOBase):
    """Passes text on, except ESPnet's line on a package that is not installed, and the line's end."""

    def __init__(self, target: TextIO):
        self._target, self._dropped = target, False

    def write(self, text: str) -> int:
        drops = text.startswith("Failed to import Flash Attention")
        if not drops and not (self._dropped and text == "\n"):
            self._target.write(text)
        self._dropped = drops
        return len(text)


def _check_from_first_call(typechecked: Callable, target=None, **options):
    """As `typeguard.typechecked`, but a function's source is parsed when it is first called."""
    if target is None:
        return functools.partial(_check_from_first_call, typechecked, **options)
    if not isinstance(target, types.FunctionType):
        return typechecked(target, **options)
    checked = None

    @functools.wraps(target)
    def call(*args, **kwargs):
        nonlocal checked
        if checked is None:
            checked = typechecked(target, **options)
        return checked(*args, **kwargs)

    return call


class _DeferredModule(types.ModuleType):
    """Stands for a module until someone asks for one of its names."""

    def __getattr__(self, name: str):
        if name.startswith("__"):  # what import machinery and `inspect` look at: no reason to load
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


def _defer(name: str) -> None:
    if name in sys.modules:
        return
    spec = importlib.util.find_spec(name)
    if spec is None:  # not installed: ESPnet's own import shall say so
        return
    module = _DeferredModule(name)
    module.__spec__ = spec  # transformers asks for it to see whether the package is installed
    vars(module)["__path__"] = spec.submodule_search_locations  # what makes a module a package
    sys.modules[name] = module
