"""Auto-AVSR's published checkpoints: its parameter names beside ours, and the sizes that the weights themselves tell.

In: a `.pth` file of github.com/mpc001/auto_avsr (Ma et al., ICASSP 2023; Apache-2.0), or its state dict. Out: the
arguments of the `E2E` with the same parameters, and these filled. Names are compared in both directions: a weight
without a place, or a place without a weight, is an error that names it. Only tensors are read; a pickle with anything
else in it is refused before anything of it runs.
"""

import pickle
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from espnet_vivit.errors import WeightsError

NAMES = (  # our name (regular expression) -> Auto-AVSR's; all others are the same in both
    (r"^(vision|audio)_encoder\.", "frontend."),
    (r"^fusion\.", "proj_encoder."),
    (r"^(encoder\.encoders\.\d+\.conv_module\.pointwise_co)nv", r"\1v"),
)
_STEMS = {  # modality -> its frontend's first weight, which axes that has, and our part of that shape
    "video": ("frontend.frontend3D.0.weight", "C, 1, 5, 7, 7", {"vision_encoder": "resnet"}),
    "audio": ("frontend.trunk.conv1.weight", "C, 1, 80", {"audio_encoder": "resnet1d"}),
}
_FIX = "from_auto_avsr reads the audio and the video model of mpc001/auto_avsr"


def auto_avsr_name(name: str) -> str:
    """Auto-AVSR's name of the parameter that an `E2E` calls `name`."""
    for ours, theirs in NAMES:
        name = re.sub(ours, theirs, name)
    return name


