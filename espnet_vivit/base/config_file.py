"""The YAML of a training, a decoding or a card as a dict. The one reader of them all; nothing heavy is imported."""

from pathlib import Path

import yaml

from espnet_vivit.errors import ConfigError


class _StrictLoader(yaml.SafeLoader):
    """The YAML loader for which a key that occurs twice is an error instead of a silent choice of the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} occurs twice", node.start_mark)
        return super().construct_mapping(node, deep)


def read_config(path: str | Path) -> dict:
    """Read a YAML file as a dict. Raises ConfigError for a missing or malformed file, and for a key that occurs
    twice.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path} ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"the configuration {path} is not UTF-8 text ({error.reason})") from error
    try:
        config = yaml.load(text, Loader=_StrictLoader)
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:  # such as a 31st of February
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(config, dict):
        raise ConfigError(f"{path} holds no options", found=type(config).__name__, expected="lines like `key: value`")
    return config
