"""Padded batches: the checks that a batch is what its lengths say, length masks, and BatchNorm that never sees padding.

In: a padded tensor and the number of valid steps of each row. Out: the same with padding that cannot matter. Padding
leaks in two ways that plain PyTorch layers do not stop: BatchNorm averages over it in training, and biases turn the
zeros behind a clip into values that the next convolution reads. `MaskedBatchNorm1d` stops both; where frames are
independent of each other (2-D trunks), `pack_valid` removes the padding altogether, so that it costs nothing either.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from espnet_vivit.errors import InputError, TooShortError
from espnet_vivit.units import SAMPLES_PER_FRAME


def length_mask(lengths: Tensor, size: int) -> Tensor:
    """True at the valid steps: (B,) lengths -> (B, size) bool, on the device of `lengths`."""
    return torch.arange(size, device=lengths.device) < lengths[:, None]


def zero_padding(x: Tensor, lengths: Tensor) -> Tensor:
    """`x` (B, T, ...) with every step at or beyond its row's length set to zero (NaN in the padding included)."""
    mask = length_mask(lengths, x.size(1))
    return x.masked_fill(~mask.reshape(mask.shape + (1,) * (x.dim() - 2)), 0)


def pack_valid(x: Tensor, mask: Tensor) -> Tensor:
    """(B, T, ...) and its mask (B, T) -> (N, ...): the valid steps of all rows one after another."""
    return x.flatten(0, 1).index_select(0, mask.flatten().nonzero().squeeze(1))


def unpack_valid(packed: Tensor, mask: Tensor) -> Tensor:
    """The inverse of `pack_valid`: (N, ...) -> (B, T, ...), zero at padded steps."""
    steps = packed.new_zeros(mask.numel(), *packed.shape[1:])
    steps = steps.index_copy(0, mask.flatten().nonzero().squeeze(1), packed)
    return steps.unflatten(0, mask.shape)


def count_valid(mask: Tensor) -> int:
    """How many steps of `mask` are valid. The mask remembers: on a GPU, each count waits for all that was asked before.

    A Conformer normalises by one mask in each of its blocks, a ResNet four times in each of its stages.
    """
    known = getattr(mask, "valid_steps", None)
    if known is None:
        known = int(mask.sum())
        mask.valid_steps = known  # pyright: ignore[reportAttributeAccessIssue]  a tensor takes any attribute
    return known


class _FiniteStatistics(nn.modules.batchnorm._BatchNorm):
    """BatchNorm that learns nothing from a batch in which an activation overflowed: its buffers stay as they are.

    The gradient of such a batch is skipped, but the buffers are no weights: once infinite, they would stay it, and
    every evaluation from then on would be NaN. The decision is made on the device; nothing waits for it.
    """

    running_mean: Tensor  # these three: never without, unlike in `nn.BatchNorm1d`
    running_var: Tensor
    num_batches_tracked: Tensor

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        self._check_input_dim(x)
        mean, variance = self.running_mean.clone(), self.running_var.clone()  # the kernel updates them in place
        y = F.batch_norm(x, mean, variance, self.weight, self.bias, True, self._update_rate(), self.eps)
        self._keep_if_finite(mean, variance)
        return y

    def _update_rate(self) -> float:
        """The share of this batch in the running statistics; without a momentum they are means over all batches."""
        return self.momentum if self.momentum is not None else 1 / (float(self.num_batches_tracked) + 1)

    @torch.no_grad()
    def _keep_if_finite(self, mean: Tensor, variance: Tensor) -> None:
        """Make `mean` and `variance` (C,) the running statistics, and count the batch, if all of them are finite."""
        finite = torch.isfinite(torch.stack([mean, variance])).all()  # no `if`: a GPU would be waited for
        self.running_mean.copy_(torch.where(finite, mean, self.running_mean))
        self.running_var.copy_(torch.where(finite, variance, self.running_var))
        self.num_batches_tracked += finite


class FiniteBatchNorm2d(_FiniteStatistics, nn.BatchNorm2d):
    """`nn.BatchNorm2d`; a training batch whose statistics are not finite leaves its buffers as they are."""


