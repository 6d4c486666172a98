"""What is asked of the hub: one prompt sentence where a tower is not there, not reachable or not given to everybody."""

import time

import pytest
from huggingface_hub import constants

from espnet_vivit.errors import WeightsError
from espnet_vivit.frontend.huggingface_audio import HuggingFaceAudio
from espnet_vivit.frontend.huggingface_vision import HuggingFaceVision
from tests.frontend.hub.towers import library_tower, save

PROMPTLY_S = 2.0
BOTH = pytest.mark.parametrize(
    ("encoder", "name"), [(HuggingFaceVision, "facebook/dinov2-small"), (HuggingFaceAudio, "openai/whisper-tiny")]
)


@pytest.fixture
def online(monkeypatch, tmp_path):
    """As on a user's machine, where nothing says that there is no network; the cache is empty, and no token known."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    return str(tmp_path / "cache")


@BOTH
def test_without_a_network_one_sentence_comes_promptly(encoder, name, online):
    """The sockets of these tests refuse to leave the machine, as they would with no route to the hub."""
    start = time.monotonic()
    with pytest.raises(
        WeightsError, match=f"the weights of {name} are not on this machine, and the hub did not answer"
    ):
        encoder(name, cache_dir=online)
    assert time.monotonic() - start < PROMPTLY_S


@BOTH
def test_with_downloads_switched_off_nothing_is_asked(encoder, name, online):
    with pytest.raises(
        WeightsError, match=f"the weights of {name} are not on this machine, and downloads are switched"
    ):
        encoder(name, cache_dir=online, local_files_only=True)


@BOTH
def test_a_name_that_the_hub_does_not_have_is_misspelt(encoder, name, online, hub):
    hub("RepoNotFound")
    with pytest.raises(WeightsError, match=f"the hub has no such model: found {name}. Check the spelling"):
        encoder(name, cache_dir=online)


@pytest.mark.parametrize("told", ["at once", "by its files"])
def test_a_gated_model_without_a_token_says_where_to_get_one(told, online, hub):
    name = "facebook/dinov3-vits16-pretrain-lvd1689m"
    if told == "at once":  # everybody may ask what a gated model is
        hub("GatedRepo", {"id": name, "gated": "manual"})
    else:
        hub("GatedRepo")
    message = f"the hub gives {name} only to those who have accepted its terms: found no token; .*hf auth login"
    with pytest.raises(WeightsError, match=message):
        HuggingFaceVision(name, cache_dir=online)


def test_a_token_that_was_not_let_in_is_told_so(online, hub, monkeypatch):
    name = "facebook/dinov3-vits16-pretrain-lvd1689m"
    monkeypatch.setenv("HF_TOKEN", "hf_somebody")
    hub("GatedRepo", {"id": name, "gated": "manual"})
    with pytest.raises(WeightsError, match=f"the hub gives {name} only to those .*: found a token without access"):
        HuggingFaceVision(name, cache_dir=online)


def test_a_download_is_read_from_the_cache_at_the_revision_asked_for(tmp_path):
    """As `hf download` leaves it; there is no network here."""
    repository = tmp_path / "cache" / "models--someone--dino"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("a" * 40)
    tower = library_tower("dinov2")
    (repository / "snapshots" / ("a" * 40)).mkdir(parents=True)
    save(tower, repository / "snapshots" / ("a" * 40), image_mean=[0.5] * 3, image_std=[0.5] * 3)
    for revision in (None, "main", "a" * 40):
        encoder = HuggingFaceVision("someone/dino", cache_dir=str(tmp_path / "cache"), revision=revision)
        kernel = encoder.tower.embeddings.patch_embeddings.projection.weight
        expected = tower.embeddings.patch_embeddings.projection.weight.sum(1, keepdim=True)
        assert (kernel - expected).abs().max() < 1e-6  # normalized as the file beside it says, by halves
    with pytest.raises(WeightsError, match="someone/dino are not on this machine"):
        HuggingFaceVision("someone/dino", cache_dir=str(tmp_path / "cache"), revision="b" * 40)
