"""Language models from the command line: stages 6 to 8 on a tiny corpus, decoding with the result, and n-grams."""

import math
from pathlib import Path

import pytest
import torch
import yaml

from espnet_vivit.bin import avsr_inference, avsr_lm, avsr_ngram
from espnet_vivit.bin.command_parser import exit_status
from espnet_vivit.data.data_dir import read_scp
from espnet_vivit.decode.ngram import read_arpa
from espnet_vivit.tasks.avsr import AVSRTask
from tests.tiny import randomize
from tests.tiny_corpus import FILES, TOKENS, write_config, write_tiny_corpus

LM_CONFIG = Path(__file__).resolve().parents[2] / "egs/mini_av/avsr1/conf/train_lm.yaml"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_tiny_corpus(tmp_path_factory.mktemp("lm") / "corpus")


@pytest.fixture(scope="module")
def language_model(corpus):
    """The experiment folder of mini_av's language model after two epochs on eight sentences."""
    exp, stats = corpus / "exp_lm", corpus / "stats"
    tokens = ["--token_list", corpus / "tokens.txt", "--token_type", "word"]
    texts = ["--train", corpus / "train/text", "--valid", corpus / "valid/text"]
    avsr_lm.main(["shapes", *map(str, [*texts, "--out", stats, *tokens])])
    options = ["--config", LM_CONFIG, "--output_dir", exp, *tokens, "--max_epoch", 2, "--num_workers", 0]
    for split in ("train", "valid"):
        options += [f"--{split}_data_path_and_name_and_type", f"{corpus / split}/text,text,text"]
        options += [f"--{split}_shape_file", stats / split / "text_shape.word"]
    avsr_lm.main(["train", *map(str, options)])
    return exp


@pytest.fixture(scope="module")
def recognizer(corpus):
    """The checkpoint of an untrained model of sound."""
    folder = corpus / "exp_asr"
    folder.mkdir()
    config = write_config(folder / "train.yaml", vision_encoder=..., vision_encoder_conf=...)
    args = AVSRTask.get_parser().parse_args(["--config", str(config)])
    args.token_list = list(TOKENS)
    torch.manual_seed(0)
    model = randomize(AVSRTask.build_model(args), std=0.2)
    (folder / "config.yaml").write_text(yaml.safe_dump(vars(args)))
    torch.save(model.state_dict(), folder / "model.pth")
    return folder / "model.pth"


def decode(corpus, recognizer, output_dir, *options):
    """utterance -> score"""
    given = ["--asr_model_file", recognizer, "--output_dir", output_dir, "--num_workers", 0, "--beam_size", 3]
    data = ["--data_path_and_name_and_type", f"{corpus / 'valid'}/{FILES['speech']}", "--log_level", "WARNING"]
    avsr_inference.main([str(word) for word in [*given, *data, "--maxlenratio", -4, *options]])
    return {utt_id: float(score) for utt_id, score in read_scp(output_dir / "1best_recog/score").items()}


def test_shapes_count_the_tokens_of_every_transcript(corpus, language_model):
    for split in ("train", "valid"):
        shapes = read_scp(corpus / f"stats/{split}/text_shape.word")
        assert shapes == dict.fromkeys(read_scp(corpus / split / "text"), f"2,{len(TOKENS)}")


def test_the_perplexity_is_that_of_the_trained_model(corpus, language_model):
    options = ["--data_path_and_name_and_type", f"{corpus / 'valid'}/text,text,text", "--ngpu", 0]
    files = ["--train_config", language_model / "config.yaml", "--model_file", language_model / "valid.loss.ave.pth"]
    avsr_lm.main(["perplexity", *map(str, [*options, *files, "--output_dir", corpus / "ppl", "--num_workers", 0])])
    perplexity = float((corpus / "ppl/ppl").read_text())
    epochs = yaml.safe_load((language_model / "config.yaml").read_text())["max_epoch"]
    assert epochs == 2 and 1 < perplexity < 3 * len(TOKENS)
    utterances = [float(value) for value in read_scp(corpus / "ppl/utt2ppl").values()]
    # all sentences have two words, so the whole is the geometric mean of the parts
    assert perplexity == pytest.approx(math.exp(sum(map(math.log, utterances)) / len(utterances)), rel=1e-3)


def test_decoding_takes_the_language_model_by_its_weight(corpus, recognizer, language_model, tmp_path):
    files = ["--lm_train_config", language_model / "config.yaml", "--lm_file", language_model / "valid.loss.ave.pth"]
    plain = decode(corpus, recognizer, tmp_path / "plain")
    off = decode(corpus, recognizer, tmp_path / "off", *files, "--lm_weight", 0)
    helped = decode(corpus, recognizer, tmp_path / "on", *files, "--lm_weight", 0.5)
    assert off == plain and all(helped[utt_id] < plain[utt_id] for utt_id in plain)


def test_an_n_gram_model_is_made_and_decoded_with(corpus, recognizer, tmp_path, capsys):
    path = tmp_path / "2gram.arpa"
    texts = ["--train", corpus / "train/text", "--valid", corpus / "valid/text", "--order", 2]
    tokens = ["--token_list", corpus / "tokens.txt", "--token_type", "word", "--out", path]
    avsr_ngram.main([*map(str, [*texts, *tokens])])
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith(f"{path}: {len(TOKENS)} 1-grams, ")  # the end for the blank, and the start
    assert 1 < float(out[1].split()[-1]) < len(TOKENS)
    assert read_arpa(path).order == 2
    plain = decode(corpus, recognizer, tmp_path / "plain")
    helped = decode(corpus, recognizer, tmp_path / "on", "--ngram_file", path, "--ngram_weight", 0.5)
    assert all(helped[utt_id] < plain[utt_id] for utt_id in plain)


def test_bad_commands_end_in_one_sentence(corpus, capsys):
    tokens = ["--token_list", str(corpus / "tokens.txt"), "--token_type", "word"]
    text = str(corpus / "train/text")
    for main, argv, message in (
        (avsr_lm.main, [], "avsr_lm needs a command: found none"),
        (avsr_lm.main, ["trian"], "found trian"),
        (avsr_ngram.main, ["--train", "gone", "--out", "o", *tokens], "no transcript file"),
        (avsr_ngram.main, ["--train", text, "--out", "o.gz", *tokens], "writes plain text"),
        (avsr_ngram.main, ["--train", text, "--out", "o", "--order", "0", *tokens], "order of an n-gram model"),
    ):
        assert exit_status(main, argv) == 1
        assert message in capsys.readouterr().err