class MaskedBatchNorm1d(_FiniteStatistics, nn.BatchNorm1d):
    """`nn.BatchNorm1d` over the valid steps of a padded batch; same parameters, buffers and names.

    `forward(x (B, C, T), mask (B, T) bool or None) -> (B, C, T)`. In training, mean, variance and the running
    statistics are those of the valid steps alone; padded steps of the output are zero. Without a mask it is exactly
    `nn.BatchNorm1d`, but that statistics which are not finite leave the buffers as they are, as they do with one.
    (`SyncBatchNorm.convert_sync_batchnorm` would replace this class by one that knows no mask.)
    """

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        if mask is None:
            check_batch_norm_steps(x.size(0) * x.size(2), self.training)
            return super().forward(x)
        if not self.training:
            return super().forward(x).masked_fill(~mask[:, None, :], 0)
        count = count_valid(mask)
        check_batch_norm_steps(count, self.training)
        return self._normalize_valid(x, mask[:, None, :], count / mask.numel(), count)

    def _normalize_valid(self, x: Tensor, mask: Tensor, share: float, count: int) -> Tensor:
        """Training, mask (B, 1, T) True at `count` steps, which are `share` of all.

        PyTorch's own kernel does the work on an input whose padding holds the mean of the valid steps: that leaves
        the mean as it is and scales the variance by `share`, which weight and eps undo. Packing the valid steps would
        give the same numbers through four transposed copies of x.
        """
        precise = torch.promote_types(x.dtype, torch.float32)  # under autocast a sum in bfloat16 would be far off
        mean = x.masked_fill(~mask, 0).sum(dim=(0, 2), dtype=precise) / count  # (C,)
        filled = torch.where(mask, x, mean[None, :, None].to(x.dtype))
        weight, eps = self.weight * share**0.5, self.eps * share
        y, _, inverse_std = torch.native_batch_norm(filled, weight, self.bias, None, None, True, 0.0, eps)
        with torch.no_grad():
            variance = (
                (inverse_std.float().pow(-2) - eps) / share * (count / (count - 1))
            )  # unbiased, as PyTorch keeps it
            rate = self._update_rate()
            self._keep_if_finite(
                self.running_mean.lerp(mean.to(self.running_mean.dtype), rate),
                self.running_var.lerp(variance.to(self.running_var.dtype), rate),
            )
        return y.masked_fill(~mask, 0)


def check_batch_norm_steps(steps: int, training: bool) -> None:
    """A variance over one single step does not exist: refused in training with a reason, as PyTorch does without."""
    if training and steps < 2:
        raise TooShortError(
            "too few feature steps to train BatchNorm on",
            found=f"{steps} valid step in the whole batch",
            expected="at least 2",
            fix="Batch this clip with another one, or call .eval() first.",
        )


def check_lengths(lengths: Tensor, *, batch: int, size: int, kind: str, unit: str) -> Tensor:
    """`lengths` (B,) as int64 after checks: an integer per row, each at least 1 and at most `size`.

    `kind` ("video") and `unit` ("frames") name the input in the message.
    """
    if not isinstance(lengths, Tensor) or lengths.is_floating_point() or lengths.dtype == torch.bool:
        raise InputError(
            f"{kind} lengths of the wrong type",
            found=lengths.dtype if isinstance(lengths, Tensor) else type(lengths).__name__,
            expected="an integer tensor",
            fix="Pass torch.tensor([...], dtype=torch.long).",
        )
    if lengths.shape != (batch,):
        raise InputError(
            f"{kind} lengths of the wrong shape",
            found=tuple(lengths.shape),
            expected=f"({batch},), one length per clip",
            fix="Count the valid steps of each clip, not of the batch.",
        )
    if size == 0:
        raise TooShortError(f"{kind} without a single step", found=f"0 {unit}", expected="at least 1", fix="Drop it.")
    if torch.compiler.is_compiling():  # a graph cannot look at values
        return lengths.long()
    shortest, longest = torch.stack(torch.aminmax(lengths)).tolist()
    if shortest < 1:
        raise TooShortError(
            f"{kind} {lengths.argmin().item()} of the batch is empty",
            found=f"length {shortest}",
            expected=f"at least 1 of {unit}",
            fix="Leave empty clips out of the batch.",
        )
    if longest > size:
        raise InputError(
            f"{kind} {lengths.argmax().item()} of the batch claims more {unit} than the tensor holds",
            found=f"length {longest}",
            expected=f"at most {size}",
            fix="Count lengths before padding, on the array that is in the batch.",
        )
    return lengths.long()


