"""`espnet-vivit import`: files shaped like published ones -> experiment folders, transcripts, packages."""

import argparse
import json
import pickle

import pytest
import torch
import yaml

from espnet_vivit import E2E
from espnet_vivit.bin import cli
from espnet_vivit.decode.model_files import open_model
from espnet_vivit.decode.package import Package
from espnet_vivit.errors import ConfigError, DataError, WeightsError
from espnet_vivit.model.published.avhubert import PORT
from espnet_vivit.release.import_published import import_published
from espnet_vivit.release.pack import pack, terms_of
from espnet_vivit.tasks.avsr import AVSRTask
from tests.published import TOKENS, UNITS, decoder_state, fairseq_names, small_state

CHAR_LIST = ["<blank>", "<unk>", "<space>", "a", "b", "c", "d", "e", "<eos>"]
INI = "[decode]\nbeam_size=5\npenalty=0.25\nmaxlenratio=0.0\nminlenratio=0.0\nctc_weight=0.2\nlm_weight=0.4\n"
SYMBOLS = ["<s>", "<pad>", "</s>", "<unk>", "▁bin", "▁blue", "▁now", "▁set", "s", "'"]
FAMILIES = {  # -> (title, modality)
    "video": ("Auto-AVSR v1.0.0 or VSR-ML, video", "video"),
    "audio": ("Auto-AVSR v1.0.0 or VSR-ML, audio", "audio"),
    "both": ("Auto-AVSR v1.0.0 or VSR-ML, audio-visual", "multimodal"),
    "small": ("Auto-AVSR v1.0.0 or VSR-ML, video", "video"),
    "raven": ("RAVEn or BRAVEn, video", "video"),
    "usr": ("USR, multimodal", "multimodal"),
    "avhubert": ("AV-HuBERT, the port, fine-tuned", "multimodal"),
}


@pytest.fixture
def units(tmp_path):
    (tmp_path / "units.txt").write_text(UNITS, encoding="utf-8")
    return tmp_path / "units.txt"


@pytest.fixture
def file_of(shared_dir, tmp_path):
    """family -> the path of a small published file of it."""

    def write(family):
        torch.save(state_of(shared_dir, family), tmp_path / f"{family}.pth")
        return tmp_path / f"{family}.pth"

    return write


def state_of(shared_dir, family):
    state = small_state(shared_dir, family)
    if family != "avhubert":
        return state
    encoder = {f"model.encoder.{name}": value for name, value in state.items()}
    decoder = decoder_state("model.decoder.")
    decoder["model.decoder.layer_norm.weight"] *= -1  # the tied embedding would repeat </s>, and all would be silent
    return encoder | decoder


def write_fairseq_dictionary(path):
    path.write_text("".join(f"{symbol} {9 - number}\n" for number, symbol in enumerate(SYMBOLS[4:])), encoding="utf-8")
    return path


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_recognized_and_its_folder_decodes_as_the_file(family, file_of, units, tmp_path, shared_dir):
    tokens = write_fairseq_dictionary(tmp_path / "dict.txt") if family == "avhubert" else units
    checkpoint = file_of(family)
    imported = import_published(checkpoint.rename(tmp_path / "misleading name.pth"), tmp_path / "exp", tokens=tokens)
    title, modality = FAMILIES[family]
    assert (imported.layout.title, imported.layout.modality) == (title, modality)
    written, args = AVSRTask.build_model_from_file(tmp_path / "exp/config.yaml", tmp_path / "exp/published.pth")
    expected = E2E.from_published(state_of(shared_dir, family))
    torch.testing.assert_close(written.state_dict(), expected.state_dict(), atol=0, rtol=0)
    assert args.modality == modality and len(args.token_list) == 9
    assert args.token_type == "bpe" and written.eval().training is False
    streams = {"video": torch.randn(1, 5, 88, 88), "video_lengths": torch.tensor([5])}
    streams |= {"speech": torch.randn(1, 5 * 640), "speech_lengths": torch.tensor([5 * 640])}
    keep = {"video": "video", "audio": "speech", "multimodal": ""}[modality]
    batch = {name: value for name, value in streams.items() if name.startswith(keep)}
    with torch.no_grad():
        assert torch.equal(written.encode(**batch)[0], expected.encode(**batch)[0])


