"""ESPnet's init_param: what it will fill is known before it is loaded, and what it would not is an error."""

import pytest
import torch
import yaml
from torch import nn

from espnet_vivit.errors import ConfigError, WeightsError
from espnet_vivit.espnet_compat.names import espnet_module
from espnet_vivit.tasks.init_param import check_init_param
from tests.tiny_corpus import TOKENS


class Model(nn.Module):
    """Two parts and an output layer."""

    def __init__(self):
        super().__init__()
        self.token_list = list(TOKENS)
        self.encoder = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        self.ctc = nn.Linear(2, len(TOKENS))


@pytest.fixture
def stored(tmp_path):
    torch.manual_seed(1)
    torch.save(Model().state_dict(), tmp_path / "w.pth")
    return tmp_path / "w.pth"


def load_with_espnet(model, entry, ignore=False):
    module = espnet_module("espnet2.torch_utils.load_pretrained_model")
    module.load_pretrained_model(init_param=entry, model=model, ignore_init_mismatch=ignore)


@pytest.mark.parametrize(
    ("entry", "ignore", "counts"),
    [
        ("{}", False, {"encoder": 10, "ctc": 27}),
        ("{}:encoder:encoder", False, {"encoder": 10}),
        ("{}:encoder.0:encoder.0", False, {"encoder": 6}),
        ("{}:::ctc", False, {"encoder": 10}),
        ("{}:encoder:ctc", True, {"ctc": 0}),
    ],
)
def test_what_is_counted_is_what_espnet_loads(entry, ignore, counts, stored):
    model, entry = Model(), entry.format(stored)
    if counts == {"ctc": 0}:  # nothing of the encoder fits there
        with pytest.raises(WeightsError, match="does not fit ctc"):
            check_init_param(model, [entry], ignore_mismatch=ignore)
        return
    before = {name: value.clone() for name, value in model.named_parameters()}
    found = check_init_param(model, [entry], ignore_mismatch=ignore)
    assert {part.part: part.parameters for part in found} == counts
    load_with_espnet(model, entry, ignore)
    theirs = torch.load(stored, weights_only=True)
    loaded = [name for name, value in model.named_parameters() if torch.equal(value, theirs[name])]
    constant = [name for name, value in before.items() if torch.equal(value, theirs[name])]
    assert set(loaded) - set(constant) <= {n for n in before if n.split(".")[0] in counts}
    assert {name.split(".")[0] for name in set(loaded) - set(constant)} == set(counts)


@pytest.mark.parametrize(
    ("entry", "error", "message"),
    [
        ("{}:vision_towre:encoder", WeightsError, "begins with vision_towre: found ctc, encoder"),
        ("{}:enc:encoder", WeightsError, "begins with enc: found"),
        ("{}:encoder:encodre", ConfigError, "part that the model lacks: found encodre; expected encoder, ctc"),
        ("{}:encoder:encoder.0.weight", ConfigError, "part that the model lacks"),
        ("{}:encoder:encoder:encoder,ctc", WeightsError, "leaves nothing of .*begin with 'encoder,ctc': all"),
        ("{}:encoder:encoder:", WeightsError, "leaves nothing of .*before its last colon"),
        ("{}:encoder", WeightsError, "does not fit the model: found .* without a place: 0.weight"),
        ("{}:ctc:encoder.0", WeightsError, r"of another shape: weight \(9, 2\) for \(2, 2\)"),
        ("{}:a:b:c:d", ConfigError, "init_param: found"),
        (":encoder:encoder", ConfigError, "init_param: found"),
        ("absent.pth:encoder:encoder", WeightsError, "absent.pth does not exist"),
    ],
)
def test_an_entry_that_fills_nothing_or_not_all_is_an_error(entry, error, message, stored):
    with pytest.raises(error, match=message):
        check_init_param(Model(), [entry.format(stored)], ignore_mismatch=False)


def test_with_ignored_mismatches_something_must_still_fit(stored):
    assert check_init_param(Model(), [f"{stored}"], ignore_mismatch=True)
    torch.save({"x": torch.ones(1)}, stored)
    with pytest.raises(WeightsError, match="does not fit the model"):
        check_init_param(Model(), [f"{stored}"], ignore_mismatch=True)


def test_weights_of_other_tokens_are_refused_where_they_have_a_row_for_each(stored):
    (stored.parent / "config.yaml").write_text(yaml.safe_dump({"token_list": [*TOKENS[:2], "other", *TOKENS[3:]]}))
    with pytest.raises(
        WeightsError, match="other tokens than this model has: found token 2 is 'other' there and 'bin'"
    ):
        check_init_param(Model(), [str(stored)], ignore_mismatch=False)
    assert check_init_param(Model(), [f"{stored}:encoder:encoder"], ignore_mismatch=False)
    (stored.parent / "config.yaml").write_text(yaml.safe_dump({"token_list": list(TOKENS)}))
    assert check_init_param(Model(), [str(stored)], ignore_mismatch=False)


def test_broken_numbers_are_refused(stored):
    for value, message in ((float("nan"), "NaN or infinite"), (1, "another kind of number")):
        state = Model().state_dict()
        state["encoder.0.weight"] = torch.full((2, 2), value)
        torch.save(state, stored)
        with pytest.raises(WeightsError, match=message):
            check_init_param(Model(), [f"{stored}:encoder:encoder"], ignore_mismatch=False)
