"""The ViViT frontend: parity with the library, windows, sampling, padding, freezing, precision, errors, memory."""

import copy
import warnings

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile
from torch.utils.checkpoint import checkpoint

from espnet_vivit import vivit_encoder
from espnet_vivit.errors import ConfigError, InputError, TooShortError, WeightsError
from espnet_vivit.frontend.vivit.frame_adjust import plan_windows
from tests.tiny import CONFIG, HIDDEN, PIXELS, WINDOW, gray_clip, raw_clip, tiny_vivit

TOLERANCE = 1e-5
LENGTHS = (21, 1, 8, 13)  # frames per clip: several windows, one frame, exactly a window, an odd tail
MODES = [
    {"frame_adjust": "sample"},
    {"frame_adjust": "window", "window_overlap": 4},
    {"frame_adjust": "window", "window_overlap": 0, "feature_rate": "frame"},
    {"frame_adjust": "sample", "feature_rate": "frame", "output_dim": 5},
]
EVERY_MODE = pytest.mark.parametrize("mode", MODES, ids=lambda mode: "-".join(str(value) for value in mode.values()))

# A clip that loses frames says so, which is tested once; elsewhere it is expected.
pytestmark = pytest.mark.filterwarnings("ignore:frame_adjust=.sample.:UserWarning")


def windowed(**options):
    return tiny_vivit(frame_adjust="window", **{"window_overlap": 4, **options})


def pad(clips, frames=None, fill=torch.nan):
    """(B, T, H, W) of clips of different lengths, the padding as bad as it can be, and their lengths."""
    fill = fill if clips[0].is_floating_point() else 255
    batch = clips[0].new_full((len(clips), frames or max(map(len, clips)), *clips[0].shape[1:]), fill)
    for row, clip in zip(batch, clips, strict=True):
        row[: len(clip)] = clip
    return batch, torch.tensor([len(clip) for clip in clips])


def library_tokens(encoder, clip):
    """All tokens of the library's own model for a normalised clip (T, H, W) of a full window, repeated to RGB."""
    with torch.no_grad():
        return encoder.vivit(clip[None, :, None].expand(-1, -1, 3, -1, -1)).last_hidden_state[0]


