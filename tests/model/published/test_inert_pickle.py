"""Pickles made to do harm: what each opcode can get hold of, call or change, and that none of it happens."""

import io
import pickle
import struct
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch

from espnet_vivit.errors import WeightsError
from espnet_vivit.model.published.inert_pickle import Inert, load_inert

PERSISTENT = "a reference to something else than stored numbers"


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value):
    return b"\x8a\x08" + struct.pack("<q", value)


def called(name, *args):
    """MARK-free REDUCE of GLOBAL `name` ("module name") with the opcodes `args`."""
    return b"c" + name.replace(" ", "\n").encode() + b"\n(" + b"".join(args) + b"tR"


def as_zip(opcodes, path):
    """A file as torch.save writes it, with two stored numbers, whose pickle is `opcodes`."""
    torch.save({"x": torch.arange(2.0)}, path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, b"\x80\x02" + opcodes + b"." if name.endswith("data.pkl") else content)
    return path


def as_legacy(opcodes, path):
    """A file as torch.save wrote it before 1.6: magic number, version, machine, the pickle, keys of the storages."""
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    head = b"".join(pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, system))
    path.write_bytes(head + b"\x80\x02" + opcodes + b"." + pickle.dumps([], 2))
    return path


STORAGE = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + number(2) + b"tQ"
MARK = "mark"
HARMFUL = {
    "GLOBAL and REDUCE": called("os system", text(f"touch {MARK}")),
    "STACK_GLOBAL": text("os") + text("system") + b"\x93(" + text(f"touch {MARK}") + b"tR",
    "a dotted name": text("collections") + text("OrderedDict.__init__.__globals__") + b"\x93",
    "INST": b"(" + text(f"touch {MARK}") + b"ios\nsystem\n",
    "OBJ": b"(cos\nsystem\n" + text(f"touch {MARK}") + b"o",
    "NEWOBJ": b"csubprocess\nPopen\n(" + text(f"touch {MARK}") + b"t\x81",
    "EXT1": b"\x82\x01(t" + b"R",
    "builtins.eval": called("__builtin__ eval", text(f"open('{MARK}','w')")),
    "builtins.getattr": called("builtins getattr", text("x"), text("y")),
    "torch's loader": called("torch load", text(MARK)),
    "a module to import": called("antigravity fly"),
    "BUILD on a function": b"ctorch._utils\n_rebuild_tensor_v2\n(N}" + text("__defaults__") + b"N" + b"stb",
    "BUILD on a class": b"ccollections\nOrderedDict\n}" + text("x") + number(1) + b"sb",
    "an allocator's address": b"ctorch\nUntypedStorage\n(t}" + text("allocator") + number(4096) + b"s\x92",
    "a storage of any size": called("torch UntypedStorage", number(1 << 40)),
    "a tensor beyond its storage": called(
        "torch._utils _rebuild_tensor_v2", STORAGE, number(0), b"(" + number(1 << 40) + b"t",
        b"(" + number(1) + b"t", b"\x89", called("collections OrderedDict"),
    ),
    "a negative offset": called(
        "torch._utils _rebuild_tensor_v2", STORAGE, number(-1), b"(" + number(2) + b"t",
        b"(" + number(1) + b"t", b"\x89", called("collections OrderedDict"),
    ),
    "hooks": called(
        "torch._utils _rebuild_tensor_v2", STORAGE, number(0), b"(" + number(2) + b"t", b"(" + number(1) + b"t",
        b"\x89", b"}" + number(1) + b"ctorch._utils\n_rebuild_parameter\ns",
    ),
    "a reference to anything": text("anything") + b"Q",
    "a storage of no number type": STORAGE.replace(b"ctorch\nFloatStorage\n", b"cnumpy\nFloat\n"),
    "bytes of any length": b"\x8e" + struct.pack("<Q", 1 << 60),
    "no end": b"(" * 1000,
}  # fmt: skip


@pytest.mark.parametrize("form", [as_zip, as_legacy], ids=["zip", "legacy"])
@pytest.mark.parametrize("opcodes", HARMFUL.values(), ids=HARMFUL)
def test_a_harmful_pickle_is_refused_and_leaves_nothing(opcodes, form, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    with pytest.raises(WeightsError, match=r"w\.pth (is refused|cannot be read)"):
        load_inert(form(opcodes, tmp_path / "w.pth"))
    assert {path.name for path in tmp_path.iterdir()} == {"w.pth"}
    assert torch._utils._rebuild_tensor_v2.__defaults__ == (None,)
    assert not {"antigravity", "subprocess_of_nobody"} & (set(sys.modules) - before)


def test_a_reference_to_a_module_does_not_have_torch_write_a_patch(tmp_path, monkeypatch):
    """Old files name the module that a source text belongs to; torch compares the two and writes what differs."""
    monkeypatch.chdir(tmp_path)
    attributes = b"}" + text("dump_patches") + b"\x88s" + text("__name__") + text("planted") + b"s"
    attributes += text("__wrapped__") + b"ctorch._utils\n_rebuild_tensor_v2\ns"
    module = called("collections OrderedDict") + attributes + b"b"
    reference = b"(" + text("module") + module + text("source.py") + text("x = 1") + b"tQ"
    with pytest.raises(WeightsError, match=PERSISTENT):
        load_inert(as_legacy(reference, tmp_path / "w.pth"))
    assert not (tmp_path / "planted.patch").exists()


def test_a_legacy_storage_is_no_larger_than_its_file(tmp_path):
    reference = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + number(1 << 40) + b"NtQ"
    with pytest.raises(WeightsError, match="numbers in a file of"):
        load_inert(as_legacy(reference, tmp_path / "w.pth"))


def test_a_tar_archive_is_refused(tmp_path):
    with tarfile.open(tmp_path / "w.pth", "w") as archive:
        member = tarfile.TarInfo("pickle")
        archive.addfile(member, io.BytesIO(b""))
    with pytest.raises(WeightsError, match="archive of torch before"):
        load_inert(tmp_path / "w.pth")


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_tensors_beside_settings_come_as_they_were(zipped, tmp_path):
    import argparse

    weights = {"w": torch.arange(6.0).reshape(2, 3).T, "p": torch.nn.Parameter(torch.ones(2)), "empty": torch.empty(0)}
    torch.save(
        {"model": weights, "args": argparse.Namespace(lr=1)}, tmp_path / "w.pth",
        _use_new_zipfile_serialization=zipped,
    )  # fmt: skip
    found = load_inert(Path(tmp_path / "w.pth"))
    assert all(torch.equal(found["model"][name], value) for name, value in weights.items())
    assert isinstance(found["args"], Inert)
