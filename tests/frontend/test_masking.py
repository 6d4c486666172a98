"""Masks, packing, BatchNorm over valid steps, and the checks of a padded batch."""

import copy

import pytest
import torch
from torch import nn

from espnet_vivit.errors import InputError, TooShortError
from espnet_vivit.frontend.masking import (
    FiniteBatchNorm2d,
    MaskedBatchNorm1d,
    check_lengths,
    check_video,
    length_mask,
    pack_valid,
    unpack_valid,
    zero_padding,
)

LENGTHS = torch.tensor([5, 1, 3])


def test_length_mask_is_true_at_valid_steps():
    assert length_mask(torch.tensor([2, 0, 3]), 3).tolist() == [[True, True, False], [False] * 3, [True] * 3]


def test_zero_padding_keeps_valid_steps_and_forgets_nan():
    x = torch.ones(3, 5, 2, 2)
    x[1, 1:] = torch.nan
    zeroed = zero_padding(x, LENGTHS)
    assert zeroed.sum((1, 2, 3)).tolist() == [20, 4, 12]
    assert x[1, 1:].isnan().all(), "the input was changed"


def test_packing_keeps_the_order_and_unpacking_returns_it():
    x, mask = torch.randn(3, 5, 2), length_mask(LENGTHS, 5)
    packed = pack_valid(x, mask)
    torch.testing.assert_close(packed, torch.cat([x[0], x[1, :1], x[2, :3]]), atol=0, rtol=0)
    torch.testing.assert_close(unpack_valid(packed, mask), zero_padding(x, LENGTHS), atol=0, rtol=0)


@pytest.mark.parametrize("training", [True, False])
def test_masked_batch_norm_is_batch_norm_over_the_valid_steps(training):
    """Oracle: `nn.BatchNorm1d` on the valid steps of all clips, one behind the other."""
    x = torch.randn(3, 4, 5, requires_grad=True)
    oracle = nn.BatchNorm1d(4).train(training)
    nn.init.normal_(oracle.weight), nn.init.normal_(oracle.bias), oracle.running_mean.normal_()
    masked = MaskedBatchNorm1d(4).train(training)
    masked.load_state_dict(copy.deepcopy(oracle.state_dict()))  # the names are those of nn.BatchNorm1d
    mask = length_mask(LENGTHS, 5)

    expected = oracle(x.transpose(1, 2)[mask])
    output = masked(x, mask)
    found = output.transpose(1, 2)[mask]
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(dict(masked.state_dict()), dict(oracle.state_dict()))
    assert not output.transpose(1, 2)[~mask].any()

    weights = torch.randn_like(expected)
    (expected_grad,) = torch.autograd.grad((expected * weights).sum(), x)
    (found_grad,) = torch.autograd.grad((found * weights).sum(), x)
    torch.testing.assert_close(found_grad, expected_grad)


def test_masked_batch_norm_keeps_its_mean_exact_in_bfloat16():
    """Oracle: the mean of the same rounded values in float64. A bfloat16 sum would be off in the third digit."""
    x = (torch.randn(3, 4, 5) + 20).bfloat16()
    mask = length_mask(LENGTHS, 5)
    masked = MaskedBatchNorm1d(4).train()
    masked.momentum = 1.0
    with torch.autocast("cpu", torch.bfloat16):
        masked(x, mask)
    expected = x.double().transpose(1, 2)[mask].mean(0)
    torch.testing.assert_close(masked.running_mean.double(), expected, atol=1e-4, rtol=0)


def test_masked_batch_norm_without_a_mask_is_batch_norm():
    x = torch.randn(3, 4, 5)
    torch.testing.assert_close(MaskedBatchNorm1d(4)(x), nn.BatchNorm1d(4)(x), atol=0, rtol=0)


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize(
    ("ours", "oracle", "shape"),
    [(MaskedBatchNorm1d, nn.BatchNorm1d, (3, 4, 5)), (FiniteBatchNorm2d, nn.BatchNorm2d, (3, 4, 5, 2))],
)
def test_finite_batches_train_it_to_the_bit_as_pytorchs(ours, oracle, shape, momentum):
    ours, oracle = ours(4, momentum=momentum), oracle(4, momentum=momentum)
    for _ in range(3):
        one = torch.randn(shape, requires_grad=True)
        other = one.detach().clone().requires_grad_()
        found, expected = ours(one), oracle(other)
        (found**2 * one).sum().backward(), (expected**2 * other).sum().backward()
        assert torch.equal(found, expected) and torch.equal(one.grad, other.grad)
    states = ours.state_dict(), oracle.state_dict()
    assert all(torch.equal(states[0][name], value) for name, value in states[1].items())


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("value", [torch.inf, torch.nan, 1e30])  # the last: its square overflows
@pytest.mark.parametrize("kind", ["1d", "1d with a mask", "2d"])
def test_an_overflow_leaves_the_running_statistics_alone(kind, value, momentum):
    norm = (FiniteBatchNorm2d if kind == "2d" else MaskedBatchNorm1d)(4, momentum=momentum)
    x = torch.randn((3, 4, 5, 2) if kind == "2d" else (3, 4, 5))
    masks = (length_mask(LENGTHS, 5),) if kind == "1d with a mask" else ()
    norm(x, *masks)
    before = copy.deepcopy(norm.state_dict())
    bad = x.clone()
    bad[0, 1, 2] = value
    norm(bad, *masks)
    assert all(torch.equal(after, before[name]) for name, after in norm.state_dict().items())
    norm(2 * x, *masks)
    assert norm.num_batches_tracked == 2 and not torch.equal(norm.running_var, before["running_var"])


