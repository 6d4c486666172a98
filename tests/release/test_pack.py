"""Packages: the same answers from another folder without network, and everything that is wrong with one is said."""

import hashlib
import json
import pickle
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
import torch
import yaml

from espnet_vivit.bin import cli
from espnet_vivit.data.text_bounds import measure_texts
from espnet_vivit.decode.model_files import open_model
from espnet_vivit.decode.package import Package
from espnet_vivit.decode.speech2text import Speech2Text
from espnet_vivit.errors import ConfigError, DataError, WeightsError
from espnet_vivit.release.pack import pack
from espnet_vivit.tasks.avsr import AVSRTask
from tests.experiments import VIVIT, write_experiment
from tests.tiny_corpus import TOKENS, write_tiny_corpus

VIDEO = np.random.default_rng(0).integers(0, 256, (1, 12, 22, 22), dtype=np.uint8)
LENGTHS = torch.tensor([12])


class Planted:
    """Runs when it is unpickled, and leaves a file behind."""

    def __init__(self, trace: Path):
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    return write_experiment(tmp_path_factory.mktemp("pack") / "exp", audio_encoder="resnet1d")


@pytest.fixture(scope="module")
def package(experiment):
    return pack(experiment, experiment.parent / "package", licence="CC-BY-4.0", source="noise clips")


@pytest.fixture
def copy(package, tmp_path):
    return shutil.copytree(package, tmp_path / "copy")


def states_of(model):
    return model.eval().encode(video=torch.tensor(VIDEO), video_lengths=LENGTHS)[0]


def rewrite(folder, name, change):
    """Change a file of a package and its hash, as somebody would who wants to deceive the loader."""
    path = folder / name
    path.write_text(change(path.read_text()))
    info = json.loads((folder / "package.json").read_text())
    info["files"][name]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / "package.json").write_text(json.dumps(info))


def described(folder, **changes):
    info = json.loads((folder / "package.json").read_text())
    (folder / "package.json").write_text(json.dumps(info | changes))


def test_a_package_answers_as_the_experiment_does(experiment, package):
    model, _ = AVSRTask.build_model_from_file(experiment / "config.yaml", experiment / "valid.acc.ave.pth")
    loaded = Package.from_pretrained(package).load_model()
    assert torch.equal(states_of(model), states_of(loaded)) and not loaded.training


