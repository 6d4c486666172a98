"""AVSRTask builds what its options say, saves what loading needs, and loads nothing that does not fit."""

import pytest
import torch
import yaml
from espnet2.train.distributed_utils import DistributedOption

from espnet_vivit.errors import ConfigError, DataError, WeightsError
from espnet_vivit.tasks.avsr import AVSRTask
from espnet_vivit.tasks.loading.dataset import AVSRDataset
from espnet_vivit.tasks.model_config import read_token_list
from espnet_vivit.tasks.model_options import INITS
from tests import tiny
from tests.experiments import write_experiment
from tests.tiny_corpus import CONFIG, TOKENS, data_options, shape_options, write_config, write_tiny_corpus


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_tiny_corpus(tmp_path_factory.mktemp("corpus"))


def arguments(tmp_path, **changes):
    config = write_config(tmp_path / "train.yaml", **changes)
    return AVSRTask.get_parser().parse_args(["--config", str(config), "--output_dir", str(tmp_path / "exp")])


def model_arguments(tmp_path, **changes):
    args = arguments(tmp_path, **changes)
    args.token_list = list(TOKENS)
    return args


def save(tmp_path, model, args):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(vars(args)))
    torch.save(model.state_dict(), tmp_path / "model.pth")
    return tmp_path / "config.yaml", tmp_path / "model.pth"


@pytest.mark.parametrize(
    ("changes", "modality"),
    [
        ({}, "multimodal"),
        ({"audio_encoder": ...}, "video"),
        ({"vision_encoder": ..., "vision_encoder_conf": ...}, "audio"),
        ({"modality": "video"}, "video"),
    ],
)
def test_the_modality_is_what_is_said_or_follows_from_the_encoders(tmp_path, changes, modality):
    args = model_arguments(tmp_path, **changes)
    model = AVSRTask.build_model(args)
    assert model.modality == args.modality == modality
    assert (model.vision_encoder is None) == (modality == "audio")
    assert (model.audio_encoder is None) == (modality == "video")


@pytest.mark.parametrize("vision_encoder", ["vivit", "resnet", "linear"])
def test_one_line_switches_the_vision_encoder(tmp_path, vision_encoder):
    conf = {
        "vivit": {"pretrained": False, "config": tiny.CONFIG, "num_frames": tiny.WINDOW},
        "resnet": {},
        "linear": CONFIG["vision_encoder_conf"],
    }
    args = model_arguments(
        tmp_path, vision_encoder=vision_encoder, vision_encoder_conf=conf[vision_encoder], audio_encoder=...
    )
    assert vision_encoder in type(AVSRTask.build_model(args).vision_encoder).__name__.lower()


def test_a_pretrained_tower_survives_init_and_is_loaded_again_without_its_folder(tmp_path):
    tower = tiny.tiny_vivit().vivit
    tower.save_pretrained(tmp_path / "checkpoint")
    conf = {"model_name": str(tmp_path / "checkpoint"), "num_frames": tiny.WINDOW, "output_dim": 8}
    changes = {"vision_encoder": "vivit", "vision_encoder_conf": conf, "audio_encoder": ..., "init": "xavier_uniform"}
    args = model_arguments(tmp_path, **changes)
    model = AVSRTask.build_model(args)
    for name, weight in tower.state_dict().items():
        torch.testing.assert_close(model.vision_encoder.vivit.state_dict()[name], weight)
    files = save(tmp_path, model, args)
    (tmp_path / "checkpoint").rename(tmp_path / "moved")
    loaded, loaded_args = AVSRTask.build_model_from_file(*files)
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], weight)
    assert loaded_args.vision_encoder_conf == conf


@pytest.mark.parametrize("init", INITS)
def test_every_init_that_is_offered_works(tmp_path, init):
    model = AVSRTask.build_model(model_arguments(tmp_path, init=init))
    assert all(torch.isfinite(weight).all() for weight in model.state_dict().values())


