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

EACH_FRAME = ("timesformer", "videoprism_vision_model")  # towers of videos with a step for each frame
TOLERANCE = {"atol": 1e-5, "rtol": 1e-5}


def both(kind, tmp_path, **options):
    """(the library's tower, our encoder of the folder in which it is saved)."""
    torch.manual_seed(7)
    tower = library_tower(kind)
    return tower, HuggingFaceVision(save(tower, tmp_path / kind), **options).eval()


def pooled(kind, tokens: torch.Tensor, places: int = 4) -> torch.Tensor:
    """The library's tokens of one window -> a vector for each step, the mean of its places."""
    if kind == "timesformer":  # CLS first, time the faster axis
        return tokens[1:].unflatten(0, (places, -1)).mean(0)
    return tokens.unflatten(0, (-1, places)).mean(1)


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


@pytest.mark.parametrize("pixels", [8, 24])
@pytest.mark.parametrize("kind", PICTURES)
def test_at_another_size_it_is_what_the_library_interpolates(kind, pixels, tmp_path):
    tower, encoder = both(kind, tmp_path, image_size=pixels)
    clip = raw_clip(3, pixels)
    options = {"interpolate_pos_encoding": True} if kind.startswith(("vit", "clip", "siglip")) else {}
    with torch.no_grad():
        tokens = tower(processed(clip), **options).last_hidden_state[:, -((pixels // 8) ** 2) :]
        features, _ = encoder(clip[None], torch.tensor([3]))
    torch.testing.assert_close(features[0], tokens.mean(1), **TOLERANCE)
    assert encoder.preset.crop == pixels


@pytest.mark.parametrize("kind", VIDEOS)
def test_a_tower_of_videos_takes_other_sizes_and_windows(kind, tmp_path):
    """As the library's of that size does, where all rows of a position table are the same: then they stay so."""
    tower = library_tower(kind)
    larger = library_tower(kind, **{KINDS[kind].sizes[0]: 24, KINDS[kind].sizes[1]: 2 * FRAMES})
    state = tower.state_dict()
    with torch.no_grad():
        for path in KINDS[kind].tables:
            table, other = (eval(f"one.{path}", {"one": one}) for one in (tower, larger))
            table.copy_(table[:, -1:].expand_as(table).clone())
            other.copy_(table[:, -1:].expand_as(other))
    larger.load_state_dict({name: value for name, value in state.items() if name not in KINDS[kind].tables}, strict=False)
    if kind == "videomae":  # a fixed table, which no file holds
        pytest.skip("its fixed table is not stored, so no other one can be given to it")
    folder = save(tower, tmp_path / kind)
    rate = "frame" if kind in EACH_FRAME else "tubelet"
    encoder = HuggingFaceVision(folder, image_size=24, num_frames=2 * FRAMES, feature_rate=rate).eval()
    clip = raw_clip(2 * FRAMES, 24)
    with torch.no_grad():
        expected = pooled(kind, larger(processed(clip)[None]).last_hidden_state[0], places=9)
        torch.testing.assert_close(encoder(clip[None], torch.tensor([2 * FRAMES]))[0][0], expected, **TOLERANCE)


@pytest.mark.parametrize("kind", [*PICTURES, *VIDEOS])
def test_a_kept_layer_gives_the_states_that_the_library_shows(kind, tmp_path):
    rate = "frame" if kind in (*PICTURES, *EACH_FRAME) else "tubelet"
    tower, encoder = both(kind, tmp_path, layer=1, feature_rate=rate)
    clip = raw_clip(FRAMES)
    with torch.no_grad():
        given = processed(clip) if kind in PICTURES else processed(clip)[None]
        states = tower(given, output_hidden_states=True)
        features, _ = encoder(clip[None], torch.tensor([FRAMES]))
    if kind in PICTURES:
        expected = states.hidden_states[1][:, -4:].mean(1)
    elif kind == "videoprism_vision_model":  # its temporal layers, in which each place is a row of the batch
        temporal = [state for state in states.hidden_states if state.shape[:2] == (4, FRAMES)]
        expected = temporal[1].mean(0)
    else:
        expected = pooled(kind, states.hidden_states[1][0])
    torch.testing.assert_close(features[0], expected, **TOLERANCE)


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
    each_frame = kind in EACH_FRAME
    tower, encoder = both(kind, tmp_path, feature_rate="frame" if each_frame else "tubelet")
    clip = raw_clip(FRAMES)
    with torch.no_grad():
        tokens = tower(processed(clip)[None]).last_hidden_state[0]
        features, lengths = encoder(clip[None], torch.tensor([FRAMES]))
    steps = FRAMES if each_frame else FRAMES // 2
    assert lengths.tolist() == [steps]
    expected = pooled(kind, tokens)
    torch.testing.assert_close(features[0], expected, **TOLERANCE)
