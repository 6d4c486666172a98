"""Packages with language models: they answer as decoding did, and nothing in their files runs or is half there."""

import argparse
import gzip
import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from espnet_vivit.bin import cli
from espnet_vivit.decode.language_model import load_language_model
from espnet_vivit.decode.model_files import open_model
from espnet_vivit.decode.package import Package
from espnet_vivit.decode.package_decoding import decoded_with
from espnet_vivit.decode.package_language import LanguageModels
from espnet_vivit.decode.speech2text import Speech2Text
from espnet_vivit.errors import ConfigError, DataError, WeightsError
from espnet_vivit.transcription.transcriber import Transcriber
from tests.experiments import write_experiment
from tests.release.test_pack import Planted
from tests.tiny_corpus import TOKENS, WORDS

VIDEO = np.random.default_rng(0).integers(0, 256, (12, 22, 22), dtype=np.uint8)
ARPA = "\\data\\\nngram 1={}\n\n\\1-grams:\n-99\t<s>\n{}\n\\end\\\n"
LM = {"lm": "seq_rnn", "lm_conf": {"unit": 8, "nlayers": 1}, "token_list": TOKENS, "token_type": "word"}


def write_lm(folder: Path, **changes) -> Path:
    """The weights of an untrained language model beside its config.yaml."""
    from espnet2.tasks.lm import LMTask

    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump({**LM, **changes}))
    torch.manual_seed(5)
    known = {**LM, "model": "lm", "model_conf": {}, "init": None, **changes}
    torch.save(LMTask.build_model(argparse.Namespace(**known)).state_dict(), folder / "valid.loss.ave.pth")
    return folder / "valid.loss.ave.pth"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """An experiment and its language models: exp, lm/valid.loss.ave.pth, 1gram.arpa.gz."""
    root = tmp_path_factory.mktemp("a language model")  # with a blank in its name
    write_experiment(root / "exp", audio_encoder=..., model_conf={"ctc_weight": 0.3})
    write_lm(root / "lm")
    lines = [f"{-0.5 - 0.2 * number:.1f}\t{word}" for number, word in enumerate([*WORDS, "<unk>", "</s>"])]
    with gzip.open(root / "1gram.arpa.gz", "wt") as file:
        file.write(ARPA.format(len(lines) + 1, "\n".join(lines)))
    return root


@pytest.fixture(scope="module")
def options(files):
    return (
        f"--lm_file '{files}/lm/valid.loss.ave.pth' --lm_weight 0.7 --ngram_file '{files}/1gram.arpa.gz' --beam_size 3"
    )


@pytest.fixture(scope="module")
def package(files, options):
    command = [files / "exp", files / "package", "--licence", "MIT", "--decoded_with", options]
    assert cli.main(["pack", *map(str, command)]) == 0
    return files / "package"


@pytest.fixture
def copy(package, tmp_path):
    return shutil.copytree(package, tmp_path / "copy")


def searched(speech2text):
    """(text, score) of the best hypothesis."""
    speech2text.seconds = {}
    found = speech2text.recognize(video=VIDEO, word_times=False)[0]
    return found.text, pytest.approx(found.score, abs=1e-5)


def test_a_package_answers_as_the_experiment_does_with_its_language_models(files, package):
    exp = files / "exp"
    how = {"beam_size": 3, "ctc_weight": 0.3}
    models = {"lm_file": files / "lm/valid.loss.ave.pth", "ngram_file": files / "1gram.arpa.gz"}
    weights = {"lm_weight": 0.7, "ngram_weight": 0.9}
    expected = searched(Speech2Text(exp / "config.yaml", exp / "valid.acc.ave.pth", **how, **models, **weights))
    plain = searched(Speech2Text(exp / "config.yaml", exp / "valid.acc.ave.pth", **how))
    assert expected != plain
    assert searched(Transcriber(package, **how).recognizer.speech2text) == expected
    assert searched(Transcriber(package, **how, lm_weight=0, ngram_weight=0).recognizer.speech2text) == plain
    assert searched(Transcriber(exp, **how).recognizer.speech2text) == plain, "an experiment has none of its own"


def test_the_language_models_are_hashed_named_in_the_card_and_packed_again(package, tmp_path):
    listed = json.loads((package / "package.json").read_text())["files"]
    assert {"lm.safetensors", "lm_config.yaml", "ngram.arpa", "decoding.json"} <= set(listed)
    assert "a neural one with weight 0.7 and an n-gram model with weight 0.9" in (package / "README.md").read_text()
    assert str(package.parent) not in (package / "lm_config.yaml").read_text()
    assert cli.main(["pack", str(package), str(tmp_path / "again.zip"), "--licence", "MIT"]) == 0
    again = open_model(tmp_path / "again.zip")  # its files go when it does
    language = again.decoding.language
    assert (language.lm_weight, language.ngram_weight) == (0.7, 0.9) and language.lm_file.is_file()
    (package / "ngram.arpa").write_bytes(content := (package / "ngram.arpa").read_bytes() + b"\n")
    with pytest.raises(DataError, match=r"ngram\.arpa was altered"):
        Package.checked(package)
    (package / "ngram.arpa").write_bytes(content[:-1])


