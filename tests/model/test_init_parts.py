"""Towers filled from checkpoints of their own: every weight lands in its place, and what does not fit is named."""

import logging
import pickle
from functools import partial

import pytest
import torch
from safetensors.torch import save_file

from espnet_vivit import vivit_encoder
from espnet_vivit.bin import avsr_train
from espnet_vivit.errors import ConfigError, WeightsError
from espnet_vivit.model.init_parts import load_parts, weights_table
from espnet_vivit.tasks.avsr import AVSRTask
from tests.auto_avsr import state_dict
from tests.tiny import CONFIG, VOCABULARY, randomize, raw_clip, tiny_e2e, tiny_vivit
from tests.tiny_corpus import data_options, shape_options, write_config, write_tiny_corpus

SIZES = {"odim": VOCABULARY, "width": 16, "heads": 2, "units": 32, "blocks": 2, "decoder_blocks": 1, "channels": 2}


def model_of(**options):
    return randomize(tiny_e2e("multimodal", **options), std=0.2)


def published(modality, **sizes):
    """A tiny Auto-AVSR model, under the published names."""
    return state_dict(modality, **{**SIZES, "kernel": 7, **sizes})


def save(state, path):
    torch.save(state, path)
    return path


def state_of(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def test_each_part_starts_from_its_own_kind_of_checkpoint_and_the_rest_is_left_alone(tmp_path):
    tower = tiny_vivit().vivit
    tower.save_pretrained(tmp_path / "kinetics")
    vsr, asr = published("video"), published("audio")
    other = model_of()
    sources = {
        "vision_encoder": tmp_path / "kinetics",
        "audio_encoder": save(asr, tmp_path / "asr.pth"),
        "encoder": save(vsr, tmp_path / "vsr.pth"),
        "decoder": save(other.state_dict(), tmp_path / "ours.pth"),
    }
    model = model_of()
    before = state_of(model)
    loaded = load_parts(model, sources)
    for name, value in tower.state_dict().items():
        assert torch.equal(model.vision_encoder.vivit.state_dict()[name], value), name
    for name, value in model.audio_encoder.state_dict().items():
        assert torch.equal(value, asr[f"frontend.{name}"]), name
    for name, value in model.encoder.state_dict().items():
        assert torch.equal(value, vsr[f"encoder.{name}".replace("pointwise_conv", "pointwise_cov")]), name
    for name, value in model.decoder.state_dict().items():
        assert torch.equal(value, other.decoder.state_dict()[name]), name
    new = ("fusion.", "ctc.", "vision_encoder.upsample.", "vision_encoder.projection.")
    for name, value in model.state_dict().items():
        if name.startswith(new):
            assert torch.equal(value, before[name]), name
    counted = sum(entry.parameters for entry in loaded)
    untouched = sum(p.numel() for name, p in model.named_parameters() if name.startswith(new))
    assert counted + untouched == sum(p.numel() for p in model.parameters())


def test_the_table_says_of_every_part_where_it_is_from_and_how_much_is_new(tmp_path):
    model = model_of()
    loaded = load_parts(model, {"encoder": save(published("video"), tmp_path / "vsr.pth")})
    lines = {
        line.split()[0]: line.split()
        for line in weights_table(model, loaded, {"vision_encoder": "hub/vivit"}).splitlines()
    }
    assert lines["part"] == ["part", "from", "loaded", "new"]
    count = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    assert lines["encoder"][1:] == [str(tmp_path / "vsr.pth"), f"{count['encoder']:,}", "0"]
    assert lines["decoder"][1:] == ["–", "0", f"{count['decoder']:,}"]
    tower = sum(p.numel() for p in model.vision_encoder.vivit.parameters())
    assert lines["vision_encoder"][1:] == ["hub/vivit", f"{tower:,}", f"{count['vision_encoder'] - tower:,}"]
    assert set(lines) == {"part", *(name for name in count if count[name])}


def test_a_tower_for_another_picture_and_window_is_resized_as_the_frontend_itself_does_it(tmp_path):
    tiny_vivit().vivit.save_pretrained(tmp_path / "small")
    sizes = {"image_size": 24, "num_frames": 12}
    conf = {"pretrained": False, "config": {**CONFIG, **sizes}, "frame_adjust": "window", "num_frames": 12}
    model = model_of(vision_encoder_conf={**conf, "window_overlap": 4})
    load_parts(model, {"vision_encoder": tmp_path / "small"})
    expected = vivit_encoder(str(tmp_path / "small"), image_size=24, num_frames=12)
    for name, value in expected.vivit.state_dict().items():
        torch.testing.assert_close(model.vision_encoder.vivit.state_dict()[name], value)


def test_a_lip_reader_to_which_sound_is_added_begins_with_its_own_answers(tmp_path):
    reader = randomize(tiny_e2e("video"), std=0.2).eval()
    path = save(reader.state_dict(), tmp_path / "reader.pth")
    model = model_of(fusion="add").eval()
    parts = ("vision_encoder", "fusion.video_linear", "encoder", "decoder", "ctc")
    load_parts(model, dict.fromkeys(parts, path))
    for parameter in model.fusion.audio_linear.parameters():
        parameter.data.zero_()
    video = {"video": raw_clip(9)[None], "video_lengths": torch.tensor([9])}
    assert torch.equal(model.encode(**video)[0], reader.encode(**video)[0])


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_parts_own_state_dict_is_a_checkpoint_too(tmp_path, suffix):
    source, model = model_of(), model_of()
    write = save if suffix == "pth" else save_file
    write(state_of(source.encoder), tmp_path / f"encoder.{suffix}")
    load_parts(model, {"encoder": tmp_path / f"encoder.{suffix}"})
    torch.testing.assert_close(model.encoder.state_dict(), source.encoder.state_dict())


def test_with_other_tokens_the_layers_of_a_decoder_can_be_named_without_its_vocabulary(tmp_path):
    state = published("video", odim=50)
    path = save(state, tmp_path / "vsr.pth")
    model = model_of()
    message = (
        r"vsr.pth does not hold exactly the weights of decoder: found 3 of another shape: .*embed.0.weight \(50, 16\)"
    )
    with pytest.raises(WeightsError, match=message + r" for \(7, 16\).*name the modules in it that fit"):
        load_parts(model, {"decoder": path})
    load_parts(model, {"decoder.decoders": path, "decoder.after_norm": path})
    for name, value in model.decoder.decoders.state_dict().items():
        assert torch.equal(value, state[f"decoder.decoders.{name}"])
    assert torch.equal(model.decoder.after_norm.bias, state["decoder.after_norm.bias"])


def test_a_mistake_leaves_the_part_as_it_was_and_names_every_kind_of_key(tmp_path):
    state = published("video")
    del state["encoder.after_norm.bias"]
    state["encoder.gamma"] = torch.zeros(3)
    model = model_of()
    before = state_of(model.encoder)
    with pytest.raises(WeightsError) as caught:
        load_parts(model, {"encoder": save(state, tmp_path / "vsr.pth")})
    assert "1 missing: encoder.after_norm.bias; 1 without a place: encoder.gamma" in str(caught.value)
    torch.testing.assert_close(model.encoder.state_dict(), before)
    with pytest.raises(WeightsError, match=r"12 of another shape: encoder\.encoders\.0.*, …"):
        load_parts(model, {"encoder": save(published("video", units=48), tmp_path / "wide.pth")})


def test_a_checkpoint_of_something_else_is_named_with_what_it_holds(tmp_path):
    path = save({"lm.embed.weight": torch.zeros(2), "optimizer": torch.zeros(1)}, tmp_path / "lm.pth")
    message = r"for encoder has no weight of it: found weights of lm, optimizer; expected encoder\.encoders"
    with pytest.raises(WeightsError, match=message):
        load_parts(model_of(), {"encoder": path})
    with pytest.raises(WeightsError, match=r"missing: vision_encoder\.frontend3D\.0\.weight"):
        load_parts(model_of(vision_encoder="resnet", vision_encoder_conf={"channels": 2}),
                   {"vision_encoder": save(published("audio"), tmp_path / "asr.pth")})  # fmt: skip


class Planted:
    def __reduce__(self):
        return partial(open, "planted", "w"), ()


def test_a_pickle_with_code_is_refused_and_does_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.pth").write_bytes(pickle.dumps({"encoder.after_norm.bias": Planted()}))
    with pytest.raises(WeightsError, match=r"evil\.pth is refused"):
        load_parts(model_of(), {"encoder": tmp_path / "evil.pth"})
    assert not (tmp_path / "planted").exists()
    (tmp_path / "cut.safetensors").write_bytes(b"\x00" * 4)
    with pytest.raises(WeightsError, match=r"cut\.safetensors cannot be read"):
        load_parts(model_of(), {"encoder": tmp_path / "cut.safetensors"})


@pytest.mark.parametrize(
    ("part", "source", "error", "message"),
    [
        ("encodr", "a.pth", ConfigError, "unknown part in init_parts: found 'encodr'.*Did you mean 'encoder'"),
        ("decoder.decodrs", "a.pth", ConfigError, "found 'decoder.decodrs'.*Did you mean 'decoder.decoders'"),
        ("encoder", "gone.pth", WeightsError, "the checkpoint for encoder does not exist: found gone.pth"),
        ("encoder", "google/vivit-b-16x2-kinetics400", WeightsError, "hub ids are read for a ViViT alone"),
        ("vision_encoder", "gone.pth", WeightsError, "the checkpoint for vision_encoder does not exist"),
        ("vision_encoder", "./gone", WeightsError, "the folder of pretrained weights does not exist"),
    ],
)
def test_parts_and_files_that_are_not_there_are_named(part, source, error, message):
    with pytest.raises(error, match=message):
        load_parts(model_of(), {part: source})


def test_a_vivit_that_differs_where_no_shape_tells_is_refused(tmp_path):
    tiny_vivit(config={"num_attention_heads": 4}).vivit.save_pretrained(tmp_path / "heads")
    with pytest.raises(
        WeightsError, match="another ViViT than vision_encoder: found num_attention_heads 4; expected 2"
    ):
        load_parts(model_of(), {"vision_encoder": tmp_path / "heads"})


def test_under_lora_the_base_is_filled_and_the_adapters_are_new(tmp_path):
    pytest.importorskip("peft", reason="LoRA needs peft: pip install espnet-vivit[qlora]")
    state = published("video")
    model = model_of(tower_adapters={"encoder": {"type": "lora", "r": 2}})
    before = {name: p.clone() for name, p in model.encoder.named_parameters() if "lora_" in name}
    (loaded,) = load_parts(model, {"encoder": save(state, tmp_path / "vsr.pth")})
    base = model.encoder.encoders[0].self_attn.linear_q.base_layer
    assert torch.equal(base.weight, state["encoder.encoders.0.self_attn.linear_q.weight"])
    assert before and all(torch.equal(model.encoder.get_parameter(name), value) for name, value in before.items())
    assert loaded.parameters == sum(p.numel() for n, p in model.encoder.named_parameters() if "lora_" not in n)


def test_a_base_that_is_loaded_by_name_under_adapters_cannot_be_replaced(tmp_path):
    pytest.importorskip("peft", reason="LoRA needs peft: pip install espnet-vivit[qlora]")
    tiny_vivit().vivit.save_pretrained(tmp_path / "tower")
    conf = {"model_name": str(tmp_path / "tower"), "num_frames": CONFIG["num_frames"]}
    model = tiny_e2e("video", vision_encoder_conf=conf, tower_adapters={"vision_encoder": {"type": "lora", "r": 2}})
    with pytest.raises(ConfigError, match=r"has adapters on weights that are loaded by name.*model_name instead"):
        load_parts(model, {"vision_encoder": tmp_path / "tower"})


def test_a_training_starts_from_parts_resumes_without_the_file_and_is_loaded_without_it(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    corpus = write_tiny_corpus(tmp_path / "corpus")

    def train(max_epoch, **changes):
        config = write_config(tmp_path / "train.yaml", max_epoch=max_epoch, **changes)
        common = ["--config", config, "--token_list", corpus / "tokens.txt", "--output_dir", tmp_path / "exp"]
        options = [*map(str, common), *data_options(corpus), *shape_options(corpus)]
        avsr_train.main([*options, "--resume", "true"])

    args = AVSRTask.get_parser().parse_args(["--config", str(write_config(tmp_path / "train.yaml"))])
    args.token_list = str(corpus / "tokens.txt")
    start = AVSRTask.build_model(args)
    save(start.state_dict(), tmp_path / "start.pth")
    parts = {"vision_encoder": str(tmp_path / "start.pth")}
    frozen = {"freeze_param": ["vision_encoder"]}
    train(1, init_parts=parts, **frozen)
    assert f"vision_encoder  {tmp_path / 'start.pth'}" in caplog.text
    (tmp_path / "start.pth").rename(tmp_path / "moved.pth")
    train(2, init_parts=parts, **frozen)
    assert "init_parts: not loaded, the training is resumed" in caplog.text
    model, args = AVSRTask.build_model_from_file(tmp_path / "exp/config.yaml", tmp_path / "exp/2epoch.pth")
    assert args.init_parts == parts
    assert caplog.text.count("parts start from:") == 2, "a model that is loaded, or resumed, starts from no parts"
    name = "projection.weight"
    assert torch.equal(model.vision_encoder.state_dict()[name], start.vision_encoder.state_dict()[name])


def test_code_in_a_file_of_espnets_init_param_is_refused_before_espnet_loads_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    corpus = write_tiny_corpus(tmp_path / "corpus")
    (tmp_path / "evil.pth").write_bytes(pickle.dumps({"encoder.after_norm.bias": Planted()}))
    common = ["--config", write_config(tmp_path / "train.yaml"), "--token_list", corpus / "tokens.txt"]
    options = [*map(str, [*common, "--output_dir", tmp_path / "exp"]), *data_options(corpus), *shape_options(corpus)]
    with pytest.raises(WeightsError, match=r"cannot read the weights evil\.pth \(it is damaged, or holds code"):
        avsr_train.main([*options, "--init_param", "evil.pth:encoder:encoder"])
    assert not (tmp_path / "planted").exists()


def test_parts_can_be_named_on_the_command_line(tmp_path):
    path = str(save(published("video"), tmp_path / "vsr.pth"))
    args = AVSRTask.get_parser().parse_args(
        ["--init_parts", f"decoder.decoders={path}", "--init_parts", f"encoder={path}"]
    )
    from espnet_vivit.tasks.model_config import _flat

    assert _flat(args.init_parts) == {"decoder.decoders": path, "encoder": path}
    with pytest.raises(ConfigError, match="init_parts: found encoder: 3; expected a file, a folder or a hub id"):
        _flat({"encoder": 3})