def test_loading_names_missing_unknown_and_misshapen_weights(tmp_path):
    args = model_arguments(tmp_path, audio_encoder=...)
    model = AVSRTask.build_model(args)
    config, weights = save(tmp_path, model, args)
    loaded, _ = AVSRTask.build_model_from_file(config, weights)
    torch.testing.assert_close(loaded.state_dict(), model.state_dict())

    state = model.state_dict()
    state["encoder.renamed"] = state.pop("ctc.ctc_lo.weight")
    torch.save(state, weights)
    with pytest.raises(WeightsError, match=r"1 weights missing \(ctc.ctc_lo.weight\), 1 unknown \(encoder.renamed\)"):
        AVSRTask.build_model_from_file(config, weights)
    torch.save({**model.state_dict(), "ctc.ctc_lo.weight": torch.zeros(2, 2)}, weights)
    with pytest.raises(WeightsError, match=r"ctc\.ctc_lo\.weight"):
        AVSRTask.build_model_from_file(config, weights)
    with pytest.raises(WeightsError, match=r"gone\.pth does not exist"):
        AVSRTask.build_model_from_file(config, tmp_path / "gone.pth")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_conf": {"ctc_wieght": 0.1}}, r"unknown option in model_conf: found 'ctc_wieght'.*'ctc_weight'"),
        ({"model_conf": {"fusion": "add"}}, "unknown option in model_conf: found 'fusion'"),
        ({"encoder_conf": {"num_block": 3}}, r"encoder_conf.*found 'num_block'.*'num_blocks'"),
        ({"vision_encoder_conf": {"imagesize": 3}}, r"vision_encoder_conf.*found 'imagesize'.*'image_size'"),
        ({"modality": "audio", "audio_encoder": ...}, "modality audio needs a audio_encoder"),
        ({"vision_encoder": ..., "vision_encoder_conf": ..., "audio_encoder": ...}, "the model has no input"),
    ],
)
def test_options_that_no_model_has_are_refused(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        AVSRTask.build_model(model_arguments(tmp_path, **changes))


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (["a", "b", "c"], "not in ESPnet's order"),
        (["<blank>", "<unk>", "a", "a", "<sos/eos>"], "the token 'a' stands twice"),
        ("gone.txt", "the token list gone.txt does not exist"),
    ],
)
def test_a_bad_token_list_is_refused(tokens, message):
    with pytest.raises(DataError, match=message):
        read_token_list(tokens)


def train(corpus, tmp_path, *options, names=("speech", "video", "text", "word_times"), **changes):
    config = write_config(tmp_path / "train.yaml", **changes)
    common = [
        "--config",
        str(config),
        "--token_list",
        str(corpus / "tokens.txt"),
        "--output_dir",
        str(tmp_path / "exp"),
    ]
    AVSRTask.main(cmd=[*common, *data_options(corpus, names), *shape_options(corpus), *options])


