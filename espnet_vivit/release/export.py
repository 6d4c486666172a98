"""A trained model in, an ONNX file out: `espnet-vivit export exp/avsr_X model.onnx`.

The file takes `video` (B, T, H, W) uint8 gray and `lengths` (B,) int64 frames, B and T free, and gives CTC's
`log_probs` (B, T', V) float32 and `steps` (B,) int64; `--frontend` stops at the features (B, T', D) instead. It
computes in float32, whatever the training did, and runs in onnxruntime without torch or this package. Its metadata
holds the tokens, and of the mouth clips that the model was trained on `mouth_size` (their height in pixels) and
`mouth_view` (the middle of the 96-pixel mouth that they show). Normalisation is inside; cropping is not: H and W are
what the model's preset cuts from the middle of such a clip.

`--int8` keeps the matrices of the linear layers as 8-bit integers with one scale for each output (weight-only, absolute
maximum): a quarter of the size; activations stay float32.

All windows of a batch go through ViViT in one pass, so memory grows with the clip: cut recordings beyond a minute.
"""

import contextlib
import copy
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from espnet_vivit.base.whole_file import make_folder
from espnet_vivit.errors import ConfigError, MissingDependencyError
from espnet_vivit.tasks.training_facts import TrainingFacts
from espnet_vivit.units import MOUTH_SIZE, VIDEO_RATE_HZ

if TYPE_CHECKING:
    from espnet_vivit.e2e_asr_conformer import E2E
    from espnet_vivit.model.parts import VisualFrontend

OPSET = 20
_EXAMPLE_FRAMES = (19, 12)  # of the batch that is traced: any ragged one of more than one window would do


class CTCGraph(nn.Module):
    """`forward(video (B, T, H, W), lengths (B,)) -> (log-probabilities (B, T', V), steps (B,))` of an `E2E`.

    A model of both streams answers from video alone, as in decoding.
    """

    def __init__(self, model: "E2E"):
        super().__init__()
        if model.vision_encoder is None:
            raise ConfigError("only models that read video are exported", found=f"modality {model.modality!r}")
        if model.ctc is None:
            raise ConfigError("only models with CTC are exported", found="ctc_weight 0")
        self.vision_encoder: VisualFrontend = model.vision_encoder
        self.fusion = model.fusion
        self.encoder, self.output, self.multimodal = model.encoder, model.ctc.ctc_lo, model.modality == "multimodal"
        self.given = {"ctc": model.ctc} if getattr(model.encoder, "interctc_use_conditioning", False) else {}

    def forward(self, video: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features, steps = self.vision_encoder(video, lengths)
        fused = self.fusion(features, None, steps) if self.multimodal else self.fusion(features)
        states, steps, _ = self.encoder(fused, steps, **self.given)
        if isinstance(states, tuple):  # intermediate CTC: the last layer's states come first
            states = states[0]
        return torch.log_softmax(self.output(states), dim=-1), steps


def export_frontend(
    frontend: "VisualFrontend", path: str | Path, *, int8: bool = False, facts: TrainingFacts | None = None
) -> Path:
    """Write a visual frontend as ONNX: `video`, `lengths` -> `features` (B, T', D), `steps` (B,). Returns the path.

    frontend: `vivit_encoder`, `LinearFrontend`, `ResNetFrontend` or `HuggingFaceVision`; it is exported as it answers
    in evaluation, and left as it was. facts: of its training, which say how large its mouth clips were; None: 96
    pixels. See the module for the rest.

    Raises:
        ConfigError: a model beyond the 2 GB that one ONNX file holds, or a tower that no graph can hold.
        MissingDependencyError: onnx and onnxscript are not installed.
    """
    return _write(frontend, frontend, Path(path), "features", metadata={}, facts=facts, int8=int8)


def export_model(model: "E2E", path: str | Path, *, int8: bool = False, facts: TrainingFacts | None = None) -> Path:
    """Write frontend, fusion, encoder and CTC of an `E2E` as ONNX: `video`, `lengths` -> `log_probs`, `steps`.

    The options are those of `export_frontend`.

    Raises:
        ConfigError: a model without video or without CTC, with adapters, or beyond 2 GB.
        MissingDependencyError: onnx and onnxscript are not installed.
    """
    if model.tower_adapters:
        raise ConfigError(
            "adapters are not exported",
            found=f"adapters on {', '.join(model.tower_adapters)}",
            fix="Make a plain model of it first: espnet-vivit merge-adapters",
        )
    tokens = json.dumps(list(model.token_list), ensure_ascii=False)
    metadata = {"tokens": tokens, "blank": "0", "feature_rate": model.feature_rate}
    graph = CTCGraph(model)
    return _write(graph, graph.vision_encoder, Path(path), "log_probs", metadata=metadata, facts=facts, int8=int8)


def _write(
    graph: nn.Module,
    frontend: "VisualFrontend",
    path: Path,
    output: str,
    *,
    metadata: Mapping,
    facts: TrainingFacts | None,
    int8: bool,
) -> Path:
    try:
        import onnx
        import onnxscript  # noqa: F401  (torch's exporter needs it)

        from espnet_vivit.release.export_int8 import quantize_weights
    except ImportError as error:
        raise MissingDependencyError(
            f"ONNX export needs a package: {error}", fix="pip install 'espnet-vivit[export]'"
        ) from error
    check = getattr(frontend, "check_exportable", None)
    if callable(check):  # of the hub's towers
        check()
    mouth_size = (facts and facts.mouth_size) or MOUTH_SIZE
    height, width = frontend.preset.crop_shape(mouth_size)
    if any(parameter.dtype != torch.float32 for parameter in graph.parameters()):
        graph = copy.deepcopy(graph).float()
    model = _trace(graph, (height, width), output)
    if int8:
        quantize_weights(model)
    about = {"video": f"uint8 gray, {height}x{width} pixels, {VIDEO_RATE_HZ} frames per second", **metadata}
    about |= {"mouth_size": str(mouth_size), "mouth_view": str((facts and facts.mouth_view) or MOUTH_SIZE)}
    onnx.helper.set_model_props(model, about)
    make_folder(path.parent)
    try:
        onnx.checker.check_model(model)
        onnx.save_model(model, path)
    except ValueError as error:  # protobuf's bound
        raise ConfigError(f"the model does not fit in one ONNX file of 2 GB ({error})", fix="Try --int8") from error
    return path


def _trace(graph: nn.Module, size: tuple[int, int], output: str):
    """The `onnx.ModelProto` of `graph` as it answers in evaluation; it is left in the mode in which it was."""
    example = torch.zeros(len(_EXAMPLE_FRAMES), max(_EXAMPLE_FRAMES), *size, dtype=torch.uint8)
    device = next(graph.parameters()).device
    inputs = (example.to(device), torch.tensor(_EXAMPLE_FRAMES, device=device))
    with evaluating(graph), torch.no_grad(), _quiet():
        program = torch.onnx.export(
            graph,
            inputs,
            dynamo=True,
            dynamic_shapes=({0: "batch", 1: "frames"}, {0: "batch"}),
            input_names=["video", "lengths"],
            output_names=[output, "steps"],
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None  # it is where dynamo=True
    return program.model_proto


@contextlib.contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """`module` in evaluation inside the block; after it each of its parts is as it was."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


@contextlib.contextmanager
def _quiet():
    """Without the exporter's remarks on packages that it could use and on its own deprecations."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
