"""The options of the model, of what it starts from and of its text, as a recipe's YAML and the command line name them.

In: ESPnet's parser. Out: the same with ours added. What the options mean stands where they are read: `E2E`,
`init_parts`, `tasks.optimizer`, `tasks.curriculum`, `tasks.preprocess`.
"""

import argparse
from collections.abc import Sequence

from espnet_vivit.data.token_list import TOKEN_TYPES
from espnet_vivit.espnet_compat import ClassChoices, NestedDictAction, int_or_none, str2bool, str_or_none
from espnet_vivit.model.joint_fusion import FUSIONS, PLACES
from espnet_vivit.model.precision import AMP_DTYPES
from espnet_vivit.tasks.options import add_choice
from espnet_vivit.units import FEATURE_RATES, STREAMS_OF

INITS = ("xavier_uniform", "xavier_normal", "kaiming_uniform", "kaiming_normal", "normal")


def add_model_arguments(parser: argparse.ArgumentParser, parts: Sequence[ClassChoices]) -> None:
    """`parts`: what `--<part>` and `--<part>_conf` are added for."""
    parser.get_default("required").append("token_list")
    group = parser.add_argument_group("Audio-visual model")
    add_choice(group, "modality", STREAMS_OF, help_text="streams of the model; follows from the encoders named")
    add_choice(group, "fusion", FUSIONS, default="concat", help_text="how video and audio features are joined")
    help_text = "before one encoder (features), or after an encoder for each stream (encoder)"
    add_choice(group, "fusion_place", PLACES, default="features", help_text=help_text)
    add_choice(group, "feature_rate", FEATURE_RATES, default="frame", help_text="25 Hz (frame) or 12.5 Hz (tubelet)")
    add_choice(group, "init", INITS, help_text="initialisation of all but the vision encoder")
    add_choice(group, "amp_dtype", AMP_DTYPES, help_text="mixed precision: replaces ESPnet's use_amp")
    for name, what in (
        ("modality_dropout", "how often training silences a stream, as {video: 0.25, audio: 0.25}"),
        ("model_conf", "loss weights and reports, as {ctc_weight: 0.1, lsm_weight: 0.1, frame_loss_weight: 0}"),
        ("fusion_conf", "options of the fusion, as {hidden_units: 8192} of mlp"),
        ("ctc_conf", "options of ESPnet's CTC"),
        ("tower_adapters", "LoRA and QLoRA, as {vision_encoder: {type: qlora, r: 16}}; see AdapterConfig"),
        ("init_parts", "where parts start from, as {encoder: vsr.pth, vision_encoder: google/vivit-b-16x2-…}"),
        ("curriculum", "short clips first, as {max_frames: 100, epochs: 10}"),
        ("lr_scale", "a part's share of the learning rate, as {vision_encoder: 0.1}"),
        ("layer_decay", "a layer's rate beside that of the one above it, as {vision_encoder: 0.75}"),
        ("freeze_until", "the optimizer step from which a part learns, as {vision_encoder: 5000}"),
    ):
        group.add_argument(f"--{name}", action=NestedDictAction, default={}, help=what)
    group = parser.add_argument_group("Text and preprocessing")
    group.add_argument("--token_list", type=str_or_none, default=None, help="one token per line, <blank> first")
    group.add_argument("--token_type", default="bpe", choices=TOKEN_TYPES, help="what a token is")
    group.add_argument("--bpemodel", type=str_or_none, default=None, help="sentencepiece model, for token_type bpe")
    help_text = "pixels in the middle of the aligned 96-pixel crop that the clips show; what transcribing has to know"
    group.add_argument("--mouth_view", type=int_or_none, default=None, help=help_text)
    group.add_argument("--use_preprocessor", type=str2bool, default=True, help="off: the data are arrays already")
    for choices in parts:
        choices.add_arguments(group)