@pytest.mark.parametrize(
    ("names", "changes", "message"),
    [
        (("speech", "text"), {}, "modality multimodal needs speech, video and text: found only speech and text"),
        (("speech", "video", "text"), {}, "frame_loss_weight needs word_times in the train data"),
        (("speech", "video", "text"), {"modality": "video"}, "modality video needs video and text.*Leave out speech"),
    ],
)
def test_data_that_are_not_the_models_are_refused_before_anything_is_built(corpus, tmp_path, names, changes, message):
    with pytest.raises(ConfigError, match=message):
        train(corpus, tmp_path, names=names, **changes)
    assert not (tmp_path / "exp").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--max_cache_size", "1GB"], "augmentation would be drawn once"),
        (["--preprocessor_conf", "flip_prop=1"], "unknown option in preprocessor_conf: found 'flip_prop'"),
    ],
)
def test_what_would_freeze_or_miss_augmentation_is_refused(corpus, tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        train(corpus, tmp_path, *options)


def test_no_options_name_what_is_missing():
    with pytest.raises(ConfigError, match="options are missing: --output_dir, --token_list"):
        AVSRTask.main(cmd=[])


def test_text_without_video_is_named(corpus, tmp_path):
    lines = (corpus / "train/video.scp").read_text().splitlines()
    (tmp_path / "video.scp").write_text("\n".join(lines[1:]) + "\n")
    options = data_options(corpus, ("text", "video"))
    options = [option.replace(f"{corpus}/train/video.scp", str(tmp_path / "video.scp")) for option in options]
    config = write_config(tmp_path / "train.yaml", audio_encoder=..., model_conf={})
    common = [
        "--config",
        str(config),
        "--token_list",
        str(corpus / "tokens.txt"),
        "--output_dir",
        str(tmp_path / "exp"),
    ]
    with pytest.raises(DataError, match=f"utterance {lines[0].split()[0]!r} has no video"):
        AVSRTask.main(cmd=[*common, *options, *shape_options(corpus)])


def test_what_is_left_out_of_the_shapes_is_not_joined_to_others(corpus, tmp_path, monkeypatch):
    """Stage 10 leaves out of them what CTC cannot align."""
    kept = (corpus / "train/text").read_text().splitlines()[:3]
    (tmp_path / "text_shape").write_text("".join(f"{line.split()[0]} 2\n" for line in kept))
    conf = {"join_prob": 1.0}
    config = write_config(tmp_path / "train.yaml", num_workers=0, batch_size=3, preprocessor_conf=conf)
    options = ["--config", str(config), "--token_list", str(corpus / "tokens.txt"), "--output_dir", str(tmp_path)]
    shapes = ["--train_shape_file", str(tmp_path / "text_shape"), "--valid_shape_file", str(corpus / "valid/text")]
    args = AVSRTask.get_parser().parse_args([*options, *data_options(corpus), *shapes])
    AVSRTask.check_required_command_args(args)
    factory = AVSRTask.build_iter_factory(args, DistributedOption(), mode="train")
    joined = set()
    load = AVSRDataset.raw
    monkeypatch.setattr(AVSRDataset, "raw", lambda self, utt_id: joined.add(utt_id) or load(self, utt_id))
    for epoch in range(1, 9):
        for _, batch in factory.build_iter(epoch):
            assert batch["video_lengths"].min() >= 40, "nothing was joined"
    assert joined == {line.split()[0] for line in kept}


def test_each_epoch_draws_its_augmentation_anew_and_resuming_repeats_it(corpus, tmp_path):
    config = write_config(tmp_path / "train.yaml", num_workers=1, batch_size=8)
    options = ["--config", str(config), "--token_list", str(corpus / "tokens.txt"), "--output_dir", str(tmp_path)]
    args = AVSRTask.get_parser().parse_args([*options, *data_options(corpus), *shape_options(corpus)])
    AVSRTask.check_required_command_args(args)
    factory = AVSRTask.build_iter_factory(args, DistributedOption(), mode="train")

    def videos(epoch):
        ((keys, batch),) = factory.build_iter(epoch)
        return dict(zip(keys, batch["video"], strict=True))

    first, again, second = videos(1), videos(1), videos(2)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert sum(torch.equal(first[key], second[key]) for key in first) <= 1
    assert next(iter(first.values())).dtype == torch.uint8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda config: config.pop("vision_encoder_conf"),
            "does not say what the model is built from: found no vision_",
        ),
        (lambda config: config.pop("token_type"), "found no token_type"),
        (lambda config: config.update(model_conf=[1]), r"model_conf: \[1\]; expected options"),
        (lambda config: config.update(encoder_conf="x"), "encoder_conf: 'x'; expected options"),
    ],
)
def test_a_configuration_that_builds_no_model_is_named(tmp_path, change, message):
    exp = write_experiment(tmp_path / "exp")
    config = yaml.safe_load((exp / "config.yaml").read_text())
    change(config)
    (exp / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(ConfigError, match=message):
        AVSRTask.build_model_from_file(exp / "config.yaml", exp / "valid.acc.ave.pth")


def test_part_options_that_are_null_are_none(tmp_path):
    exp = write_experiment(tmp_path / "exp", model_conf={})
    config = yaml.safe_load((exp / "config.yaml").read_text())
    (exp / "config.yaml").write_text(yaml.safe_dump(config | {"model_conf": None}))
    AVSRTask.build_model_from_file(exp / "config.yaml", exp / "valid.acc.ave.pth")


def test_whole_numbers_are_no_weights(tmp_path):
    exp = write_experiment(tmp_path / "exp")
    state = torch.load(exp / "valid.acc.ave.pth", weights_only=True)
    torch.save({name: value.long() for name, value in state.items()}, exp / "valid.acc.ave.pth")
    with pytest.raises(WeightsError, match="another kind of number than the model"):
        AVSRTask.build_model_from_file(exp / "config.yaml", exp / "valid.acc.ave.pth")
