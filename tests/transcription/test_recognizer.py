"""What the model gets of a mouth: the same pictures as corpus preparation and preprocessing would have made."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from espnet_vivit.errors import ConfigError
from espnet_vivit.frontend.linear import LinearFrontend
from espnet_vivit.frontend.presets import linear_preset
from espnet_vivit.media.faces.mouth_roi import middle, shrink
from espnet_vivit.transcription.recognizer import PieceRecognizer, _prepare
from tests.tiny import raw_clip, tiny_vivit


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


@pytest.mark.parametrize("options", [{}, {"feature_rate": "frame"}, {"stem": "conv"}], ids=str)
def test_a_vivit_in_bfloat16_gives_nearly_the_same_features_in_float32(options):
    encoder, video = tiny_vivit(frame_adjust="window", window_overlap=4, output_dim=6, **options), raw_clip(21)
    with torch.no_grad():
        exact = encoder(video[None])
        _prepare(encoder, "float32")
        torch.testing.assert_close(encoder(video[None]), exact, atol=1e-5, rtol=1e-5)
        _prepare(encoder, "bfloat16")
        features = encoder(video[None])
    assert encoder.vivit.dtype == torch.bfloat16 and features.dtype == torch.float32
    assert 0 < (features - exact).norm() < 0.05 * exact.norm()


def test_other_vision_encoders_and_dtypes_are_refused():
    linear = LinearFrontend(image_size=16, output_dim=4)
    _prepare(linear, "float32")
    with pytest.raises(ConfigError, match=r"bfloat16 for another vision encoder: found LinearFrontend"):
        _prepare(linear, "bfloat16")
    with pytest.raises(ConfigError, match="Did you mean 'bfloat16'"):
        _prepare(linear, "bfloat61")
