"""Lip reading and audio-visual speech recognition for ESPnet with a Video Vision Transformer.

The public names load on first use: importing this package loads neither torch, transformers, ESPnet nor OpenCV.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from espnet_vivit.version import __version__

_PUBLIC = {  # public name -> module that defines it
    "vivit_encoder": "espnet_vivit.frontend.vivit_encoder",
    "E2E": "espnet_vivit.e2e_asr_conformer",
    "AVSRTask": "espnet_vivit.tasks.avsr",
    "Transcriber": "espnet_vivit.transcription.transcriber",
    "StreamingRecognizer": "espnet_vivit.transcription.streaming",
    "register": "espnet_vivit.registration",
}

__all__ = ["__version__", *_PUBLIC]  # pyright: ignore[reportUnsupportedDunderAll]  it sees the imports below

if TYPE_CHECKING:
    from espnet_vivit.e2e_asr_conformer import E2E
    from espnet_vivit.frontend.vivit_encoder import vivit_encoder
    from espnet_vivit.registration import register
    from espnet_vivit.tasks.avsr import AVSRTask
    from espnet_vivit.transcription.streaming import StreamingRecognizer
    from espnet_vivit.transcription.transcriber import Transcriber


def __getattr__(name: str):
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *_PUBLIC})