@pytest.mark.parametrize("modality", ["video", "audio"])
def test_usr_is_three_recognizers(modality, file_of, units, tmp_path):
    imported = import_published(file_of("usr"), tmp_path / "exp", tokens=units, modality=modality)
    assert imported.layout.title == f"USR, {modality}"
    assert {why: count for why, count in imported.unused.items() if "CTC" in why} == {
        "CTC heads of the other modalities": 4
    }
    with pytest.raises(ConfigError, match=r"the file is RAVEn or BRAVEn, video: found modality audio; expected video"):
        import_published(file_of("raven"), tmp_path / "other", tokens=units, modality="audio")


def test_a_small_model_takes_the_tokens_of_the_model_json_beside_it(file_of, tmp_path):
    checkpoint = file_of("small")
    (tmp_path / "model.json").write_text(json.dumps([512, 9, {"char_list": CHAR_LIST}]), encoding="utf-8")
    import_published(checkpoint, tmp_path / "exp")
    config = yaml.safe_load((tmp_path / "exp/config.yaml").read_text(encoding="utf-8"))
    assert config["token_list"] == [*CHAR_LIST[:-1], "<sos/eos>"] and config["token_type"] == "char"
    (tmp_path / "model.json").write_text(json.dumps({"labels_type": "unigram5000"}), encoding="utf-8")
    with pytest.raises(DataError, match=r"model\.json holds no tokens.*It names unigram5000: give that list of units"):
        import_published(checkpoint, tmp_path / "other")
    (tmp_path / "model.json").unlink()
    with pytest.raises(DataError, match=r"the tokens of .*small\.pth are not known.*Give --tokens"):
        import_published(checkpoint, tmp_path / "other")


def test_the_publishers_search_and_language_model_go_along_into_packages(file_of, shared_dir, tmp_path, units):
    torch.save(small_state(shared_dir, "lm"), tmp_path / "lm.pth")
    (tmp_path / "es.ini").write_text(INI, encoding="utf-8")
    import_published(
        file_of("small"), tmp_path / "exp", tokens=units, lm=tmp_path / "lm.pth", decoding=tmp_path / "es.ini"
    )
    for place in (tmp_path / "exp", pack(tmp_path / "exp", tmp_path / "package")):
        decoding = open_model(place).decoding
        assert decoding.search.stated() == {
            **{"search": "beam", "beam_size": 5, "ctc_weight": 0.2, "penalty": 0.25},
            **{"maxlenratio": 0.0, "minlenratio": 0.0},
        }
        assert decoding.language.lm_weight == 0.4 and decoding.language.lm_file.is_file()
    info = json.loads((tmp_path / "package/package.json").read_text(encoding="utf-8"))
    assert "small.pth, MD5 " in info["provenance"]["weights"] and "non-commercial" in info["licence"]


SLOW_FACES = [pytest.param(family, marks=pytest.mark.slow) for family in ("both", "small", "raven", "usr")]


@pytest.mark.parametrize("family", ["video", "avhubert", *SLOW_FACES])
def test_a_real_face_is_transcribed_with_an_imported_model(family, file_of, units, tmp_path, shared_dir, capsys):
    """The words are noise; the way from the file to them is a user's."""
    tokens = write_fairseq_dictionary(tmp_path / "dict.txt") if family == "avhubert" else units
    assert cli.main(["import", str(file_of(family)), str(tmp_path / "exp"), "--tokens", str(tokens)]) == 0
    printed = capsys.readouterr().out
    assert f"is {FAMILIES[family][0]}: " in printed and "licence of the weights: " in printed
    (face, *_) = sorted((shared_dir / "data/grid/original").rglob("*.mpg"))
    options = ["--model", str(tmp_path / "exp"), "--output", "txt", "--output_dir", str(tmp_path / "text")]
    assert cli.main(["transcribe", str(face), *options, "--beam_size", "2"]) == 0
    (text,) = (tmp_path / "text").glob("*.txt")
    assert text.read_text(encoding="utf-8").strip()


