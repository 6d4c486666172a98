"""Packages search as their model was decoded: what is packed, what wins over it, and what cannot be meant."""

import hashlib
import json
import shutil

import numpy as np
import pytest

from espnet_vivit.bin import avsr_decode, cli
from espnet_vivit.bin.commands.transcribe import get_parser
from espnet_vivit.decode.options import Search, SearchOptions, decoding_parser
from espnet_vivit.decode.package import Package
from espnet_vivit.decode.package_decoding import Decoding, decoded_with, write_made_with
from espnet_vivit.decode.speech2text import Speech2Text
from espnet_vivit.errors import ConfigError, DataError
from espnet_vivit.release.pack import pack
from espnet_vivit.transcription.transcriber import Transcriber
from tests.experiments import write_experiment

VIDEO = np.random.default_rng(0).integers(0, 256, (12, 22, 22), dtype=np.uint8)
OPTIONS = "--beam_size 2 --ctc_weight 0.7 --penalty 0.5 --maxlenratio 0.4 --normalize_length true"


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    return write_experiment(
        tmp_path_factory.mktemp("decoding") / "exp", audio_encoder=..., model_conf={"ctc_weight": 0.3}
    )


@pytest.fixture(scope="module")
def package(experiment):
    out = experiment.parent / "package"
    assert cli.main(["pack", str(experiment), str(out), "--licence", "MIT", f"--decoded_with={OPTIONS}"]) == 0
    return out


@pytest.fixture
def copy(package, tmp_path):
    return shutil.copytree(package, tmp_path / "copy")


def rewrite(folder, fields):
    """Other fields in decoding.json, and its hash; None: none of it, as in packages of before."""
    info = json.loads((folder / "package.json").read_text())
    path = folder / "decoding.json"
    if fields is None:
        path.unlink()
        del info["files"]["decoding.json"]
    else:
        path.write_text(json.dumps(fields))
        info["files"]["decoding.json"]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / "package.json").write_text(json.dumps(info))


def built(speech2text):
    """(beam size, weights of CTC, decoder and length bonus, bounds, ranked by score per token) of the search itself."""
    search = speech2text.beam_search
    weights = tuple(round(search.weights[name], 6) for name in ("ctc", "decoder", "length_bonus"))
    return search.beam_size, weights, speech2text.length_ratios, search.normalize_length


AS_PACKED = (2, (0.7, 0.3, 0.5), (0.4, 0.0), True)


def test_a_package_is_searched_as_its_model_was_decoded(package):
    assert built(Transcriber(package).recognizer.speech2text) == AS_PACKED
    assert built(Speech2Text.from_pretrained(package)) == AS_PACKED


def test_the_answer_is_that_of_the_decoding(experiment, package):
    files = experiment / "config.yaml", experiment / "valid.acc.ave.pth"
    options = {"beam_size": 2, "ctc_weight": 0.7, "penalty": 0.5, "maxlenratio": 0.4, "normalize_length": True}
    (text, _, _, expected), *_ = Speech2Text(*files, **options)(video=VIDEO)
    (found, _, _, hypothesis), *_ = Speech2Text.from_pretrained(package)(video=VIDEO)
    assert found == text and float(hypothesis.score) == pytest.approx(float(expected.score), abs=1e-5)
    (_, _, _, other), *_ = Speech2Text(*files)(video=VIDEO)
    assert float(other.score) != pytest.approx(float(expected.score), abs=1e-2), "the options change nothing"


def test_an_explicit_option_wins_and_the_others_stay(package):
    expected = (3, (0.1, 0.9, 0.5), (0.4, 0.0), True)
    assert built(Transcriber(package, beam_size=3, ctc_weight=0.1).recognizer.speech2text) == expected
    assert built(Speech2Text.from_pretrained(package, beam_size=3, ctc_weight=0.1)) == expected
    greedy = Transcriber(package, search="ctc_greedy").recognizer.speech2text
    assert greedy.search == "ctc_greedy"
    given = vars(get_parser().parse_args(["a.mp4", "--model", str(package), "--ctc_weight", "0.1"]))
    assert (given["search"], given["beam_size"], given["ctc_weight"]) == (None, None, 0.1), "the command says no more"


