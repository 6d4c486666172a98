"""A recipe's YAML and command line are read strictly: what cannot work is refused, what is misspelt is named."""

import contextlib
import io

import pytest
import yaml

from espnet_vivit.errors import ConfigError
from espnet_vivit.tasks.avsr import AVSRTask
from espnet_vivit.tasks.options import REFUSED, check_config_file


def parse(*options):
    return AVSRTask.get_parser().parse_args(list(options))


def parse_yaml(tmp_path, text):
    (tmp_path / "train.yaml").write_text(text)
    return parse("--config", str(tmp_path / "train.yaml"))


def test_the_yaml_of_a_recipe_is_taken(tmp_path):
    args = parse_yaml(
        tmp_path,
        """
        vision_encoder: vivit
        vision_encoder_conf: {model_name: vivit-ti-8x2, pretrained: false, image_size: 96, frame_adjust: window}
        audio_encoder: resnet1d
        fusion: concat
        modality: multimodal
        feature_rate: frame
        modality_dropout: {video: 0.25, audio: 0.25}
        encoder: conformer
        encoder_conf: {output_size: 256, attention_heads: 4, linear_units: 2048, num_blocks: 12, cnn_module_kernel: 31}
        decoder: transformer
        decoder_conf: {attention_heads: 4, linear_units: 2048, num_blocks: 6}
        model_conf: {ctc_weight: 0.1, lsm_weight: 0.1}
        optim: adamw
        scheduler: cosine_with_warmup
        """,
    )
    assert args.vision_encoder == "vivit" and args.vision_encoder_conf["image_size"] == 96
    assert (args.fusion, args.feature_rate, args.encoder_conf["output_size"]) == ("concat", "frame", 256)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "vision_encodr: vivit",
            r"unknown key in .*train.yaml: found 'vision_encodr'.*Did you mean 'vision_encoder'\?",
        ),
        (
            "vision_encoder: vivitt",
            r"vision_encoder in .*: found 'vivitt'.*Did you mean 'vivit'",
        ),
        ("encoder: conformr", "found 'conformr'; expected one of .*Did you mean 'conformer'"),
        ("fusion: sum", "expected one of add, concat, cross_attention, gated"),
        ("feature_rate: 25", "found 25; expected one of frame, tubelet"),
        ("optim: adamx", "Did you mean 'adamax'"),
        ("tower_adapters: 3", "tower_adapters in .*: found 3; expected a mapping"),
        ("amp_dtype: half", "amp_dtype in .*: found 'half'; expected one of bfloat16, float16, none"),
        ("model_conf: 3", "model_conf in .*: found 3; expected a mapping"),
        ("encoder: conformer\nencoder: conformer", "key 'encoder' occurs twice"),
        ("- a", "holds no options: found list"),
        ("a: [", "is not valid YAML"),
        ("iterator_type: chunk", "found 'chunk'; expected one of sequence"),
        ("max_epoch: 2.5", r"max_epoch in .*train.yaml: found 2.5; expected a whole number$"),
        ("max_epoch: true", "max_epoch in .*: found True; expected a whole number"),
        ("max_epoch:", "max_epoch in .*: found None; expected a whole number"),
        ("patience: 1.5", "patience in .*: found 1.5; expected a whole number, or null"),
        ("grad_clip: [5]", r"grad_clip in .*: found \[5\]; expected a number"),
        ("use_wandb: 3", "use_wandb in .*: found 3; expected true or false"),
        ("use_wandb: nope", "argument --use_wandb: invalid str2bool value: 'nope'"),
        ("wandb_name: 2024", "wandb_name in .*: found 2024; expected text. Write it in quotes"),
        ("token_list: [a]", r"token_list in .*: found \['a'\]; expected text, or null"),
        ("freeze_param: encoder", r"freeze_param in .*: found 'encoder'; expected a list such as \[a, b\]"),
        ("init_param: [3]", "init_param in .* holds: found 3; expected text"),
        ("keep_nbest_models: [2, 1.5]", "keep_nbest_models in .* holds: found 1.5; expected a whole number"),
        ("train_shape_file: shape", "train_shape_file in .*: found 'shape'; expected a list"),
        (
            "collect_stats: true",
            "collect_stats in .*: it writes the shapes of the data and trains nothing.*--collect_st",
        ),
        ("dry_run: 'yes'", "dry_run in .*: it builds everything and trains nothing"),
    ],
)
def test_a_mistake_in_the_yaml_is_named(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        parse_yaml(tmp_path, text)


def test_values_of_the_right_kind_are_taken(tmp_path):
    args = parse_yaml(
        tmp_path,
        """
        {max_epoch: '5', patience: null, grad_clip: 5, keep_nbest_models: 3, freeze_param: [encoder], seed: 0,
         use_tensorboard: 'no', log_interval: 10, collect_stats: false, dry_run: 'no', num_iters_per_epoch: null,
         wandb_name: 'a', init_param: [], best_model_criterion: [[valid, loss, min]], chunk_length: 500}
        """,
    )
    assert (args.max_epoch, args.grad_clip, args.keep_nbest_models, args.use_tensorboard) == (5, 5, 3, False)
    assert args.freeze_param == ["encoder"] and args.collect_stats is False


def test_what_print_config_shows_is_taken_as_a_yaml(tmp_path):
    """Every option's default is of the kind that a file may give."""
    defaults = AVSRTask.get_default_config()
    withdrawn = {"adapter", "use_adapter", "adapter_conf", "save_strategy", "multi_task_dataset"}
    known = {name: value for name, value in defaults.items() if name not in {*REFUSED, *withdrawn, "required"}}
    (tmp_path / "all.yaml").write_text(yaml.safe_dump(known))
    check_config_file(tmp_path / "all.yaml", AVSRTask.get_parser())


@pytest.mark.parametrize("key", REFUSED)
def test_what_espnet_would_accept_and_ignore_is_refused_with_a_pointer(tmp_path, key):
    with pytest.raises(ConfigError, match=f"{key} in .*train.yaml has no meaning for this task") as error:
        parse_yaml(tmp_path, f"{key}: 3")
    assert REFUSED[key].split(":")[0] in str(error.value)
    with pytest.raises(ConfigError, match="has no meaning for this task"):
        parse(f"--{key}", "3")
    with pytest.raises(ConfigError, match="has no meaning for this task"):
        parse(f"--{key}=3")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--vision_encodr", "vivit"],
            r"unrecognized arguments: --vision_encodr vivit. Did you mean --vision_encoder\?",
        ),
        (["--encoder_con", "a=3"], r"Did you mean --encoder_conf\?"),
        (["--vision_encoder", "none3"], "argument --vision_encoder: invalid choice: 'none3'"),
        (["--max_epoch", "ten"], "argument --max_epoch: invalid int value: 'ten'"),
        (["--config", "gone.yaml"], r"cannot read the configuration gone.yaml"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_sentence(options, message):
    with pytest.raises(ConfigError, match=message):
        parse(*options)


def test_the_command_line_wins_over_the_yaml(tmp_path):
    (tmp_path / "train.yaml").write_text("vision_encoder: vivit\nmodel_conf: {ctc_weight: 0.1, lsm_weight: 0.1}\n")
    options = ["--config", str(tmp_path / "train.yaml"), "--vision_encoder", "resnet", "--model_conf", "ctc_weight=0.5"]
    args = parse(*options)
    assert args.vision_encoder == "resnet" and args.model_conf == {"ctc_weight": 0.5, "lsm_weight": 0.1}


def test_print_config_shows_every_option_with_the_value_it_has_if_nothing_is_said(monkeypatch):
    monkeypatch.setattr("sys.argv", ["avsr_train", "--vision_encoder", "vivit", "--decoder_conf", "num_blocks=3"])
    out = io.StringIO()
    AVSRTask.print_config(out)
    config = yaml.safe_load(out.getvalue())
    assert config["vision_encoder_conf"]["pretrained"] is True
    assert config["encoder_conf"]["output_size"] == 768 and config["decoder_conf"]["attention_heads"] == 12
    assert config["decoder_conf"]["num_blocks"] == 3
    assert config["model_conf"]["ctc_weight"] == 0.1 and config["model_conf"]["frame_loss_weight"] == 0.0
    assert config["preprocessor_conf"]["noise_snr_db"] == [-5, 0, 5, 10, 15, 20, None]
    assert not set(REFUSED) - {"adapter", "use_adapter", "adapter_conf", "save_strategy", "multi_task_dataset"} & set(
        config
    )


def test_help_is_for_people():
    out = io.StringIO()
    with contextlib.redirect_stdout(out), pytest.raises(SystemExit) as end:
        parse("--help")
    assert end.value.code == 0
    assert (
        "--vision_encoder {vivit,resnet,linear,avhubert,avhubert_video,huggingface,None}" in out.getvalue()
        and "--use_adapter" not in out.getvalue()
    )


@pytest.mark.parametrize("section", ["model_conf", "preprocessor_conf", "encoder_conf", "modality_dropout"])
def test_a_section_that_is_left_empty_has_no_options(tmp_path, section):
    args = parse_yaml(tmp_path, f"{section}:\n")
    assert getattr(args, section) == {}
