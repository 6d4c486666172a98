"""Vision towers of the hub: what the library itself answers, for each frame or window, is what comes out of ours."""

import pytest
import torch
import transformers

from espnet_vivit.errors import ConfigError
from espnet_vivit.frontend.huggingface_vision import KINDS, HuggingFaceVision
from espnet_vivit.frontend.presets import visual_preset
from espnet_vivit.frontend.vivit.weights import resize_positions
from tests.frontend.hub.towers import (
    CONFIGS,
    FRAMES,
    PICTURES,
    PIXELS,
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
    tower, row = library_tower(kind), KINDS[kind]
    larger = library_tower(kind, **{row.sizes[0]: 24, row.sizes[1]: 2 * FRAMES})
    same = {name: value for name, value in tower.state_dict().items() if name not in row.tables}
    assert larger.load_state_dict(same, strict=False).unexpected_keys == []
    stored = {} if kind == "videomae" else row.tables  # that one's is computed
    with torch.no_grad():
        for path in stored:
            table, other = tower.get_parameter(path), larger.get_parameter(path)
            for one in (table, other):
                one.copy_(table[:, -1:].clone().expand_as(one))
    rate = "frame" if kind in EACH_FRAME else "tubelet"
    sizes = {"image_size": 24, "num_frames": 2 * FRAMES}
    encoder = HuggingFaceVision(save(tower, tmp_path / kind), feature_rate=rate, **sizes).eval()
    if kind == "videomae":
        table = encoder.tower.embeddings.position_embeddings
        rows = torch.cat([torch.zeros(1, 1, table.size(2)), tower.embeddings.position_embeddings], dim=1)
        assert torch.equal(table, resize_positions(rows, (2, 2, 2), (4, 3, 3))[:, 1:])
        larger.embeddings.position_embeddings = table
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
        expected = states.hidden_states[2].mean(0)  # what goes into its spatial layer and the first temporal one, then
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


# what else the encoder promises -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["dinov2", "videomae", "timesformer"])
def test_features_of_a_frozen_tower_are_kept_on_disk(kind, tmp_path):
    clips, lengths = raw_clip(2 * 7).unflatten(0, (2, 7)), torch.tensor([7, 5])
    _, plain = both(kind, tmp_path)
    cached = HuggingFaceVision(str(tmp_path / kind), frozen=True, feature_cache=str(tmp_path / "cache")).eval()
    with torch.no_grad():
        expected, _ = plain(clips, lengths)
        if plain.upsample is not None:
            cached.upsample.load_state_dict(plain.upsample.state_dict())
        for share in (0, 1):
            torch.testing.assert_close(cached(clips, lengths)[0], expected, **TOLERANCE)
            assert cached.feature_cache.last_hits == share
    with pytest.raises(ConfigError, match="feature_cache keeps what must not change"):
        HuggingFaceVision(str(tmp_path / kind), feature_cache=str(tmp_path / "cache"))


@pytest.mark.parametrize("kind", PICTURES)
def test_a_long_clip_in_several_passes_is_the_same(kind, tmp_path):
    _, encoder = both(kind, tmp_path)
    clip = raw_clip(70)  # a pass has 64 pictures
    features, _ = encoder(clip[None], torch.tensor([70]))  # in one, as gradients are wanted
    with torch.no_grad():
        torch.testing.assert_close(encoder(clip[None], torch.tensor([70]))[0], features, **TOLERANCE)


def test_options_that_cannot_be_are_errors_that_say_what_can(tmp_path):
    kinds = ("dinov2", "siglip_vision_model", "videomae")
    folders = {kind: save(library_tower(kind), tmp_path / kind) for kind in kinds}
    for kind, options, message in (
        ("dinov2", {"pooling": "attention"}, "unknown pooling of dinov2: .*one of cls, mean"),
        ("siglip_vision_model", {"pooling": "cls"}, "one of attention, mean"),
        ("videomae", {"pooling": "cls"}, "one of mean"),
        ("dinov2", {"image_size": 20}, "does not fit the tower: found 20; expected a multiple .*nearest is 16"),
        ("dinov2", {"num_frames": 8}, "dinov2 sees each picture alone, without windows"),
        ("videomae", {"num_frames": 5}, "num_frames is not a window's length: found 5"),
        ("videomae", {"window_overlap": 3}, "window_overlap does not fit the windows"),
        ("dinov2", {"config": {"model_type": "dinov2"}}, "found config beside pretrained: true"),
        ("dinov2", {"pretrained": False}, "pretrained is false, and nothing says which tower to build"),
        ("dinov2", {"feature_rate": "frames"}, "unknown feature_rate"),
    ):
        with pytest.raises(ConfigError, match=message):
            HuggingFaceVision(folders[kind], **options)


def test_a_random_tower_states_its_kind_and_known_fields():
    for config, message in (
        ({"model_type": "dino"}, "unknown model_type in config: .*Did you mean 'dinov2'"),
        ({"model_type": "dinov2", "hiden_size": 8}, "unknown dinov2 field in config: .*Did you mean 'hidden_size'"),
        ({"model_type": "vit", "hidden_size": "wide"}, "this vit cannot be built"),
        ({"model_type": "vit", "image_size": [16, 32]}, "the tower's pictures are not square"),
    ):
        with pytest.raises(ConfigError, match=message):
            HuggingFaceVision(pretrained=False, config=config)


def test_tubelets_that_are_too_long_for_25_hz_are_an_error(tmp_path):
    folder = save(library_tower("videomae", tubelet_size=4), tmp_path)
    with pytest.raises(ConfigError, match=r"cannot be brought to 25 Hz: found tubelets of 4 frames, 6.25 Hz"):
        HuggingFaceVision(folder)


def test_a_model_of_another_kind_is_named(tmp_path):
    transformers.BertConfig(hidden_size=8, num_attention_heads=2).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="not a tower that this encoder can use: found bert; expected vit, "):
        HuggingFaceVision(str(tmp_path))


def test_the_tower_of_pictures_is_taken_out_of_a_whole_clip(tmp_path):
    """As openai/clip-vit-base-patch32 is stored."""
    text = {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 16}
    vision = CONFIGS["clip_vision_model"]
    whole = transformers.CLIPModel(transformers.CLIPConfig(text_config=text, vision_config=vision)).eval()
    encoder = HuggingFaceVision(save(whole, tmp_path)).eval()
    clip = raw_clip(2)
    with torch.no_grad():
        expected = whole.vision_model(processed(clip)).last_hidden_state[:, 1:].mean(1)
        torch.testing.assert_close(encoder(clip[None], torch.tensor([2]))[0][0], expected, **TOLERANCE)
    assert visual_preset("huggingface", {"model_name": str(tmp_path)}).crop == PIXELS


def test_the_preset_asks_for_the_size_that_is_said_or_stored(tmp_path):
    folder = save(library_tower("vjepa2"), tmp_path)
    assert visual_preset("huggingface", {"model_name": folder}).crop == PIXELS
    assert visual_preset("huggingface", {"model_name": folder, "image_size": 24}).crop == 24
    assert visual_preset("huggingface", {"pretrained": False, "config": {"model_type": "dinov2"}}).crop == 224