def test_where_nobody_says_how_all_search_alike(experiment, copy):
    rewrite(copy, None)
    files = experiment / "config.yaml", experiment / "valid.acc.ave.pth"
    searching = [Transcriber(model).recognizer.speech2text for model in (experiment, copy)]
    searching += [Speech2Text.from_pretrained(model) for model in (experiment, copy)]
    searching += [Speech2Text(*files)]
    for speech2text in searching:
        assert built(speech2text) == (9, (0.3, 0.7, 0.0), (0.0, 0.0), False)  # of 10, as there are 9 tokens
        assert speech2text.search == "beam"


def test_what_the_command_line_leaves_out_is_the_same_default():
    args = decoding_parser().parse_args([])
    assert SearchOptions.asked(args) == SearchOptions()
    complete = SearchOptions.asked(args).complete(has_ctc=True, has_decoder=True)
    assert complete == Search() == SearchOptions().complete(has_ctc=True, has_decoder=True)
    assert decoded_with("--beam_size 4").search == SearchOptions(
        search="beam", beam_size=4, penalty=0.0, maxlenratio=0.0, minlenratio=0.0, normalize_length=False
    ), "the weight of CTC follows from the model that is packed"


@pytest.mark.parametrize(("weight", "searched"), [(0.0, 0.0), (0.3, 0.3), (1.0, 1.0)])
def test_a_model_of_one_branch_is_decoded_transcribed_and_packed_with_it(tmp_path, weight, searched):
    parts = {"decoder": ...} if weight == 1 else {}
    exp = write_experiment(tmp_path / "exp", audio_encoder=..., **parts, model_conf={"ctc_weight": weight})
    package = pack(exp, tmp_path / "package", licence="MIT", decoding=decoded_with("--beam_size 4"))
    stored = json.loads((package / "decoding.json").read_text())
    assert (stored["beam_size"], stored["ctc_weight"]) == (4, searched)
    for model in (exp, package):
        for speech2text in (Transcriber(model).recognizer.speech2text, Speech2Text.from_pretrained(model)):
            assert speech2text.beam_search.weights["ctc"] == pytest.approx(searched)


def test_a_package_is_packed_again_with_its_decoding_or_another(package, tmp_path):
    again = pack(package, tmp_path / "again.zip", licence="MIT")
    assert Package.from_pretrained(again).decoding.search == Package.checked(package).decoding.search
    other = pack(package, tmp_path / "other", licence="MIT", decoding=Decoding(search=SearchOptions(beam_size=4)))
    assert json.loads((other / "decoding.json").read_text()) == {"beam_size": 4}


def test_a_package_that_is_packed_again_still_says_where_it_is_from(package, tmp_path):
    before = {**Package.checked(package).info["provenance"], "source": "clips of nobody, CC BY 4.0", "seed": 11}
    named = tmp_path / "named"
    shutil.copytree(package, named)
    info = json.loads((named / "package.json").read_text())
    (named / "package.json").write_text(json.dumps(info | {"provenance": before}))
    after = Package.checked(pack(named, tmp_path / "again", licence="MIT")).info["provenance"]
    assert after == before | {"packed": after["packed"]}
    assert "clips of nobody" in (tmp_path / "again/README.md").read_text()
    other = Package.checked(pack(named, tmp_path / "other", licence="MIT", source="my clips")).info["provenance"]
    assert other["source"] == "my clips" and other["seed"] == 11


@pytest.mark.parametrize(("name", "kind"), [("lm_weight", "language"), ("ngram_weight", "n-gram")])
def test_the_weight_of_a_language_model_that_is_not_there_is_an_error(package, name, kind):
    with pytest.raises(ConfigError, match=f"{name} without any {kind} model: found 0.7; expected 0"):
        Speech2Text.from_pretrained(package, **{name: 0.7})
    Speech2Text.from_pretrained(package, **{name: 0.0})


def test_the_card_says_how_it_was_searched(package, experiment, tmp_path):
    assert "\n## Search\n\nsearch beam, beam_size 2, ctc_weight 0.7, penalty 0.5" in (package / "README.md").read_text()
    plain = pack(experiment, tmp_path / "plain", licence="MIT")
    assert "\n## Search\n\nnot stated\n" in (plain / "README.md").read_text()
    assert not (plain / "decoding.json").exists()