def read_state_dict(checkpoint: str | Path | Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The weights of a file, or the mapping itself. Raises WeightsError for all that is not tensors by name."""
    state: object = checkpoint
    if isinstance(checkpoint, str | Path):
        try:
            state = torch.load(checkpoint, map_location="cpu", weights_only=True)
        except FileNotFoundError:
            raise WeightsError(f"the checkpoint {checkpoint} does not exist") from None
        except Exception as error:  # damaged files fail in as many ways as there are; the cause is kept
            raise _unreadable(checkpoint, error) from error
    by_name = state if isinstance(state, Mapping) and all(isinstance(name, str) for name in state) else {}
    strangers = [name for name, value in by_name.items() if not isinstance(value, Tensor)]
    if strangers or not by_name:
        found = f"entries that are none: {', '.join(strangers)}" if strangers else f"{type(state).__name__}"
        fix = "Of a checkpoint of PyTorch Lightning, save ['state_dict'] with the prefix `model.` taken off its names"
        raise WeightsError("the checkpoint is no state dict", found=found, expected="tensors by name", fix=fix)
    return by_name


def model_options(
    state: Mapping[str, Tensor], *, waveform_normalization: str = "utterance", decoder_heads: int | None = None
) -> dict:
    """The arguments of the `E2E` that `state` (Auto-AVSR's names) fits, plain numbers and strings.

    waveform_normalization: of the audio model; Auto-AVSR's data loader does "utterance". decoder_heads: no shape tells
    them; None takes the encoder's number, as in the published models.
    Raises WeightsError if the frontend is neither of the two, or a weight that tells a size is missing.
    """
    modality = _modality(state)
    stem, axes, part = _STEMS[modality]
    frontend_conf: dict[str, int | str] = {"channels": _size(state, stem, axes, "C")}
    if modality == "audio":
        frontend_conf["waveform_normalization"] = waveform_normalization
    heads = _size(state, "encoder.encoders.0.self_attn.pos_bias_u", "heads, D / heads", "heads")
    kernel = _size(state, "encoder.encoders.0.conv_module.depthwise_conv.weight", "D, 1, kernel", "kernel")
    return {
        "odim": _size(state, "ctc.ctc_lo.weight", "V, D", "V"),
        "modality": modality,
        **part,
        **{f"{kind}_conf": frontend_conf for kind in part},
        "encoder_conf": {
            "output_size": _size(state, "ctc.ctc_lo.weight", "V, D", "D"),
            "attention_heads": heads,
            "linear_units": _size(state, "encoder.encoders.0.feed_forward.w_1.weight", "units, D", "units"),
            "num_blocks": _count(state, "encoder.encoders"),
            "cnn_module_kernel": kernel,
        },
        "decoder_conf": {
            "attention_heads": heads if decoder_heads is None else decoder_heads,
            "linear_units": _size(state, "decoder.decoders.0.feed_forward.w_1.weight", "units, D", "units"),
            "num_blocks": _count(state, "decoder.decoders"),
        },
    }


def load_auto_avsr(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Copy `state` (Auto-AVSR's names) into `model` (ours); raise WeightsError unless the two fit exactly."""
    places = {auto_avsr_name(ours): (ours, value) for ours, value in model.state_dict().items()}
    missing = [name for name in places if name not in state]
    unmapped = [name for name in state if name not in places]
    misshapen = [
        f"{name} {tuple(state[name].shape)} for {tuple(value.shape)}"
        for name, (_, value) in places.items()
        if name in state and state[name].shape != value.shape
    ]
    problems = {"missing": missing, "without a place": unmapped, "of another shape": misshapen}
    if any(problems.values()):
        found = "; ".join(f"{len(names)} {kind}: {', '.join(names)}" for kind, names in problems.items() if names)
        raise WeightsError("the checkpoint is no complete Auto-AVSR model", found=found, fix=_FIX)
    model.load_state_dict({ours: state[name] for name, (ours, _) in places.items()}, strict=True)


def _modality(state: Mapping[str, Tensor]) -> str:
    fitting = [
        modality for modality, (name, axes, _) in _STEMS.items() if name in state and state[name].dim() == _rank(axes)
    ]
    if len(fitting) == 1:
        return fitting[0]
    parts = sorted({".".join(str(name).split(".")[:2]) for name in state})
    stems = " or ".join(f"{name} ({axes}) of the {modality} model" for modality, (name, axes, _) in _STEMS.items())
    raise WeightsError("no frontend of Auto-AVSR", found=", ".join(parts), expected=stems, fix=_FIX)


def _size(state: Mapping[str, Tensor], name: str, axes: str, axis: str) -> int:
    """The size of one of the axes of a weight; raises WeightsError if it is not there, or not of that rank."""
    if name not in state:
        raise WeightsError(f"the checkpoint has no {name}, which tells a size", expected=f"({axes})", fix=_FIX)
    if state[name].dim() != _rank(axes):
        found = tuple(state[name].shape)
        raise WeightsError(f"{name} has the wrong shape", found=found, expected=f"({axes})", fix=_FIX)
    return state[name].size(axes.split(", ").index(axis))


def _rank(axes: str) -> int:
    return len(axes.split(", "))


def _count(state: Mapping[str, Tensor], prefix: str) -> int:
    """How many different numbers follow `prefix`: blocks, of which a missing one is reported as such when loading."""
    matches = (re.match(rf"{re.escape(prefix)}\.(\d+)\.", name) for name in state)
    return max(int(match.group(1)) for match in matches if match) + 1


def _unreadable(path: str | Path, error: Exception) -> WeightsError:
    if isinstance(error, pickle.UnpicklingError):  # its own text advises to run the code after all
        code = re.search(r"Unsupported global: GLOBAL (\S+)", str(error))
        return WeightsError(
            f"the checkpoint {path} is refused: "
            + ("a pickle with code or objects" if code else "no pickle of tensors"),
            found=code.group(1) if code else None,
            expected="tensors alone",
            fix="None of it was run. Get the file from its publisher, or have them save the state dict alone",
        )
    reason = str(error).strip().split("\n")[0] or type(error).__name__
    return WeightsError(f"the checkpoint {path} cannot be read: {reason}", fix="Is it complete? Download it again")