def test_a_package_says_licence_provenance_hashes_and_normalisation(package):
    info = json.loads((package / "package.json").read_text())
    assert info["licence"] == "CC-BY-4.0" and info["provenance"]["source"] == "noise clips"
    assert set(info["files"]) == {path.name for path in package.iterdir()} - {"package.json"}
    for name, listed in info["files"].items():
        content = (package / name).read_bytes()
        assert listed == {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    assert (package / "tokens.txt").read_text().split("\n")[:-1] == TOKENS
    stated = json.loads((package / "preprocessor_config.json").read_text())
    assert stated["video"]["crop"] == 22 and stated["video"]["mean"] == 0.421 and stated["audio"]["rate_hz"] == 16000
    card = (package / "README.md").read_text()
    assert yaml.safe_load(card.split("---")[1])["license"] == "cc-by-4.0" and "noise clips" in card


def test_nothing_of_the_training_machine_is_in_a_package(tmp_path, monkeypatch):
    corpus = write_tiny_corpus(tmp_path / "corpus")
    data = [[f"{corpus}/train/video.scp", "video", "video"], [f"{corpus}/train/text", "text", "text"]]
    conf = {"noise_scp": f"{corpus}/train/wav.scp", "noise_talkers": 1}
    experiment = write_experiment(
        tmp_path / "exp", train_data_path_and_name_and_type=data, preprocessor_conf=conf, audio_encoder=...
    )
    folder = pack(experiment, tmp_path / "package", licence="other")
    for path in folder.iterdir():
        assert str(tmp_path) not in path.read_bytes().decode("latin-1"), path.name
    assert Package.checked(folder).info["provenance"]["training set"] == "8 clips of 2 speakers (s0, s1)"
    facts = Package.checked(folder).facts  # but what the data were like is kept
    frames = [int(line.split()[1]) for line in (corpus / "train/utt2num_frames").read_text().splitlines()]
    assert facts.mouth_size == 24 and facts.longest_clip_s == max(frames) / 25
    assert facts.texts == measure_texts(corpus / "train/text") is not None


def test_weights_are_drawn_for_no_package(tmp_path):
    """`init` of the training would draw them once more before they are loaded: seconds for a large model."""
    folder = pack(write_experiment(tmp_path / "exp", init="xavier_uniform"), tmp_path / "package", licence="other")
    assert yaml.safe_load((folder / "config.yaml").read_text())["init"] is None


def test_one_file_loads_like_the_folder_and_is_the_same_each_time(experiment, package, tmp_path):
    first, again = (Package.checked(package).save_pretrained(tmp_path / name) for name in ("a.zip", "b.zip"))
    assert first.read_bytes() == again.read_bytes()
    loaded = Package.from_pretrained(first)
    assert torch.equal(states_of(loaded.load_model()), states_of(Package.checked(package).load_model()))
    files = open_model(first)
    assert files.weights.is_file() and files.weights.parent != package


def test_save_pretrained_copies_what_is_listed_and_nothing_else(copy, tmp_path):
    (copy / "notes.txt").write_text("mine")
    out = Package.checked(copy).save_pretrained(tmp_path / "out")
    assert {path.name for path in out.iterdir()} == {path.name for path in copy.iterdir()} - {"notes.txt"}
    assert Package.from_pretrained(out).info == Package.checked(copy).info
    with pytest.raises(DataError, match="exists already"):
        Package.checked(copy).save_pretrained(out)


def test_a_vivit_with_pretrained_weights_loads_without_them(tmp_path, monkeypatch):
    """What stood on the hub's weights is whole in the package: the library is never asked for them."""
    experiment = write_experiment(
        tmp_path / "exp", audio_encoder=..., vision_encoder="vivit", vision_encoder_conf=VIVIT
    )
    config = yaml.safe_load((experiment / "config.yaml").read_text())
    config["vision_encoder_conf"] = {k: v for k, v in VIVIT.items() if k not in ("pretrained", "config")}
    config["vision_encoder_conf"] |= {"model_name": "nobody/nothing", "cache_dir": "/nowhere"}
    (experiment / "config.yaml").write_text(yaml.safe_dump(config))
    folder = pack(experiment, tmp_path / "package", licence="MIT")
    assert (
        Package.checked(folder).load_model().vision_encoder.vivit.config.hidden_size == VIVIT["config"]["hidden_size"]
    )
    packed = (folder / "config.yaml").read_text()
    assert "nobody" not in packed and "nowhere" not in packed
    rewrite(folder, "config.yaml", lambda text: text.replace("pretrained: false", "pretrained: true"))
    with pytest.raises(ConfigError, match="wants weights from elsewhere"):
        Package.from_pretrained(folder)


def test_a_vivit_that_sees_no_square_is_packed_like_any_other(tmp_path):
    vision = {**VIVIT, "config": {**VIVIT["config"], "image_size": [16, 32]}}
    experiment = write_experiment(
        tmp_path / "exp", audio_encoder=..., vision_encoder="vivit", vision_encoder_conf=vision
    )
    package = Package.from_pretrained(pack(experiment, tmp_path / "package.zip", licence="MIT"))
    assert package.preprocessor["video"]["crop"] == [16, 32] and package.facts.mouth_size == 48


def test_a_sentencepiece_model_travels_along(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text").write_text("bin blue at now\nlay red by soon\nset white in please\n" * 20)
    sentencepiece.SentencePieceTrainer.train(input="text", model_prefix="bpe", vocab_size=20, minloglevel=2)
    processor = sentencepiece.SentencePieceProcessor("bpe.model")
    pieces = [processor.id_to_piece(i) for i in range(len(processor))]
    tokens = ["<blank>", "<unk>", *(piece for piece in pieces if piece[0] != "<"), "<sos/eos>"]
    write_experiment(tmp_path / "exp", audio_encoder=..., token_type="bpe", bpemodel="bpe.model", tokens=tokens)
    folder = pack("exp", "package.zip", licence="MIT")
    Path("bpe.model").unlink()
    files = open_model(folder)
    assert sentencepiece.SentencePieceProcessor(str(files.bpemodel)).encode("bin blue") == processor.encode("bin blue")
    speech2text = Speech2Text.from_pretrained(folder)  # reads the model of an archive when it is first asked for it
    assert speech2text.tokenizer.text2tokens("bin blue") == processor.encode("bin blue", out_type=str)
    with pytest.raises(DataError, match=r"sentencepiece model bpe\.model"):
        open_model("exp")


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda folder: (folder / "tokens.txt").write_text("other\n"), r"tokens\.txt was altered"),
        (lambda folder: (folder / "config.yaml").unlink(), r"incomplete: found no config\.yaml"),
        (lambda folder: (folder / "package.json").write_text("{"), r"cannot read .*package\.json"),
        (lambda folder: (folder / "package.json").write_text('{"format": "x"}'), "no package that this version reads"),
        (
            lambda folder: rewrite(folder, "preprocessor_config.json", lambda text: text.replace("0.421", "0.5")),
            "trained on other video input",
        ),
        (lambda folder: rewrite(folder, "config.yaml", lambda text: text + "encoder: os.system\n"), "occurs twice"),
        (
            lambda folder: rewrite(folder, "tokens.txt", lambda text: text.replace("bin\nlay", "lay\nbin")),
            r"tokens\.txt holds other tokens than config\.yaml",
        ),
        (lambda folder: described(folder, files=[1]), "is not as `espnet-vivit pack` writes it"),
        (lambda folder: described(folder, files={"config.yaml": "x"}), "is not as `espnet-vivit pack` writes it"),
        (lambda folder: described(folder, provenance=[1]), "is not as `espnet-vivit pack` writes it"),
        (lambda folder: (folder / "package.json").write_text("[" * 100_000), r"cannot read .*package\.json"),
    ],
)
def test_what_is_wrong_with_a_package_is_said(copy, break_it, message):
    Package.checked(copy)
    break_it(copy)
    with pytest.raises((DataError, ConfigError), match=message):
        Package.from_pretrained(copy)


