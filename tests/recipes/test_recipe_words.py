"""The recipes of isolated words, all stages: GRID's words cut from crops, and a tree of LRW's shape."""

import pytest
import yaml

from espnet_vivit.data.data_dir import validate_data_dir
from tests.recipes.test_recipe_corpora import CORPUS, egs, run, write_grid_crops  # noqa: F401  egs is a fixture
from tests.talking_files import write_talking

pytestmark = [pytest.mark.recipe, pytest.mark.timeout(600)]
TINY = {"vision_encoder": "linear", "optim": "adamw", "max_epoch": 1, "batch_type": "unsorted", "batch_size": 4}
TINY |= {"num_workers": 0, "use_tensorboard": False, "use_matplotlib": False, "keep_nbest_models": 1}
TINY |= {"best_model_criterion": [["valid", "acc", "max"]]}


def run_words(recipe, root, *, image_size: int, options=()):
    """All stages with two tiny models."""
    names = []
    for name, width in (("narrow", 4), ("wide", 8)):
        conf = {"image_size": image_size, "output_dim": width}
        names.append(f"conf/{name}.yaml")
        (recipe / names[-1]).write_text(yaml.safe_dump({**TINY, "vision_encoder_conf": conf}))
    done = run(recipe, "--corpus_root", str(root), "--configs", " ".join(names), "--model", "1epoch.pth", *options)
    assert done.returncode == 0, done.stdout[-4000:]
    return (recipe / "exp/RESULTS.md").read_text()


def test_grids_words_are_cut_trained_on_and_told_apart(egs, tmp_path):  # noqa: F811
    write_grid_crops(tmp_path / CORPUS, codes=["bbaf1n", "lwar2p", "lbaf2n", "bwar1p", "bbar2p"])
    recipe = egs / "grid/words1"
    text = run_words(recipe, tmp_path / CORPUS, image_size=48)
    train = validate_data_dir(recipe / "dump/raw/train")
    assert len(train) == 2 * 6 and {clip.num_frames for clip in train} == {17}
    assert "words_narrow against words_wide" in text and "| test_seen |" in text
    assert (recipe / "exp/words_wide/evaluated/test_seen/confusions.png").is_file()


def test_lrws_folders_are_prepared_trained_on_and_told_apart(egs, tmp_path):  # noqa: F811
    for word in ("ABOUT", "YOUNG"):
        for seed, (split, clips) in enumerate((("train", 2), ("val", 1), ("test", 1))):
            for number in range(clips):
                stem = tmp_path / CORPUS / f"lipread_mp4/{word}/{split}/{word}_{number:05d}"
                write_talking(stem.with_suffix(".mp4"), seconds=1.16, seed=seed)
                stem.with_suffix(".txt").write_text("Channel: BBC One HD\nDuration: 0.40 seconds\n")
    recipe = egs / "lrw/words1"
    options = ("--prepare_opts", "--modality video --detector centre")
    text = run_words(recipe, tmp_path / CORPUS, image_size=88, options=options)
    train = validate_data_dir(recipe / "dump/raw/train")
    assert [clip.text for clip in train] == ["ABOUT", "ABOUT", "YOUNG", "YOUNG"]
    assert "words_narrow against words_wide" in text and "| test " in text