# AV-HuBERT ------------------------------------------------------------------------------------------------------------


def test_both_spellings_of_avhubert_give_one_model(shared_dir):
    state = small_state(shared_dir, "avhubert")
    port = {f"model.encoder.{name}": value for name, value in state.items()} | decoder_state("model.decoder.")
    fairseq = {f"encoder.w2v_model.{name}": value for name, value in fairseq_names(state).items()}
    decoder = {name.removeprefix("model."): value for name, value in port.items() if name.startswith("model.decoder.")}
    one, other = E2E.from_published(port), E2E.from_published(fairseq | decoder)
    torch.testing.assert_close(one.state_dict(), other.state_dict(), atol=0, rtol=0)


def test_a_pretrained_avhubert_is_a_start_and_its_licence_goes_along(shared_dir, tmp_path, capsys):
    torch.save({"model": fairseq_names(small_state(shared_dir, "avhubert"))}, tmp_path / "base.pt")
    assert cli.main(["import", str(tmp_path / "base.pt"), str(tmp_path / "start")]) == 0
    printed = capsys.readouterr().out
    assert "is AV-HuBERT, fairseq, pretrained" in printed and "has no decoder" in printed
    assert "Copyright (c) Meta Platforms, Inc." in printed and "non-commercial research only" in printed
    start = yaml.safe_load((tmp_path / "start/start.yaml").read_text(encoding="utf-8"))
    assert start["encoder"] == "avhubert" and set(start["init_parts"]) == {
        *("vision_encoder", "audio_encoder", "fusion", "encoder"),
    }
    with pytest.raises(WeightsError, match=r"pretrained: it cannot transcribe: found neither CTC nor a decoder"):
        E2E.from_published(tmp_path / "base.pt")
    with pytest.raises(DataError, match=r"start is no experiment"):
        open_model(tmp_path / "start")


def test_a_training_that_starts_from_avhubert_takes_its_terms_along(shared_dir, tmp_path):
    torch.save({"model": fairseq_names(small_state(shared_dir, "avhubert"))}, tmp_path / "base.pt")
    import_published(tmp_path / "base.pt", tmp_path / "start")
    for source in (tmp_path / "base.pt", tmp_path / "start/published.pth"):
        start = yaml.safe_load((tmp_path / "start/start.yaml").read_text(encoding="utf-8"))
        start["init_parts"] = dict.fromkeys(start["init_parts"], str(source))
        options = (
            vars(AVSRTask.get_parser().parse_args([])) | start | {"token_list": TOKENS, "output_dir": str(tmp_path)}
        )
        args = argparse.Namespace(**options)
        model = AVSRTask.build_model(args)
        expected = torch.load(tmp_path / "start/published.pth")
        for name, value in expected.items():
            torch.testing.assert_close(model.state_dict()[name], value, atol=0, rtol=0)
        said = terms_of(vars(args), {})
        assert "Copyright (c) Meta Platforms" in said["attribution"][0]
        assert "github.com/facebookresearch/av_hubert" in said["licence text needed"][0]


def test_avhubert_takes_lora_by_its_layers_default_names(shared_dir):
    options = PORT.model_options(small_state(shared_dir, "avhubert"))
    model = E2E(9, **options, tower_adapters={"encoder": {"type": "lora", "r": 2}})
    adapted = {
        name.split(".lora_")[0].rpartition(".")[2] for name, _ in model.encoder.named_parameters() if "lora_" in name
    }
    assert adapted == {"q_proj", "k_proj", "v_proj", "out_proj", "intermediate_dense", "output_dense"}


