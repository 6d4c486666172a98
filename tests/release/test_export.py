"""ONNX files against the models they were made of, in onnxruntime; the reading of int8 weights against PyTorch's."""

import copy
import json
import logging
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from espnet_vivit import vivit_encoder
from espnet_vivit.bin import cli
from espnet_vivit.errors import ConfigError, MissingDependencyError
from espnet_vivit.frontend.huggingface_vision import HuggingFaceVision
from espnet_vivit.frontend.linear import LinearFrontend
from espnet_vivit.frontend.resnet import ResNetFrontend
from espnet_vivit.release.export import _quiet, export_frontend, export_model
from espnet_vivit.release.export_int8 import quantize, quantize_weights
from espnet_vivit.tasks.avsr import AVSRTask
from espnet_vivit.tasks.training_facts import TrainingFacts
from tests.experiments import VIVIT, write_experiment
from tests.frontend.hub import towers
from tests.tiny import CONFIG, PIXELS, randomize, raw_clip, tiny_e2e, tiny_vivit

TOLERANCE = 1e-5
ONE_LAYER = {"num_hidden_layers": 1}  # tracing takes its time
BATCHES = [(21, 1, 8, 13), (30,), (2,), (1,), (8,), (12, 7), (75, 20)]  # frames: none of them that of the traced batch

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # thinned clips say so


def run(path, video, lengths):
    options = onnxruntime.SessionOptions()
    # by default, onnxruntime rounds what is multiplied with 8-bit matrices to 8 bits too
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    outputs = session.run(None, {"video": video.numpy(), "lengths": lengths.numpy()})
    return [torch.from_numpy(output) for output in outputs]


def batch_of(frames, pixels=PIXELS):
    """Clips of as many frames, the padding as bad as it can be, and their lengths."""
    video = torch.full((len(frames), max(frames), pixels, pixels), 255, dtype=torch.uint8)
    for row, count in zip(video, frames, strict=True):
        row[:count] = raw_clip(count, pixels)
    return video, torch.tensor(frames)


def assert_valid_steps_equal(found, expected, steps):
    for ours, theirs, count in zip(found, expected, steps.tolist(), strict=True):
        torch.testing.assert_close(ours[:count], theirs[:count], atol=TOLERANCE, rtol=0)


# frontends ----------------------------------------------------------------------------------------------------------

MODES = [
    {"frame_adjust": "window", "window_overlap": 2, "feature_rate": "frame", "output_dim": 6},
    pytest.param({"frame_adjust": "window", "window_overlap": 4, "temporal_pooling": "max"}, marks=pytest.mark.slow),
    pytest.param({"frame_adjust": "sample"}, marks=pytest.mark.slow),
    {"frame_adjust": "window", "window_overlap": 4, "stem": "conv", "dtype": "float32"},
]


@pytest.mark.parametrize(
    "kind", ["dinov2", *(pytest.param(kind, marks=pytest.mark.slow) for kind in towers.PICTURES if kind != "dinov2")]
)
def test_a_tower_of_pictures_of_the_hub_is_exported(kind, tmp_path):
    encoder = HuggingFaceVision(towers.save(towers.library_tower(kind), tmp_path), output_dim=4).eval()
    path = export_frontend(encoder, tmp_path / "frontend.onnx")
    for frames in ((12, 7), (1,), (30,)):
        video, lengths = batch_of(frames)
        expected, steps = encoder(video, lengths)
        features, found = run(path, video, lengths)
        assert torch.equal(found, steps)
        assert_valid_steps_equal(features, expected, steps)


