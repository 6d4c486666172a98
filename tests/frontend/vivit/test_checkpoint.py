"""Stored towers: both libraries' names, both file formats, and one prompt error where there is nothing to read."""

import copy
import json
import pickle
import socket
import threading
import time

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from transformers import VivitConfig, VivitForVideoClassification, VivitModel

from espnet_vivit import vivit_encoder
from espnet_vivit.errors import ConfigError, WeightsError
from tests.tiny import CONFIG, WINDOW, randomize

HUB_ID = "google/vivit-b-16x2-kinetics400"
PROMPTLY_S = 2.0


@pytest.fixture(scope="module")
def tower():
    torch.manual_seed(5)
    return randomize(VivitModel(VivitConfig(**CONFIG), add_pooling_layer=False))


@pytest.fixture
def folder(tower, tmp_path):
    """As `save_pretrained` of transformers 5 leaves it: safetensors, under the names of transformers 4."""
    tower.save_pretrained(tmp_path / "vivit")
    return tmp_path / "vivit"


def read(folder, **options):
    return vivit_encoder(str(folder), num_frames=WINDOW, **options).vivit


def assert_equal(found, expected):
    found, expected = found.state_dict(), expected.state_dict()
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize("names", ["v4", "v5"])
def test_every_naming_and_format_loads_exactly(tower, folder, names, file):
    state = load_file(folder / "model.safetensors")
    assert any(name.startswith("encoder.layer.0.attention.attention.query.") for name in state), "not v4's names"
    if names == "v5":
        state = {name: value.clone() for name, value in tower.state_dict().items()}
        assert "layers.0.attention.q_proj.weight" in state
    (folder / "model.safetensors").unlink()
    if file.endswith(".bin"):
        torch.save(state, folder / file)
    else:
        save_file(state, folder / file, metadata={"format": "pt"})
    assert_equal(read(folder), tower)


def test_a_classification_checkpoint_loads_without_its_head_and_pooler(folder):
    classifier = randomize(VivitForVideoClassification(VivitConfig(**CONFIG, num_labels=3)))
    classifier.save_pretrained(folder)
    loaded = read(folder)
    assert loaded.pooler is None
    assert_equal(loaded, classifier.vivit)


def test_the_activation_is_computed_in_one_kernel_and_is_the_same_function(tower, folder):
    assert tower.config.hidden_act == "gelu_fast"  # what the published configuration says
    video = torch.randn(2, WINDOW, 3, 16, 16)
    loaded = read(folder)
    assert isinstance(loaded.layers[0].mlp.activation_fn, torch.nn.GELU)
    with torch.no_grad():
        expected = tower.eval()(video).last_hidden_state
        torch.testing.assert_close(loaded(video).last_hidden_state, expected, atol=1e-5, rtol=1e-5)


def test_weights_come_in_the_dtype_asked_for(folder):
    assert read(folder).dtype == torch.float32
    assert read(folder, dtype="bfloat16").dtype == torch.bfloat16
    assert read(folder, dtype=torch.float16).dtype == torch.float16


def test_a_hub_id_is_read_from_the_cache_at_the_revision_asked_for(tower, tmp_path):
    """As `hf download` leaves two revisions of a model; there is no network here."""
    repository = tmp_path / "cache" / "models--someone--vivit-tiny"
    (repository / "refs").mkdir(parents=True)
    for commit, factor in (("a" * 40, 1.0), ("b" * 40, 2.0)):
        scaled = copy.deepcopy(tower)
        with torch.no_grad():
            scaled.embeddings.cls_token.mul_(factor)
        scaled.save_pretrained(repository / "snapshots" / commit)
    (repository / "refs" / "main").write_text("a" * 40)
    for revision, factor in ((None, 1.0), ("main", 1.0), ("b" * 40, 2.0)):
        where = {"cache_dir": str(tmp_path / "cache"), "revision": revision, "num_frames": WINDOW}
        loaded = vivit_encoder("someone/vivit-tiny", **where).vivit
        torch.testing.assert_close(loaded.embeddings.cls_token, tower.embeddings.cls_token * factor, atol=0, rtol=0)
    with pytest.raises(WeightsError, match="someone/vivit-tiny are not on this machine"):
        vivit_encoder("someone/vivit-tiny", **(where | {"revision": "c" * 40}))


def test_a_missing_folder_is_an_error_at_once(tmp_path):
    with pytest.raises(WeightsError, match=r"folder of pretrained weights does not exist: found .*nowhere"):
        read(tmp_path / "nowhere")


