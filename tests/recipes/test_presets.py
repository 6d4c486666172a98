"""Every preset in conf/ and egs/*/avsr1/conf/ is understood, without a key that nobody reads, and builds.

In conf/ there are three families: train_<size>_<streams>.yaml to train with, train_<tower>_<streams>.yaml on towers of
the hub, and train_avsr_<front-end>.yaml to compare front-ends with, which differ in nothing but the vision encoder;
train_vsr_<front-end>.yaml are the same for lips alone. Large ones are built on PyTorch's meta device.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = [ROOT / "conf", *sorted(ROOT.glob("egs/*/avsr1/conf"))]
COMPARED, DECODING, LANGUAGE = (
    sorted(path for folder in FOLDERS for path in folder.glob(pattern))
    for pattern in ("train_*vsr_*.yaml", "decode_*.yaml", "train_lm*.yaml")
)
SIZES = {  # blocks and width of the Conformer, blocks of the decoder; millions of parameters for video, audio, both
    "tiny": ((3, 144, 2), (3.1, 2.4, 3.4)),
    "base": ((12, 256, 6), (128.9, 45.1, 132.9)),
    "large": ((12, 768, 6), (316.2, 231.4, 320.5)),
}
STREAMS = {"video": "video", "audio": "audio", "both": "multimodal"}
SIZED = {(size, name): ROOT / f"conf/train_{size}_{name}.yaml" for size in SIZES for name in STREAMS}
HUB = sorted(path for name in ("dinov2", "whisper") for path in (ROOT / "conf").glob(f"train_{name}_*.yaml"))
TRAINING = [*COMPARED, *SIZED.values(), *HUB]
QUICK = [
    *COMPARED,
    *HUB,
    *(path for (size, _), path in SIZED.items() if size == "tiny"),
]  # built and trained for a batch

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
    found = {path for folder in FOLDERS for path in folder.iterdir() if path.name != "card.yaml"}  # of packages
    assert found == {*TRAINING, *DECODING, *LANGUAGE}


def clip(rng: np.random.Generator, side: int, frames: int) -> dict:
    """One utterance as it comes out of a data directory: `frames` pictures of `side` pixels and their sound."""
    return {
        "video": rng.integers(0, 256, (frames, side, side), dtype=np.uint8),
        "speech": rng.standard_normal(640 * frames).astype(np.float32),
        "text": "bin blue",
        "word_times": "0.040:0.200:bin 0.200:0.400:blue",
    }


def use_small_towers(args, folder: Path) -> None:
    """Small random towers in the place of those of the hub, of the same patches: tests have no network."""
    from tests.frontend.hub import towers

    kinds = {
        "facebook/dinov2-small": ("dinov2", {"patch_size": 14, "image_size": 42}),
        "openai/whisper-small.en": ("whisper", {}),
    }
    for conf in (args.vision_encoder_conf, args.audio_encoder_conf):
        if "model_name" in conf:
            kind, fields = kinds[conf["model_name"]]
            conf["model_name"] = towers.save(towers.library_tower(kind, **fields), folder / kind)


@pytest.mark.parametrize("preset", QUICK, ids=name_of)
def test_a_training_preset_builds_and_learns_from_one_batch(preset, token_list, tmp_path):
    from espnet_vivit import vivit_encoder
    from espnet_vivit.tasks.avsr import AVSRTask

    if "qlora" in preset.name or preset in HUB:
        pytest.importorskip("peft", reason="LoRA needs peft: pip install espnet-vivit[qlora]")
        pytest.importorskip("bitsandbytes", reason="4 bits need bitsandbytes: pip install espnet-vivit[qlora]")

    args = arguments_of(preset, token_list)
    if preset in HUB:
        use_small_towers(args, tmp_path)
    elif args.tower_adapters:  # adapters stand on a pretrained base: a small one here
        tower = vivit_encoder("vivit-ti-16x2", pretrained=False, image_size=96, config=SMALL_VIVIT).vivit
        tower.save_pretrained(tmp_path / "tower")
        args.vision_encoder_conf["model_name"] = str(tmp_path / "tower")
    elif "model_name" in args.vision_encoder_conf:
        args.vision_encoder_conf["pretrained"] = False  # its sizes with random weights: tests have no network
    preprocess = AVSRTask.build_preprocess_fn(args, train=True)
    args.modality_dropout = {}  # by chance it could silence a stream of both clips, which then has no gradient
    model = AVSRTask.build_model(args)
    lips_alone = preset.stem.startswith("train_vsr_")
    expected = "video" if lips_alone else STREAMS.get(preset.stem.rpartition("_")[2], "multimodal")
    assert model.modality == expected
    side, rng = (48 if "egs" in preset.relative_to(ROOT).parts else 96), np.random.default_rng(0)
    takes = {"video": ["video"], "audio": ["speech"], "multimodal": ["video", "speech"]}[expected]
    clips = {name: clip(rng, side, frames) for name, frames in (("u1", 12), ("u2", 11))}
    samples = [
        (name, preprocess(name, {key: one[key] for key in [*takes, "text", "word_times"]}))
        for name, one in clips.items()
    ]
    _, batch = AVSRTask.build_collate_fn(args, train=True)(samples)
    if "video" in takes:
        assert batch["video"].shape[-1] == preprocess.preset.crop_size(side)
    if sum(parameter.numel() for parameter in model.parameters()) > 20_000_000:
        return  # on two cores building the large ones is enough
    loss, _, _ = model.train()(**batch)
    loss.backward()
    assert torch.isfinite(loss)
    for tower in (model.vision_encoder, model.audio_encoder):
        assert tower is None or any(p.grad is not None and p.grad.abs().sum() > 0 for p in tower.parameters())


@pytest.mark.parametrize(("size", "streams"), SIZED, ids=map("-".join, SIZED))
def test_a_preset_of_a_size_has_the_model_of_that_size_and_those_streams(size, streams, token_list):
    from espnet_vivit.tasks.avsr import AVSRTask

    args = arguments_of(SIZED[size, streams], token_list)
    if "model_name" in args.vision_encoder_conf:
        args.vision_encoder_conf["pretrained"] = False
    with torch.device("meta"):  # shapes without memory: the largest would take 1.3 GB
        model = AVSRTask.build_model(args)
        (optimizer,) = AVSRTask.build_optimizers(args, model)
    (blocks, width, decoder_blocks), millions = SIZES[size]
    assert (len(model.encoder.encoders), model.encoder.output_size()) == (blocks, width)
    assert len(model.decoder.decoders) == decoder_blocks and model.modality == STREAMS[streams]
    count = sum(parameter.numel() for parameter in model.parameters())
    assert round(count / 1e6, 1) == millions[list(STREAMS).index(streams)]
    rates = {group.get("name", "all else"): group["lr"] / args.optim_conf["lr"] for group in optimizer.param_groups}
    pretrained = {"vision_encoder": pytest.approx(0.1)} if size != "tiny" and streams != "audio" else {}
    assert rates == {"all else": 1.0, **pretrained}


@pytest.mark.parametrize("preset", SIZED.values(), ids=name_of)
def test_a_preset_of_a_size_has_what_keeps_a_training_from_failing(preset, token_list):
    """AdamW, warm-up and cosine, clipping, averaging, short clips first."""
    from espnet_vivit.tasks.loading.curriculum import read_curriculum

    args = arguments_of(preset, token_list)
    assert args.optim == "adamw" and args.optim_conf["betas"] == [0.9, 0.98]
    assert args.scheduler == "cosine_with_warmup" and set(args.scheduler_conf) == {"warmup_share"}  # for any corpus
    assert 5 <= args.grad_clip <= 10 and args.keep_nbest_models >= 5
    assert args.best_model_criterion == [["valid", "acc", "max"]]
    curriculum = read_curriculum(args.curriculum)
    assert curriculum.max_frames == 100 and curriculum.epochs < args.max_epoch / 4


@pytest.mark.parametrize("size", SIZES)
def test_presets_of_a_size_differ_only_where_their_streams_do(size, token_list):
    configs = {name: vars(arguments_of(SIZED[size, name], token_list)) for name in STREAMS}
    video = {"vision_encoder", "vision_encoder_conf", "lr_scale"}
    audio = {"audio_encoder", "audio_encoder_conf"}
    both = {"config", "modality", "modality_dropout", "preprocessor_conf"}
    for other, keys in (("video", audio | both), ("audio", video | both)):
        differing = {key for key in configs["both"] if configs["both"][key] != configs[other][key]}
        assert differing <= keys, differing - keys


TRIOS = sorted({path.with_name(path.name.replace("linear", "{}")) for path in COMPARED if "linear" in path.name})


@pytest.mark.parametrize("trio", TRIOS, ids=name_of)
def test_presets_to_compare_differ_only_in_the_vision_encoder_and_the_time_it_takes(trio, token_list):
    """Else a comparison of the three would compare something else too; equal time may mean more or fewer epochs."""
    paths = [trio.with_name(trio.name.format(name)) for name in ("vivit", "resnet", "linear")]
    configs = [vars(arguments_of(path, token_list)) for path in paths]
    for other in configs[1:]:
        differing = {key for key in configs[0] if configs[0][key] != other[key]}
        assert differing - {"max_epoch", "scheduler_conf"} == {"config", "vision_encoder", "vision_encoder_conf"}


@pytest.mark.parametrize("preset", TRAINING, ids=name_of)
def test_the_schedule_warms_up_and_ends_near_zero(preset, token_list):
    from espnet_vivit.tasks.optim.schedule import CosineWithWarmup

    args = arguments_of(preset, token_list)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=args.optim_conf["lr"])
    assert args.scheduler == "cosine_with_warmup"
    schedule = CosineWithWarmup(optimizer, **{"total_steps": 680, **args.scheduler_conf})
    assert 0 < schedule.warmup_steps < schedule.total_steps / 4
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
