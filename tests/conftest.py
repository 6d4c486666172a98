"""For every test: no network, no model hub, fixed seeds, two threads; and where ../shared is."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # before anything imports huggingface_hub
os.environ.setdefault("OMP_NUM_THREADS", "2")  # the gate's machine has two cores

import random
import socket
from pathlib import Path

import numpy as np
import pytest
import torch

SEED = 7
LOCAL_HOSTS = {"localhost", "127.0.0.1", "::1", "0.0.0.0", "", None, socket.gethostname()}
SHARED_DIR = Path(__file__).resolve().parents[2] / "shared"

torch.set_num_threads(min(2, torch.get_num_threads()))


class NetworkBlockedError(OSError):
    """A test tried to reach another machine."""


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder with fixtures and sample data that lies beside the repository; tests that need it skip without it."""
    if not SHARED_DIR.is_dir():
        pytest.skip("../shared is not here: its fixtures and sample data are kept outside the repository")
    return SHARED_DIR


@pytest.fixture(autouse=True)
def fixed_seeds():
    random.seed(SEED)
    np.random.seed(SEED)
    torch.manual_seed(SEED)


@pytest.fixture(autouse=True, scope="session")
def no_network():
    """Sockets reach this machine only: localhost and files. Child processes inherit HF_HUB_OFFLINE."""
    patch = pytest.MonkeyPatch()
    connect, connect_ex, resolve = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo

    def refuse_remote(family, host):
        if family != socket.AF_UNIX and host not in LOCAL_HOSTS:
            raise NetworkBlockedError(f"tests run without network; something wanted to reach {host!r}")

    def guarded_connect(self, address):
        refuse_remote(self.family, address[0])
        return connect(self, address)

    def guarded_connect_ex(self, address):
        refuse_remote(self.family, address[0])
        return connect_ex(self, address)

    def guarded_resolve(host, *args, **kwargs):
        refuse_remote(None, host.decode() if isinstance(host, bytes) else host)
        return resolve(host, *args, **kwargs)

    patch.setattr(socket.socket, "connect", guarded_connect)
    patch.setattr(socket.socket, "connect_ex", guarded_connect_ex)
    patch.setattr(socket, "getaddrinfo", guarded_resolve)
    yield
    patch.undo()