@pytest.mark.parametrize("kind", ["1d", "1d with a mask", "2d"])
def test_the_host_looks_at_no_statistic(kind):
    """On the meta device there is none: to look at a value is an error, as the planted one shows."""
    norm = (FiniteBatchNorm2d if kind == "2d" else MaskedBatchNorm1d)(4).to("meta")
    x = torch.zeros((3, 4, 5, 2) if kind == "2d" else (3, 4, 5), device="meta")
    masks = (length_mask(LENGTHS, 5).to("meta"),) if kind == "1d with a mask" else ()
    for mask in masks:
        mask.valid_steps = 9  # counted once for the whole model, not here
    assert norm(x, *masks).shape == x.shape
    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        bool(torch.isfinite(norm.running_mean).all())


@pytest.mark.parametrize("mask", [None, torch.tensor([[True]])])
def test_one_single_step_cannot_train_batch_norm(mask):
    norm = MaskedBatchNorm1d(4)
    with pytest.raises(TooShortError, match="1 valid step"):
        norm(torch.randn(1, 4, 1), mask)
    norm.eval()(torch.randn(1, 4, 1), mask)


@pytest.mark.parametrize(
    ("lengths", "error", "message"),
    [
        ([2, 2], InputError, "found list; expected an integer tensor"),
        (torch.tensor([1.0, 2.0]), InputError, r"found torch\.float32; expected an integer tensor"),
        (torch.tensor([True, True]), InputError, r"found torch\.bool"),
        (torch.tensor([2]), InputError, r"found \(1,\); expected \(2,\)"),
        (torch.tensor([2, 0]), TooShortError, "clips 1 of the batch is empty: found length 0"),
        (torch.tensor([2, -1]), TooShortError, "found length -1"),
        (
            torch.tensor([4, 2]),
            InputError,
            "clips 0 of the batch claims more frames.*found length 4; expected at most 3",
        ),
    ],
)
def test_bad_lengths_are_named(lengths, error, message):
    with pytest.raises(error, match=message):
        check_lengths(lengths, batch=2, size=3, kind="clips", unit="frames")


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64, torch.uint8])
def test_good_lengths_come_back_as_int64(dtype):
    lengths = check_lengths(torch.tensor([3, 1], dtype=dtype), batch=2, size=3, kind="clips", unit="frames")
    assert lengths.dtype == torch.int64 and lengths.tolist() == [3, 1]


def test_gray_video_gets_a_channel_axis_and_full_lengths():
    video, lengths = check_video(torch.zeros(2, 5, 8, 8, dtype=torch.uint8), None)
    assert video.shape == (2, 1, 5, 8, 8) and video.dtype == torch.uint8 and lengths.tolist() == [5, 5]


@pytest.mark.parametrize("shape", [(2, 3, 5, 8, 8), (2, 1, 5, 8, 8), (2, 1, 3, 8, 8), (2, 3, 1, 8, 8)])
def test_color_and_gray_pass_where_both_are_read(shape):
    assert check_video(torch.zeros(shape), None, channels=(1, 3))[0].shape == shape


@pytest.mark.parametrize(
    ("shape", "channels", "message"),
    [
        ((5, 8, 8), (1,), r"found 3 axes.*Use video\[None\]"),
        ((1, 1, 1, 5, 8, 8), (1,), "found 6 axes"),
        ((5, 8, 8, 3), (1,), r"color last, \(T, H, W, 3\)"),
        ((2, 5, 3, 8, 8), (1, 3), r"Hugging Face's \(B, T, C, H, W\).*video\.transpose\(1, 2\)"),
        ((2, 5, 1, 8, 8), (1,), "Hugging Face's"),
        ((2, 4, 5, 8, 8), (1, 3), "found 4 on axis 1.*expected 1 or 3"),
        ((2, 3, 5, 8, 8), (1,), "found 3 on axis 1.*average the colors"),
        ((2, 5, 0, 8), (1,), "empty axis"),
        ((0, 5, 8, 8), (1,), "empty axis"),
    ],
)
def test_a_wrong_layout_is_recognised(shape, channels, message):
    with pytest.raises(InputError, match=message):
        check_video(torch.zeros(shape), None, channels=channels)


def test_video_without_frames_is_too_short():
    with pytest.raises(TooShortError, match="T = 0"):
        check_video(torch.zeros(2, 0, 8, 8), torch.tensor([0, 0]))


def test_integer_video_must_be_uint8():
    with pytest.raises(InputError, match=r"found torch\.int16; expected a floating dtype.*torch\.uint8"):
        check_video(torch.zeros(2, 5, 8, 8, dtype=torch.int16), None)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_value_that_is_not_finite_is_found_in_its_clip(value):
    video = torch.zeros(3, 5, 8, 8)
    video[1, 2, 3, 4] = value
    with pytest.raises(InputError, match="in clip 1 of the batch"):
        check_video(video, torch.tensor([5, 5, 5]))
    checked, _ = check_video(video, torch.tensor([5, 2, 5]))  # now it is padding
    assert not checked.any()


def test_what_is_no_tensor_is_named():
    with pytest.raises(InputError, match="found list"):
        check_video([[0]], None)
