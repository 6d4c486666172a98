"""One behaviour suite over every part that maps (values, lengths) to (values, lengths).

`SUBJECTS` is the registry: a part added there is held to every contract. `test_each_check_can_fail` first proves, with
modules that are broken on purpose, that a check fails where it must.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from espnet_vivit import vivit_encoder
from espnet_vivit.errors import InputError, TooShortError
from espnet_vivit.frontend.avhubert import AvHubertFrontend, AvHubertVideo
from espnet_vivit.frontend.filterbanks import FilterbankAudio
from espnet_vivit.frontend.huggingface_audio import HuggingFaceAudio
from espnet_vivit.frontend.huggingface_vision import HuggingFaceVision
from espnet_vivit.frontend.linear import LinearFrontend
from espnet_vivit.frontend.log_mel import LogMel
from espnet_vivit.frontend.masking import zero_padding
from espnet_vivit.frontend.resnet import ResNetFrontend
from espnet_vivit.frontend.resnet1d import ResNet1d
from espnet_vivit.model.conformer import Conformer
from espnet_vivit.model.joint_fusion import build_fusion
from espnet_vivit.model.relative_transformer import RelativeTransformer
from espnet_vivit.units import SAMPLES_PER_FRAME, tubelet_steps
from tests.frontend.hub import towers
from tests.tiny import CONFIG, WINDOW, randomize

PIXELS, WIDTH = 16, 8
RAGGED = (9, 1, 4, 7)  # frames per clip of a padded batch: odd and even, the shortest and the longest there is
TOLERANCE = 1e-5

# A ViViT that samples says that it thins long clips, as its own tests show.
pytestmark = pytest.mark.filterwarnings("ignore:frame_adjust=.sample.:UserWarning")


def gray_clip(frames: int) -> Tensor:
    return torch.randn(frames, PIXELS, PIXELS)


def raw_clip(frames: int) -> Tensor:
    return torch.randint(0, 256, (frames, PIXELS, PIXELS), dtype=torch.uint8)


def waveform(frames: int) -> Tensor:
    return torch.randn(SAMPLES_PER_FRAME * frames + 37 * frames % SAMPLES_PER_FRAME)  # a remainder that must not count


def feature_steps(steps: int) -> Tensor:
    return torch.randn(steps, WIDTH)


BAD_VIDEO = {  # what is wrong -> (batch, lengths, error)
    "rank": (torch.zeros(9, 16, 16), [9], InputError),
    "channels": (torch.zeros(1, 2, 9, 16, 16), [9], InputError),
    "time and channels swapped": (torch.zeros(1, 9, 3, 16, 16), [9], InputError),
    "dtype": (torch.zeros(1, 9, 16, 16, dtype=torch.int64), [9], InputError),
    "NaN": (torch.full((1, 9, 16, 16), torch.nan), [9], InputError),
    "T = 0": (torch.zeros(1, 0, 16, 16), [0], TooShortError),
    "length 0": (torch.zeros(2, 9, 16, 16), [9, 0], TooShortError),
    "length beyond the tensor": (torch.zeros(1, 9, 16, 16), [10], InputError),
    "a length too many": (torch.zeros(1, 9, 16, 16), [9, 9], InputError),
    "lengths in seconds": (torch.zeros(1, 9, 16, 16), [0.36], InputError),
}
BAD_SPEECH = {
    "rank": (torch.zeros(2, 6400, 1), [6400, 6400], InputError),
    "dtype": (torch.zeros(1, 6400, dtype=torch.int16), [6400], InputError),
    "NaN": (torch.full((1, 6400), torch.nan), [6400], InputError),
    "N = 0": (torch.zeros(1, 0), [0], TooShortError),
    "shorter than a step": (torch.zeros(2, 6400), [6400, 639], TooShortError),
    "length beyond the tensor": (torch.zeros(1, 6400), [6401], InputError),
    "lengths in seconds": (torch.zeros(1, 6400), [0.4], InputError),
}
BAD_FEATURES = {  # NaN is not refused here: under AMP the gradient scaler skips a step that overflowed
    "rank": (torch.zeros(9, WIDTH), [9], InputError),
    "width": (torch.zeros(1, 9, WIDTH + 1), [9], InputError),
    "T = 0": (torch.zeros(1, 0, WIDTH), [0], TooShortError),
    "length 0": (torch.zeros(2, 9, WIDTH), [9, 0], TooShortError),
    "length beyond the tensor": (torch.zeros(1, 9, WIDTH), [10], InputError),
    "lengths in seconds": (torch.zeros(1, 9, WIDTH), [0.36], InputError),
}


@dataclass(frozen=True)
class Subject:
    """A part under contract: how to build it, one clip of a given number of frames, and its length law."""

    name: str
    build: Callable[..., nn.Module]  # build(dropout=...) -> module; parts without dropout ignore it
    clip: Callable[[int], Tensor]  # frames -> one unbatched clip, its valid length on axis 0
    steps: Callable[[int], int] = int  # frames -> output steps
    bad_inputs: dict = field(default_factory=dict)
    longest: int = 200  # frames up to which the length law is run


def without_dropout(build: Callable[..., nn.Module], **options) -> Callable[..., nn.Module]:
    return lambda dropout: build(**options)


def small_conformer(dropout: float, **options) -> nn.Module:
    rates = dict(dropout_rate=dropout, positional_dropout_rate=dropout, attention_dropout_rate=dropout)
    sizes = dict(output_size=WIDTH, attention_heads=2, linear_units=16, num_blocks=2, cnn_module_kernel=7)
    return Conformer(WIDTH, **sizes, **rates, **options)


def small_transformer(dropout: float, **options) -> nn.Module:
    rates = dict(dropout_rate=dropout, positional_dropout_rate=dropout, attention_dropout_rate=dropout)
    sizes = dict(output_size=WIDTH, attention_heads=2, linear_units=16, num_blocks=2)
    return RelativeTransformer(WIDTH, **sizes, **rates, **options)


def small_avhubert(dropout: float, **options) -> nn.Module:
    sizes = dict(output_dim=16, attention_heads=2, linear_units=16, num_blocks=2, channels=2)
    return AvHubertFrontend(**sizes, dropout_rate=dropout, **options)


def small_vivit(dropout: float, **options) -> nn.Module:
    config = {**CONFIG, "hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout, "num_hidden_layers": 1}
    return randomize(vivit_encoder(pretrained=False, config=config, num_frames=WINDOW, **options))


def small_family(dropout: float, **options) -> nn.Module:
    """A factorised ViViT; `config` in the options changes single fields."""
    config = {**FAMILY_CONFIG, **options.pop("config", {})}
    rates = dict(drop_path=dropout, attention_dropout=dropout, mlp_dropout=dropout)
    encoder = vivit_encoder(pretrained=False, config=config, **rates, **options)
    return randomize(encoder)


@cache
def saved(kind: str) -> str:
    """The folder of a small random tower of the hub, for as long as the tests run."""
    folder = tempfile.TemporaryDirectory()
    _FOLDERS.append(folder)
    torch.manual_seed(5)
    return towers.save(towers.library_tower(kind), Path(folder.name))


def hub_vision(kind: str, dropout: float, **options) -> nn.Module:
    torch.manual_seed(6)  # of what stands behind the tower
    return HuggingFaceVision(saved(kind), **options)


def hub_audio(kind: str, dropout: float, **options) -> nn.Module:
    torch.manual_seed(6)
    return HuggingFaceAudio(saved(kind), **options)


_FOLDERS: list[tempfile.TemporaryDirectory] = []
FAMILY_CONFIG = {name: CONFIG[name] for name in ("image_size", "tubelet_size", "hidden_size", "num_attention_heads")}
FAMILY_CONFIG |= {"intermediate_size": 32, "num_hidden_layers": 1, "temporal_layers": 1}


class FusedHalves(nn.Module):
    """A fusion as the model uses it: frontends leave zeros beyond a clip's end, and the Conformer restores them."""

    def __init__(self, name: str):
        super().__init__()
        self.fusion = build_fusion(name, video_size=WIDTH // 2, audio_size=WIDTH // 2, output_size=WIDTH, heads=2)
        if name == "cross_attention":  # whose output projections start at zero
            randomize(self.fusion)

    def output_size(self) -> int:
        return self.fusion.output_size()

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        video, audio = zero_padding(x, lengths).split(WIDTH // 2, dim=-1)
        return zero_padding(self.fusion(video, audio, lengths), lengths), lengths


SAMPLED, WINDOWED = small_vivit, partial(small_vivit, frame_adjust="window", window_overlap=4)
FACTORISED = partial(small_family, attention="factorised_encoder")
CAUSAL = partial(small_family, attention="causal", left_context=3)
SELF_ATTENTION = partial(small_family, attention="factorised_self_attention")
DOT_PRODUCT = partial(small_family, attention="factorised_dot_product")
WHOLE = {"temporal_positions": "rope"}
LEARNED = {"temporal_positions": "learned", "frame_adjust": "window", "num_frames": WINDOW, "window_overlap": 4}
ONE_FRAME = {"tubelet_size": [1, 8, 8]}
OVERLAPPING = {"tubelet_size": [3, 8, 8], "tubelet_stride": [2, 4, 4]}
GATED = {"hidden_act": "swiglu", "norm": "rmsnorm", "qkv_bias": False}
RESNET, LINEAR = partial(ResNetFrontend, channels=2), partial(LinearFrontend, image_size=PIXELS, output_dim=WIDTH)
SUBJECTS = [
    Subject("resnet-frame", without_dropout(RESNET), gray_clip, bad_inputs=BAD_VIDEO),
    Subject("resnet-tubelet", without_dropout(RESNET, feature_rate="tubelet"), gray_clip, tubelet_steps),
    Subject("resnet-raw", without_dropout(RESNET), raw_clip),
    Subject("linear-frame", without_dropout(LINEAR), gray_clip, bad_inputs=BAD_VIDEO),
    Subject("linear-tubelet", without_dropout(LINEAR, feature_rate="tubelet"), gray_clip, tubelet_steps),
    Subject("linear-raw", without_dropout(LINEAR), raw_clip),
    Subject("resnet1d-frame", without_dropout(ResNet1d, channels=2), waveform, bad_inputs=BAD_SPEECH),
    Subject("resnet1d-tubelet", without_dropout(ResNet1d, channels=2, feature_rate="tubelet"), waveform, tubelet_steps),
    Subject("resnet1d-as-is", without_dropout(ResNet1d, channels=2, waveform_normalization="none"), waveform),
    Subject("resnet1d-running", without_dropout(ResNet1d, channels=2, waveform_normalization="running"), waveform),
    Subject("resnet1d-coarse-stem", without_dropout(ResNet1d, channels=2, stem_stride=16), waveform),
    Subject("logmel-frame", without_dropout(LogMel, channels=2), waveform, bad_inputs=BAD_SPEECH),
    Subject("logmel-tubelet", without_dropout(LogMel, channels=2, feature_rate="tubelet"), waveform, tubelet_steps),
    Subject("logmel-running", without_dropout(LogMel, channels=2, waveform_normalization="running"), waveform),
    Subject("vivit-sample", SAMPLED, gray_clip, tubelet_steps, bad_inputs=BAD_VIDEO),
    Subject("vivit-sample-frame", partial(SAMPLED, feature_rate="frame", output_dim=4), gray_clip),
    Subject("vivit-sample-raw", SAMPLED, raw_clip, tubelet_steps, longest=20),
    Subject("vivit-window", WINDOWED, gray_clip, tubelet_steps, bad_inputs=BAD_VIDEO),
    Subject("vivit-window-frame", partial(WINDOWED, feature_rate="frame", output_dim=4), gray_clip),
    Subject("vivit-window-raw", WINDOWED, raw_clip, tubelet_steps, longest=20),
    Subject("vivit-max", partial(WINDOWED, temporal_pooling="max"), gray_clip, tubelet_steps, longest=20),
    Subject("vivit-cls", partial(WINDOWED, temporal_pooling="cls"), gray_clip, tubelet_steps, longest=20),
    Subject("factorised-encoder", FACTORISED, gray_clip, tubelet_steps, bad_inputs=BAD_VIDEO),
    Subject("factorised-encoder-frame", partial(FACTORISED, feature_rate="frame", output_dim=4), gray_clip, longest=20),
    Subject("factorised-encoder-raw", FACTORISED, raw_clip, tubelet_steps, longest=20),
    Subject(
        "factorised-encoder-places", partial(FACTORISED, temporal_tokens="places"), gray_clip, tubelet_steps, longest=20
    ),
    Subject("factorised-encoder-window", partial(FACTORISED, **LEARNED), gray_clip, tubelet_steps),
    Subject(
        "factorised-encoder-cls",
        partial(FACTORISED, **LEARNED, temporal_pooling="cls"),
        gray_clip,
        tubelet_steps,
        longest=20,
    ),
    Subject("causal", CAUSAL, gray_clip, tubelet_steps, bad_inputs=BAD_VIDEO),
    Subject("causal-frame", partial(CAUSAL, feature_rate="frame", output_dim=4), gray_clip, longest=20),
    Subject(
        "causal-all-before",
        partial(small_family, attention="causal", registers=2),
        gray_clip,
        tubelet_steps,
        longest=20,
    ),
    Subject("causal-places", partial(CAUSAL, temporal_tokens="places"), gray_clip, tubelet_steps, longest=20),
    Subject("causal-gaussian", partial(CAUSAL, temporal_pooling="gaussian"), gray_clip, tubelet_steps, longest=20),
    Subject("causal-one-frame", partial(CAUSAL, feature_rate="frame", config=ONE_FRAME), gray_clip, longest=20),
    Subject("causal-overlap", partial(CAUSAL, config=OVERLAPPING), gray_clip, tubelet_steps, longest=20),
    Subject("causal-gated", partial(CAUSAL, config=GATED), gray_clip, tubelet_steps, longest=20),
    Subject("self-attention-window", partial(SELF_ATTENTION, **LEARNED), gray_clip, tubelet_steps, longest=20),
    Subject("self-attention-whole", partial(SELF_ATTENTION, **WHOLE), gray_clip, tubelet_steps, bad_inputs=BAD_VIDEO),
    Subject("dot-product-window", partial(DOT_PRODUCT, **LEARNED), gray_clip, tubelet_steps),
    Subject("dot-product-sample", partial(DOT_PRODUCT, num_frames=WINDOW), gray_clip, tubelet_steps, longest=20),
    Subject("dot-product-whole", partial(DOT_PRODUCT, **WHOLE), gray_clip, tubelet_steps, bad_inputs=BAD_VIDEO),
    Subject("fusion-concat", without_dropout(FusedHalves, name="concat"), feature_steps, longest=20),
    Subject("fusion-add", without_dropout(FusedHalves, name="add"), feature_steps, longest=20),
    Subject("fusion-gated", without_dropout(FusedHalves, name="gated"), feature_steps, longest=20),
    Subject("fusion-cross-attention", without_dropout(FusedHalves, name="cross_attention"), feature_steps, longest=20),
    Subject("fusion-mlp", without_dropout(FusedHalves, name="mlp"), feature_steps, longest=20),
    Subject(
        "fusion-normalized-concat", without_dropout(FusedHalves, name="normalized_concat"), feature_steps, longest=20
    ),
    Subject("avhubert", small_avhubert, gray_clip, longest=60, bad_inputs=BAD_VIDEO),
    Subject("avhubert-tubelet", partial(small_avhubert, feature_rate="tubelet"), gray_clip, tubelet_steps, longest=20),
    Subject(
        "avhubert-video", without_dropout(AvHubertVideo, output_dim=4, channels=2), gray_clip, bad_inputs=BAD_VIDEO
    ),
    *(Subject(f"hub-{kind}", partial(hub_vision, kind), gray_clip, longest=9) for kind in towers.PICTURES),
    *(Subject(f"hub-{kind}", partial(hub_vision, kind), gray_clip, longest=9) for kind in towers.VIDEOS),
    Subject(
        "hub-dinov2-tubelet",
        partial(hub_vision, "dinov2", feature_rate="tubelet"),
        raw_clip,
        tubelet_steps,
        bad_inputs=BAD_VIDEO,
        longest=9,
    ),
    Subject(
        "hub-siglip-attention", partial(hub_vision, "siglip_vision_model", pooling="attention"), gray_clip, longest=3
    ),
    Subject("hub-clip-cls", partial(hub_vision, "clip_vision_model", pooling="cls", output_dim=4), raw_clip, longest=3),
    Subject(
        "hub-videomae-tubelet",
        partial(hub_vision, "videomae", feature_rate="tubelet"),
        raw_clip,
        tubelet_steps,
        bad_inputs=BAD_VIDEO,
        longest=9,
    ),
    Subject(
        "hub-timesformer-tubelet",
        partial(hub_vision, "timesformer", feature_rate="tubelet", output_dim=4),
        raw_clip,
        tubelet_steps,
        longest=9,
    ),
    *(
        Subject(f"hub-{kind}", partial(hub_audio, kind), waveform, bad_inputs=BAD_SPEECH, longest=9)
        for kind in ("whisper", *towers.WAVEFORMS)
    ),
    Subject(
        "hub-whisper-tubelet",
        partial(hub_audio, "whisper", feature_rate="tubelet", output_dim=4),
        waveform,
        tubelet_steps,
        longest=9,
    ),
    Subject(
        "hub-wavlm-tubelet", partial(hub_audio, "wavlm", feature_rate="tubelet"), waveform, tubelet_steps, longest=9
    ),
    Subject("filterbanks", without_dropout(FilterbankAudio, output_dim=4), waveform, bad_inputs=BAD_SPEECH),
    Subject("relative-transformer", small_transformer, feature_steps, bad_inputs=BAD_FEATURES),
    Subject("relative-transformer-batch-norm", partial(small_transformer, ff_norm="batch"), feature_steps),
    Subject("conformer", small_conformer, feature_steps, bad_inputs=BAD_FEATURES),
    Subject("conformer-chunks", partial(small_conformer, chunk_steps=[4], left_steps=6), feature_steps),
    Subject("conformer-depth", partial(small_conformer, stochastic_depth_rate=0.5), feature_steps),
]


def run(module: nn.Module, values: Tensor, lengths) -> tuple[Tensor, Tensor]:
    """The first two results: a Conformer returns a third one, None, as ESPnet wants it."""
    torch.manual_seed(3)  # equal draws (stochastic depth) in runs that are compared
    return module(values, torch.as_tensor(lengths))[:2]


def pad(clips: list[Tensor], size: int) -> Tensor:
    """(B, size, ...) with the worst possible padding: NaN, or white in uint8."""
    fill = torch.nan if clips[0].is_floating_point() else 255
    batch = clips[0].new_full((len(clips), size, *clips[0].shape[1:]), fill)
    for row, clip in zip(batch, clips, strict=True):
        row[: len(clip)] = clip
    return batch


def ragged_batch(subject: Subject, *, extra: int = 0) -> tuple[Tensor, list[int], list[Tensor]]:
    clips = [subject.clip(frames) for frames in RAGGED]
    lengths = [len(clip) for clip in clips]
    return pad(clips, max(lengths) + extra), lengths, clips


# the contracts ---------------------------------------------------------------------------------------------------


def check_length_law(subject: Subject) -> None:
    module = subject.build(dropout=0.0).eval()
    with torch.no_grad():
        for frames in range(1, subject.longest + 1):
            clip = subject.clip(frames)
            features, lengths = run(module, clip[None], [len(clip)])
            expected = subject.steps(frames)
            assert features.shape[:2] == (1, expected) and lengths.tolist() == [expected], f"{frames} frames"
            assert features.size(2) == module.output_size()
        values, given, _ = ragged_batch(subject)
        lengths = run(module, values, given)[1]
    assert lengths.tolist() == [subject.steps(frames) for frames in RAGGED]
    if hasattr(module, "output_lengths"):
        assert module.output_lengths(torch.tensor(given)).tolist() == lengths.tolist()


def check_padding_in_eval(subject: Subject) -> None:
    module = subject.build(dropout=0.0).eval()
    randomize_statistics(module)
    values, given, clips = ragged_batch(subject)
    with torch.no_grad():
        features, lengths = run(module, values, given)
        for row, steps, clip in zip(features, lengths, clips, strict=True):
            alone, _ = run(module, clip[None], [len(clip)])
            torch.testing.assert_close(row[:steps], alone[0], atol=TOLERANCE, rtol=TOLERANCE)
            assert not row[steps:].any(), "a padded step is not zero"


def check_padding_in_training(subject: Subject) -> None:
    """More padding changes neither features, nor running statistics, nor any gradient."""
    values, given, clips = ragged_batch(subject)
    wider = pad(clips, values.size(1) + 5 * len(clips[1]))  # five times the shortest clip more
    results = []
    for batch in (values, wider):
        torch.manual_seed(11)
        module = subject.build(dropout=0.0).train()
        features, lengths = run(module, batch, given)
        valid = torch.cat([row[:steps] for row, steps in zip(features, lengths, strict=True)])
        valid.square().mean().backward()
        gradients = {f"gradient of {name}": p.grad for name, p in module.named_parameters()}
        results.append({"features": valid.detach(), **gradients, **module.state_dict()})
    torch.testing.assert_close(results[0], results[1], atol=TOLERANCE, rtol=TOLERANCE)


def check_determinism(subject: Subject) -> None:
    module = subject.build(dropout=0.5).eval()
    values, given, _ = ragged_batch(subject)
    with torch.no_grad():
        first, _ = module(values, torch.tensor(given))[:2]
        second, _ = module(values, torch.tensor(given))[:2]
    assert torch.equal(first, second)


def check_gradients(subject: Subject) -> None:
    module = subject.build(dropout=0.0)
    frozen = [name for name, _ in module.named_parameters()][::2]
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name not in frozen)
    values, given, _ = ragged_batch(subject)
    if values.is_floating_point():
        values.requires_grad_()
    run(module, values, given)[0].square().sum().backward()
    for name, parameter in module.named_parameters():
        assert (parameter.grad is None) == (name in frozen), name
        assert name in frozen or torch.isfinite(parameter.grad).all(), name
    if values.is_floating_point():
        for row, length in zip(values.grad, given, strict=True):
            assert not row[length:].any(), "padding has a gradient"
            assert torch.isfinite(row[:length]).all()
        assert values.grad[0, : given[0]].any(), "no gradient reaches the input"


def check_save_and_load(subject: Subject, tmp_path) -> None:
    module = subject.build(dropout=0.0).eval()
    randomize_statistics(module)
    torch.save(module.state_dict(), tmp_path / "part.pth")
    state = torch.load(tmp_path / "part.pth", weights_only=True)
    loaded = subject.build(dropout=0.0).eval()
    loaded.load_state_dict(state)
    values, given, _ = ragged_batch(subject)
    with torch.no_grad():
        assert torch.equal(run(module, values, given)[0], run(loaded, values, given)[0])
    gone = next(iter(state))
    with pytest.raises(RuntimeError, match=gone.replace(".", r"\.")):
        loaded.load_state_dict({name: value for name, value in state.items() if name != gone})
    with pytest.raises(RuntimeError, match=r"conv9\.weight"):
        loaded.load_state_dict({**state, "conv9.weight": torch.zeros(1)})


def check_bad_inputs(subject: Subject) -> None:
    module = subject.build(dropout=0.0).eval()
    assert subject.bad_inputs
    for what, (values, lengths, error) in subject.bad_inputs.items():
        try:
            run(module, values, lengths)
        except error as raised:
            message = str(raised)
            assert "found" in message and "expected" in message, f"{what}: {message}"
            assert message.count(". ") >= 1 and message.endswith("."), f"{what}: says nothing to do: {message}"
        except Exception as other:
            raise AssertionError(f"{what}: {other!r} in place of {error.__name__}") from other
        else:
            raise AssertionError(f"{what}: accepted")


def randomize_statistics(module: nn.Module) -> None:
    """Running statistics as after training: with those of a fresh BatchNorm a leak could hide behind zeros."""
    for layer in module.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2.0)
            layer.bias.data.normal_()


