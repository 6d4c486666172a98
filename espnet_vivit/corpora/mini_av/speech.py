"""Text → speech with the times of its words and phonemes, by espeak-ng through its C interface.

espeak-ng (GPL-3) is not part of this package: it is loaded at run time, from the wheel `espeakng-loader` if that is
installed, else from the system (`libespeak-ng1` in Debian). Its C interface is documented in its `speak_lib.h`.

espeak-ng keeps oscillator phases from one utterance to the next, and re-initialising does not reset them: the same
text spoken twice gives different samples. So that an utterance depends on nothing before it, the library is loaded
afresh for each one, which takes two milliseconds.
"""

from __future__ import annotations

import _ctypes
import ctypes
import ctypes.util
import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from espnet_vivit.errors import DataError, MissingDependencyError

_SYNCHRONOUS = 2  # AUDIO_OUTPUT_SYNCHRONOUS: samples go to the callback, the call returns when all is said
_PHONEME_EVENTS, _DO_NOT_EXIT = 0x0001, 0x8000  # flags of espeak_Initialize
_RATE, _PITCH, _RANGE = 1, 3, 4  # espeak_PARAMETER
_END, _WORD, _PHONEME = 0, 1, 7  # espeak_EVENT_TYPE
_UTF8 = 1
_SILENCES = frozenset({"_", "_:", "_!", "_|", "_::", "_^_"})

MISSING = (
    "the speech of mini_av needs espeak-ng: install it with `pip install espeakng-loader` "
    "(or as a system package: `apt-get install libespeak-ng1`)"
)


@dataclass(frozen=True)
class Voice:
    """`variant` is one of espeak-ng's voice variants; rate in words per minute, pitch and its range 0..99."""

    variant: str
    rate_wpm: int
    pitch: int
    pitch_range: int


@dataclass(frozen=True)
class Span:
    """A word or phoneme, in seconds from the first sample."""

    start_s: float
    end_s: float
    name: str


@dataclass(frozen=True)
class Speech:
    """`samples` (N,) int16 at `rate_hz`; every phoneme lies in exactly one word, words follow without gaps."""

    samples: np.ndarray
    rate_hz: int
    words: tuple[Span, ...]
    phonemes: tuple[Span, ...]


class _EventId(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),  # of the word's first character, counted from 1
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    ]


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


def speak(text: str, voice: Voice) -> Speech:
    """Say `text` (words separated by single spaces). Raises MissingDependencyError without espeak-ng."""
    chunks, words, phonemes = [], {}, []

    def receive(wave, count, event):
        if wave and count > 0:
            chunks.append(np.ctypeslib.as_array(wave, (count,)).copy())
        index = 0
        while event[index].type != _END:
            item = event[index]
            if item.type == _WORD:
                words[item.text_position] = item.sample
            elif item.type == _PHONEME:
                phonemes.append((item.sample, item.text_position, item.id.string.decode()))
            index += 1
        return 0

    callback = _Callback(receive)
    with _fresh_library() as (library, rate_hz):
        library.espeak_SetSynthCallback(callback)
        _set_voice(library, voice.variant)
        for parameter, value in ((_RATE, voice.rate_wpm), (_PITCH, voice.pitch), (_RANGE, voice.pitch_range)):
            library.espeak_SetParameter(parameter, int(value), 0)
        data = text.encode() + b"\0"
        if library.espeak_Synth(data, ctypes.c_size_t(len(data)), 0, 1, 0, _UTF8, None, None) != 0:
            raise DataError(f"espeak-ng cannot say {text!r}")
    samples = np.concatenate(chunks)
    return Speech(samples, rate_hz, *_spans(text, words, phonemes, rate_hz))


def espeak_version() -> str:
    """For example "1.52.0": other versions say the same text differently."""
    with _fresh_library() as (library, _):
        return _info(library)[0]