@pytest.mark.parametrize("kind", towers.VIDEOS)
def test_a_tower_of_videos_says_that_no_graph_holds_it(kind, tmp_path):
    encoder = HuggingFaceVision(towers.save(towers.library_tower(kind), tmp_path))
    with pytest.raises(
        ConfigError, match=r"neither exported nor compiled as a whole: found .*; expected a tower of pict"
    ):
        export_frontend(encoder, tmp_path / "frontend.onnx")


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: "-".join(str(value) for value in mode.values()))
def test_one_file_of_a_frontend_serves_every_length_and_batch(mode, tmp_path):
    encoder = tiny_vivit(**mode, config=ONE_LAYER).train()
    path = export_frontend(encoder, tmp_path / "sub" / "frontend.onnx")
    assert all(part.training for part in encoder.modules()), "exporting has changed the module's mode"
    encoder.eval()
    for frames in BATCHES:
        video, lengths = batch_of(frames)
        features, steps = run(path, video, lengths)
        with torch.no_grad():
            expected, expected_steps = encoder(video, lengths)
        assert torch.equal(steps, expected_steps) and features.shape == expected.shape
        torch.testing.assert_close(features, expected, atol=TOLERANCE, rtol=TOLERANCE)


FAMILY = [
    {"attention": "causal", "left_context": 3, "temporal_layers": 1, "feature_rate": "frame"},
    *(
        pytest.param(mode, marks=pytest.mark.slow)
        for mode in (
            {"attention": "causal", "temporal_layers": 1, "temporal_tokens": "places", "temporal_pooling": "gaussian"},
            {"attention": "factorised_encoder", "temporal_layers": 1, "registers": 2, "temporal_pooling": "cls"},
            {"attention": "factorised_self_attention", "temporal_positions": "rope"},
            {"attention": "factorised_self_attention", "frame_adjust": "window", "num_frames": 8, "window_overlap": 4},
            {"attention": "factorised_dot_product", "temporal_positions": "rope"},
        )
    ),
]


