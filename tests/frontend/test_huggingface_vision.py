"""Vision towers of the hub: what the library itself answers, for each frame or window, is what comes out of ours."""

import pytest
import torch

from espnet_vivit.frontend.huggingface_vision import KINDS, HuggingFaceVision
from tests.frontend.hub.towers import (
    FRAMES,
    PICTURES,
    VIDEOS,
    library_tower,
    processed,
    save,
)
from tests.tiny import raw_clip

TOLERANCE = {"atol": 1e-5, "rtol": 1e-5}


def both(kind, tmp_path, **options):
    """(the library's tower, our encoder of the folder in which it is saved)."""
    torch.manual_seed(7)
    tower = library_tower(kind)
    return tower, HuggingFaceVision(save(tower, tmp_path / kind), **options).eval()


def test_every_kind_of_the_table_is_tested():
    assert {*PICTURES, *VIDEOS} == set(KINDS)


@pytest.mark.parametrize("kind", PICTURES)
def test_a_frame_is_what_the_library_answers_to_that_picture(kind, tmp_path):
    tower, encoder = both(kind, tmp_path)
    clip = raw_clip(5)
    with torch.no_grad():
        features, lengths = encoder(clip[None], torch.tensor([5]))
        for number, frame in enumerate(clip):
            tokens = tower(processed(frame)[None]).last_hidden_state[0]
            expected = tokens[-4:].mean(0)  # of the 2 x 2 places
            torch.testing.assert_close(features[0, number], expected, **TOLERANCE)
    assert lengths.tolist() == [5]


@pytest.mark.parametrize("kind", PICTURES)
def test_the_pooling_of_the_tower_is_its_own(kind, tmp_path):
    own = "attention" if kind == "siglip_vision_model" else "cls"
    tower, encoder = both(kind, tmp_path, pooling=own)
    clip = raw_clip(3)
    with torch.no_grad():
        found = tower(processed(clip))
        expected = found.last_hidden_state[:, 0] if kind == "vit" else found.pooler_output
        torch.testing.assert_close(encoder(clip[None], torch.tensor([3]))[0][0], expected, **TOLERANCE)


@pytest.mark.parametrize("kind", VIDEOS)
def test_a_window_is_what_the_library_answers_to_it(kind, tmp_path):
    each_frame = kind in ("timesformer", "videoprism_vision_model")
    tower, encoder = both(kind, tmp_path, feature_rate="frame" if each_frame else "tubelet")
    clip = raw_clip(FRAMES)
    with torch.no_grad():
        tokens = tower(processed(clip)[None]).last_hidden_state[0]
        features, lengths = encoder(clip[None], torch.tensor([FRAMES]))
    steps = FRAMES if each_frame else FRAMES // 2
    assert lengths.tolist() == [steps]
    if kind == "timesformer":
        expected = tokens[1:].unflatten(0, (4, steps)).mean(0)
    else:
        expected = tokens.unflatten(0, (steps, 4)).mean(1)
    torch.testing.assert_close(features[0], expected, **TOLERANCE)
