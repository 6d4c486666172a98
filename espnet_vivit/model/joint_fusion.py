"""Two fusions of published audio-visual models, and the table of all: how E2E's fusion is chosen.

In: (B, T', D_v) and (B, T', D_a) in step, either absent. Out: (B, T', D). `Fusion` (fusion.py) sees to a missing
stream, which is zeros.
"""

from collections.abc import Mapping

import torch
from torch import nn

from espnet_vivit.base.option_types import check_value
from espnet_vivit.errors import ConfigError, unknown_name
from espnet_vivit.frontend.masking import MaskedBatchNorm1d, length_mask
from espnet_vivit.model.fusion import AddFusion, ConcatFusion, CrossAttentionFusion, Fusion, GatedFusion
from espnet_vivit.model.parts import build_checked

HIDDEN_FACTOR = 4  # of MlpFusion's hidden layer, unless told otherwise, in output sizes


class MlpFusion(Fusion):
    """Linear, BatchNorm over the valid steps, ReLU, linear, over both vectors side by side, the video's first.

    hidden_units: of the layer between; None: four times `output_size`. The fusion of VSR-ML's and Auto-AVSR v1.0.0's
    audio-visual model (8192 units for 768), which joins what two encoders say: `fusion_place: encoder`.
    """

    def __init__(self, video_size: int, audio_size: int, output_size: int, *, hidden_units: int | None = None):
        super().__init__(video_size, audio_size, output_size)
        hidden_units = HIDDEN_FACTOR * output_size if hidden_units is None else hidden_units
        check_value("fusion_conf", "hidden_units", hidden_units, where="fusion mlp without hidden units")
        self.hidden = nn.Linear(video_size + audio_size, hidden_units)
        self.norm = MaskedBatchNorm1d(hidden_units)
        self.output = nn.Linear(hidden_units, output_size)

    def fuse(self, video: torch.Tensor, audio: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
        hidden = self.hidden(torch.cat([video, audio], dim=-1)).transpose(1, 2)  # (B, hidden, T')
        mask = None if lengths is None else length_mask(lengths.to(hidden.device), hidden.size(2))
        return self.output(self.norm(hidden, mask).relu().transpose(1, 2))


class NormalizedConcatFusion(Fusion):
    """LayerNorm over both vectors side by side, the sound's first, then one linear layer: AV-HuBERT's."""

    def __init__(self, video_size: int, audio_size: int, output_size: int):
        super().__init__(video_size, audio_size, output_size)
        self.norm = nn.LayerNorm(audio_size + video_size)
        self.linear = nn.Linear(audio_size + video_size, output_size)

    def fuse(self, video: torch.Tensor, audio: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
        return self.linear(self.norm(torch.cat([audio, video], dim=-1)))


FUSIONS: dict[str, type[Fusion]] = {
    "concat": ConcatFusion,
    "add": AddFusion,
    "gated": GatedFusion,
    "cross_attention": CrossAttentionFusion,
    "mlp": MlpFusion,
    "normalized_concat": NormalizedConcatFusion,
}
PLACES = ("features", "encoder")  # where the streams meet: before one encoder, or after one of each


def check_place(fusion_place: str, modality: str) -> None:
    """Raise ConfigError for a place that there is not, or for two encoders of a single stream."""
    if fusion_place not in PLACES:
        raise unknown_name("fusion_place", fusion_place, PLACES)
    if fusion_place == "encoder" and modality != "multimodal":
        fix = "Leave fusion_place out, or name a vision_encoder and an audio_encoder"
        raise ConfigError("fusion_place: encoder needs two streams", found=f"modality {modality}", fix=fix)


def build_fusion(
    name: str,
    *,
    video_size: int | None,
    audio_size: int | None,
    output_size: int,
    heads: int = 4,
    conf: Mapping | None = None,
) -> nn.Module:
    """A `Fusion` of two streams, or for one stream a plain `nn.Linear` to `output_size`.

    heads: of cross_attention; conf: `fusion_conf`, options of the class. Raises ConfigError for an unknown name.
    """
    if name not in FUSIONS:
        raise unknown_name("fusion", name, FUSIONS)
    if video_size is None or audio_size is None:
        if conf:
            raise ConfigError("fusion_conf without two streams to fuse", found=dict(conf), fix="Leave it out")
        (size,) = (size for size in (video_size, audio_size) if size is not None)
        return nn.Linear(size, output_size)
    sizes = {"video_size": video_size, "audio_size": audio_size, "output_size": output_size}
    given = {"heads": heads} if name == "cross_attention" else {}
    return build_checked(f"fusion_conf for fusion: {name}", FUSIONS[name], conf, **sizes, **given)