@pytest.mark.parametrize("mode", FAMILY, ids=lambda mode: "-".join(str(value) for value in mode.values()))
def test_one_file_of_a_factorised_frontend_serves_every_length_and_batch(mode, tmp_path):
    config = {name: value for name, value in CONFIG.items() if name != "num_frames"} | ONE_LAYER
    encoder = randomize(vivit_encoder(pretrained=False, config=config, **mode)).eval()
    path = export_frontend(encoder, tmp_path / "frontend.onnx")
    for frames in BATCHES:
        video, lengths = batch_of(frames)
        features, steps = run(path, video, lengths)
        with torch.no_grad():
            expected, expected_steps = encoder(video, lengths)
        assert torch.equal(steps, expected_steps) and features.shape == expected.shape
        torch.testing.assert_close(features, expected, atol=2e-5, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("rate", ["frame", "tubelet"])
@pytest.mark.parametrize("build", [LinearFrontend, ResNetFrontend])
def test_the_baselines_are_exported_too(build, rate, tmp_path):
    small = {"image_size": PIXELS, "output_dim": 6} if build is LinearFrontend else {"channels": 2}
    frontend = randomize(build(feature_rate=rate, **small)).eval()
    path = export_frontend(frontend, tmp_path / "frontend.onnx")
    for frames in BATCHES:
        video, lengths = batch_of(frames, pixels=PIXELS if build is LinearFrontend else 88)
        features, steps = run(path, video, lengths)
        with torch.no_grad():
            expected, expected_steps = frontend(video, lengths)
        assert torch.equal(steps, expected_steps) and features.shape == expected.shape
        torch.testing.assert_close(features, expected, atol=TOLERANCE, rtol=TOLERANCE)


def test_a_frontend_need_not_see_a_square(tmp_path):
    height, width = PIXELS // 2, PIXELS
    encoder = tiny_vivit(config=ONE_LAYER | {"image_size": [height, width]})
    path = export_frontend(encoder, tmp_path / "frontend.onnx")
    video, lengths = torch.randint(0, 256, (2, 12, height, width), dtype=torch.uint8), torch.tensor([12, 5])
    with torch.no_grad():
        expected, _ = encoder(video, lengths)
    torch.testing.assert_close(run(path, video, lengths)[0], expected, atol=TOLERANCE, rtol=TOLERANCE)


def test_a_frontend_in_bfloat16_is_exported_in_float32(tmp_path):
    encoder = tiny_vivit(config=ONE_LAYER, dtype="bfloat16")
    path = export_frontend(encoder, tmp_path / "frontend.onnx")
    assert encoder.vivit.dtype == torch.bfloat16, "exporting has changed the module"
    video, lengths = batch_of((20, 9))
    with torch.no_grad():
        expected, _ = encoder.float()(video, lengths)
    torch.testing.assert_close(run(path, video, lengths)[0], expected, atol=TOLERANCE, rtol=TOLERANCE)


def test_the_picture_is_what_the_preset_cuts_from_the_clips_of_the_training(tmp_path):
    """A ResNet has no size of its own: of mouths of 52 pixels it sees 48, of mouths of 96 pixels 88."""
    frontend = randomize(ResNetFrontend(channels=2)).eval()
    facts = TrainingFacts(mouth_size=52, longest_clip_s=3.0, mouth_view=64)
    path = export_frontend(frontend, tmp_path / "frontend.onnx", facts=facts)
    about = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    assert about["video"].startswith("uint8 gray, 48x48 pixels") and frontend.preset.crop_size(52) == 48
    assert (about["mouth_size"], about["mouth_view"]) == ("52", "64")
    video, lengths = batch_of((20, 9), pixels=48)
    with torch.no_grad():
        expected, _ = frontend(video, lengths)
    torch.testing.assert_close(run(path, video, lengths)[0], expected, atol=TOLERANCE, rtol=TOLERANCE)


def test_models_conditioned_on_intermediate_ctc_are_exported(tmp_path):
    conformer = {"interctc_layer_idx": [1], "interctc_use_conditioning": True}
    model = tiny_e2e("video", encoder_conf=conformer, interctc_weight=0.3).eval()
    path = export_model(model, tmp_path / "model.onnx")
    video, lengths = batch_of((20, 9))
    with torch.no_grad():
        (states, _), steps = model.encode(video=video, video_lengths=lengths)
        expected = model.ctc.log_softmax(states)
    assert_valid_steps_equal(run(path, video, lengths)[0], expected, steps)


# models -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "exp"
    vivit = VIVIT | {"config": VIVIT["config"] | ONE_LAYER}
    return write_experiment(folder, vision_encoder="vivit", vision_encoder_conf=vivit, audio_encoder="resnet1d")


@pytest.fixture(scope="module")
def model(experiment):
    model, _ = AVSRTask.build_model_from_file(experiment / "config.yaml", experiment / "valid.acc.ave.pth")
    return model.eval()


@pytest.fixture(scope="module")
def exported(experiment, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    assert cli.main(["export", str(experiment), str(path)]) == 0
    return path


def log_probs_of(model, video, lengths):
    with torch.no_grad():
        states, steps = model.encode(video=video, video_lengths=lengths)
        return model.ctc.log_softmax(states), steps


def test_frontend_encoder_and_ctc_in_one_file_serve_every_length_and_batch(model, exported):
    """Of a model that was trained on both streams: the file is its video side."""
    for frames in BATCHES:
        video, lengths = batch_of(frames)
        log_probs, steps = run(exported, video, lengths)
        expected, expected_steps = log_probs_of(model, video, lengths)
        assert torch.equal(steps, expected_steps) and log_probs.shape == expected.shape
        assert_valid_steps_equal(log_probs, expected, steps)


def test_padding_changes_nothing_in_the_file_and_frames_do(exported):
    video, lengths = batch_of((20, 9))
    before, steps = run(exported, video, lengths)
    video[1, 9:] = 0
    assert_valid_steps_equal(run(exported, video, lengths)[0], before, steps)
    video[1, 8] = 0
    assert (run(exported, video, lengths)[0][1, :9] - before[1, :9]).abs().max() > 1e-3


def test_the_file_says_what_it_reads_and_spells(model, exported):
    file = onnx.load(exported)
    about = {entry.key: entry.value for entry in file.metadata_props}
    assert json.loads(about["tokens"]) == list(model.token_list) and about["blank"] == "0"
    assert about["video"] == f"uint8 gray, {PIXELS}x{PIXELS} pixels, 25 frames per second"
    assert about["feature_rate"] == model.feature_rate
    (video, lengths), (log_probs, steps) = file.graph.input, file.graph.output
    names = [(video.name, "batch", "frames"), (lengths.name, "batch"), log_probs.name, steps.name]
    assert names == [("video", "batch", "frames"), ("lengths", "batch"), "log_probs", "steps"]
    assert [dim.dim_param for dim in video.type.tensor_type.shape.dim][:2] == ["batch", "frames"]


def test_with_int8_weights_the_file_computes_with_the_rounded_matrices(model, exported, tmp_path):
    """As PyTorch's model does when its own matrices are rounded by PyTorch's fake quantisation."""
    file = onnx.load(exported)
    names = quantize_weights(file, least=64)
    assert len(names) >= 15
    onnx.save(file, tmp_path / "int8.onnx")
    kept = {node.output[0] for node in file.graph.node if node.op_type == "DequantizeLinear"}
    assert kept == set(names)
    exact = [numpy_helper.to_array(i) for i in onnx.load(exported).graph.initializer if i.name in kept]
    rounded = _with_rounded_matrices(model, [torch.from_numpy(matrix.copy()) for matrix in exact])
    video, lengths = batch_of((30, 11))
    found, steps = run(tmp_path / "int8.onnx", video, lengths)
    expected, _ = log_probs_of(rounded, video, lengths)
    assert_valid_steps_equal(found, expected, steps)
    plain, _ = log_probs_of(model, video, lengths)
    assert (plain[0] - found[0]).abs().max() > 10 * TOLERANCE, "nothing was rounded"


def _rounded(matrix):
    """(outputs, inputs), rounded to 8 bits."""
    scale, zero = matrix.abs().amax(1) / 127, torch.zeros(len(matrix), dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(matrix, scale, zero, 0, -127, 127)


def _with_rounded_matrices(model, matrices):
    """A copy of `model` in which the weights that are among `matrices`, either way round, are rounded."""
    rounded = copy.deepcopy(model)
    weights = [parameter for parameter in rounded.parameters() if parameter.dim() > 1]
    tubelets = rounded.vision_encoder.vivit.embeddings.patch_embeddings.projection
    gray = tubelets.weight
    with torch.no_grad():
        for matrix in matrices:
            both = (matrix, matrix.T)
            same = [p for p in weights if any(torch.equal(p.flatten(1), one) for one in both)]
            if same:
                for weight in same:
                    weight.copy_(_rounded(weight.flatten(1)).view_as(weight))
            else:  # the tubelet kernel as the file holds it: the sum of its colors, times the scale of pixels
                folded = next(one for one in both if one.shape == gray.sum(1).flatten(1).shape)
                torch.testing.assert_close(folded, gray.sum(1).flatten(1) / 127.5)
                change = (_rounded(folded) - folded) * 127.5
                gray += change.view_as(gray[:, :1]) / 3
                # once 128 is taken off each pixel, the rest of the shift is in the bias, from the unrounded matrix
                tubelets.bias -= (128 / 127.5 - 1) * change.sum(1)
    return rounded


@pytest.mark.slow
def test_the_command_writes_a_quantised_frontend(experiment, tmp_path, capsys):
    path = tmp_path / "frontend.onnx"
    assert cli.main(["export", str(experiment), str(path), "--frontend", "--int8"]) == 0
    assert str(path) in capsys.readouterr().out
    video, lengths = batch_of((12, 7))
    features, steps = run(path, video, lengths)
    assert features.shape[:2] == (2, int(steps.max()))


# what is refused ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: tiny_e2e("audio"), "only models that read video are exported: found modality 'audio'"),
        (lambda: tiny_e2e("video", ctc_weight=0.0), "only models with CTC are exported"),
        (
            lambda: tiny_e2e("video", tower_adapters={"encoder": {"type": "lora", "r": 2, "target_modules": ["w_1"]}}),
            "adapters are not exported: found adapters on encoder. Make a plain model .*merge-adapters",
        ),
    ],
    ids=["audio", "no CTC", "adapters"],
)
def test_models_that_cannot_be_exported_are_refused_with_the_reason(build, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        export_model(build(), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_named_with_what_to_type(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(MissingDependencyError, match=r"onnxscript.*pip install 'espnet-vivit\[export\]'"):
        export_frontend(tiny_vivit(), tmp_path / "frontend.onnx")


# int8 ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [0, 1])
def test_matrices_are_rounded_as_pytorch_rounds_them(axis):
    weights = np.random.default_rng(0).standard_normal((7, 5)).astype(np.float32)
    weights[:, 2] = 0 if axis == 1 else weights[:, 2]
    integers, scale = quantize(weights, axis)
    assert integers.dtype == np.int8 and np.abs(integers.astype(int)).max() == 127
    zero = torch.zeros(len(scale), dtype=torch.int32)
    expected = torch.fake_quantize_per_channel_affine(
        torch.from_numpy(weights), torch.from_numpy(scale), zero, axis, -127, 127
    )
    np.testing.assert_allclose(integers * np.expand_dims(scale, 1 - axis), expected.numpy(), atol=1e-6)


@pytest.mark.parametrize(
    ("operator", "shape", "attributes"),
    [("MatMul", (6, 4), {}), ("Gemm", (6, 4), {}), ("Gemm", (4, 6), {"transB": 1})],
)
def test_products_read_their_integers_along_the_right_axis(operator, shape, attributes):
    """Columns of very different size: with one scale for the wrong axis the small ones would vanish."""
    weights = np.random.default_rng(1).standard_normal((6, 4)).astype(np.float32) * [1e-3, 1.0, 1e3, 1e-2]
    x = np.random.default_rng(2).standard_normal((3, 6)).astype(np.float32)
    stored = weights.astype(np.float32) if shape == (6, 4) else weights.T.astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node(operator, ["x", "w"], ["y"], **attributes)],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [3, 4])],
        [numpy_helper.from_array(np.ascontiguousarray(stored), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    assert quantize_weights(model, least=1) == ["w"]
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": x})
    np.testing.assert_allclose(found, x @ weights, rtol=0.1, atol=1e-2 * np.abs(weights).max(0).min())
    assert (np.abs(found - x @ weights).max(0) / np.abs(weights).max(0) < 0.05).all()


def test_small_matrices_and_those_with_another_use_stay_as_they_are():
    def model_of(nodes, output):
        return helper.make_model(
            helper.make_graph(
                nodes,
                "graph",
                [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, 6])],
                [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
                [numpy_helper.from_array(np.ones((6, 6), np.float32), "w")],
            )
        )

    product = helper.make_node("MatMul", ["x", "w"], ["y"])
    assert quantize_weights(model_of([product], "y"), least=37) == []
    assert quantize_weights(model_of([product, helper.make_node("Add", ["w", "w"], ["z"])], "z"), least=1) == []
    assert quantize_weights(model_of([product], "y"), least=36) == ["w"]


def test_the_exporters_log_has_its_level_back_afterwards():
    log = logging.getLogger("torch.onnx")
    before = log.level
    log.setLevel(logging.INFO)
    try:
        with _quiet():
            assert log.level == logging.ERROR
        assert log.level == logging.INFO
    finally:
        log.setLevel(before)
