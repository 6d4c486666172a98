"""What the model gets of a mouth: the same pictures as corpus preparation and preprocessing would have made."""

from types import SimpleNamespace

import numpy as np
import pytest

from espnet_vivit.frontend.presets import linear_preset
from espnet_vivit.media.faces.mouth_roi import middle, shrink
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