def test_no_code_of_a_package_runs(copy, tmp_path):
    trace = tmp_path / "ran"
    rewrite(
        copy,
        "config.yaml",
        lambda text: text.replace("fusion: concat", f"fusion: !!python/object/apply:os.mkdir ['{trace}']"),
    )
    with pytest.raises(ConfigError, match="not valid YAML"):
        Package.from_pretrained(copy)
    assert not trace.exists()
    yaml.unsafe_load(f"!!python/object/apply:os.mkdir ['{trace}']")
    assert trace.exists(), "the planted code is no code"


@pytest.mark.parametrize("name", ["model.safetensors", "valid.acc.ave.pth"])
def test_no_code_in_weights_runs(experiment, tmp_path, name):
    trace, folder = tmp_path / "ran", shutil.copytree(experiment, tmp_path / "exp")
    torch.save({"x": Planted(trace)}, folder / name)
    with pytest.raises(WeightsError, match="cannot read the weights"):
        AVSRTask.build_model_from_file(folder / "config.yaml", folder / name)
    assert not trace.exists()
    pickle.loads(pickle.dumps(Planted(trace)))
    assert trace.exists(), "the planted code is no code"


@pytest.mark.parametrize("member", ["../outside", "a/../../outside", "..\\outside"])
def test_an_archive_cannot_write_elsewhere(tmp_path, member):
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr(member, "x")
    with pytest.raises(DataError, match="wants to write outside"):
        Package.from_pretrained(tmp_path / "bad.zip")


def test_a_link_in_an_archive_is_refused(tmp_path):
    import tarfile

    with tarfile.open(tmp_path / "bad.tar", "w") as archive:
        link = tarfile.TarInfo("weights")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with pytest.raises(DataError, match="not a plain file"):
        open_model(tmp_path / "bad.tar")


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tgz"])
@pytest.mark.parametrize("absolute", [True, False])
def test_what_espnets_own_packer_wrote_loads(experiment, tmp_path, monkeypatch, suffix, absolute):
    from espnet2.bin.pack import main as espnet_pack

    shutil.copytree(experiment, tmp_path / "exp")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / ("elsewhere" if absolute else "exp"))
    root = tmp_path / "exp" if absolute else Path(".")
    options = ["--asr_train_config", root / "config.yaml", "--asr_model_file", root / "valid.acc.ave.pth"]
    espnet_pack(["asr", *map(str, options), "--outpath", str(tmp_path / f"model{suffix}")])
    shutil.rmtree(tmp_path / "exp")
    monkeypatch.chdir(tmp_path)
    files = open_model(tmp_path / f"model{suffix}")
    model, _ = AVSRTask.build_model_from_file(files.config, files.weights)
    expected, _ = AVSRTask.build_model_from_file(experiment / "config.yaml", experiment / "valid.acc.ave.pth")
    assert torch.equal(states_of(model), states_of(expected))


