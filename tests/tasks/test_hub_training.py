"""Trainings on towers of the hub from the command line: adapters, their average, resuming, decoding and packages."""

import pytest
import torch

from espnet_vivit.bin import avsr_train
from espnet_vivit.bin.commands.merge_adapters import main as merge_command
from espnet_vivit.decode.package import Package
from espnet_vivit.decode.speech2text import Speech2Text
from espnet_vivit.errors import WeightsError
from espnet_vivit.release.pack import pack
from espnet_vivit.tasks.avsr import AVSRTask
from tests.frontend.hub import towers
from tests.tiny_corpus import data_options, shape_options, write_config, write_tiny_corpus

pytest.importorskip("peft", reason="LoRA needs peft: pip install espnet-vivit[qlora]")
pytest.importorskip("bitsandbytes", reason="4 bits need bitsandbytes: pip install espnet-vivit[qlora]")
AVERAGE = "valid.acc.ave_2best.pth"
PIXELS = 16  # of the 24 that the corpus shows
STREAM = {
    "video": torch.randint(
        0, 256, (1, 9, PIXELS, PIXELS), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    ),
    "video_lengths": torch.tensor([9]),
    "speech": 0.1 * torch.randn(1, 9 * 640, generator=torch.Generator().manual_seed(1)),
    "speech_lengths": torch.tensor([9 * 640]),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(corpus, folder of the two towers, experiment) after two epochs: DINOv2 in 4 bits, Whisper with LoRA."""
    root = tmp_path_factory.mktemp("hub")
    corpus = write_tiny_corpus(root / "corpus")
    for kind in ("dinov2", "whisper"):
        torch.manual_seed(5)
        towers.save(towers.library_tower(kind), root / kind)
    train(corpus, root, root / "exp")
    return corpus, root, root / "exp"


def train(corpus, root, exp, *options, **changes):
    settings = {
        "vision_encoder": "huggingface",
        "vision_encoder_conf": {"model_name": str(root / "dinov2"), "output_dim": 8},
        "audio_encoder": "huggingface",
        "audio_encoder_conf": {"model_name": str(root / "whisper"), "output_dim": 8},
        "tower_adapters": {"vision_encoder": {"type": "qlora", "r": 2}, "audio_encoder": {"type": "lora", "r": 2}},
    }
    config = write_config(exp.parent / f"{exp.name}.yaml", **{**settings, **changes})
    common = ["--config", config, "--token_list", corpus / "tokens.txt", "--output_dir", exp]
    avsr_train.main([*map(str, common), *data_options(corpus), *shape_options(corpus), *options])


def encoded(model):
    with torch.no_grad():
        return model.eval().encode(**STREAM, utt_id=None)[0]


def weights(path):
    return torch.load(path, weights_only=True)


def test_epochs_hold_the_adapters_alone_and_their_average_decodes(trained):
    _, _, exp = trained
    first, second, average = (weights(exp / name) for name in ("1epoch.pth", "2epoch.pth", AVERAGE))
    for part in ("vision_encoder", "audio_encoder"):
        names = [name for name in average if name.startswith(f"{part}.tower.")]
        assert all("lora_" in name or "adapter_base" in name for name in names)
        changed = [name for name in names if "lora_" in name and not torch.equal(first[name], second[name])]
        assert len(changed) == len([name for name in names if "lora_" in name]) > 0
    reader = Speech2Text(asr_train_config=exp / "config.yaml", asr_model_file=exp / AVERAGE, beam_size=2)
    found = reader(speech=STREAM["speech"][0].numpy(), video=STREAM["video"][0].numpy())
    assert isinstance(found[0][0], str)


@pytest.mark.slow
def test_resuming_gives_the_weights_of_an_uninterrupted_training(trained, tmp_path):
    corpus, root, exp = trained
    train(corpus, root, tmp_path / "exp", max_epoch=1)
    train(corpus, root, tmp_path / "exp", "--resume", "true")
    resumed, straight = (weights(folder / "2epoch.pth") for folder in (tmp_path / "exp", exp))
    assert resumed.keys() == straight.keys()
    assert [name for name in straight if not torch.equal(resumed[name], straight[name])] == []


def test_a_base_that_is_another_by_now_is_an_error(trained):
    _, root, exp = trained
    kept = root / "whisper"
    moved = kept.rename(root / "moved")
    try:
        torch.manual_seed(9)
        towers.save(towers.library_tower("whisper"), kept)
        with pytest.raises(WeightsError, match=r"audio_encoder were trained on other weights .* in audio_encoder_conf"):
            AVSRTask.build_model_from_file(exp / "config.yaml", exp / AVERAGE)
    finally:
        for file in kept.iterdir():
            file.unlink()
        kept.rmdir()
        moved.rename(kept)


def test_merged_and_packed_it_answers_the_same_where_no_checkpoint_is(trained, tmp_path):
    _, root, exp = trained
    adapted, _ = AVSRTask.build_model_from_file(exp / "config.yaml", exp / AVERAGE)
    assert merge_command([str(exp), str(tmp_path / "merged"), "--weights", AVERAGE]) == 0
    package = pack(tmp_path / "merged", tmp_path / "package", licence="CC0-1.0", source="noise", weights=AVERAGE)
    hidden = {name: (root / name).rename(root / f"{name}.hidden") for name in ("dinov2", "whisper")}
    try:
        loaded = Package.from_pretrained(package).load_model()
    finally:
        for name, path in hidden.items():
            path.rename(root / name)
    torch.testing.assert_close(encoded(loaded), encoded(adapted), atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_a_frozen_tower_is_trained_upon_recomputed_and_packed(trained, tmp_path):
    """All of the tower's weights are in each checkpoint, so that neither decoding nor the package asks for it."""
    corpus, root, _ = trained
    towers.save(towers.library_tower("wavlm"), root / "wavlm", do_normalize=False)
    train(
        *(corpus, root, tmp_path / "exp"),
        vision_encoder_conf={"model_name": str(root / "dinov2"), "frozen": True, "image_size": 24},
        audio_encoder_conf={"model_name": str(root / "wavlm"), "layer": 1},
        tower_adapters=...,
        gradient_checkpointing=["audio_encoder"],
        max_epoch=1,
    )
    package = pack(tmp_path / "exp", tmp_path / "package", licence="CC0-1.0", source="noise", weights="1epoch.pth")
    model, _ = AVSRTask.build_model_from_file(tmp_path / "exp/config.yaml", tmp_path / "exp/1epoch.pth")
    loaded = Package.from_pretrained(package).load_model()
    assert loaded.audio_encoder.tower.config.do_normalize is False
    stream = {**STREAM, "video": STREAM["video"].repeat(1, 1, 2, 2)[..., :24, :24]}
    with torch.no_grad():
        found, expected = (one.eval().encode(**stream, utt_id=None)[0] for one in (loaded, model))
    assert torch.equal(found, expected)
