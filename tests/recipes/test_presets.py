"""Every preset in conf/ and egs/*/avsr1/conf/ is understood, without a key that nobody reads, and builds."""

from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = [ROOT / "conf", *sorted(ROOT.glob("egs/*/avsr1/conf"))]
TRAINING, DECODING, LANGUAGE = (
    sorted(path for folder in FOLDERS for path in folder.glob(pattern))
    for pattern in ("train_avsr_*.yaml", "decode_*.yaml", "train_lm*.yaml")
)

SMALL_VIVIT = {
    "tubelet_size": [2, 16, 16],
    "hidden_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "intermediate_size": 128,
}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.fixture
def token_list(tmp_path) -> Path:
    path = tmp_path / "tokens.txt"
    path.write_text("<blank>\n<unk>\nbin\nblue\nat\n<sos/eos>\n")
    return path


def arguments_of(preset: Path, token_list: Path):
    from espnet_vivit.tasks.avsr import AVSRTask

    options = ["--config", preset, "--token_list", token_list, "--token_type", "word", "--output_dir", "none"]
    return AVSRTask.get_parser().parse_args([*map(str, options), "--preprocessor_conf", "noise_scp=null"])


def test_every_folder_has_the_three_vision_encoders_and_every_file_is_tested():
    for folder in FOLDERS:
        names = {path.name for path in folder.glob("*.yaml")}
        assert {f"train_avsr_{name}.yaml" for name in ("vivit", "resnet", "linear")} | {"decode_avsr.yaml"} <= names
    assert {path for folder in FOLDERS for path in folder.iterdir()} == {*TRAINING, *DECODING, *LANGUAGE}


def clip(rng: np.random.Generator, side: int, frames: int) -> dict:
    """One utterance as it comes out of a data directory: `frames` pictures of `side` pixels and their sound."""
    return {
        "video": rng.integers(0, 256, (frames, side, side), dtype=np.uint8),
        "speech": rng.standard_normal(640 * frames).astype(np.float32),
        "text": "bin blue",
        "word_times": "0.040:0.200:bin 0.200:0.400:blue",
    }


@pytest.mark.parametrize("preset", TRAINING, ids=name_of)
def test_a_training_preset_builds_and_learns_from_one_batch(preset, token_list, tmp_path):
    from espnet_vivit import vivit_encoder
    from espnet_vivit.tasks.avsr import AVSRTask

    if "qlora" in preset.name:
        pytest.importorskip("peft", reason="LoRA needs peft: pip install espnet-vivit[qlora]")
        pytest.importorskip("bitsandbytes", reason="4 bits need bitsandbytes: pip install espnet-vivit[qlora]")

    args = arguments_of(preset, token_list)
    if args.tower_adapters:  # adapters stand on a pretrained base: a small one here
        tower = vivit_encoder("vivit-ti-16x2", pretrained=False, image_size=96, config=SMALL_VIVIT).vivit
        tower.save_pretrained(tmp_path / "tower")
        args.vision_encoder_conf["model_name"] = str(tmp_path / "tower")
    elif "model_name" in args.vision_encoder_conf:
        args.vision_encoder_conf["pretrained"] = False  # its sizes with random weights: tests have no network
    preprocess = AVSRTask.build_preprocess_fn(args, train=True)
    model = AVSRTask.build_model(args)
    assert model.modality == "multimodal" and model.vision_encoder is not None
    side, rng = (48 if "egs" in preset.relative_to(ROOT).parts else 96), np.random.default_rng(0)
    samples = [(name, preprocess(name, clip(rng, side, frames))) for name, frames in (("u1", 12), ("u2", 11))]
    _, batch = AVSRTask.build_collate_fn(args, train=True)(samples)
    assert batch["video"].shape[-1] == preprocess.preset.crop_size(side)
    if sum(parameter.numel() for parameter in model.parameters()) > 20_000_000:
        return  # on two cores building the large ones is enough
    loss, _, _ = model.train()(**batch)
    loss.backward()
    assert torch.isfinite(loss)
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in model.vision_encoder.parameters())


@pytest.mark.parametrize("folder", FOLDERS, ids=name_of)
def test_presets_of_a_folder_differ_only_in_the_vision_encoder_and_the_time_it_takes(folder, token_list):
    """Else a comparison of the three would compare something else too; equal time may mean more or fewer epochs."""
    configs = [
        vars(arguments_of(folder / f"train_avsr_{name}.yaml", token_list)) for name in ("vivit", "resnet", "linear")
    ]
    for other in configs[1:]:
        differing = {key for key in configs[0] if configs[0][key] != other[key]}
        assert differing - {"max_epoch", "scheduler_conf"} == {"config", "vision_encoder", "vision_encoder_conf"}


@pytest.mark.parametrize("preset", TRAINING, ids=name_of)
def test_the_schedule_warms_up_and_ends_near_zero(preset, token_list):
    from espnet_vivit.tasks.schedule import CosineWithWarmup

    args = arguments_of(preset, token_list)
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], **args.optim_conf)
    assert args.scheduler == "cosine_with_warmup"
    schedule = CosineWithWarmup(optimizer, **args.scheduler_conf)
    assert schedule.warmup_steps < schedule.total_steps / 4
    assert schedule.get_last_lr()[0] < args.optim_conf["lr"]


@pytest.mark.parametrize("preset", DECODING, ids=name_of)
def test_a_decoding_preset_is_understood(preset):
    from espnet_vivit.bin.avsr_inference import get_parser

    args = get_parser().parse_args(["--config", str(preset)])
    assert args.beam_size >= 1 and 0 <= args.ctc_weight <= 1


@pytest.mark.parametrize("preset", LANGUAGE, ids=name_of)
def test_a_language_model_preset_builds(preset, token_list):
    from espnet_vivit.espnet_compat import quiet_espnet_import

    with quiet_espnet_import():
        from espnet2.tasks.lm import LMTask
    options = ["--config", preset, "--token_list", token_list, "--token_type", "word", "--output_dir", "none"]
    args = LMTask.get_parser().parse_args(list(map(str, options)))
    model = LMTask.build_model(args)
    assert sum(p.numel() for p in model.parameters()) > 0