def pooled_by_library(encoder, clip, pooling="mean"):
    """(T / 2, hidden), pooled by NumPy: token 0 is CLS, then time slowest, height, width."""
    tokens = library_tokens(encoder, clip).numpy()
    steps = tokens[1:].reshape(len(clip) // 2, -1, tokens.shape[-1])
    pooled = {"mean": steps.mean(1), "max": steps.max(1), "cls": np.repeat(tokens[:1], len(steps), 0)}
    return torch.from_numpy(pooled[pooling])


# parity with the library ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pooling", ["mean", "max", "cls"])
@pytest.mark.parametrize("frame_adjust", ["sample", "window"])
def test_a_32_frame_clip_equals_pooling_the_librarys_own_tokens(pooling, frame_adjust):
    sizes = {"num_frames": 32, "image_size": [16, 24], "num_hidden_layers": 3}
    encoder = tiny_vivit(config=sizes, temporal_pooling=pooling, frame_adjust=frame_adjust)
    clips = torch.randn(2, 32, 16, 24)
    with torch.no_grad():
        features = encoder(clips)
    expected = torch.stack([pooled_by_library(encoder, clip, pooling) for clip in clips])
    assert features.shape == (2, 16, HIDDEN)
    torch.testing.assert_close(features, expected, atol=TOLERANCE, rtol=0)


def test_rgb_equals_the_library():
    encoder = tiny_vivit()
    video = torch.randn(2, 3, WINDOW, PIXELS, PIXELS)
    with torch.no_grad():
        tokens = encoder.vivit(video.transpose(1, 2)).last_hidden_state[:, 1:]
        features = encoder(video)
    torch.testing.assert_close(features, tokens.unflatten(1, (4, -1)).mean(2), atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize(("normalization", "low", "high"), [("scenic", -1.0, 1.0), ("huggingface", -3.0, 1.0)])
def test_uint8_is_normalised_as_named(normalization, low, high):
    encoder = tiny_vivit(normalization=normalization)
    video = torch.stack([raw_clip(WINDOW), raw_clip(WINDOW)])
    with torch.no_grad():
        expected = encoder(video.float() / 255 * (high - low) + low)
        torch.testing.assert_close(encoder(video), expected, atol=TOLERANCE, rtol=TOLERANCE)


@pytest.mark.parametrize(("normalization", "mean", "std"), [("scenic", 0.5, 0.5), ("huggingface", 0.75, 0.25)])
def test_the_preset_tells_preprocessing_the_same_normalisation(normalization, mean, std):
    preset = tiny_vivit(normalization=normalization).preset
    assert (preset.crop, preset.crop_ratio) == (PIXELS, None)
    assert (preset.mean, preset.std) == (pytest.approx(mean), pytest.approx(std))


@pytest.mark.parametrize("mode", MODES[:2], ids=["sample", "window"])
def test_training_reaches_every_stored_parameter_as_the_library_would(mode):
    """Gradients of our gray path are those of the library's model fed with the clip repeated to RGB."""
    encoder = tiny_vivit(**mode).train()
    clip = gray_clip(WINDOW)
    encoder(clip[None]).square().sum().backward()
    ours = {name: parameter.grad.clone() for name, parameter in encoder.vivit.named_parameters()}
    encoder.zero_grad()
    tokens = encoder.vivit(clip[None, :, None].expand(-1, -1, 3, -1, -1)).last_hidden_state[:, 1:]
    tokens.unflatten(1, (4, -1)).mean(2).square().sum().backward()
    for name, parameter in encoder.vivit.named_parameters():
        torch.testing.assert_close(ours[name], parameter.grad, atol=1e-4, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}")


# the length law -----------------------------------------------------------------------------------------------------


@EVERY_MODE
def test_output_lengths_follow_the_law(mode):
    encoder = tiny_vivit(**mode)
    video, lengths = pad([gray_clip(frames) for frames in LENGTHS])
    with torch.no_grad():
        features, steps = encoder(video, lengths)
    expected = [21, 1, 8, 13] if encoder.upsample is not None else [10, 1, 4, 6]
    assert steps.tolist() == encoder.output_lengths(lengths).tolist() == expected
    assert features.shape == (4, max(expected), encoder.output_size())
    for row, count in zip(features, expected, strict=True):
        assert not row[count:].any()
        assert row[:count].any(dim=1).all(), "a step within the clip is empty"


def test_without_lengths_features_come_alone():
    encoder = windowed()
    video = torch.randn(2, 11, PIXELS, PIXELS)
    with torch.no_grad():
        features, lengths = encoder(video, torch.tensor([11, 11]))
        assert torch.equal(encoder(video), features)
    assert lengths.tolist() == [5, 5]


# windows ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("overlap", [0, 2, 4, 6])
@pytest.mark.parametrize("frames", [2, 7, 8, 12, 30, 41])
def test_each_step_is_the_librarys_token_of_its_owning_window(frames, overlap):
    """Full windows go through the library's own model; a tail through a copy of it built for that many frames."""
    encoder = windowed(window_overlap=overlap)
    clip = gray_clip(frames)
    with torch.no_grad():
        features = encoder(clip[None])[0]
    expected = []
    for window in plan_windows(frames // 2 * 2, num_frames=WINDOW, overlap=overlap):
        tail = copy.deepcopy(encoder)
        kept = 1 + window.frames // 2 * 4
        tail.vivit.embeddings.position_embeddings.data = encoder.vivit.embeddings.position_embeddings.data[:, :kept]
        pooled = pooled_by_library(tail, clip[window.start : window.start + window.frames])
        expected.append(pooled[window.first_step - window.start // 2 : window.last_step - window.start // 2])
    torch.testing.assert_close(features, torch.cat(expected), atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("overlap", [0, 4, 6])
def test_steps_of_a_window_that_two_clips_share_are_equal_in_both(overlap):
    """A clip, its beginning, and the clip begun one window later: the same picture gives the same step."""
    encoder = windowed(window_overlap=overlap)
    hop = WINDOW - overlap
    clip = gray_clip(40)
    short, later = clip[:29], clip[hop:]
    with torch.no_grad():
        whole, short_features, later_features = (encoder(part[None])[0] for part in (clip, short, later))
    plan = plan_windows(40, num_frames=WINDOW, overlap=overlap)
    inside = [w for w in plan if w.start + WINDOW <= 28]
    shared = range(inside[-2].last_step)  # the short clip's last window may own what a later one owns in the clip
    assert len(inside) >= 3 and len(shared) >= 8
    torch.testing.assert_close(short_features[: len(shared)], whole[: len(shared)], atol=TOLERANCE, rtol=0)
    first = plan[1].first_step  # owned by window 1, which is the later clip's window 0
    torch.testing.assert_close(later_features[first - hop // 2 :], whole[first:], atol=TOLERANCE, rtol=0)


def test_what_happens_beyond_a_window_cannot_reach_its_steps():
    encoder = windowed(window_overlap=4)
    clip = gray_clip(24)
    changed = clip.clone()
    changed[12:] += 1.0
    plan = plan_windows(24, num_frames=WINDOW, overlap=4)
    seen = next(w.first_step for w in plan if w.start + w.frames > 12)
    with torch.no_grad():
        before, after = encoder(clip[None])[0], encoder(changed[None])[0]
    torch.testing.assert_close(before[:seen], after[:seen], atol=TOLERANCE, rtol=0)
    assert (before[seen:] - after[seen:]).abs().amax(1).min() > 1e-3, "a step did not notice its own window's change"


def computed_windows(encoder, video, lengths):
    """(windows, tokens) of every pass through the tower."""
    passes = []
    hook = encoder.vivit.layers[0].register_forward_pre_hook(lambda _, args: passes.append(tuple(args[0].shape[:2])))
    with torch.no_grad():
        encoder(video, lengths)
    hook.remove()
    return passes


def test_only_windows_of_the_clips_themselves_are_computed():
    """40 frames of padding in front of nothing: 3 full windows and the tails of 4 and 2 frames, no more."""
    video, lengths = pad([gray_clip(n) for n in (20, 10, 2)], frames=60)  # hop 8: 8 + 8 + 4, 8 + 2, 2
    passes = computed_windows(windowed(window_overlap=0), video, lengths)
    assert sorted(passes) == [(1, 1 + 2 * 4), (2, 1 + 1 * 4), (3, 1 + 4 * 4)]


@pytest.mark.parametrize(("max_windows", "largest"), [(None, 4), (3, 3), (100, 13)])
def test_inference_bounds_the_windows_of_one_pass(max_windows, largest):
    video = gray_clip(13 * WINDOW)[None]
    passes = computed_windows(windowed(window_overlap=0, max_windows=max_windows), video, None)
    assert max(windows for windows, _ in passes) == largest
    assert sum(windows for windows, _ in passes) == 13


def test_max_windows_changes_no_number():
    video, lengths = pad([gray_clip(n) for n in (50, 31)])
    encoder = windowed()
    with torch.no_grad():
        expected = encoder(video, lengths)[0]
        encoder.max_windows = 1
        torch.testing.assert_close(encoder(video, lengths)[0], expected, atol=TOLERANCE, rtol=0)


# sampling -----------------------------------------------------------------------------------------------------------


def sampled_by_numpy(clip):
    """Brought to `WINDOW` frames: picked uniformly if longer, linear in time, ends in place, if shorter."""
    frames = len(clip)
    places = np.linspace(0, frames - 1, WINDOW)
    if frames > WINDOW:
        return clip[np.round(places).astype(int)]
    before = np.floor(places).astype(int)
    after = np.minimum(before + 1, frames - 1)
    share = (places - before)[:, None, None]
    return clip[before] * (1 - share) + clip[after] * share


def resampled_by_numpy(steps, count):
    """Area averages over [i S / count, (i + 1) S / count) rounded outwards when fewer, half-pixel linear when more."""
    size = len(steps)
    if count <= size:
        edges = [(int(np.floor(i * size / count)), int(np.ceil((i + 1) * size / count))) for i in range(count)]
        return np.stack([steps[low:high].mean(0) for low, high in edges])
    places = np.clip((np.arange(count) + 0.5) * size / count - 0.5, 0, size - 1)
    return np.stack([np.interp(places, np.arange(size), column) for column in steps.T], axis=1)


@pytest.mark.parametrize("frames", [1, 2, 3, 7, 8, 9, 20, 50])
@pytest.mark.parametrize("raw", [False, True], ids=["float", "uint8"])
def test_sampling_equals_numpy_around_the_librarys_model(frames, raw):
    encoder = tiny_vivit()
    clip = raw_clip(frames) if raw else gray_clip(frames)
    with torch.no_grad():
        features = encoder(clip[None])[0]
    pixels = clip.numpy() / 127.5 - 1 if raw else clip.numpy()
    window = torch.from_numpy(sampled_by_numpy(pixels)).float()
    expected = resampled_by_numpy(pooled_by_library(encoder, window).numpy(), max(1, frames // 2))
    np.testing.assert_allclose(features.numpy(), expected, atol=TOLERANCE)


def test_a_short_clip_averages_every_step_it_computed():
    """From 4 steps to 1: plain linear interpolation would read only the two in the middle."""
    encoder = tiny_vivit()
    clip = gray_clip(3)
    window = torch.from_numpy(sampled_by_numpy(clip.numpy())).float()
    with torch.no_grad():
        features = encoder(clip[None])[0]
    torch.testing.assert_close(features[0], pooled_by_library(encoder, window).mean(0), atol=TOLERANCE, rtol=0)


def test_sampling_goes_by_each_clips_own_length():
    encoder = tiny_vivit()
    clip = gray_clip(6)
    video, lengths = pad([clip, gray_clip(40)])
    with torch.no_grad():
        torch.testing.assert_close(encoder(video, lengths)[0][0, :3], encoder(clip[None])[0], atol=TOLERANCE, rtol=0)


@pytest.mark.filterwarnings("default")
def test_thinned_clips_are_told_once():
    encoder = tiny_vivit()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder(gray_clip(WINDOW)[None])  # nothing lost, nothing said
    with pytest.warns(UserWarning, match='keeps 8 of 9 frames of a clip; frame_adjust="window" keeps them all'):
        encoder(gray_clip(9)[None])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder(gray_clip(20)[None])


# padding ------------------------------------------------------------------------------------------------------------


@EVERY_MODE
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("make", [gray_clip, raw_clip], ids=["float, NaN padding", "uint8, white padding"])
def test_a_ragged_batch_equals_each_clip_alone(mode, training, make):
    encoder = tiny_vivit(**mode).train(training)
    clips = [make(frames) for frames in LENGTHS]
    video, lengths = pad(clips, frames=30)
    features, steps = encoder(video, lengths)
    for row, count, clip in zip(features, steps, clips, strict=True):
        torch.testing.assert_close(row[:count], encoder(clip[None])[0], atol=TOLERANCE, rtol=TOLERANCE)


@EVERY_MODE
def test_gradients_of_padded_frames_are_exactly_zero(mode):
    encoder = tiny_vivit(**mode)
    video, lengths = pad([gray_clip(frames) for frames in LENGTHS], frames=30)
    video.requires_grad_()
    encoder(video, lengths)[0].square().sum().backward()
    for row, length in zip(video.grad, lengths.tolist(), strict=True):
        assert not row[length:].any()
        assert torch.isfinite(row).all() and row[:length].any()


def test_in_windows_every_frame_counts_but_an_odd_last_one_at_12_hz():
    video = torch.randn(1, 21, PIXELS, PIXELS, requires_grad=True)
    for rate, counted in (("tubelet", 20), ("frame", 21)):
        video.grad = None
        windowed(feature_rate=rate)(video).square().sum().backward()
        assert (video.grad[0].flatten(1).abs().amax(1) > 0).tolist() == [frame < counted for frame in range(21)]


# 25 Hz --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frames", [1, 2, 9, 20])
def test_at_25_hz_an_untrained_encoder_repeats_each_step(frames):
    slow = windowed()
    fast = vivit_encoder(
        pretrained=False,
        config=CONFIG,
        num_frames=WINDOW,
        frame_adjust="window",
        window_overlap=4,
        feature_rate="frame",
    ).eval()
    fast.vivit.load_state_dict(slow.vivit.state_dict())
    clip = gray_clip(frames)
    made_even = torch.cat([clip, clip[-1:]]) if frames % 2 else clip  # the last frame is repeated
    with torch.no_grad():
        expected = slow(made_even[None]).repeat_interleave(2, dim=1)[:, :frames]
        torch.testing.assert_close(fast(clip[None]), expected, atol=TOLERANCE, rtol=0)


def test_at_25_hz_the_two_halves_of_a_step_learn_to_differ():
    encoder = windowed(feature_rate="frame")
    features = encoder(gray_clip(8)[None])[0]
    assert (features[0::2] - features[1::2]).abs().max() > 1e-2  # tiny_vivit has drawn the upsampling's weights


# frozen towers ------------------------------------------------------------------------------------------------------


def test_a_frozen_tower_runs_without_a_graph_stays_in_eval_and_the_projection_trains():
    config = {"hidden_dropout_prob": 0.5, "attention_probs_dropout_prob": 0.5}
    encoder = windowed(frozen=True, output_dim=6, feature_rate="frame", config=config).train()
    assert encoder.training and encoder.projection.training
    assert not any(module.training for module in encoder.vivit.modules())
    seen = []
    encoder.vivit.layernorm.register_forward_hook(lambda _, __, output: seen.append(output))
    video = torch.randn(1, 20, PIXELS, PIXELS, requires_grad=True)  # not even for the pixels' sake
    features = encoder(video)
    assert seen and not any(output.requires_grad for output in seen), "the tower built a graph"
    assert torch.equal(features, encoder(video)), "dropout is active in a frozen tower"
    features.sum().backward()
    with_gradient = {name for name, parameter in encoder.named_parameters() if parameter.grad is not None}
    assert with_gradient == {"projection.weight", "projection.bias", "upsample.linear.weight", "upsample.linear.bias"}
    assert with_gradient == {name for name, parameter in encoder.named_parameters() if parameter.requires_grad}


def test_a_frozen_tower_has_no_place_in_the_optimizer():
    """Not even where somebody hands over all parameters, frozen ones included."""
    encoder = windowed(frozen=True, output_dim=6).train()
    optimizer = torch.optim.AdamW(encoder.parameters(), weight_decay=0.1)
    before = {name: value.clone() for name, value in encoder.vivit.state_dict().items()}
    encoder(gray_clip(12)[None]).square().sum().backward()
    optimizer.step()
    assert set(optimizer.state) == set(encoder.projection.parameters())
    assert all(torch.equal(value, before[name]) for name, value in encoder.vivit.state_dict().items())


def test_an_unfrozen_tower_trains_all_of_itself():
    encoder = windowed(output_dim=6).train()
    assert all(module.training for module in encoder.modules())
    encoder(gray_clip(20)[None]).square().sum().backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())


def test_gradient_checkpointing_calls_nothing_deprecated():
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        encoder = windowed(gradient_checkpointing=True)
    assert all(layer.gradient_checkpointing for layer in encoder.vivit.layers)


def test_gradient_checkpointing_is_found_under_its_name_of_the_oldest_transformers(monkeypatch):
    from transformers import PreTrainedModel

    def enable(model):  # as transformers 5.10 does, which has no activation_checkpointing_enable
        model._set_gradient_checkpointing(enable=True, gradient_checkpointing_func=checkpoint)

    monkeypatch.delattr(PreTrainedModel, "activation_checkpointing_enable", raising=False)
    monkeypatch.setattr(PreTrainedModel, "gradient_checkpointing_enable", enable)
    assert all(layer.gradient_checkpointing for layer in windowed(gradient_checkpointing=True).vivit.layers)


def test_gradient_checkpointing_changes_no_gradient():
    gradients = []
    for checkpointing in (False, True):
        torch.manual_seed(3)
        encoder = windowed(gradient_checkpointing=checkpointing).train()
        assert any(layer.gradient_checkpointing for layer in encoder.vivit.layers) == checkpointing
        encoder(gray_clip(20)[None]).square().sum().backward()
        gradients.append({name: parameter.grad for name, parameter in encoder.named_parameters()})
    torch.testing.assert_close(gradients[0], gradients[1], atol=TOLERANCE, rtol=TOLERANCE)


# precision ----------------------------------------------------------------------------------------------------------


@EVERY_MODE
@pytest.mark.parametrize("dtype", ["bfloat16", torch.float16])
def test_a_half_precision_tower_gives_float32_features_near_those_of_float32(mode, dtype):
    full = tiny_vivit(**mode)
    half = tiny_vivit(**mode, dtype=dtype)
    half.load_state_dict(full.state_dict())
    assert half.vivit.dtype == (torch.bfloat16 if dtype == "bfloat16" else dtype)
    video, lengths = pad([gray_clip(frames) for frames in LENGTHS])
    with torch.no_grad():
        expected, found = full(video, lengths)[0], half(video, lengths)[0]
    assert found.dtype == torch.float32
    assert F.cosine_similarity(found.flatten(), expected.flatten(), dim=0) > 0.995


@EVERY_MODE
def test_autocast_gives_what_its_dtype_allows(mode):
    encoder = tiny_vivit(**mode)
    video, lengths = pad([raw_clip(frames) for frames in LENGTHS])
    with torch.no_grad():
        expected = encoder(video, lengths)[0]
        with torch.autocast("cpu", torch.bfloat16):
            found = encoder(video, lengths)[0]
    assert F.cosine_similarity(found.float().flatten(), expected.flatten(), dim=0) > 0.995


# errors -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"temporal_pooling": "men"},
            "unknown temporal_pooling: found 'men'; expected one of cls, gaussian, max.*Did you",
        ),
        ({"frame_adjust": "windows"}, "unknown frame_adjust: found 'windows'.*Did you mean 'window'"),
        ({"feature_rate": "frames"}, "unknown feature_rate: found 'frames'.*Did you mean 'frame'"),
        ({"normalization": "imagenet"}, "unknown normalization: found 'imagenet'; expected one of huggingface, scenic"),
        ({"dtype": "float23"}, "unknown dtype: found 'float23'.*Did you mean 'float32'"),
        ({"max_windows": 0}, "max_windows is too small: found 0; expected 1 or more"),
        ({"output_dim": 0}, "output_dim is too small: found 0"),
        (
            {"frame_adjust": "window", "window_overlap": 3},
            "window_overlap=3 with num_frames=8; expected an even number",
        ),
        ({"feature_cache": "somewhere"}, "feature_cache keeps.*found frozen=False; expected frozen=True. Set frozen"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ConfigError, match=message):
        tiny_vivit(**options)


def test_a_misspelt_option_is_found_before_weights_are_looked_for(tmp_path):
    with pytest.raises(ConfigError, match="temporal_pooling"):
        vivit_encoder(str(tmp_path / "no weights"), temporal_pooling="men")
    with pytest.raises(WeightsError):
        vivit_encoder(str(tmp_path / "no weights"))
    with pytest.raises(TypeError, match="temporal_poling"):
        vivit_encoder(temporal_poling="mean")


BAD_VIDEO = {  # what is wrong -> (video, lengths, error, message)
    "rank": (torch.zeros(9, 16, 16), None, InputError, r"wrong rank: found 3 axes.*video\[None\]"),
    "channels": (torch.zeros(1, 2, 9, 16, 16), None, InputError, "channels: found 2 on axis 1.*expected 1 or 3"),
    "hf layout": (torch.zeros(1, 9, 3, 16, 16), None, InputError, r"Hugging Face's \(B, T, C, H, W\).*transpose"),
    "size": (torch.zeros(1, 9, 16, 24), None, InputError, "found 16x24 pixels; expected 16x16.*image_size=16"),
    "dtype": (torch.zeros(1, 9, 16, 16, dtype=torch.int64), None, InputError, "wrong dtype: found torch.int64"),
    "NaN": (torch.full((1, 9, 16, 16), torch.nan), None, InputError, "not finite: found NaN or infinity in clip 0"),
    "T = 0": (torch.zeros(1, 0, 16, 16), None, TooShortError, "without frames: found T = 0"),
    "length 0": (torch.zeros(2, 9, 16, 16), [9, 0], TooShortError, "video 1 of the batch is empty"),
    "too long": (torch.zeros(1, 9, 16, 16), [10], InputError, "more frames than the tensor holds: found length 10"),
}


@pytest.mark.parametrize("mistake", BAD_VIDEO)
@pytest.mark.parametrize("frame_adjust", ["sample", "window"])
def test_bad_video_is_named(mistake, frame_adjust):
    video, lengths, error, message = BAD_VIDEO[mistake]
    with pytest.raises(error, match=message):
        tiny_vivit(frame_adjust=frame_adjust, window_overlap=4)(video, lengths and torch.tensor(lengths))


# memory -------------------------------------------------------------------------------------------------------------


def peak_beyond_input_and_output(encoder, video):
    """Bytes that PyTorch's allocator holds at most during one call, less the result's."""
    with torch.no_grad(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as records:
        features = encoder(video)
    held = peak = 0
    for event in records.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    size = features.numel() * features.element_size()
    assert held >= size, "the profiler did not see the result being allocated"
    return peak - size


@pytest.mark.filterwarnings("ignore:Warning. Profiler clears events:UserWarning")
@pytest.mark.parametrize(("make", "rate"), [(gray_clip, "frame"), (raw_clip, "tubelet")], ids=["float", "uint8"])
def test_peak_memory_is_the_same_for_30_seconds_and_10_minutes(make, rate):
    one_layer = {"num_hidden_layers": 1}
    encoder = windowed(window_overlap=2, output_dim=6, feature_rate=rate, config=one_layer)
    short, long = make(750)[None], make(15_000)[None]
    encoder(short[:, :40])  # whatever is allocated once
    assert peak_beyond_input_and_output(encoder, long) == peak_beyond_input_and_output(encoder, short)
