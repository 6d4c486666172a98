"""The guards that every test runs under do guard."""

import os
import socket
import urllib.error
import urllib.request

import pytest

UNREACHABLE = "192.0.2.1"  # reserved for documentation (RFC 5737): nothing answers there even with a network


def test_other_machines_cannot_be_reached():
    with (
        socket.socket(socket.AF_INET, socket.SOCK_STREAM) as connection,
        pytest.raises(OSError, match="without network"),
    ):
        connection.connect((UNREACHABLE, 80))
    with pytest.raises(urllib.error.URLError, match="without network"):
        urllib.request.urlopen(f"http://{UNREACHABLE}/", timeout=5)
    with pytest.raises(OSError, match=r"example\.org"):
        socket.getaddrinfo("example.org", 443)


def test_this_machine_can_be_reached():
    with socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(server.getsockname(), timeout=5) as client:
            connection, _ = server.accept()
            connection.sendall(b"here")
            connection.close()
            assert client.recv(4) == b"here"


def test_the_model_hub_is_offline():
    from huggingface_hub import constants

    assert os.environ["HF_HUB_OFFLINE"] == "1" and constants.HF_HUB_OFFLINE
