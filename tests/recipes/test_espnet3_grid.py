"""egs3/grid on a small tree of mouth crops, up to the lengths of its clips."""

import shutil
from pathlib import Path

import pytest

pytest.importorskip("espnet3", reason="ESPnet3 comes with espnet 202609 and later")

from espnet3.utils.config_utils import load_and_merge_config
from omegaconf import OmegaConf

from espnet_vivit.bin.espnet3_system import AVSRSystem
from espnet_vivit.data.data_dir import validate_data_dir
from espnet_vivit.data.scp import read_scp
from espnet_vivit.errors import ConfigError
from espnet_vivit.tasks.espnet3.arguments import training_arguments
from espnet_vivit.tasks.espnet3.names import TEMPLATE
from tests.recipes.test_recipe_corpora import write_grid_crops

pytestmark = pytest.mark.recipe
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def system(tmp_path, monkeypatch):
    """The recipe's training.yaml over a copy of the recipe, with babble at two ratios."""
    recipe = tmp_path / "egs3/grid/avsr"
    shutil.copytree(ROOT / "egs3/grid/avsr", recipe, ignore=shutil.ignore_patterns("data", "exp"))
    monkeypatch.setenv("GRID_ROOT", str(tmp_path / "crops"))
    path = recipe / "conf/training.yaml"
    config = load_and_merge_config(path, config_name="training.yaml", default_package=TEMPLATE, resolve=False)
    config.recipe_dir = str(recipe)
    config.create_dataset.update({"babble_set": "test_seen", "babble_snr_db": [0, -5]})
    OmegaConf.resolve(config)
    return AVSRSystem(training_config=config)


def test_a_corpus_that_is_not_there_is_named(system):
    with pytest.raises(ConfigError, match=r"grid_root: found .*crops.*Set GRID_ROOT"):
        system.create_dataset()


def test_crops_become_data_directories_with_lengths_that_a_training_takes(system, tmp_path):
    write_grid_crops(tmp_path / "crops")
    for stage in (system.create_dataset, system.train_tokenizer, system.collect_stats):
        stage()
    data = Path(system.training_config.data_dir)
    sets = {"train": 7, "dev": 1, "test_seen": 1, "test_unseen": 1}
    sets |= {"test_seen_babble_0db": 1, "test_seen_babble_-5db": 1}
    assert {name: len(validate_data_dir(data / name)) for name in sets} == sets
    shapes = read_scp(Path(system.training_config.stats_dir) / "train/video_shape")
    assert list(shapes.values()) == ["75,52,52"] * 7
    args = training_arguments(system.training_config)
    assert (args.mouth_view, args.vision_encoder) == (64, "vivit")
    written = (data / "train/text").stat().st_mtime_ns
    system.create_dataset()
    assert (data / "train/text").stat().st_mtime_ns == written, "it is there already"
