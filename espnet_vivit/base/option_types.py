"""The values that options can have: their kinds, and one table of ranges, which the checks of every YAML section read.

In: the section, and the name and value of an option. Out: nothing, or an error that says what was found and expected.
The constructor's annotations are the schema, as its names are: what they say of the kind is checked here, too. Which
options exclude each other is the matter of whoever combines them.
"""

import inspect
import math
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from espnet_vivit.errors import ConfigError, unknown_name

_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a name", types.NoneType: "null"}


def is_kind(value: object, kind: type) -> bool:
    """Whether a value is of this kind as YAML has it: true is no number, and a whole number is a number."""
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, bool) and kind is bool
    return isinstance(value, {int: Integral, float: Real}.get(kind, kind))


def words_for(kinds: Iterable[type], *, text: str = "a name") -> str:
    """The kinds in an error; `text` says what a text stands for."""
    return " or ".join(text if kind is str else _KINDS[kind] for kind in kinds)


def check_option_types(where: str, conf: Mapping, taker: Callable) -> None:
    """Raise ConfigError for an option that `taker` annotates as number, name or truth value, and that is none.

    `where` names `conf` in the error. Options whose annotation says anything else are left to `taker`.
    """
    for name, parameter in inspect.signature(taker).parameters.items():
        union = isinstance(parameter.annotation, types.UnionType)
        wanted = typing.get_args(parameter.annotation) if union else (parameter.annotation,)
        if name not in conf or conf[name] is parameter.default:  # ESPnet annotates `str` where it means `str | None`
            continue
        if not set(wanted) <= _KINDS.keys() or any(is_kind(conf[name], kind) for kind in wanted):
            continue
        fix = None
        if isinstance(conf[name], str) and {int, float} & set(wanted) and is_number(conf[name]):
            fix = "YAML takes 1e-3 and '1' for text, 1.0e-3 and 1 for numbers"
        raise ConfigError(f"{name} in {where}", found=repr(conf[name]), expected=words_for(wanted), fix=fix)