def empty(folder):
    for path in folder.iterdir():
        path.unlink()


def config_only(folder):
    (folder / "model.safetensors").unlink()


def truncate(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


def garbage(folder):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"<html>not a model</html>" * 50)


def broken_config(folder):
    (folder / "config.json").write_text("{")


def other_size(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "hidden_size": 24}))


DAMAGES = [empty, config_only, truncate, garbage, broken_config, other_size]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_folder_that_cannot_be_loaded_is_named_with_what_it_needs(folder, damage):
    damage(folder)
    with pytest.raises(WeightsError, match=r"vivit holds no tower that can be loaded: .*needs config.json and model"):
        read(folder)


def test_code_in_a_pickle_is_refused_and_not_run(folder, tmp_path):
    class Code:
        def __reduce__(self):
            return (open, (str(tmp_path / "was-run"), "w"))

    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"embeddings.cls_token": Code()}, protocol=2))
    with pytest.raises(WeightsError, match="holds code, which is never run"):
        read(folder)
    assert not (tmp_path / "was-run").exists()


def test_an_incomplete_checkpoint_names_what_is_missing(folder):
    state = load_file(folder / "model.safetensors")
    del state["embeddings.position_embeddings"]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=r"not a complete checkpoint of VivitModel: found missing \['embeddings.pos"):
        read(folder)


def test_the_config_of_random_weights_beside_a_checkpoint_is_a_contradiction(folder):
    with pytest.raises(ConfigError, match=r"describes random weights, but pretrained is true.*pretrained: false"):
        read(folder, config=CONFIG)


# no network --------------------------------------------------------------------------------------------------------


@pytest.fixture
def online(monkeypatch, tmp_path):
    """As on a user's machine, where nothing says that there is no network; the cache is empty."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return lambda **options: vivit_encoder(HUB_ID, cache_dir=str(tmp_path / "cache"), **options)


def assert_says_both_ways_out(error, cache):
    message = str(error.value)
    for part in (HUB_ID, str(cache), "pretrained: false", f"hf download {HUB_ID}"):
        assert part in message, f"{part} is not in: {message}"


def test_without_a_network_one_error_comes_promptly_and_names_both_ways_out(online, tmp_path):
    """The sockets of these tests refuse to leave the machine, as they would with no route to the hub."""
    start = time.monotonic()
    with pytest.raises(WeightsError) as error:
        online()
    assert time.monotonic() - start < PROMPTLY_S
    assert_says_both_ways_out(error, tmp_path / "cache")


def test_a_hub_that_never_answers_is_given_up_promptly(online, hub, tmp_path):
    """The library would wait ten seconds, five times."""
    hub(None)
    start = time.monotonic()
    with pytest.raises(WeightsError) as error:
        online()
    assert 1.0 < time.monotonic() - start < PROMPTLY_S
    assert_says_both_ways_out(error, tmp_path / "cache")


def test_a_name_lookup_that_hangs_is_given_up_promptly(online, monkeypatch, tmp_path):
    """Looking up a name has no time limit of its own: with an unreachable name server it takes 10 s and more."""
    let_go = threading.Event()

    def hang(*args, **kwargs):
        let_go.wait(5)
        raise socket.gaierror("no such name")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    start = time.monotonic()
    with pytest.raises(WeightsError) as error:
        online()
    assert time.monotonic() - start < PROMPTLY_S
    assert_says_both_ways_out(error, tmp_path / "cache")
    let_go.set()


@pytest.mark.parametrize("option", [{"local_files_only": True}, {}], ids=["option", "HF_HUB_OFFLINE"])
def test_switched_off_downloads_do_not_even_ask(online, monkeypatch, tmp_path, option):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", not option)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: pytest.fail("looked for the hub"))
    with pytest.raises(WeightsError, match="downloads are switched off") as error:
        online(**option)
    assert_says_both_ways_out(error, tmp_path / "cache")


def test_a_model_that_the_hub_does_not_have_is_a_misspelt_name(online, hub):
    hub("RepoNotFound")
    with pytest.raises(WeightsError, match=f"hub has no such model: found {HUB_ID}. Check the spelling"):
        online()


def test_a_revision_that_the_hub_does_not_have_is_named(online, hub):
    hub("RevisionNotFound")
    with pytest.raises(WeightsError, match=f"no such revision: found {HUB_ID}, revision v9"):
        online(revision="v9")
