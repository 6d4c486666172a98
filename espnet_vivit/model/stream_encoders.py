"""Late fusion's encoder: a projection and an encoder for each of two streams, which meet only afterwards.

In: features (B, T', D_v) and (B, T', D_a), either absent. Out: the states of each stream, (B, T', D), zero at padded
steps. The layout of VSR-ML's and Auto-AVSR v1.0.0's audio-visual model (Ma et al., ICASSP 2021, arXiv:2102.06657).
"""

from espnet2.asr.encoder.abs_encoder import AbsEncoder
from torch import Tensor, nn

from espnet_vivit.errors import ConfigError
from espnet_vivit.frontend.masking import zero_padding


class StreamEncoders(AbsEncoder):
    """`forward(video or None, audio or None, lengths (B,)) -> (video states, audio states)`, None where one is absent.

    video, audio: encoders of equal output size, without intermediate CTC; a linear layer brings the features to it.
    Raises ConfigError for two that cannot be fused.
    """

    def __init__(self, video: AbsEncoder, audio: AbsEncoder, *, video_size: int, audio_size: int):
        super().__init__()
        for name, encoder in (("video", video), ("audio", audio)):
            if getattr(encoder, "interctc_layer_idx", ()):
                raise ConfigError(
                    "intermediate CTC needs one encoder, and fusion_place: encoder makes one for each stream",
                    found=f"interctc_layer_idx of the {name} encoder",
                    fix="Leave it out, or set fusion_place: features",
                )
        if video.output_size() != audio.output_size():
            found = f"{video.output_size()} and {audio.output_size()}"
            raise ConfigError("the two encoders have different output sizes", found=found, expected="one size")
        self.video_projection = nn.Linear(video_size, video.output_size())
        self.audio_projection = nn.Linear(audio_size, audio.output_size())
        self.video, self.audio = video, audio
        self.interctc_use_conditioning = False  # ESPnetASRModel asks

    def output_size(self) -> int:
        return self.video.output_size()

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]  two streams in, two out
        self, video: Tensor | None, audio: Tensor | None, lengths: Tensor
    ) -> tuple[Tensor | None, Tensor | None]:
        seen = heard = None
        if video is not None:
            seen = self.video(self.video_projection(zero_padding(video, lengths)), lengths)[0]
        if audio is not None:
            heard = self.audio(self.audio_projection(zero_padding(audio, lengths)), lengths)[0]
        return seen, heard
