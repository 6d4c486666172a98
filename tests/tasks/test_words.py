"""WordsTask: the loss of one word a clip, what is refused, and a training that ends in a model that can be loaded."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch.nn.functional import log_softmax

from espnet_vivit.bin.words_cut import main as words_cut
from espnet_vivit.bin.words_evaluate import main as words_evaluate
from espnet_vivit.bin.words_results import main as words_results
from espnet_vivit.data.token_list import FIRST, in_espnet_order
from espnet_vivit.errors import ConfigError, DataError, InputError
from espnet_vivit.evaluation.words import read_predictions
from espnet_vivit.model.word_model import FIRST_WORD, WordModel
from espnet_vivit.tasks.words import WordsTask
from tests import tiny
from tests.tiny_corpus import WORDS as TINY_WORDS
from tests.tiny_corpus import write_tiny_corpus

ROOT = Path(__file__).resolve().parents[2]
TOKENS = ["<blank>", "<unk>", *"abcdefg", "<sos/eos>"]
VIVIT = {"pretrained": False, "config": tiny.CONFIG, "num_frames": tiny.WINDOW, "window_overlap": 2}
ENCODERS = {
    "vivit": VIVIT,
    "resnet": {"channels": 4},
    "linear": {"image_size": 16, "output_dim": 8},
}


def word_model(**options) -> WordModel:
    return tiny.randomize(WordModel(TOKENS, tiny.tiny_vivit(frame_adjust="window", window_overlap=2), **options)).eval()


def batch(*labels: int, lengths=(9, 6)) -> dict:
    video = torch.stack([tiny.raw_clip(9) for _ in labels])
    text = torch.tensor(labels)[:, None]
    ones = torch.ones(len(labels), dtype=torch.long)
    return {"video": video, "video_lengths": torch.tensor(lengths), "text": text, "text_lengths": ones}


def test_the_loss_is_smoothed_cross_entropy_and_accuracies_are_shares():
    model, data = word_model(lsm_weight=0.2), batch(2, 8)
    loss, stats, weight = model(**data)
    logits = model.classifier(data["video"], data["video_lengths"])
    log_p = log_softmax(logits, -1)
    targets = torch.full((2, 7), 0.2 / 7)
    targets[0, 0] += 0.8
    targets[1, 6] += 0.8
    torch.testing.assert_close(loss.squeeze(), -(targets * log_p).sum(-1).mean())
    order = logits.argsort(descending=True)
    assert stats["acc"] == np.mean([order[0, 0] == 0, order[1, 0] == 6])
    assert stats["acc5"] == np.mean([0 in order[0, :5], 6 in order[1, :5]])
    assert weight == 2


def test_a_padded_clip_has_the_loss_of_the_clip_alone():
    model, data = word_model(), batch(2, 5)
    data["video"][1, 6:] = 255
    alone = {name: value[1:] for name, value in data.items()}
    first = {name: value[:1] for name, value in data.items()}
    alone["video"] = alone["video"][:, :6]
    torch.testing.assert_close(model(**data)[0], (model(**first)[0] + model(**alone)[0]) / 2)


@pytest.mark.parametrize(("token", "count"), [(1, 1), (3, 2)])
def test_a_text_that_is_no_word_of_the_list_is_named(token, count):
    data = batch(2, token)
    data["text"] = data["text"].repeat(1, 2)
    data["text_lengths"][1] = count
    with pytest.raises(InputError, match=r"the text of utterance 'b' is no isolated word"):
        word_model()(**data, utt_id=["a", "b"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"preprocessor_conf": {"join_prob": 0.5}}, "join_prob is for sentences"),
        ({"best_model_criterion": [["valid", "wer_ctc", "min"]]}, "wer_ctc"),
        ({"encoder": "conformer"}, "encoder"),
        ({"model_conf": {"ctc_weight": 0.3}}, "ctc_weight"),
        ({"model_conf": {"lsm_weight": 1.0}}, "lsm_weight"),
        ({"tower_adapters": {"vision_encoder": {"type": "lora"}}}, "tower_adapters"),
    ],
)
def test_options_without_a_meaning_are_refused_by_name(tmp_path, changes, message):
    (tmp_path / "tokens.txt").write_text("\n".join(TOKENS))
    config = {"vision_encoder_conf": VIVIT, "token_list": str(tmp_path / "tokens.txt"), **changes}
    (tmp_path / "train.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(ConfigError, match=message):
        args = WordsTask.get_parser().parse_args(["--config", str(tmp_path / "train.yaml"), "--output_dir", "exp"])
        WordsTask.check_required_command_args(args)
        WordsTask.build_model(args)


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """The tiny corpus cut into words of 8 frames, with the shapes of its clips, and its list of words."""
    root = tmp_path_factory.mktemp("words")
    corpus = write_tiny_corpus(root / "corpus")
    for name in ("train", "valid"):
        words_cut(["--data", str(corpus / name), "--out", str(root / name), "--num_frames", "8"])
    (root / "tokens.txt").write_text((corpus / "tokens.txt").read_text())
    return root


def train(words, exp, encoder: str) -> None:
    """Two epochs of a tiny model."""
    config = {"vision_encoder": encoder, "vision_encoder_conf": ENCODERS[encoder], "max_epoch": 2, "batch_size": 4}
    config |= {"optim": "adamw", "num_workers": 0, "use_tensorboard": False, "use_matplotlib": False}
    config |= {"batch_type": "unsorted", "best_model_criterion": [["valid", "acc", "max"]], "keep_nbest_models": 1}
    exp.mkdir(parents=True)
    (exp / "train.yaml").write_text(yaml.safe_dump(config))
    options = ["--config", str(exp / "train.yaml"), "--output_dir", str(exp), "--token_list", str(words / "tokens.txt")]
    for split in ("train", "valid"):
        options += [f"--{split}_shape_file", str(words / split / "text")]
        for stream in ("video.scp,video,video", "text,text,text"):
            options += [f"--{split}_data_path_and_name_and_type", f"{words / split}/{stream}"]
    WordsTask.main(cmd=options)


def test_three_encoders_train_and_are_compared(words, tmp_path, capsys):
    for encoder in ENCODERS:
        exp = tmp_path / f"words_{encoder}"
        train(words, exp, encoder)
        evaluated = ["--model_file", str(exp / "valid.acc.best.pth"), "--data", str(words / "valid")]
        views = "3" if encoder == "vivit" else "1"
        words_evaluate([*evaluated, "--out", str(exp / "evaluated/valid"), "--views", views])
        answers = read_predictions(exp / "evaluated/valid/predictions.tsv")
        assert len(answers.predictions) == 8 and answers.num_words == len(TINY_WORDS)
        assert (exp / "evaluated/valid/confusions.png").is_file()
    experiments = [str(tmp_path / f"words_{encoder}") for encoder in ENCODERS]
    words_results(["--exp", *experiments, "--data", str(words), "--out", str(tmp_path / "RESULTS.md")])
    text = (tmp_path / "RESULTS.md").read_text()
    assert text.count("\n| words_") == 3 and "valid: words_vivit against words_linear" in text
    assert "seed: training 0" in text and str(tmp_path) not in text


def test_a_model_is_loaded_from_its_experiment_alone(words, tmp_path):
    train(words, tmp_path / "exp", "vivit")
    model, args = WordsTask.build_model_from_file(None, tmp_path / "exp/valid.acc.best.pth")
    stored = torch.load(tmp_path / "exp/valid.acc.best.pth", weights_only=True)
    assert model.words == TINY_WORDS and args.vision_tower["hidden_size"] == tiny.HIDDEN
    assert all(torch.equal(value, stored[name]) for name, value in model.state_dict().items())
    assert "epoch" in (tmp_path / "exp/log.jsonl").read_text()


def test_a_test_set_with_other_words_is_refused(words, tmp_path):
    train(words, tmp_path / "exp", "linear")
    other = tmp_path / "other"
    other.mkdir()
    for path in (words / "valid").iterdir():
        if path.is_file():
            (other / path.name).write_text(path.read_text())
    lines = (other / "text").read_text().splitlines()
    (other / "text").write_text("\n".join([lines[0].split()[0] + " zebra", *lines[1:]]) + "\n")
    model = ["--model_file", str(tmp_path / "exp/valid.acc.best.pth")]
    with pytest.raises(DataError, match="zebra"):
        words_evaluate([*model, "--data", str(other), "--out", str(tmp_path / "evaluated")])


def test_a_word_that_the_list_lacks_ends_a_training_before_it_begins(words, tmp_path):
    short = [token for token in (words / "tokens.txt").read_text().splitlines() if token != "bin"]
    (tmp_path / "tokens.txt").write_text("\n".join(short))
    for name in ("train", "valid"):
        (tmp_path / name).symlink_to(words / name)
    with pytest.raises(DataError, match=r"such as 'bin' of utterance"):
        train(tmp_path, tmp_path / "exp", "linear")


def test_the_model_and_the_token_list_agree_where_words_begin():
    assert FIRST_WORD == FIRST and in_espnet_order(["a"])[FIRST] == "a"


@pytest.mark.parametrize(
    "path", sorted(ROOT.glob("egs/*/words1/conf/*.yaml")), ids=lambda path: str(path.relative_to(ROOT))
)
def test_every_configuration_of_a_recipe_builds(path, tmp_path):
    (tmp_path / "tokens.txt").write_text("\n".join(TOKENS))
    options = ["--config", str(path), "--token_list", str(tmp_path / "tokens.txt"), "--output_dir", str(tmp_path)]
    args = WordsTask.get_parser().parse_args(options)
    WordsTask.check_required_command_args(args)
    model = WordsTask.build_model(args).eval()
    side = model.classifier.encoder.preset.crop_size(52 if "grid" in path.parts else 96)
    video = torch.zeros(1, 17, side, side, dtype=torch.uint8)
    assert model.classifier(video).tolist() == [[0.0] * 7], "a fresh head says the same of every word"