def test_adapters_are_to_be_merged_first(tmp_path):
    from espnet_vivit.release.pack import packed_config

    with pytest.raises(ConfigError, match="espnet-vivit merge-adapters"):
        packed_config({"tower_adapters": {"vision_encoder": {"type": "lora"}}})


def test_several_weights_are_a_question(tmp_path, experiment):
    folder = shutil.copytree(experiment, tmp_path / "exp")
    (folder / "valid.acc.ave.pth").rename(folder / "1epoch.pth")
    assert open_model(folder).weights.name == "1epoch.pth"
    shutil.copy(folder / "1epoch.pth", folder / "2epoch.pth")
    with pytest.raises(WeightsError, match=r"which weights .*: found 1epoch.pth, 2epoch.pth"):
        open_model(folder)
    assert open_model(folder, weights="2epoch.pth").weights.name == open_model(folder / "2epoch.pth").weights.name


def test_push_to_hub_uploads_the_listed_files(copy, monkeypatch):
    from huggingface_hub import HfApi

    (copy / "notes.txt").write_text("mine")
    calls = {}

    def upload(self, **options):
        calls["upload"] = options
        return type("Commit", (), {"commit_url": "https://hub/commit/1"})()

    monkeypatch.setattr(HfApi, "create_repo", lambda self, repo_id, **options: calls.update(created=(repo_id, options)))
    monkeypatch.setattr(HfApi, "upload_folder", upload)
    assert Package.checked(copy).push_to_hub("me/model", private=True) == "https://hub/commit/1"
    assert calls["created"] == ("me/model", {"private": True, "exist_ok": True})
    assert (
        "notes.txt" not in calls["upload"]["allow_patterns"]
        and "model.safetensors" in calls["upload"]["allow_patterns"]
    )


def test_a_hub_name_without_network_says_how_to_go_on(tmp_path):
    with pytest.raises(WeightsError, match="hf download me/model"):
        Package.from_pretrained("me/model", cache_dir=str(tmp_path))
    with pytest.raises(DataError, match="no such package: found not a name"):
        Package.from_pretrained("not a name")


def test_a_package_in_the_hubs_cache_loads_without_network(package, tmp_path):
    repo = tmp_path / "models--me--model"
    shutil.copytree(package, repo / "snapshots/1234")
    (repo / "refs").mkdir()
    (repo / "refs/main").write_text("1234")
    assert Package.from_pretrained("me/model", cache_dir=str(tmp_path), local_files_only=True).info["licence"]


def test_the_command_packs_and_its_errors_are_a_sentence(experiment, tmp_path, capsys):
    out = tmp_path / "package.zip"
    assert cli.main(["pack", str(experiment), str(out), "--licence", "CC-BY-4.0"]) == 0
    assert capsys.readouterr().out.strip() == str(out) and zipfile.is_zipfile(out)
    assert cli.main(["pack", str(experiment), str(out), "--licence", "CC-BY-4.0"]) == 1
    assert "exists already" in capsys.readouterr().err
    assert cli.main(["pack", str(experiment), str(tmp_path / "other")]) == 1
    assert "--licence" in capsys.readouterr().err


def test_asking_for_help_imports_no_espnet():
    code = (
        "import sys; from espnet_vivit.bin.commands import pack\ntry: pack.main(['--help'])\nexcept SystemExit: pass\n"
        "print([name for name in ('torch', 'espnet2') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.endswith("[]\n")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_not_packed(experiment, tmp_path, value):
    folder = shutil.copytree(experiment, tmp_path / "exp")
    state = torch.load(folder / "valid.acc.ave.pth", weights_only=True)
    next(iter(state.values())).view(-1)[0] = value
    torch.save(state, folder / "valid.acc.ave.pth")
    with pytest.raises(WeightsError, match="NaN or infinite"):
        pack(folder, tmp_path / "package", licence="MIT")
    assert not (tmp_path / "package").exists()


@pytest.mark.parametrize(
    "meta", ["a: [", "[1, 2]", "yaml_files: [1]", "yaml_files: {asr_train_config: ../../etc/passwd}"]
)
def test_an_archive_of_espnet_with_a_broken_list_is_named(tmp_path, meta):
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr("meta.yaml", meta)
    with pytest.raises((DataError, ConfigError), match=r"meta\.yaml|bad\.zip"):
        open_model(tmp_path / "bad.zip")