def _info(library: ctypes.CDLL) -> tuple[str, Path]:
    """(version, data folder)."""
    data = ctypes.c_char_p()
    library.espeak_Info.restype = ctypes.c_char_p
    version = library.espeak_Info(ctypes.byref(data)).decode().split()[0]
    assert data.value is not None  # espeak_Info sets it
    return version, Path(data.value.decode())


def _set_voice(library: ctypes.CDLL, variant: str) -> None:
    """British English in that variant. espeak-ng itself takes the plain voice for a variant it does not know."""
    data = _info(library)[1]
    if not (data / "voices" / "!v" / variant).is_file():
        raise DataError(f"espeak-ng has no voice variant {variant!r} in {data}", fix="Is its data folder complete?")
    if library.espeak_SetVoiceByName(f"gmw/en+{variant}".encode()) != 0:
        raise DataError(f"espeak-ng has no British English in {data}", fix="Is its data folder complete?")


def _spans(text: str, words: dict[int, int], phonemes: list, rate_hz: int) -> tuple[tuple[Span, ...], tuple[Span, ...]]:
    """espeak-ng's events as spans. A stop's closure precedes its event, so a word-initial one starts with its word."""
    positions, position = [], 1
    for word in text.split(" "):
        positions.append(position)
        position += len(word) + 1
    if sorted(words) != positions:
        raise DataError(f"espeak-ng runs words of {text!r} together", found=sorted(words), expected=positions)
    spoken = [phoneme for phoneme in phonemes if phoneme[2] not in _SILENCES]
    if {phoneme[1] for phoneme in spoken} != set(positions):
        raise DataError(f"espeak-ng leaves a word of {text!r} silent")
    starts, previous = [], None
    for sample, owner, _ in spoken:
        begins_word = owner != previous
        # a final nasal may be announced only when the next word begins: then that word starts at its first phoneme
        closed = begins_word and (not starts or starts[-1] < words[owner])
        starts.append(words[owner] if closed else sample)
        previous = owner
    silences = [sample for sample, _, name in phonemes if name in _SILENCES and sample > spoken[-1][0]]
    if not silences:
        raise DataError(f"espeak-ng does not say where {text!r} ends")
    bounds = [sample / rate_hz for sample in [*starts, silences[0]]]
    parts = [Span(bounds[i], bounds[i + 1], spoken[i][2]) for i in range(len(spoken))]
    owned = [[part for part, phoneme in zip(parts, spoken, strict=True) if phoneme[1] == place] for place in positions]
    spans = [Span(own[0].start_s, own[-1].end_s, word) for own, word in zip(owned, text.split(" "), strict=True)]
    return tuple(spans), tuple(parts)


@contextmanager
def _fresh_library():
    """(library, sample rate) with all its state new; unloaded afterwards."""
    path, data = _locate()
    if _is_loaded(path):
        raise DataError(
            "something else in this process keeps espeak-ng loaded, and its state would leak from clip to clip",
            fix="Prepare the corpus in a process of its own: python -m espnet_vivit.bin.avsr_mini_av",
        )
    library = ctypes.CDLL(path)
    try:
        rate_hz = library.espeak_Initialize(_SYNCHRONOUS, 0, data, _PHONEME_EVENTS | _DO_NOT_EXIT)
        if rate_hz <= 0:
            raise MissingDependencyError(f"espeak-ng at {path} does not find its data; {MISSING}")
        yield library, rate_hz
        library.espeak_Terminate()
    finally:
        _ctypes.dlclose(library._handle)  # ctypes offers no public name for it


def _is_loaded(path: str) -> bool:
    try:
        library = ctypes.CDLL(path, mode=os.RTLD_NOLOAD | os.RTLD_NOW)
    except OSError:
        return False
    _ctypes.dlclose(library._handle)
    return True


def _locate() -> tuple[str, bytes | None]:
    """(library, data folder or None for the library's own)."""
    try:
        import espeakng_loader
    except ImportError:
        path = ctypes.util.find_library("espeak-ng")
        if path is None:
            raise MissingDependencyError(MISSING) from None
        return path, None
    return str(espeakng_loader.get_library_path()), str(espeakng_loader.get_data_path()).encode()
