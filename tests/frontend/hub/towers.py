"""Small random towers of every kind, as transformers builds and saves them, with what its preprocessing would say."""

import json

import torch
import transformers

from tests.tiny import randomize

PIXELS, HIDDEN, FRAMES = 16, 16, 4
SIZES = {"hidden_size": HIDDEN, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
PICTURE = {**SIZES, "image_size": PIXELS, "patch_size": 8}
CONFIGS = {  # model_type -> fields of its configuration
    "vit": PICTURE,
    "clip_vision_model": PICTURE,
    "siglip_vision_model": PICTURE,
    "dinov2": {**{name: PICTURE[name] for name in PICTURE if name != "intermediate_size"}, "mlp_ratio": 2},
    "dinov3_vit": {**PICTURE, "num_register_tokens": 2},
    "videomae": {**PICTURE, "num_frames": FRAMES},
    "timesformer": {**PICTURE, "num_frames": FRAMES},
    "vjepa2": {
        **{"crop_size": PIXELS, "patch_size": 8, "frames_per_clip": FRAMES, "hidden_size": HIDDEN, "mlp_ratio": 2},
        **{"num_attention_heads": 2, "num_hidden_layers": 2, "pred_hidden_size": HIDDEN},
        **{"pred_num_attention_heads": 2, "pred_num_hidden_layers": 1},
    },
    "videoprism_vision_model": {
        **{"image_size": PIXELS, "num_frames": FRAMES, "tubelet_size": [1, 8, 8], "hidden_size": HIDDEN},
        **{"num_attention_heads": 2, "intermediate_size": 32, "num_spatial_layers": 1, "num_temporal_layers": 2},
    },
}
_WAVEFORM = {  # the smallest that still takes 16000 samples to 49 states
    **SIZES,
    **{"conv_dim": [8] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2},
    **{"hidden_dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0, "feat_proj_dropout": 0.0},
}
CONFIGS |= {
    "whisper": {
        **{"d_model": HIDDEN, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 32},
        **{"decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 32, "vocab_size": 20},
        **{"max_source_positions": 400, "num_mel_bins": 80, "pad_token_id": 0, "bos_token_id": 1},
        **{"eos_token_id": 2, "decoder_start_token_id": 1},
    },
    "wav2vec2": _WAVEFORM,
    "hubert": {**_WAVEFORM, "feat_extract_norm": "layer", "do_stable_layer_norm": True},
    "wavlm": _WAVEFORM,
}
WAVEFORMS = ("wav2vec2", "hubert", "wavlm")
PICTURES = ("vit", "clip_vision_model", "siglip_vision_model", "dinov2", "dinov3_vit")
VIDEOS = ("videomae", "timesformer", "vjepa2", "videoprism_vision_model")
CLASSES = {
    "vit": "ViTModel",
    "clip_vision_model": "CLIPVisionModel",
    "siglip_vision_model": "SiglipVisionModel",
    "dinov2": "Dinov2Model",
    "dinov3_vit": "DINOv3ViTModel",
    "videomae": "VideoMAEModel",
    "timesformer": "TimesformerModel",
    "vjepa2": "VJEPA2Model",
    "videoprism_vision_model": "VideoPrismVisionModel",
    "whisper": "WhisperModel",
    "wav2vec2": "Wav2Vec2Model",
    "hubert": "HubertModel",
    "wavlm": "WavLMModel",
}
MEANS, DEVIATIONS = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)  # of the colors, each another


def library_tower(kind: str, **fields) -> torch.nn.Module:
    """The library's own tower in evaluation, every weight drawn."""
    config = transformers.AutoConfig.for_model(kind, **{**CONFIGS[kind], **fields})
    return randomize(getattr(transformers, CLASSES[kind])(config), std=0.2).eval()


def save(tower: torch.nn.Module, folder, **preprocessing) -> str:
    """`folder`, as a download from the hub would have it."""
    tower.save_pretrained(folder)
    stated = {"image_mean": MEANS, "image_std": DEVIATIONS, "do_normalize": True, **preprocessing}
    (folder / "preprocessor_config.json").write_text(json.dumps(stated), encoding="utf-8")
    return str(folder)


def processed(frames: torch.Tensor) -> torch.Tensor:
    """What the library's image processor makes of gray uint8 (..., H, W): three normalized colors (..., 3, H, W)."""
    colors = [(frames.float() / 255 - mean) / deviation for mean, deviation in zip(MEANS, DEVIATIONS, strict=True)]
    return torch.stack(colors, dim=-3)
