"""How large the pictures are that a tower of the hub takes, before it is built: what a preset has to know."""

from collections.abc import Mapping

from transformers import AutoConfig

from espnet_vivit.errors import unknown_name
from espnet_vivit.frontend.hub.gray_tower import side
from espnet_vivit.frontend.hub.stored import Source, check_source, read_config
from espnet_vivit.frontend.hub.vision_kinds import KINDS


def picture_size(conf: Mapping) -> int:
    """Side in pixels of the pictures of an encoder with the options `conf`. Raises what `read_config` does."""
    if conf.get("image_size") is not None:
        return conf["image_size"]
    stated = conf.get("config")
    if stated is None:
        check_source(conf.get("model_name"), conf.get("pretrained", True), None)
        source = Source(conf.get("revision"), conf.get("cache_dir"), bool(conf.get("local_files_only")))
        stated = read_config(conf["model_name"], source).to_dict()
    kind = KINDS.get(stated.get("model_type", ""))
    if kind is None:
        raise unknown_name("model_type", stated.get("model_type"), KINDS)
    return side(AutoConfig.for_model(**stated).to_dict()[kind.sizes[0]])
