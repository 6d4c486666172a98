"""AV-HuBERT's visual side: its ResNet and projection, its Transformer, and the two as one frontend at 25 Hz.

In: gray mouth clips (B, T, H, W), 88x88 as a rule. Out: (B, T, D), a step per frame, or pairs averaged at 12.5 Hz.

Source: Shi et al., ICLR 2022 (arXiv:2201.02184), github.com/facebookresearch/av_hubert. The Transformer is that of
transformers' HuBERT with its norms before the blocks, so that fairseq is not needed; padding is masked in its
attention and zeroed before its convolution over positions. The published weights come under their own licence, which
forbids commercial use (model/published/avhubert.py reads them, and says so).
"""

import torch
from torch import Tensor, nn

from espnet_vivit.errors import ConfigError
from espnet_vivit.frontend.feature_rate import average_pairs, check_feature_rate, steps_at_rate
from espnet_vivit.frontend.masking import length_mask, zero_padding
from espnet_vivit.frontend.presets import RESNET_PRESET, VisualPreset
from espnet_vivit.frontend.resnet import ResNetFrontend

POSITION_GROUPS = 16  # of the convolution over positions, which output sizes are multiples of


class AvHubertVideo(nn.Module):
    """`forward(video, lengths) -> (features (B, T, output_dim), lengths (B,))`: ResNet-18 with PReLU, a projection.

    What `encoder: avhubert` takes of the video. Its features are at 25 Hz only.

    channels: of the ResNet's first stage; the published models have 64.

    Raises what `ResNetFrontend` raises; ConfigError for another feature_rate.
    """

    preset: VisualPreset = RESNET_PRESET

    def __init__(self, *, feature_rate: str = "frame", output_dim: int = 768, channels: int = 64):
        super().__init__()
        if check_feature_rate(feature_rate) != "frame":
            raise ConfigError("AV-HuBERT runs at 25 Hz", found=f"feature_rate={feature_rate}", expected="frame")
        self.resnet = ResNetFrontend(channels=channels, activation="prelu")
        self.proj = nn.Linear(self.resnet.output_size(), output_dim)

    def output_size(self) -> int:
        return self.proj.out_features

    def output_lengths(self, lengths: Tensor) -> Tensor:
        """Feature steps of clips with `lengths` (B,) frames."""
        return lengths.long()

    def forward(self, video: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        features, lengths = self.resnet(video, lengths)
        return zero_padding(self.proj(features), lengths), lengths


class AvHubertTransformer(nn.Module):
    """`forward(x (B, T, D), lengths (B,)) -> (B, T, D)`, zero at padded steps; the weights are `layers.encoder`'s.

    transformers' `HubertEncoderStableLayerNorm`: a convolution over positions, then pre-normalized blocks. Defaults are
    the base model's sizes. Raises ConfigError for sizes that cannot be.
    """

    def __init__(
        self,
        *,
        output_size: int = 768,
        attention_heads: int = 12,
        linear_units: int = 3072,
        num_blocks: int = 12,
        dropout_rate: float = 0.1,
        layer_dropout_rate: float = 0.0,
    ):
        super().__init__()
        if num_blocks < 1 or attention_heads < 1 or output_size % attention_heads or output_size % POSITION_GROUPS:
            found = f"{num_blocks} blocks of {output_size} with {attention_heads} heads"
            expected = f"at least one block, a multiple of {POSITION_GROUPS} and of the heads (12 for 768, 16 for 1024)"
            raise ConfigError("bad sizes of AV-HuBERT's Transformer", found=found, expected=expected)
        from transformers import HubertConfig
        from transformers.models.hubert.modeling_hubert import HubertEncoderStableLayerNorm

        config = HubertConfig(
            hidden_size=output_size,
            intermediate_size=linear_units,
            num_hidden_layers=num_blocks,
            num_attention_heads=attention_heads,
            num_conv_pos_embedding_groups=POSITION_GROUPS,
            hidden_dropout=dropout_rate,
            attention_dropout=dropout_rate,
            activation_dropout=0.0,
            layerdrop=layer_dropout_rate,
            do_stable_layer_norm=True,
        )
        config._attn_implementation = "sdpa"
        self.encoder = HubertEncoderStableLayerNorm(config)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        lengths = lengths.to(x.device)
        mask = length_mask(lengths, x.size(1))
        padded = bool((lengths < x.size(1)).any())
        states = self.encoder(zero_padding(x, lengths), attention_mask=mask if padded else None).last_hidden_state
        return zero_padding(states, lengths)


class AvHubertFrontend(nn.Module):
    """`forward(video, lengths) -> (features (B, T', output_dim), lengths (B,))`: all of AV-HuBERT on a silent video.

    output_dim, attention_heads, linear_units, num_blocks: 768, 12, 3072, 12 (base) or 1024, 16, 4096, 24 (large).
    channels: of the ResNet's first stage; the published models have 64.
    feature_rate: "frame" (T steps) or "tubelet" (pairs averaged, max(1, T // 2) steps).
    """

    preset: VisualPreset = RESNET_PRESET

    def __init__(
        self,
        *,
        feature_rate: str = "frame",
        output_dim: int = 768,
        attention_heads: int = 12,
        linear_units: int = 3072,
        num_blocks: int = 12,
        channels: int = 64,
        dropout_rate: float = 0.1,
    ):
        super().__init__()
        self.feature_rate = check_feature_rate(feature_rate)
        self.video = AvHubertVideo(output_dim=output_dim, channels=channels)
        self.norm = nn.LayerNorm(2 * output_dim)
        self.linear = nn.Linear(2 * output_dim, output_dim)
        self.transformer = AvHubertTransformer(
            output_size=output_dim,
            attention_heads=attention_heads,
            linear_units=linear_units,
            num_blocks=num_blocks,
            dropout_rate=dropout_rate,
        )

    def output_size(self) -> int:
        return self.linear.out_features

    def output_lengths(self, lengths: Tensor) -> Tensor:
        """Feature steps of clips with `lengths` (B,) frames."""
        return steps_at_rate(lengths, self.feature_rate)

    def forward(self, video: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        seen, lengths = self.video(video, lengths)
        both = torch.cat([torch.zeros_like(seen), seen], dim=-1)  # the sound, which is missing, comes first
        features = self.transformer(self.linear(self.norm(both)), lengths)
        if self.feature_rate == "tubelet":
            return average_pairs(features, lengths)
        return features, lengths
