"""The page of an experiment: what it shows, what it leaves out and says so, and that it needs no other file."""

import re
import shutil

import numpy as np
import pytest
from PIL import Image

from espnet_vivit.bin.cli import main
from espnet_vivit.errors import DataError
from espnet_vivit.evaluation import report
from espnet_vivit.evaluation.error_rates import score
from espnet_vivit.media.files.video_file import write_gray_video
from tests.evaluation.test_results import recipe  # noqa: F401  (a fixture)


@pytest.fixture
def prepared(recipe):  # noqa: F811
    """The recipe's folder with lengths and videos of its test set."""
    folder = recipe / "dump/raw/test_seen"
    utterances = [line.split()[0] for line in (folder / "text").read_text().splitlines()]
    lengths = {utt_id: 20 + number for number, utt_id in enumerate(utterances)}
    (folder / "utt2num_frames").write_text("".join(f"{utt_id} {count}\n" for utt_id, count in lengths.items()))
    write_gray_video(folder / "clip.npy", np.zeros((20, 48, 48), np.uint8))
    (folder / "video.scp").write_text("".join(f"{utt_id} {folder / 'clip.npy'}\n" for utt_id in utterances))
    return recipe


def test_the_page_shows_curves_rates_and_confusions_without_another_file(prepared, capsys):
    assert main(["plot", "exp/avsr_vivit", "--data", "dump/raw"]) == 0
    path = prepared / capsys.readouterr().out.strip()
    page = path.read_text()
    sources = re.findall(r'src="([^"]{0,30})', page)
    assert sources and all(source.startswith("data:image/png;base64,") for source in sources)
    assert "http" not in page
    for name in ("training_curves", "test_seen_by_class", "test_seen_by_length", "test_seen_by_noise"):
        with Image.open(path.parent / f"{name}.png") as picture:
            assert picture.width > 300 and len(np.unique(np.asarray(picture.convert("L")))) > 20
    for text in ("<th>WER %</th>", "<td>0 dB</td>", "<td>lay</td><td>layx</td>"):
        assert text in page


def test_what_cannot_be_shown_is_named(prepared, capsys):
    assert main(["plot", "exp/avsr_vivit", "--data", "dump/raw"]) == 0  # its checkpoint holds no model
    assert "Left out: where ViViT looks" in (prepared / "exp/avsr_vivit/report/report.html").read_text()
    shutil.rmtree("exp/avsr_vivit/decode_beam")
    assert main(["plot", "exp/avsr_vivit", "--data", "dump/raw", "--out", "page"]) == 0
    assert "nothing has been decoded" in (prepared / "page/report.html").read_text()


def test_lip_shapes_are_compared_for_the_words_of_the_synthetic_corpus_alone(prepared, monkeypatch):
    drawn = []
    monkeypatch.setattr(report, "viseme_confusions", lambda score: (["p"], np.ones((1, 1), int)))
    monkeypatch.setattr(report, "plot_confusions", lambda names, counts, path, **labels: drawn.append(names))
    said = {"u1": "lay red by b nine soon"}
    report._draw_visemes(score(said, {"u1": "lay red by q nine soon"}), prepared / "x.png")
    with pytest.raises(DataError, match="other words are not compared: found bin; expected those of the synthetic"):
        report._draw_visemes(score({"u1": "bin red by b nine soon"}, said), prepared / "x.png")
    assert drawn == [["p"]]


def test_bad_arguments_are_errors(prepared, capsys):
    assert main(["plot", "exp/none", "--data", "dump/raw"]) == 1
    assert "there is no experiment exp/none" in capsys.readouterr().err
    shutil.copytree("exp/avsr_vivit/decode_beam", "exp/avsr_vivit/decode_greedy")
    assert main(["plot", "exp/avsr_vivit", "--data", "dump/raw"]) == 1
    assert "Choose one with --inference_tag" in capsys.readouterr().err
    assert main(["plot", "exp/avsr_vivit", "--data", "dump/raw", "--inference_tag", "greedy"]) == 0
    assert main(["plot", "exp/avsr_vivit", "--data", "dump/raw", "--inference_tag", "beem"]) == 1


def test_a_page_that_cannot_be_written_is_an_error(prepared, capsys):
    assert main(["plot", "exp/avsr_vivit", "--data", "dump/raw", "--out", "exp/avsr_vivit/config.yaml/page"]) == 1
    assert "error: cannot make the folder exp/avsr_vivit/config.yaml/page" in capsys.readouterr().err
