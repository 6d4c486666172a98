"""mini_av with both language models: stages 6 to 9 in their place, decoding with the result, words with their times."""

import re

import pytest

from espnet_vivit.bin.avsr_align import main as align
from espnet_vivit.data.data_dir import read_scp
from tests.recipes.test_recipe_smoke import Recipe

pytestmark = [pytest.mark.recipe, pytest.mark.timeout(600)]

SEARCH = "--beam_size 2 --maxlenratio -8 --lm_weight 0.3 --ngram_weight 0.2 --word_times true"


def test_a_recipe_with_language_models_runs_through_and_decodes_with_them(tmp_path, capsys):
    recipe = Recipe(tmp_path / "a folder")
    done = recipe.run(
        *("--use_lm", "true", "--lm_config", "conf/train_lm.yaml", "--lm_args", "--max_epoch 1"),
        *("--use_ngram", "true", "--ngram_num", "2"),
        *("--test_sets", "test_seen", "--modalities", "audio", "--control_sets", "", "--targets", ""),
        *("--inference_args", SEARCH, "--stop_stage", "13"),
    )
    assert done.returncode == 0, done.stdout[-4000:]
    ran = [int(number) for number in re.findall(r"^\[stage (\d+)\] done in \d+ s$", done.stdout, flags=re.M)]
    assert ran == [1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]
    assert re.search(r"perplexity of dev: \d+\.\d+", done.stdout)
    assert (recipe.folder / "exp/ngram_word/2gram.arpa").read_text().startswith("\\data\\")
    (decoded,) = recipe.folder.glob("exp/avsr_tiny_word/decode_*_lm_train_lm_word*_ngram_2gram/test_seen_audio")
    texts = read_scp(recipe.folder / "dump/raw/test_seen/text")
    for file in ("text", "score", "word_times", "confidence"):
        lines = (decoded / "1best_recog" / file).read_text().splitlines()
        assert [line.split()[0] for line in lines] == list(texts)
    assert "| test_seen" in (recipe.folder / "exp/avsr_tiny_word/RESULTS.md").read_text()
    capsys.readouterr()
    data = recipe.folder / "dump/raw/test_seen"
    model = recipe.folder / "exp/avsr_tiny_word/valid.acc.ave.pth"
    align(["--asr_model_file", str(model), "--data", str(data), "--report"])
    assert capsys.readouterr().out.startswith("word boundaries of ")