def is_number(text: str) -> bool:
    """Whether a text, which YAML takes 1e-3 for, was meant as a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


@dataclass(frozen=True)
class Values:
    """The values that one option can have: truth values, whole numbers or numbers between bounds, or some names.

    null: whether it may be left open. lists: whether it may be a list of such values. infinite: whether infinity counts
    as a number; NaN never does. rule: what bounds cannot say. words: the same for an error, made from the bounds if
    None. fix: what to do about another value.
    """

    kind: type = float
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    choices: tuple[str, ...] = ()
    null: bool = False
    lists: bool = False
    infinite: bool = False
    rule: Callable[[Any], object] | None = None
    words: str | None = None
    fix: str | None = None

    def hold(self, value: object) -> bool:
        """Whether the option can have this value."""
        if value is None and self.null:
            return True
        if self.rule is not None:
            try:
                return bool(self.rule(value))
            except TypeError:  # a value of another kind than the rule is about
                return False
        if self.choices:
            return value in self.choices
        if not is_kind(value, self.kind):
            return False
        return self.kind not in (int, float) or self._holds_number(float(value))  # pyright: ignore[reportArgumentType]

    def _holds_number(self, number: float) -> bool:
        return (
            not math.isnan(number)
            and (self.infinite or not math.isinf(number))
            and (self.at_least is None or number >= self.at_least)
            and (self.above is None or number > self.above)
            and (self.at_most is None or number <= self.at_most)
            and (self.below is None or number < self.below)
        )

    def __str__(self) -> str:
        if self.words is not None:
            return self.words
        bounds = {"above": self.above, "at least": self.at_least, "below": self.below, "at most": self.at_most}
        said = [f"{word} {bound:g}" for word, bound in bounds.items() if bound is not None]
        return ", ".join([words_for([self.kind]), *said])


def _from(
    least: int, words: str | None = None, *, most: float | None = None, null: bool = False, lists: bool = False
) -> Values:
    """Whole numbers."""
    words = words or f"{least} or more" + (f", at most {most}" if most else "")
    return Values(int, at_least=least, at_most=most, null=null, lists=lists, words=words)


def _is_speed_range(speeds: Any) -> bool:
    return len(speeds) == 2 and 0 < speeds[0] <= speeds[1]


def _are_ratios(ratios: Any) -> bool:
    return len(ratios) > 0 and all(one is None or (is_kind(one, float) and math.isfinite(one)) for one in ratios)


def _are_names(names: Any) -> bool:
    return isinstance(names, tuple) and names != () and all(isinstance(name, str) for name in names)


_LARGEST = 2**20  # beyond any layer's size; PyTorch's errors for what no memory holds name no option
_WIDEST, _FITTING = 2**14, f"at most {_LARGEST}"
_SIZE, _LAYERS = _from(1, most=_LARGEST), _from(1, most=1000)
_SHARE = Values(float, at_least=0, at_most=1, words="0 to 1")
_RATE = Values(float, at_least=0, below=1, words="a share from 0 to below 1")
_OFF_OR_MORE = Values(float, at_least=0, words="0 (off) or more")
_PADDING = "-1, which is all that ESPnet's error rates know as padding"

OPTIONS: Mapping[str, Mapping[str, Values]] = {
    "training": {
        **dict.fromkeys(("batch_size", "valid_batch_size", "batch_bins", "valid_batch_bins"), _from(1, null=True)),
        **dict.fromkeys(("min_batch_size", "max_batch_size", "num_iters_per_epoch"), _from(1, null=True)),
        "log_interval": _from(1, null=True),
        "keep_nbest_models": _from(1, null=True, lists=True),
        **dict.fromkeys(("nbest_averaging_interval", "patience", "num_workers"), _from(0, null=True)),
        **dict.fromkeys(("num_att_plot", "ngpu", "seed"), _from(0, null=True)),
        "max_epoch": _from(0),  # 0: an experiment without training
        "accum_grad": _from(1, "a number of batches per step, 1 or more"),
        "batch_frames": _from(1, "a number of frames, 1 or more", null=True),
        "max_padding": Values(float, above=0, below=1, words="a share above 0 and below 1"),
        # 0 would leave no gradient, less would turn it round
        "grad_clip": Values(float, above=0, infinite=True, words="a norm above 0; .inf clips nothing"),
    },
    "model_conf": {
        **dict.fromkeys(("ctc_weight", "interctc_weight", "lsm_weight"), _SHARE),
        "frame_loss_weight": _OFF_OR_MORE,
        "ignore_id": Values(int, at_least=-1, at_most=-1, words=_PADDING, fix="Leave it out"),
    },
    "part": {  # of whatever encoder, decoder or CTC has an option of this name
        **dict.fromkeys(("linear_units", "attention_heads", "output_size"), _SIZE),
        **dict.fromkeys(("output_dim", "channels"), Values(int, at_most=_LARGEST, null=True, words=_FITTING)),
        "image_size": Values(int, at_most=_WIDEST, null=True, words=f"at most {_WIDEST} pixels"),
        "num_blocks": _LAYERS,
        **dict.fromkeys(("dropout_rate", "positional_dropout_rate", "attention_dropout_rate"), _RATE),
        **dict.fromkeys(("self_attention_dropout_rate", "src_attention_dropout_rate", "layer_dropout_rate"), _RATE),
        "stochastic_depth_rate": Values(float, at_least=0, below=1, words="0 <= rate < 1"),
        "cnn_module_kernel": Values(
            int, rule=lambda size: size >= 1 and size % 2 == 1, words="an odd number", fix="31 is usual."
        ),
    },
    "fusion_conf": {"hidden_units": _from(1, null=True)},
    "vivit": {
        **dict.fromkeys(("output_dim", "max_windows"), _from(1, "1 or more, or None", most=_LARGEST, null=True)),
        **dict.fromkeys(("num_hidden_layers", "temporal_layers"), _LAYERS),
        **dict.fromkeys(("gaussian_masks", "num_channels"), _from(1)),
        **dict.fromkeys(("hidden_size", "intermediate_size", "num_attention_heads"), _SIZE),
        "registers": Values(int, at_least=0, below=1024, words="0 <= registers < 1024"),
        **dict.fromkeys(("drop_path", "attention_dropout", "mlp_dropout"), _RATE),
    },
    "preprocessor_conf": {
        **dict.fromkeys(("flip_prob", "speed_prob", "word_crop_prob", "join_prob", "noise_prob"), _SHARE),
        **dict.fromkeys(("time_masks_per_s", "time_mask_max_s"), _OFF_OR_MORE),
        "speed_range": Values(rule=_is_speed_range, words="[slowest, fastest], such as [0.9, 1.1]"),
        "word_crop_min": _from(1, "1 or more words"),
        "join_max_s": Values(float, above=0, words="more than 0 seconds"),
        "noise_snr_db": Values(rule=_are_ratios, words="at least one ratio in dB, or null for clean"),
        "noise_talkers": _from(1, "1 or more sounds at once"),
    },
    "tower_adapters": {
        "r": _from(1, "a whole number, 1 or more"),
        "alpha": Values(float, above=0, words="a number above 0"),
        "dropout": Values(float, at_least=0, below=1, words="0 or more, below 1"),
        "double_quant": Values(bool, null=True),
        "target_modules": Values(rule=_are_names, null=True, words="a list of layer names, such as [q_proj, v_proj]"),
    },
    "curriculum": dict.fromkeys(("max_frames", "epochs"), _from(1, "a whole number from 1")),
    "rates": {
        "lr_scale": Values(float, above=0, words="a number above 0; freeze_param keeps a part as it is"),
        "layer_decay": Values(float, above=0, at_most=1, words="a number above 0, at most 1"),
        "freeze_until": _from(1, "a whole number of optimizer steps, 1 or more"),
    },
    "optim_conf": {"muon_lr_scale": Values(float, above=0, words="a number above 0")},
    "scheduler_conf": {
        "warmup_share": Values(float, at_least=0, below=1, null=True, words="0 or more, and less than 1")
    },
    "search": {
        "search": Values(str, choices=("beam", "ctc_greedy")),
        "beam_size": _from(1, "1 or more hypotheses"),
        "ctc_weight": _SHARE,
        **dict.fromkeys(("penalty", "maxlenratio", "minlenratio"), Values(float)),
        "normalize_length": Values(bool),
    },
}


def check_value(section: str, name: str, value: object, *, where: str) -> None:
    """Raise ConfigError unless the option of this section can have the value; `where` begins the error."""
    values = OPTIONS[section][name]
    each = value if values.lists and isinstance(value, list | tuple) else [value]
    if not all(values.hold(one) for one in each):
        if values.choices:
            raise unknown_name(where, value, values.choices)
        raise ConfigError(where, found=repr(value), expected=str(values), fix=values.fix)


def check_values(section: str, conf: Mapping, *, where: str) -> None:
    """The same for all options of `conf` that the section has; `where` has {name} for the name of the option."""
    for name, value in conf.items():
        if name in OPTIONS[section]:
            check_value(section, name, value, where=where.format(name=name))


def check_sizes_and_rates(where: str, conf: Mapping) -> None:
    """Raise ConfigError for layers of no size, dropout rates that are no shares, heads that do not divide the width.

    ESPnet's parts take -1 blocks, and their heads end in a bare assert. `conf` may hold the encoder_output_size that a
    decoder is built with. Where no annotation tells the kind, the part itself judges what is no number.
    """
    numbers = {name: value for name, value in conf.items() if isinstance(value, int | float)}
    check_values("part", numbers, where="{name} in " + where)
    heads, width = conf.get("attention_heads"), conf.get("encoder_output_size")
    if isinstance(heads, int) and isinstance(width, int) and width % heads:
        raise ConfigError(
            f"attention_heads in {where} do not divide the encoder's output_size",
            found=f"{heads} heads for {width}",
            expected="a divisor of output_size",
            fix="Leave it out to take the encoder's.",
        )