@pytest.mark.parametrize("lost", ["decoding.json", "lm_config.yaml", "ngram.arpa", "lm.safetensors"])
def test_half_a_language_model_is_refused(copy, lost):
    info = json.loads((copy / "package.json").read_text())
    del info["files"][lost]
    (copy / "package.json").write_text(json.dumps(info))
    with pytest.raises(DataError, match="half a language model"):
        Package.checked(copy)


@pytest.mark.parametrize(
    "changes", [{}, {"lm": "transformer", "lm_conf": {"unit": 16, "head": 2, "layer": 1, "att_unit": 8}}]
)
def test_scores_are_those_of_espnets_own_loader(tmp_path, changes):
    from espnet2.tasks.lm import LMTask

    weights = write_lm(tmp_path / "lm", **{**changes, "model": "lm", "model_conf": {}, "init": None})
    espnets, _ = LMTask.build_model_from_file(weights.parent / "config.yaml", weights, "cpu")
    ours = load_language_model(None, weights, TOKENS)
    history, states = torch.tensor([[len(TOKENS) - 1, 3, 2]]), torch.zeros(1, 5, 4)
    scores = [model.lm.eval().batch_score(history, [None], states)[0] for model in (espnets, ours)]
    assert torch.equal(*scores)


def test_no_code_runs_and_no_network_is_asked(tmp_path):
    weights = write_lm(tmp_path / "lm")
    torch.save({"x": Planted(tmp_path / "ran")}, weights)
    with pytest.raises(WeightsError, match="holds code, which is never run"):
        load_language_model(None, weights, TOKENS)
    assert not (tmp_path / "ran").exists()
    (tmp_path / "lm/config.yaml").write_text(yaml.safe_dump({**LM, "lm": "transformer_opt"}))
    with pytest.raises(ConfigError, match="'transformer_opt'; expected one of seq_rnn, transformer"):
        load_language_model(None, weights, TOKENS)


def test_a_language_model_of_other_tokens_is_refused(files, tmp_path):
    with pytest.raises(ConfigError, match="of other tokens than the recognizer: found 9 tokens"):
        load_language_model(None, files / "lm/valid.loss.ave.pth", [*TOKENS[:-1], "more", TOKENS[-1]])
    exp = files / "exp"
    with pytest.raises(ConfigError, match="a language model without weights"):
        Speech2Text(exp / "config.yaml", exp / "valid.acc.ave.pth", lm_train_config=files / "lm/config.yaml")


def test_the_options_of_decoding_say_which_models_and_how_much_they_count(tmp_path):
    (tmp_path / "decode.yaml").write_text("lm_weight: 0.3\nbeam_size: 5\n")
    found = decoded_with(f"--config '{tmp_path}/decode.yaml' --lm_file exp/lm/a.pth --ngram_file 3gram.arpa")
    lm = {"lm_config": Path("exp/lm/config.yaml"), "lm_file": Path("exp/lm/a.pth"), "lm_weight": 0.3}
    assert found.language == LanguageModels(**lm, ngram_file=Path("3gram.arpa"), ngram_weight=0.9)
    assert decoded_with("--beam_size 5 --lm_weight 0.3").language == LanguageModels()
    assert decoded_with("--lm_file a.pth --lm_weight 0 --ngram_file b --ngram_weight 0").language == LanguageModels()


STAGE = """
. "$0"
asr_exp=exp asr_tag=a pack_card=none decode_dir=d valid_set=v inference_asr_model=valid.acc.ave.pth
use_lm=true lm_exp="exp/an lm" inference_lm=valid.loss.ave.pth use_ngram=true ngram_file=exp/3gram.arpa
inference_config="a decode.yaml" inference_args="--lm_weight 0.3 --ngram_weight 0.2 --penalty -0.1"
stage_pack
"""


def test_stage_14_packs_what_stage_12_decodes_with(tmp_path, monkeypatch):
    (tmp_path / "exp").mkdir()
    (tmp_path / "exp/config.yaml").write_text("modality: video\n")
    python = tmp_path / "python"  # writes down its arguments, and the package that the stage then renames
    python.write_text('#!/bin/bash\nprintf "%s\\n" "$@" > arguments\ntouch exp/partial.zip\n')
    python.chmod(0o755)
    stages = Path(__file__).resolve().parents[2] / "egs/TEMPLATE/avsr1/stages.sh"
    environment = {**os.environ, "PYTHON": str(python)}
    subprocess.run(["bash", "-euo", "pipefail", "-c", STAGE, str(stages)], cwd=tmp_path, env=environment, check=True)
    (given,) = [line for line in (tmp_path / "arguments").read_text().splitlines() if "--decoded_with" in line]
    lm = {"lm_config": Path("exp/an lm/config.yaml"), "lm_file": Path("exp/an lm/valid.loss.ave.pth"), "lm_weight": 0.3}
    expected = LanguageModels(**lm, ngram_file=Path("exp/3gram.arpa"), ngram_weight=0.2)
    (tmp_path / "a decode.yaml").write_text("beam_size: 7\nctc_weight: 0.2\n")
    monkeypatch.chdir(tmp_path)
    found = decoded_with(given.partition("=")[2])
    assert found.language == expected
    assert (found.search.beam_size, found.search.ctc_weight, found.search.penalty) == (7, 0.2, -0.1)