EVERY_SUBJECT = pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.name)


@EVERY_SUBJECT
def test_length_law(subject):
    check_length_law(subject)


@EVERY_SUBJECT
def test_padding_never_changes_an_answer_in_eval(subject):
    check_padding_in_eval(subject)


@EVERY_SUBJECT
def test_padding_never_changes_an_answer_in_training(subject):
    check_padding_in_training(subject)


@EVERY_SUBJECT
def test_two_eval_passes_are_equal(subject):
    check_determinism(subject)


@EVERY_SUBJECT
def test_gradients_reach_trainable_parameters_and_valid_input_only(subject):
    check_gradients(subject)


@EVERY_SUBJECT
def test_saved_and_loaded_it_is_equal_and_wrong_keys_are_named(subject, tmp_path):
    check_save_and_load(subject, tmp_path)


@pytest.mark.parametrize("subject", [s for s in SUBJECTS if s.bad_inputs], ids=lambda subject: subject.name)
def test_bad_input_is_an_error_that_says_found_expected_and_what_to_do(subject):
    check_bad_inputs(subject)


# the checks can fail -----------------------------------------------------------------------------------------------


class Broken(nn.Module):
    """(B, T, 8) -> (B, T, 8), right in everything but the one `fault`."""

    def __init__(self, fault: str):
        super().__init__()
        self.fault = fault
        self.conv1 = nn.Conv1d(WIDTH, WIDTH, 3, padding=1)
        self.conv2 = nn.Conv1d(WIDTH, WIDTH, 3, padding=1)
        self.norm = nn.BatchNorm1d(WIDTH) if fault == "padding in BatchNorm" else nn.Identity()
        self.unsaved = torch.randn(WIDTH)

    def output_size(self) -> int:
        return WIDTH

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        mask = torch.arange(x.size(1)) < lengths[:, None]
        x = x.masked_fill(~mask[..., None], 0).transpose(1, 2)
        x = self.conv1(x)
        if self.fault != "bias leaks into padding":
            x = x.masked_fill(~mask[:, None], 0)
        if self.fault == "gradient cut":
            x = x.detach()
        x = self.norm(self.conv2(x))
        if self.fault == "dropout in eval":
            x = F.dropout(x, 0.5, training=True)
        if self.fault == "state outside the state dict":
            x = x + self.unsaved[:, None]
        x = x.transpose(1, 2).masked_fill(~mask[..., None], 0)
        return x, torch.full_like(lengths, x.size(1)) if self.fault == "padded lengths" else lengths


