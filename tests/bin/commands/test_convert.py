"""`espnet-vivit convert`: a scenic file in, a folder for `model_name` out."""

import pytest
import torch

from espnet_vivit import vivit_encoder
from espnet_vivit.bin.commands.convert import main
from espnet_vivit.errors import ConfigError, WeightsError
from tests.frontend.vivit.family_oracle import folder_of


def test_a_factorised_encoder_becomes_a_folder(shared_dir, tmp_path, capsys):
    file = folder_of(shared_dir) / "checkpoints" / "fe_params"
    assert main([str(file), str(tmp_path / "fe")]) == 0
    assert "factorised_encoder" in capsys.readouterr().out
    options = {"frame_adjust": "window", "num_frames": 8, "window_overlap": 4}
    clip = torch.randint(0, 256, (1, 11, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        features = [
            vivit_encoder(**source, **options).eval()(clip)
            for source in ({"weights": str(file)}, {"model_name": str(tmp_path / "fe")})
        ]
    assert torch.equal(*features)


def test_a_folder_is_never_overwritten(shared_dir, tmp_path):
    with pytest.raises(ConfigError, match="exists"):
        main([str(folder_of(shared_dir) / "checkpoints" / "fe_params"), str(tmp_path)])


def test_what_is_no_checkpoint_writes_nothing(tmp_path):
    (tmp_path / "text").write_text("model_checkpoint_path: here")
    with pytest.raises(WeightsError, match="not a checkpoint"):
        main([str(tmp_path / "text"), str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()
