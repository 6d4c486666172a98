"""Which lists avsr_train is given for which model; ESPnet's own parser reads what is printed."""

import pytest

from espnet_vivit.bin.avsr_streams import main
from espnet_vivit.data.mouth_view import write_mouth_view
from espnet_vivit.errors import ConfigError, DataError
from espnet_vivit.tasks.streams import configured_modality


@pytest.fixture
def folders(tmp_path):
    for split in ("train", "dev"):
        (tmp_path / split).mkdir()
        for name in ("wav.scp", "video.scp", "text", "word_times"):
            (tmp_path / split / name).write_text("u1 x\n")
    for split in ("train", "valid"):
        (tmp_path / "stats" / split).mkdir(parents=True)
        for name in ("video_shape", "speech_shape"):
            (tmp_path / "stats" / split / name).write_text("u1 10\n")
    return tmp_path


def ask(folders, capsys, yaml: str, *more: str) -> list[str]:
    (folders / "train.yaml").write_text(yaml)
    arguments = ["--config", folders / "train.yaml", "--ask", "train_options", "--train", folders / "train"]
    main([str(a) for a in [*arguments, "--valid", folders / "dev", "--stats", folders / "stats", *more]])
    return capsys.readouterr().out.splitlines()


def test_a_multimodal_model_gets_both_streams_text_and_word_times(folders, capsys):
    from espnet_vivit.espnet_compat import quiet_espnet_import

    options = ask(folders, capsys, "vision_encoder: vivit\naudio_encoder: resnet1d\n")
    with quiet_espnet_import():
        from espnet2.tasks.asr import ASRTask
    args = ASRTask.get_parser().parse_args(options)
    names = [(name, kind) for _, name, kind in args.train_data_path_and_name_and_type]
    assert names == [("speech", "sound"), ("video", "video"), ("text", "text"), ("word_times", "text")]
    assert args.valid_data_path_and_name_and_type[1][0] == f"{folders}/dev/video.scp"
    assert args.train_shape_file == [f"{folders}/stats/train/video_shape"]
    assert args.valid_shape_file == [f"{folders}/stats/valid/video_shape"]


def test_an_audio_model_reads_no_video_and_counts_samples(folders, capsys):
    options = ask(folders, capsys, "audio_encoder: resnet1d\n")
    assert not [option for option in options if ",video," in option]
    assert f"{folders}/stats/train/speech_shape" in options


def test_the_command_line_wins_over_the_yaml_and_other_options_are_left_alone(folders, capsys):
    yaml = "vision_encoder: vivit\naudio_encoder: resnet1d\nmodality: multimodal\n"
    options = ask(folders, capsys, yaml, "--max_epoch", "5", "--modality=video")
    assert not [option for option in options if ",speech," in option]


def test_word_times_of_only_one_set_are_left_out(folders, capsys):
    (folders / "dev/word_times").unlink()
    assert not [option for option in ask(folders, capsys, "vision_encoder: linear\n") if ",word_times," in option]


def test_noise_scp_train_becomes_the_training_sets_sounds(folders, capsys):
    yaml = "vision_encoder: vivit\naudio_encoder: resnet1d\npreprocessor_conf: {noise_scp: train}\n"
    assert ask(folders, capsys, yaml)[-2:] == ["--preprocessor_conf", f"noise_scp={folders}/train/wav.scp"]
    assert ask(folders, capsys, yaml, "--modality", "video")[-1] == "noise_scp=null"  # no sound to mix anything with


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "no input"),
        ({"modality": "vido"}, "Did you mean 'video'"),
        ({"vision_encoder": None, "audio_encoder": None}, "no input"),
    ],
)
def test_a_model_without_input_or_with_a_misspelt_one_is_refused(config, message):
    with pytest.raises(ConfigError, match=message):
        configured_modality(config)


def test_a_missing_stream_and_missing_shapes_are_named(folders, capsys):
    (folders / "stats/valid/video_shape").unlink()
    with pytest.raises(DataError, match="Run stage 10"):
        ask(folders, capsys, "vision_encoder: vivit\n")
    (folders / "train/video.scp").unlink()
    with pytest.raises(DataError, match=r"takes video, but .*train has no video\.scp"):
        ask(folders, capsys, "vision_encoder: vivit\n")


def test_the_feature_rate_is_that_of_the_yaml(folders, capsys):
    for yaml, rate in (("feature_rate: tubelet\n", "tubelet"), ("seed: 1\n", "frame")):
        (folders / "train.yaml").write_text(yaml)
        main(["--config", str(folders / "train.yaml"), "--ask", "feature_rate"])
        assert capsys.readouterr().out == f"{rate}\n"


def test_a_yaml_is_read_as_strictly_as_by_the_training(folders, capsys):
    with pytest.raises(ConfigError, match="key 'modality' occurs twice"):
        ask(folders, capsys, "vision_encoder: vivit\nmodality: video\nmodality: multimodal\n")


def test_mouth_view_follows_the_prepared_pictures(folders, capsys):
    yaml, where = "vision_encoder: vivit\n", ("--prepared", str(folders))
    assert "--mouth_view" not in ask(folders, capsys, yaml, *where), "nothing is noted"
    write_mouth_view(folders, 64)
    assert ask(folders, capsys, yaml, *where)[-2:] == ["--mouth_view", "64"]
    assert "--mouth_view" not in ask(folders, capsys, yaml + "mouth_view: 64\n", *where), "the YAML has it already"
    assert "--mouth_view" not in ask(folders, capsys, "audio_encoder: resnet1d\nmouth_view: 32\n", *where)


def test_a_mouth_view_that_is_not_that_of_the_pictures_is_refused_before_training(folders, capsys):
    write_mouth_view(folders, 80)
    yaml, where = "vision_encoder: vivit\nmouth_view: 64\n", ("--prepared", str(folders))
    with pytest.raises(ConfigError, match=r"found 64 in the configuration, 80 in .*Set mouth_view: 80"):
        ask(folders, capsys, yaml, *where)
    assert "--mouth_view" not in ask(folders, capsys, yaml, *where, "--mouth_view", "80"), "--asr_args win"
    assert ask(folders, capsys, yaml, *where, "--mouth_view", "null")[-2:] == ["--mouth_view", "80"]
    (folders / "mouth_view").write_text("half\n")
    with pytest.raises(DataError, match="found 'half'; expected pixels"):
        ask(folders, capsys, yaml, *where)
