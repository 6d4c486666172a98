"""Files of tensors: what is damaged, runs code, is no number or stands in a wrapper, by whoever calls torch.load."""

import pickle
import resource
import signal
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from espnet_vivit.base.torch_file import (
    check_numbers,
    damage_of,
    data_only,
    read_tensors,
    state_dict_in,
    write_safetensors,
)
from espnet_vivit.errors import MediaError, WeightsError

STATE = {"encoder.weight": torch.arange(6.0).reshape(2, 3), "encoder.steps": torch.tensor(3)}


class Planted:
    """Leaves a file where it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def saved(state, path):
    torch.save(state, path)
    return path


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[data.index(STATE["encoder.weight"].numpy().tobytes()) + 2] ^= 1
    path.write_bytes(bytes(data))


def equal(found, expected):
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {f"module.{name}": x for name, x in state.items()},
        lambda state: {f"module._orig_mod.{name}": x for name, x in state.items()},
        lambda state: {"state_dict": {f"model.{name}": x for name, x in state.items()}, "epoch": 3},
        lambda state: {"model": state, "optimizers": [], "reporter": {"epoch": 1}},
        lambda state: {"module": state},
        lambda state: {"model_state_dict": state, "loss": 0.5},
    ],
    ids=["bare", "DDP", "compiled DDP", "Lightning", "training", "DeepSpeed", "a tutorial's"],
)
def test_wrapped_weights_are_unwrapped(wrap, tmp_path):
    assert equal(read_tensors(saved(wrap(STATE), tmp_path / "w.pth")), STATE)


def test_a_model_that_has_a_part_called_model_keeps_its_name():
    assert list(state_dict_in({"model.weight": torch.ones(1)}, "x")) == ["model.weight"]


def test_names_of_safetensors_are_unwrapped_too(tmp_path):
    save_file({f"module.{name}": x for name, x in STATE.items()}, tmp_path / "w.safetensors")
    assert equal(read_tensors(tmp_path / "w.safetensors"), STATE)


def test_a_flipped_bit_is_named_although_torch_loads_it(tmp_path):
    path = saved(STATE, tmp_path / "w.pth")
    flip_a_bit(path)
    assert not equal(torch.load(path, weights_only=True), STATE), "why torch.load is no check"
    with pytest.raises(WeightsError, match=r"w\.pth \(bytes of w/data/0 in it have changed\)"):
        read_tensors(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_weights_that_are_no_numbers_are_named(value, dtype, tmp_path):
    state = {"encoder.weight": torch.tensor([1, value], dtype=dtype), "encoder.bias": torch.ones(2)}
    with pytest.raises(WeightsError, match=r"NaN or infinite: found 1 of 2 tensors: encoder\.weight;"):
        read_tensors(saved(state, tmp_path / "w.pth"))


def test_whole_numbers_do_not_fill_fractions_nor_the_reverse():
    for there, here in ((torch.int64, torch.float32), (torch.float32, torch.int64)):
        with pytest.raises(WeightsError, match="another kind of number than the model: found x as"):
            check_numbers({"x": torch.ones(2, dtype=there)}, "w.pth", like={"x": torch.ones(2, dtype=here)})
    check_numbers({"x": torch.ones(2, dtype=torch.float16)}, "w.pth", like={"x": torch.ones(2)})


def test_tensors_that_unfold_beyond_their_file_are_refused(tmp_path):
    bomb = {"x": torch.zeros(1).expand(10**12)}
    with pytest.raises(WeightsError, match=r"more numbers than its .* bytes"):
        read_tensors(saved(bomb, tmp_path / "w.pth"))


@pytest.mark.parametrize("tensor", [torch.eye(3).to_sparse(), torch.empty(3, device="meta")], ids=["sparse", "meta"])
def test_tensors_without_all_of_their_numbers_are_refused(tensor):
    with pytest.raises(WeightsError, match="no plain arrays: found x"):
        check_numbers({"x": tensor}, "w.pth")


def test_an_archive_that_unpacks_to_more_than_it_is_is_refused_unopened(tmp_path):
    plain, packed = saved(STATE | {"x": torch.zeros(10**6)}, tmp_path / "w.pth"), tmp_path / "bomb.pth"
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    assert packed.stat().st_size < 20_000
    assert "compressed, which torch.save never does" in damage_of(packed)
    with pytest.raises(WeightsError, match="compressed"):
        read_tensors(packed)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 half", b"<!DOCTYPE html>", b"\x80\x02}q\x00.", b"\x00" * 999])
@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_what_is_no_file_of_tensors_is_named(content, name, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=name.replace(".", r"\.")):
        read_tensors(tmp_path / name)


@pytest.mark.parametrize("path", ["absent.pth", "absent.safetensors", "folder.pth", "folder.safetensors"])
def test_no_file_and_a_folder_are_named(path, tmp_path):
    (tmp_path / "folder.pth").mkdir()
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(WeightsError, match=path):
        read_tensors(tmp_path / path)


@pytest.mark.parametrize("content", [[1], "text", {"a": 1}, {1: torch.ones(1)}, {"state_dict": {}}, {}])
def test_what_is_no_state_dict_is_named(content, tmp_path):
    with pytest.raises(WeightsError, match=r"w\.pth holds no state dict: found"):
        read_tensors(saved(content, tmp_path / "w.pth"))


def test_a_checkpoint_that_holds_itself_ends():
    around = {}
    around["model"] = around
    with pytest.raises(WeightsError, match="no state dict"):
        state_dict_in(around, "w.pth")


@pytest.mark.parametrize("as_file", [False, True], ids=["path", "open file"])
def test_torch_load_runs_nothing_inside_the_block_whatever_it_is_told(as_file, tmp_path):
    mark = tmp_path / "ran"
    path = saved({"x": Planted(mark)}, tmp_path / "w.pth")
    with data_only(), open(path, "rb") as file, pytest.raises(WeightsError, match="holds code, which is never run"):
        torch.load(file if as_file else path, weights_only=False, pickle_module=pickle)
    assert not mark.exists()
    torch.load(path, weights_only=False)
    assert mark.exists(), "outside of it, torch is as it was"


def test_inside_the_block_torch_load_gives_weights_that_are_checked_and_unwrapped(tmp_path):
    wrapped = saved({"state_dict": STATE}, tmp_path / "w.pth")
    broken = saved({"model": {"x": torch.tensor(float("nan"))}, "optimizers": []}, tmp_path / "checkpoint.pth")
    with data_only():
        assert equal(torch.load(wrapped), STATE)
        with pytest.raises(WeightsError, match=r"checkpoint\.pth holds weights that are NaN"):
            torch.load(broken)


def test_safetensors_that_find_no_room_are_named_and_leave_nothing(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    former = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(MediaError, match=r"cannot write .*w\.safetensors .*File too large"):
            write_safetensors({"x": torch.zeros(1000)}, tmp_path / "w.safetensors")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, former)
    assert not list(tmp_path.iterdir())
    write_safetensors({"x": torch.zeros(3), "y": torch.ones(2, 2).T}, tmp_path / "w.safetensors")
    assert equal(read_tensors(tmp_path / "w.safetensors"), {"x": torch.zeros(3), "y": torch.ones(2, 2)})