def test_a_greedy_decoding_says_nothing_of_a_beam(experiment, tmp_path):
    decoding = decoded_with("--search ctc_greedy --beam_size 4")
    assert decoding.fields() == {"search": "ctc_greedy"}
    greedy = pack(experiment, tmp_path / "package", licence="MIT", decoding=decoding)
    assert Transcriber(greedy).recognizer.speech2text.search == "ctc_greedy"
    assert built(Transcriber(greedy, search="beam").recognizer.speech2text)[1] == (0.3, 0.7, 0.0)


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"beam_sise": 2}, ConfigError, "Did you mean 'beam_size'"),
        ({"beam_size": 0}, DataError, "beam_size: found 0"),
        ({"beam_size": True}, DataError, "beam_size: found True"),
        ({"beam_size": 2.5}, DataError, r"beam_size: found 2\.5"),
        ({"ctc_weight": 1.5}, DataError, r"ctc_weight: found 1\.5"),
        ({"ctc_weight": None}, DataError, "ctc_weight: found None"),
        ({"penalty": float("nan")}, DataError, "penalty: found nan"),
        ({"search": "beem"}, DataError, "search: found 'beem'"),
        ({"normalize_length": 1}, DataError, "normalize_length: found 1"),
    ],
)
def test_what_cannot_be_an_option_is_refused(copy, fields, error, message):
    rewrite(copy, {"beam_size": 2, "ctc_weight": 1, "normalize_length": False})
    Package.checked(copy)
    rewrite(copy, fields)
    with pytest.raises(error, match=message):
        Package.checked(copy)


def test_a_decoding_that_the_model_cannot_do_is_not_packed(tmp_path):
    ctc_alone = write_experiment(tmp_path / "exp", audio_encoder=..., decoder=..., model_conf={"ctc_weight": 1.0})
    with pytest.raises(ConfigError, match=r"without attention decoder: found ctc_weight=0\.3"):
        pack(ctc_alone, tmp_path / "package", licence="MIT", decoding=decoded_with("--ctc_weight 0.3"))
    assert not (tmp_path / "package").exists()
    package = pack(ctc_alone, tmp_path / "package", licence="MIT", decoding=decoded_with("--ctc_weight 1"))
    assert Transcriber(package).recognizer.speech2text.beam_search.weights["ctc"] == 1


def test_stage_12_leaves_how_it_decoded(tmp_path, monkeypatch):
    """The values themselves: a YAML file that is changed later does not change what was done."""
    monkeypatch.chdir(tmp_path)
    conf, out = tmp_path / "decode.yaml", tmp_path / "decode"
    conf.write_text("beam_size: 2\nctc_weight: 0.7\nmaxlenratio: -8\n")
    avsr_decode.write_lines(out / avsr_decode.JOBS, [])
    options = ["--config", str(conf), "--ngpu", "0", "--ngram_file", "a 3gram.arpa", "--ngram_weight", "0.2"]
    avsr_decode.main(["part", "--out", str(out), "--part", "1", "--parts", "1", "--", *options])
    conf.write_text("beam_size: 20\n")
    found = decoded_with(str(out))
    assert (found.search.beam_size, found.search.ctc_weight, found.search.maxlenratio) == (2, 0.7, -8.0)
    assert (found.language.ngram_file, found.language.ngram_weight) == (tmp_path / "a 3gram.arpa", 0.2)
    assert found.language.lm_file is None


def test_what_was_left_says_all_that_changes_the_answer(tmp_path):
    args = decoding_parser().parse_args(OPTIONS.split())
    write_made_with(tmp_path, args)
    assert decoded_with(str(tmp_path)) == decoded_with(OPTIONS)


def test_a_folder_that_does_not_say_is_an_error(tmp_path):
    with pytest.raises(DataError, match="does not say how it was decoded"):
        decoded_with(str(tmp_path))
    with pytest.raises(DataError, match="nowhere does not say"):
        decoded_with("nowhere")
