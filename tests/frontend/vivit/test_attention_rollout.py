"""Attention rollout against the library's own attention and NumPy's product; where a planted tower looks; pictures."""

import numpy as np
import pytest
import torch
from matplotlib import image
from transformers import VivitModel

from espnet_vivit.errors import InputError, TooShortError
from espnet_vivit.frontend.vivit.attention_rollout import attention_rollout, overlay, roll_out, write_rollout
from espnet_vivit.frontend.vivit.frame_adjust import plan_windows
from tests.tiny import PIXELS, WINDOW, gray_clip, raw_clip, tiny_vivit

TOLERANCE = 1e-5

pytestmark = pytest.mark.filterwarnings("ignore:frame_adjust=.sample.:UserWarning")


def rollout_by_numpy(encoder, window):
    """(N + 1, N + 1) of a normalised window: the library's `output_attentions`, multiplied as the paper says."""
    library = VivitModel._from_config(encoder.vivit.config, attn_implementation="eager", add_pooling_layer=False)
    library.load_state_dict(encoder.vivit.state_dict())
    with torch.no_grad():
        video = window[None, :, None].expand(-1, -1, 3, -1, -1)
        attentions = library.eval()(video, output_attentions=True).attentions
    product = np.eye(attentions[0].shape[-1])
    for layer in attentions:
        mixed = 0.5 * layer[0].numpy().mean(0) + 0.5 * np.eye(len(product))
        product = mixed @ product
    return product


@pytest.fixture
def encoder():
    return tiny_vivit(frame_adjust="window", window_overlap=4, temporal_pooling="mean")


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_a_window_equals_the_product_of_the_librarys_attentions(pooling):
    encoder = tiny_vivit(frame_adjust="window", window_overlap=4, temporal_pooling=pooling)
    clip = gray_clip(WINDOW)
    maps = attention_rollout(encoder, clip)
    product = rollout_by_numpy(tiny_vivit_like(encoder), clip)
    places = product[:, 1:].reshape(-1, 4, 2, 2).sum(1)  # (1 + N, h, w)
    rows = [places[1 + 4 * i : 5 + 4 * i].mean(0) if pooling == "mean" else places[0] for i in range(4)]
    np.testing.assert_allclose(maps.numpy(), np.stack(rows), atol=TOLERANCE)
    assert maps.shape == (4, 2, 2) and maps.dtype == torch.float32


def tiny_vivit_like(encoder):
    other = tiny_vivit(frame_adjust="window", window_overlap=4)
    other.load_state_dict(encoder.state_dict())
    return other


def test_rollout_of_known_attention():
    """Two layers: token 0 looks at 1 only, token 1 at itself."""
    attention = torch.tensor([[[0.0, 1.0], [0.0, 1.0]]])
    once = roll_out([attention])[0]
    assert once.tolist() == [[0.5, 0.5], [0.0, 1.0]]
    assert roll_out([attention, attention])[0].tolist() == [[0.25, 0.75], [0.0, 1.0]]


def test_the_first_layer_comes_first():
    first, second = torch.tensor([[[0.0, 1.0], [0.0, 1.0]]]), torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
    assert roll_out([first, second])[0].tolist() == [[0.5, 0.5], [0.25, 0.75]]
    assert roll_out([second, first])[0].tolist() != [[0.5, 0.5], [0.25, 0.75]]


@pytest.mark.parametrize("frames", [1, 2, 9, 21])
@pytest.mark.parametrize("rate", ["tubelet", "frame"])
@pytest.mark.parametrize("frame_adjust", ["window", "sample"])
def test_there_is_a_map_for_each_step_and_it_is_a_share(frames, rate, frame_adjust):
    encoder = tiny_vivit(frame_adjust=frame_adjust, window_overlap=4, feature_rate=rate)
    maps = attention_rollout(encoder, raw_clip(frames))
    with torch.no_grad():
        assert len(maps) == encoder(raw_clip(frames)[None]).size(1)
    total = maps.sum((1, 2))
    assert (maps >= 0).all() and (total <= 1 + TOLERANCE).all() and (total > 0.5).all()


