"""What the model gets of a mouth: the same pictures as corpus preparation and preprocessing would have made."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest

from espnet_vivit.decode.word_times import Transcript, Word
from espnet_vivit.frontend.presets import linear_preset
from espnet_vivit.media.faces.mouth_roi import middle, shrink
from espnet_vivit.transcription.cutting import Cut, Stretch
from espnet_vivit.transcription.recognizer import PieceRecognizer


@pytest.fixture
def frames():
    return np.random.default_rng(0).integers(0, 256, (5, 96, 96), dtype=np.uint8)


def recognizer(**sizes):
    return SimpleNamespace(preset=linear_preset(48), **sizes)


def test_a_view_is_cut_and_shrunk_as_in_preparation_before_the_centre_crop(frames):
    seen = PieceRecognizer.seen(recognizer(mouth_size=52, mouth_view=64), frames)
    assert (seen == shrink(middle(frames, 64), 52)[:, 2:50, 2:50]).all()


def test_without_a_view_only_the_centre_crop_is_taken(frames):
    assert (PieceRecognizer.seen(recognizer(mouth_size=96, mouth_view=None), frames) == frames[:, 24:72, 24:72]).all()


@pytest.mark.parametrize(("confidence", "status"), [(0.5, "ok"), (0.49, "unclear")])
def test_words_as_sure_as_is_asked_for_are_believed(confidence, status):
    one = object.__new__(PieceRecognizer)
    transcript = Transcript("bin", ("bin",), (1,), -1.0, (Word("bin", 0.0, 0.4, confidence),))
    one._streams = lambda cut, seconds: ({"video": np.zeros((10, 8, 8), np.uint8)}, [])
    one._transcripts = lambda streams, warnings: [transcript]
    one._one_at_a_time, one.speech2text = threading.Lock(), SimpleNamespace()
    one.needed_confidence = lambda modality: 0.5
    one.files = SimpleNamespace(facts=SimpleNamespace(texts=None))
    piece = one.recognize(Cut(Stretch(0, None, None), 0.0, 0.4), {})
    assert (piece.status, [word.text for word in piece.words]) == (status, ["bin"] if status == "ok" else [])
