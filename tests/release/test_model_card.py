"""The card of a packed model: what a person wrote, what was measured, and what nobody has said."""

from pathlib import Path

import pytest
import yaml

from espnet_vivit.bin import cli
from espnet_vivit.decode.package import Package
from espnet_vivit.errors import ConfigError
from espnet_vivit.release.model_card import CardText, read_card
from espnet_vivit.release.pack import pack
from tests.experiments import write_experiment

ROOT = Path(__file__).resolve().parents[2]
CARD = {
    "title": "Lips of one speaker",
    "licence": "CC-BY-4.0",
    "language": "en",
    "data": ["a corpus, CC BY 4.0"],
    "intended_use": "tests",
    "limits": ["one speaker", "nine words"],
}


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    folder = write_experiment(tmp_path_factory.mktemp("card") / "exp", audio_encoder=..., mouth_view=24)
    table = "<!-- begin exp/decode -->\n## exp, decode\n\n| WER % |\n|---:|\n| 8.3 |\n<!-- end exp/decode -->\n"
    (folder / "RESULTS.md").write_text(f"# Results\n\n{table}")
    return folder


def write_card(path, **changes):
    path.write_text(yaml.safe_dump({**CARD, **changes}))
    return path


def test_the_card_says_use_limits_data_licence_size_and_results(experiment, tmp_path):
    folder = pack(experiment, tmp_path / "package", card=write_card(tmp_path / "card.yaml"))
    text = (folder / "README.md").read_text()
    metadata = yaml.safe_load(text.split("---")[1])
    assert metadata["license"] == "cc-by-4.0" and metadata["language"] == "en" and "lip-reading" in metadata["tags"]
    for line in ("# Lips of one speaker", "* tests", "* one speaker", "* nine words", "### exp, decode", "| 8.3 |"):
        assert line in text.splitlines(), line
    assert "<!--" not in text and "the middle 24 of the 96-pixel mouth" in text
    numbers = sum(value.numel() for value in Package.from_pretrained(folder).load_model().state_dict().values())
    assert f"* weights: {numbers:,} numbers, " in text
    info = Package.from_pretrained(folder).info
    assert (info["licence"], info["provenance"]["source"]) == ("CC-BY-4.0", "a corpus, CC BY 4.0")


def test_what_nobody_has_said_is_named(experiment, tmp_path):
    folder = pack(experiment, tmp_path / "package", licence="a sentence of its own")
    text = (folder / "README.md").read_text()
    assert "\n## Limits\n\nnot stated\n" in text and "\n## Data\n\nnot stated\n" in text
    assert yaml.safe_load(text.split("---")[1])["license"] == "other"


def test_an_option_goes_before_the_card(experiment, tmp_path):
    card = write_card(tmp_path / "card.yaml")
    folder = pack(experiment, tmp_path / "package", card=card, licence="MIT", source="noise")
    info = Package.from_pretrained(folder).info
    assert (info["licence"], info["provenance"]["source"]) == ("MIT", "noise")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"limit": "x"}, "Did you mean 'limits'"),
        ({"limits": []}, "limits: found .*a list of them"),
        ({"licence": 4.0}, "licence: found 4.0; expected one line"),
        ({"title": ["a", "b"]}, "title: found"),
    ],
)
def test_a_card_that_cannot_be_meant_is_an_error(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        read_card(write_card(tmp_path / "card.yaml", **changes))


def test_no_licence_anywhere_is_an_error(experiment, tmp_path, capsys):
    card = tmp_path / "card.yaml"
    card.write_text("title: nothing else\n")
    assert cli.main(["pack", str(experiment), str(tmp_path / "package"), "--card", str(card)]) == 1
    assert "a package needs a licence" in capsys.readouterr().err and not (tmp_path / "package").exists()


def test_the_recipes_cards_say_everything():
    paths = sorted(ROOT.glob("egs/*/avsr1/conf/card.yaml"))
    assert {path.parts[-4] for path in paths} >= {"grid", "mini_av"}
    for path in paths:
        card = read_card(path)
        assert all(getattr(card, name) for name in CardText.__dataclass_fields__), path