FAULTS = [
    ("padded lengths", check_length_law),
    ("bias leaks into padding", check_padding_in_eval),
    ("bias leaks into padding", check_padding_in_training),
    ("padding in BatchNorm", check_padding_in_training),
    ("dropout in eval", check_determinism),
    ("gradient cut", check_gradients),
    ("accepts everything", check_bad_inputs),
]


def broken_subject(fault: str) -> Subject:
    return Subject(fault, without_dropout(Broken, fault=fault), feature_steps, bad_inputs=BAD_FEATURES, longest=3)


@pytest.mark.parametrize(("fault", "check"), FAULTS, ids=lambda value: getattr(value, "__name__", value))
def test_each_check_can_fail(fault, check):
    with pytest.raises(AssertionError):
        check(broken_subject(fault))


def test_the_check_of_saving_can_fail(tmp_path):
    with pytest.raises(AssertionError):
        check_save_and_load(broken_subject("state outside the state dict"), tmp_path)


SOUND = [check_length_law, check_padding_in_eval, check_padding_in_training, check_determinism, check_gradients]


@pytest.mark.parametrize("check", SOUND, ids=lambda check: check.__name__)
def test_the_module_without_a_fault_passes(check):
    """So it is the fault that the checks above see, not the toy around it."""
    check(broken_subject("none"))
