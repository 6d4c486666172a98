"""PICTURES AND SOUND AS THEY COME → WORDS: mouths are found and put in step with the sound, and read at once."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from espnet_vivit.media.faces.face_stream import FaceStream
from espnet_vivit.media.live_clip import LiveClip, LiveGap, LiveMouths
from espnet_vivit.media.live_source import Picture, Sound
from espnet_vivit.transcription.result import Transcription
from espnet_vivit.transcription.streaming import LiveUpdate, StreamingRecognizer


def read_live(
    events: Iterable[Picture | Sound], recognizer: StreamingRecognizer, faces: FaceStream | None
) -> Iterator[LiveUpdate]:
    """What the recognizer says after each event that tells it something new, and at the end.

    faces: finds the mouths, for a recognizer that reads them; times count from the first picture.
    """
    if recognizer.modality == "audio":
        for event in events:
            if isinstance(event, Sound):
                yield recognizer.push(samples=event.samples)
    else:
        assert faces is not None
        with_sound = recognizer.modality == "multimodal"
        mouths = LiveMouths(faces, size=recognizer.picture_size, with_sound=with_sound)
        for event in events:
            if isinstance(event, Picture):
                yield from _read(recognizer, mouths.picture(event.time_s, event.picture))
            elif with_sound:
                yield from _read(recognizer, mouths.sound(event.time_s, event.samples))
        yield from _read(recognizer, mouths.finish())
    yield recognizer.finish()


def _read(recognizer: StreamingRecognizer, found: Iterable[LiveClip | LiveGap]) -> Iterator[LiveUpdate]:
    for item in found:
        if isinstance(item, LiveGap):
            yield recognizer.skip(item.seconds, item.reason)
        else:
            yield recognizer.push(item.frames, item.speech)


class LiveTranscript:
    """All sentences so far, as a `Transcription` to write subtitles of: `add(update)`, `result(name)`."""

    def __init__(self):
        self._updates: list[LiveUpdate] = []
        self._read_s = 0.0

    def add(self, update: LiveUpdate) -> None:
        self._read_s = update.read_s
        if update.finished:
            self._updates.append(replace(update, words=()))

    def result(self, name: str) -> Transcription:
        pieces = tuple(piece for update in self._updates for piece in update.finished)
        return Transcription(name, self._read_s, pieces)
