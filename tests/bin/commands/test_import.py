"""`espnet-vivit import` and its earlier name: from a file shaped like a published one to transcripts."""

import numpy as np
import pytest
import torch
import yaml

from espnet_vivit import E2E
from espnet_vivit.bin import avsr_inference, cli
from espnet_vivit.data.data_dir import write_data_dir
from espnet_vivit.data.token_list import train_sentencepiece
from espnet_vivit.errors import ConfigError
from espnet_vivit.release.published_tokens import read_tokens
from espnet_vivit.tasks.avsr import AVSRTask
from espnet_vivit.tasks.loading.pieces import JoinedPieces, tokenizer_for
from tests.auto_avsr import state_dict
from tests.tiny_corpus import FILES, write_clip

UNITS = "<unk> 1\n' 2\ns 3\n▁bin 4\n▁blue 5\n▁now 6\n▁set 7\n"  # as Auto-AVSR's file: blank and end are not in it
TOKENS = ["<blank>", "<unk>", "'", "s", "▁bin", "▁blue", "▁now", "▁set", "<sos/eos>"]
EVERY_MODALITY = pytest.mark.parametrize("modality", ["video", "audio"])
STREAM = {"video": "video", "audio": "speech"}


@pytest.fixture
def given(tmp_path):
    """Paths of (checkpoint, units, folder to write) of a tiny video model."""
    torch.save(state_dict("video"), tmp_path / "vsr.pth")
    (tmp_path / "units.txt").write_text(UNITS, encoding="utf-8")
    return tmp_path / "vsr.pth", tmp_path / "units.txt", tmp_path / "exp"


def run(checkpoint, units, out, *options):
    return cli.main(["import-auto-avsr", str(checkpoint), str(out), "--token_list", str(units), *options])


@EVERY_MODALITY
def test_an_imported_model_decodes_clips_with_our_command(modality, given, tmp_path, capsys):
    checkpoint, _, out = given
    state = state_dict(modality)
    torch.save(state, checkpoint)
    assert run(*given) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(out / "published.pth")
    rng = np.random.default_rng(0)
    write_data_dir(tmp_path / "data", [write_clip(tmp_path, f"s1-clip{number}", rng) for number in range(2)])
    options = ["--asr_model_file", out / "published.pth", "--output_dir", tmp_path / "decoded", "--num_workers", "0"]
    options += ["--data_path_and_name_and_type", f"{tmp_path / 'data'}/{FILES[STREAM[modality]]}", "--beam_size", "3"]
    avsr_inference.main([*map(str, options), "--maxlenratio", "-6"])

    read = {name: (tmp_path / "decoded/1best_recog" / name).read_text().splitlines() for name in ("text", "token")}
    assert [line.split()[0] for line in read["text"]] == ["s1-clip0", "s1-clip1"]
    for text, token in zip(read["text"], read["token"], strict=True):
        pieces = token.split()[1:]
        assert pieces and set(pieces) <= set(TOKENS[1:-1])
        assert text.partition(" ")[2] == "".join(pieces).replace("▁", " ").strip()


@EVERY_MODALITY
def test_what_is_written_is_the_model_that_from_auto_avsr_gives(modality, given):
    checkpoint, _, out = given
    state = state_dict(modality)
    torch.save(state, checkpoint)
    run(*given)
    written, args = AVSRTask.build_model_from_file(out / "config.yaml", out / "published.pth")
    expected = E2E.from_auto_avsr(state, token_list=TOKENS)
    assert str(written.eval()) == str(expected)
    torch.testing.assert_close(written.state_dict(), expected.state_dict(), atol=0, rtol=0)
    assert args.token_list == written.token_list == TOKENS
    assert (args.token_type, args.bpemodel, args.modality) == ("bpe", None, modality)
    clip = torch.randn(1, 7, 88, 88) if modality == "video" else torch.randn(1, 7 * 640)
    batch = {STREAM[modality]: clip, f"{STREAM[modality]}_lengths": torch.tensor([clip.size(1)])}
    with torch.no_grad():
        assert torch.equal(written.encode(**batch)[0], expected.encode(**batch)[0])


def test_a_folder_that_exists_is_left_alone(given, capsys):
    *_, out = given
    out.mkdir()
    assert run(*given) == 1
    assert f"{out} exists already. Name a new folder" in capsys.readouterr().err
    assert not list(out.iterdir())


@pytest.mark.parametrize(
    ("units", "message"),
    [
        (UNITS + "▁red 8\n", "token_list and odim disagree: found 10 tokens; expected odim = 9"),
        (UNITS.replace("▁now 6\n", ""), "units.txt:6: token '▁set' is out of order: found 7; expected 6"),
        (UNITS.replace("▁now 6", "▁bin 6"), "the token '▁bin' stands twice"),
        ("▁bin\n▁blue\n", "not in ESPnet's order"),
        ("", "not in ESPnet's order"),
    ],
)
def test_tokens_that_do_not_fit_leave_nothing_behind(units, message, given, capsys):
    given[1].write_text(units, encoding="utf-8")
    assert run(*given) == 1
    assert message in capsys.readouterr().err
    assert not given[2].exists()


def test_files_that_are_not_there_are_named(given, tmp_path, capsys):
    checkpoint, units, out = given
    absent = tmp_path / "absent"
    assert run(absent, units, out) == 1 and run(checkpoint, absent, out) == 1
    assert run(*given, "--bpemodel", str(absent)) == 1
    printed = capsys.readouterr().err
    for what in ("the checkpoint", "the token list", "the sentencepiece model"):
        assert f"error: {what} {absent} does not exist" in printed
    assert not out.exists()


def test_a_list_in_espnets_order_is_taken_as_it_is(tmp_path):
    (tmp_path / "tokens.txt").write_text("\n".join(TOKENS) + "\n", encoding="utf-8")
    assert read_tokens(tmp_path / "tokens.txt") == TOKENS


# tokens without their sentencepiece model ---------------------------------------------------------------------------


def test_pieces_are_joined_as_sentencepiece_joins_them(tmp_path):
    lines = ["bin blue at f two now", "lay green by a zero please", "set red with x nine again"]
    train_sentencepiece(lines, tmp_path, nbpe=30, bpe_mode="unigram")
    oracle = tokenizer_for("bpe", str(tmp_path / "bpe.model"), train=True)
    for line in lines:
        pieces = oracle.text2tokens(line)
        assert len(pieces) > len(line.split()), "too many whole words to tell"
        assert JoinedPieces().tokens2text(pieces) == oracle.tokens2text(pieces) == line


def test_training_without_the_sentencepiece_model_is_refused():
    with pytest.raises(ConfigError, match=r"training with token_type bpe needs a sentencepiece model.*bpemodel"):
        tokenizer_for("bpe", None, train=True)
    with pytest.raises(ConfigError, match="cutting 'bin blue' into tokens needs a sentencepiece model"):
        tokenizer_for("bpe", None, train=False).text2tokens("bin blue")


def test_a_bpemodel_that_is_there_is_written_down(given, tmp_path):
    (tmp_path / "bpe.model").touch()
    run(*given, "--bpemodel", str(tmp_path / "bpe.model"))
    assert yaml.safe_load((given[2] / "config.yaml").read_text(encoding="utf-8"))["bpemodel"] == str(
        tmp_path / "bpe.model"
    )
