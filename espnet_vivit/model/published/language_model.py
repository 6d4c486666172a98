"""VSR-ML's and RAVEn's language models: ESPnet1's Transformer over tokens, as ESPnet2's `lm: transformer`.

Sources: mpc001/Visual_Speech_Recognition_for_Multiple_Languages 5e1405d, ahaliassos/raven 11fb53f. 16 blocks of 512
without positions in all that are published. ESPnet2's TransformerLM with these names gives equal log-probabilities.
"""

from collections.abc import Mapping

from espnet_vivit.model.published.layout import Layout, Sizes, Terms

_HEAD_SIZE = 64  # no shape tells; all published models have 8 heads for 512


def _options(sizes: Sizes) -> dict:
    width = sizes("encoder.embed.0.weight", "D, E", "D")
    return {
        "vocabulary": sizes("embed.weight", "V, E", "V"),
        "lm_conf": {
            "pos_enc": None,
            "embed_unit": sizes("embed.weight", "V, E", "E"),
            "att_unit": width,
            "head": max(1, width // _HEAD_SIZE),
            "unit": sizes("encoder.encoders.0.feed_forward.w_1.weight", "units, D", "units"),
            "layer": sizes.count("encoder.encoders"),
            "dropout_rate": 0.0,
        },
    }


TRANSFORMER = Layout(
    title="a Transformer language model of VSR-ML or RAVEn",
    marks={"embed.weight": "V, E", "encoder.encoders.0.norm_mha.weight": "D", "decoder.weight": "V, D"},
    names=((r"^lm\.", ""), (r"\.norm1\.", ".norm_mha."), (r"\.norm2\.", ".norm_ff.")),
    options=_options,
    terms=Terms(
        license="that of the models published with it",
        source="github.com/mpc001/Visual_Speech_Recognition_for_Multiple_Languages",
    ),
)
LAYOUTS = (TRANSFORMER,)


def build_language_model(options: Mapping):
    """ESPnet2's language model of these sizes: `options` as `TRANSFORMER.model_options` gives them, untrained."""
    from espnet2.lm.espnet_model import ESPnetLanguageModel
    from espnet2.lm.transformer_lm import TransformerLM

    size = options["vocabulary"]
    return ESPnetLanguageModel(lm=TransformerLM(size, **options["lm_conf"]), vocab_size=size)