def test_a_step_is_shown_as_its_owning_window_sees_it(encoder):
    clip = gray_clip(21)
    maps = attention_rollout(encoder, clip)
    second = plan_windows(20, num_frames=WINDOW, overlap=4)[1]
    alone = attention_rollout(encoder, clip[second.start : second.start + WINDOW])
    offset = second.start // 2
    torch.testing.assert_close(
        maps[second.first_step : second.last_step], alone[second.first_step - offset : second.last_step - offset]
    )


@pytest.mark.parametrize("place", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_a_tower_made_to_look_at_one_place_is_seen_to_do_so(encoder, place):
    """Keys answer to nothing but a position that is planted at one place of every tubelet."""
    with torch.no_grad():
        table = encoder.vivit.embeddings.position_embeddings
        table.zero_()
        patches = table[0, 1:].view(4, 2, 2, -1)
        patches[:, place[0], place[1], 0] = 50.0
        for layer in encoder.vivit.layers:
            layer.layernorm_before.weight.fill_(1.0)
            layer.layernorm_before.bias.zero_()
            layer.attention.k_proj.weight.zero_()
            layer.attention.k_proj.weight[:, 0] = 3.0
            layer.attention.k_proj.bias.zero_()
            layer.attention.q_proj.weight.zero_()
            layer.attention.q_proj.bias.fill_(1.0)
    maps = attention_rollout(encoder, torch.zeros(WINDOW, PIXELS, PIXELS))
    for one in maps:
        assert np.unravel_index(int(one.argmax()), (2, 2)) == place
        assert one[place] > 0.5


def test_the_encoder_is_left_as_it_was(encoder):
    encoder.train()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    attention_rollout(encoder, raw_clip(9))
    assert encoder.vivit.config._attn_implementation == "sdpa"
    assert all(module.training for module in encoder.modules())
    assert not any(layer.attention._forward_hooks for layer in encoder.vivit.layers)
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_bad_clips_are_refused_as_by_the_encoder(encoder):
    with pytest.raises(InputError, match="found 16x24 pixels; expected 16x16"):
        attention_rollout(encoder, torch.zeros(9, 16, 24))
    with pytest.raises(TooShortError):
        attention_rollout(encoder, torch.zeros(0, PIXELS, PIXELS))


# pictures -----------------------------------------------------------------------------------------------------------


def test_the_overlay_is_red_where_attention_is_and_leaves_the_rest():
    frame = np.full((40, 60), 100, dtype=np.uint8)
    attention = np.zeros((2, 3))
    attention[1, 2] = 0.3  # below right
    picture = overlay(frame, attention)
    assert picture.shape == (40, 60, 3) and picture.dtype == np.uint8
    assert (picture[:10, :20] == 100).all()
    red, green, blue = picture[35, 55].astype(int)
    assert red > 100 > green and red > blue + 50


def test_a_map_of_zeros_is_the_frame():
    frame = np.arange(64, dtype=np.uint8).reshape(8, 8)
    assert (overlay(frame, np.zeros((2, 2))) == frame[..., None]).all()


def test_color_where_gray_is_expected_is_refused():
    with pytest.raises(InputError, match=r"frame uint8 \(8, 8, 3\), map \(2, 2\)"):
        overlay(np.zeros((8, 8, 3), np.uint8), np.zeros((2, 2)))


@pytest.mark.parametrize("rate", ["tubelet", pytest.param("frame", marks=pytest.mark.slow)])
def test_the_picture_shows_frames_beside_their_maps(tmp_path, rate):
    encoder = tiny_vivit(frame_adjust="window", window_overlap=4, feature_rate=rate)
    clip = raw_clip(50)
    path = write_rollout(tmp_path / "sub" / "rollout.png", clip.numpy(), attention_rollout(encoder, clip).numpy())
    picture = image.imread(path)[..., :3]
    assert path.read_bytes().startswith(b"\x89PNG") and picture.shape[0] > 300 and picture.shape[1] > 1000
    colored = np.ptp(picture, axis=2) > 0.1
    assert 0.05 < colored.mean() < 0.5, "half of each pair is the gray frame itself"


@pytest.mark.parametrize("steps", [0, 9, 19])
def test_maps_of_another_clip_are_refused(tmp_path, steps):
    with pytest.raises(InputError, match=f"found 20 frames and {steps} maps"):
        write_rollout(tmp_path / "rollout.png", raw_clip(20).numpy(), np.zeros((steps, 2, 2)))