def test_a_package_of_avhubert_needs_the_licences_text(file_of, tmp_path):
    tokens = write_fairseq_dictionary(tmp_path / "dict.txt")
    import_published(file_of("avhubert"), tmp_path / "exp", tokens=tokens)
    with pytest.raises(ConfigError, match=r"licence .* has to go along, word for word.*--licence_file.*av_hubert"):
        pack(tmp_path / "exp", tmp_path / "package", licence="CC0-1.0")
    (tmp_path / "LICENSE").write_text("AV-HuBERT LICENSE AGREEMENT\n", encoding="utf-8")
    package = Package.checked(pack(tmp_path / "exp", tmp_path / "package", licence_file=tmp_path / "LICENSE"))
    assert "non-commercial research only" in package.info["licence"]
    assert "Copyright (c) Meta Platforms" in package.info["provenance"]["attribution"]
    assert (tmp_path / "package/LICENSE").read_text(encoding="utf-8").startswith("AV-HuBERT")


# files that are not what they should be -------------------------------------------------------------------------------


def test_half_a_model_and_a_mixture_of_two_are_named(shared_dir, tmp_path, units):
    state = small_state(shared_dir, "both")
    for name, broken, message in (
        ("half", {n: v for n, v in state.items() if not n.startswith("decoder.")}, r"no decoder\.decoders\.0"),
        (
            "no audio encoder",
            {n: v for n, v in state.items() if not n.startswith("aux_")},
            r"without a place: fusion\.",
        ),
        (
            "cut",
            {n: v for n, v in state.items() if "aux_encoder.encoders.1" not in n},
            r"missing: aux_encoder\.encoders\.1",
        ),
        ("mixed", state | small_state(shared_dir, "raven"), r"without a place: encoder\.encoders\.0\.gamma_"),
    ):
        torch.save(broken, tmp_path / f"{name}.pth")
        with pytest.raises(WeightsError, match=message):
            import_published(tmp_path / f"{name}.pth", tmp_path / "exp", tokens=units)
        assert not (tmp_path / "exp").exists()


def test_a_truncated_file_is_named(file_of, tmp_path, units):
    whole = file_of("video").read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match=r"cut\.pth cannot be read: .*Download it again"):
        import_published(tmp_path / "cut.pth", tmp_path / "exp", tokens=units)


def test_a_wrong_language_model_and_wrong_tokens_are_named(file_of, shared_dir, tmp_path, units):
    wrong = {
        n: v[:8] if n in ("embed.weight", "decoder.weight", "decoder.bias") else v
        for n, v in small_state(shared_dir, "lm").items()
    }
    torch.save(wrong, tmp_path / "lm.pth")
    with pytest.raises(ConfigError, match=r"lm\.pth is of other tokens: found 8 tokens; expected the recognizer's 9"):
        import_published(file_of("small"), tmp_path / "exp", tokens=units, lm=tmp_path / "lm.pth")
    with pytest.raises(WeightsError, match=r"none of the layouts.*Transformer language model"):
        import_published(file_of("small"), tmp_path / "exp", tokens=units, lm=file_of("video"))
    units.write_text(UNITS + "▁red 8\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="token_list and odim disagree: found 10 tokens; expected odim = 9"):
        import_published(file_of("video"), tmp_path / "exp", tokens=units)
    assert not (tmp_path / "exp").exists()


def test_a_pickle_that_would_run_code_is_refused(tmp_path, units):
    class Planted:
        def __reduce__(self):
            import os

            return os.system, (f"touch {tmp_path / 'planted'}",)

    with open(tmp_path / "evil.pt", "wb") as file:
        pickle.dump({"model": {"encoder.bias": Planted()}}, file, protocol=2)
    with pytest.raises(WeightsError, match=r"evil\.pt is refused"):
        import_published(tmp_path / "evil.pt", tmp_path / "exp", tokens=units)
    assert not (tmp_path / "planted").exists()
