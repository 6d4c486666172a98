"""The tokens of a batch, checked before an embedding or CTC takes them: a wrong one ends in an index error, or a crash.

In: text (B, L) and text_lengths (B,). Out: nothing, or an error that names the clip. Values are looked at on the CPU
alone: asking a GPU for one number would make every step wait for it, and there the data's tokenizer made them.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from espnet_vivit.errors import InputError

BLANK = 0


def check_labels(text: Tensor, text_lengths: Tensor, *, size: int, utt_id: Sequence[str] | None = None) -> None:
    """Raise InputError unless text holds whole numbers from 1 to `size` - 1, `text_lengths` of them in each row.

    0 is CTC's blank, which no transcript has.
    """
    if text.dim() != 2 or text.is_floating_point() or text.is_complex() or text.dtype == torch.bool:
        found, expected = f"{str(text.dtype).removeprefix('torch.')} {tuple(text.shape)}", "whole numbers, (B, L)"
        raise InputError("text is no batch of token ids", found=found, expected=expected)
    if text_lengths.shape != text.shape[:1] or not len(text):
        found, expected = f"shape {tuple(text_lengths.shape)}", f"({len(text)},), at least one clip"
        raise InputError("text_lengths are not of these clips", found=found, expected=expected)
    if text.device.type != "cpu":
        return
    if int(text_lengths.max()) > text.size(1) or int(text_lengths.min()) < 0:
        raise InputError("text_lengths", found=text_lengths.tolist(), expected=f"0 to L = {text.size(1)}")
    inside = torch.arange(text.size(1)) < text_lengths.unsqueeze(1)
    odd = inside & ((text <= BLANK) | (text >= size))
    if bool(odd.any()):
        row, place = (int(index) for index in odd.nonzero()[0])
        clip = f"clip {row} of the batch" if utt_id is None else f"utterance {utt_id[row]!r}"
        raise InputError(
            f"token {place} of {clip} is none of the model's", found=int(text[row, place]), expected=f"1 to {size - 1}",
            fix="Is it the token list that the model was built for?",
        )  # fmt: skip


def drop_attention_maps(model: torch.nn.Module) -> None:
    """Forget the weights that ESPnet's attention keeps of its last batch, which hold its graph and much memory.

    A model that keeps them cannot be copied (copy.deepcopy) after a forward pass with gradients.
    """
    for module in model.modules():
        if isinstance(getattr(module, "attn", None), Tensor):
            vars(module)["attn"] = None
