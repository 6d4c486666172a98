"""ESPnet's neural language models as scorers of the beam search.

In: the config.yaml and the weights (.pth or .safetensors) of an ESPnet language model of the recognizer's own tokens.
Out: the model, whose `lm` the search takes. ESPnet's loader unpickles whatever the files hold, asks nothing
about the tokens, and `lm: transformer_opt` has it fetch weights from a network.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from espnet_vivit.base.config_file import read_config
from espnet_vivit.errors import ConfigError, unknown_name
from espnet_vivit.espnet_compat import quiet_espnet_import
from espnet_vivit.tasks.model_config import load_strictly

LOCAL = ("seq_rnn", "transformer")  # ESPnet's names of those that are whole without a network
BUILT_FROM = ("lm", "lm_conf", "model", "model_conf", "token_list")  # the keys of its configuration that say what it is


def load_language_model(config_file: str | Path | None, model_file: str | Path, token_list: Sequence[str]):
    """The model, in evaluation mode; config_file None: config.yaml beside the weights.

    Raises ConfigError: another kind of model, or one of other tokens; WeightsError: weights that do not fit.
    """
    config_file = Path(config_file or Path(model_file).parent / "config.yaml")
    config = read_config(config_file)
    if config.get("lm") not in LOCAL:
        raise unknown_name(f"lm in {config_file}", config.get("lm"), LOCAL)
    found = config.get("token_list")
    if found != list(token_list):
        count = len(found) if isinstance(found, list) else "no"
        raise ConfigError(
            f"the language model {config_file} is of other tokens than the recognizer",
            found=f"{count} tokens",
            expected=f"the recognizer's {len(token_list)}, in their order",
            fix="Train it with the recognizer's token list",
        )
    with quiet_espnet_import():
        from espnet2.tasks.lm import LMTask
    options = {"model": "lm", "model_conf": {}, "lm_conf": {}, **{k: config[k] for k in BUILT_FROM if k in config}}
    model = LMTask.build_model(argparse.Namespace(**options, init=None))
    load_strictly(model, model_file)
    return model.eval()
