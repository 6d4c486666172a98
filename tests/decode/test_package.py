"""What a package's calibration may say."""

import json

import pytest

from espnet_vivit.decode.package import read_reliability
from espnet_vivit.errors import DataError


@pytest.mark.parametrize("threshold", [0, 0.5, 1])
def test_a_threshold_is_a_number_from_0_to_1(threshold, tmp_path):
    measured = {"video": {"min_confidence": threshold}}
    (tmp_path / "reliability.json").write_text(json.dumps(measured))
    assert read_reliability(tmp_path / "reliability.json") == measured


@pytest.mark.parametrize("threshold", [-0.01, 1.01, True, "0.5", None, [], float("nan")])
def test_a_threshold_that_is_none_is_named(threshold, tmp_path):
    (tmp_path / "reliability.json").write_text(json.dumps({"video": {"min_confidence": threshold}}))
    with pytest.raises(DataError, match=r"reliability\.json: found min_confidence of video: .*from 0 to 1"):
        read_reliability(tmp_path / "reliability.json")