def check_speech(speech: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """A batch of waveforms as every audio frontend takes it, checked -> (speech (B, N), lengths (B,) int64).

    Float padding comes back zeroed. Raises InputError; TooShortError for fewer samples than make one feature step.
    """
    if not isinstance(speech, Tensor) or speech.dim() != 2:
        raise InputError(
            "speech of the wrong rank",
            found=tuple(speech.shape) if isinstance(speech, Tensor) else type(speech).__name__,
            expected="a tensor (B, N): one channel, 16 kHz",
            fix="Add the batch axis with speech[None], or average the channels.",
        )
    lengths = check_lengths(lengths, batch=len(speech), size=speech.size(1), kind="speech", unit="samples")
    lengths = lengths.to(speech.device)
    if lengths.min() < SAMPLES_PER_FRAME:
        raise TooShortError(
            f"speech {lengths.argmin().item()} of the batch is shorter than one feature step",
            found=f"{lengths.min().item()} samples",
            expected=f"at least {SAMPLES_PER_FRAME} (40 ms at 16 kHz)",
            fix="Leave such clips out, or pad them with silence.",
        )
    return check_float(speech, lengths, kind="speech", raw="int16 divided by 32768"), lengths


def check_video(video: Tensor, lengths: Tensor | None, *, channels: tuple[int, ...] = (1,)) -> tuple[Tensor, Tensor]:
    """A batch of clips as every visual frontend takes it, checked -> (video (B, C, T, H, W), lengths (B,) int64).

    `video` is (B, T, H, W), gray, or (B, C, T, H, W) with C in `channels`; uint8 0..255, or float taken as already
    normalised. Float padding comes back zeroed, so that nothing in it, NaN included, can reach a valid step.
    Without `lengths`, every frame counts. Raises InputError or TooShortError; while a graph is traced, for shapes only.
    """
    if not isinstance(video, Tensor):
        raise InputError("video is not a tensor", found=type(video).__name__, expected="torch.Tensor (B, T, H, W)")
    if video.dim() == 4 and video.size(-1) == 3:
        raise InputError(
            "video of the wrong layout",
            found=f"{tuple(video.shape)}, which looks like frames with the color last, (T, H, W, 3)",
            expected="(B, T, H, W) gray or (B, C, T, H, W)",
            fix="Use video.permute(3, 0, 1, 2)[None] for color, or average the last axis for gray.",
        )
    if video.dim() == 4:
        video = video[:, None]  # (B, 1, T, H, W)
    _check_video_layout(video, channels)
    batch, _, frames = video.shape[:3]
    if lengths is None:
        lengths = torch.full((batch,), frames, dtype=torch.long, device=video.device)
    lengths = check_lengths(lengths, batch=batch, size=frames, kind="video", unit="frames").to(video.device)
    if video.dtype == torch.uint8:
        return video, lengths
    return check_float(video.transpose(1, 2), lengths, kind="video", raw="torch.uint8").transpose(1, 2), lengths


def _check_video_layout(video: Tensor, channels: tuple[int, ...]) -> None:
    """Rank, channel axis and empty axes of a (B, C, T, H, W) batch."""
    allowed = " or ".join(map(str, channels))
    if video.dim() != 5:
        raise InputError(
            "video of the wrong rank",
            found=f"{video.dim()} axes, {tuple(video.shape)}",
            expected=f"(B, T, H, W) gray, or (B, C, T, H, W) with C = {allowed}",
            fix="Use video[None] for a single clip (T, H, W)." if video.dim() == 3 else "Batch gray clips.",
        )
    if video.size(1) not in (1, 3) and video.size(2) in (1, 3):
        raise InputError(
            "video with time and channels swapped",
            found=f"{tuple(video.shape)}, which looks like Hugging Face's (B, T, C, H, W)",
            expected=f"(B, C, T, H, W) with C = {allowed}",
            fix="Use video.transpose(1, 2).",
        )
    if video.size(1) not in channels:
        gray = video.size(1) == 3 and 1 in channels
        raise InputError(
            "video with the wrong number of channels",
            found=f"{video.size(1)} on axis 1 of {tuple(video.shape)}",
            expected=allowed,
            fix="This frontend reads gray: average the colors, video.float().mean(1)."
            if gray
            else "Put gray clips in as (B, T, H, W).",
        )
    if video.size(2) == 0:
        raise TooShortError("video without frames", found="T = 0", expected="at least 1 frame", fix="Drop the clip.")
    if 0 in video.shape:
        raise InputError("video with an empty axis", found=tuple(video.shape), expected="B, H and W of at least 1")


def check_float(x: Tensor, lengths: Tensor, *, kind: str, raw: str) -> Tensor:
    """`x` (B, T, ...) with zeroed padding, if it is floating point and finite over its valid steps; else InputError.

    `raw` names what an integer input of this kind should have been.
    """
    if not x.is_floating_point():
        raise InputError(
            f"{kind} of the wrong dtype",
            found=x.dtype,
            expected=f"a floating dtype (normalised values) or {raw}",
            fix="Convert it before the model, so that its scale is known.",
        )
    if torch.compiler.is_compiling():  # a graph cannot look at values
        return zero_padding(x, lengths)
    if (lengths < x.size(1)).any():
        x = zero_padding(x, lengths)
    if not torch.isfinite(torch.stack(torch.aminmax(x.detach()))).all():  # needs no second copy of a long video
        bad = (~torch.isfinite(x.flatten(1))).any(1).nonzero().flatten().tolist()
        raise InputError(
            f"{kind} with values that are not finite",
            found=f"NaN or infinity in clip {bad[0]} of the batch" + (f" and {len(bad) - 1} more" if bad[1:] else ""),
            expected="finite numbers",
            fix="Look at the file and the preprocessing of that clip.",
        )
    return x
