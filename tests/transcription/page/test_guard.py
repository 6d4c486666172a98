"""The page as a server: foreign names and origins, files that would be pages, too many uploads, the end of the page."""

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest

from espnet_vivit.transcription.page import page
from espnet_vivit.transcription.page.folder import page_folder
from tests.transcription.page.test_page import SaysNothing, free_port

pytest.importorskip("gradio", reason="pip install 'espnet-vivit[page]'")
MAX_TOTAL_MB = 1


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """(address, the folder of its folder)"""
    folder = tmp_path_factory.mktemp("tmp")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "Transcriber", SaysNothing)
        patch.setattr(page, "render_examples", lambda folder: [])
        patch.setattr("tempfile.tempdir", str(folder))
        patch.setenv("GRADIO_TEMP_DIR", "set by the page")
        with page.served_page(
            "no model", port=free_port(), max_total_mb=MAX_TOTAL_MB, allowed_hosts=["lips"]
        ) as served:
            yield served.rstrip("/"), folder


@pytest.fixture
def address(server):
    """Of a page that nobody has uploaded anything to."""
    for upload in server[1].glob("*/uploads/*"):
        shutil.rmtree(upload)
    return server[0]


def upload(address: str, name: str, content: bytes, **headers: str) -> httpx.Response:
    return httpx.post(f"{address}/gradio_api/upload", files={"files": (name, content)}, headers=headers)


def shown(address: str, path: str) -> str:
    """The last event that the page's button gives for an uploaded file."""
    video = {"path": path, "meta": {"_type": "gradio.FileData"}}
    event = httpx.post(f"{address}/gradio_api/call/read", json={"data": [video, "auto"]}).json()["event_id"]
    return httpx.get(f"{address}/gradio_api/call/read/{event}", timeout=30).text


@pytest.mark.parametrize("name", ["a.html", "a.svg", "a.mp4", "a.txt"])
def test_files_are_attachments_and_no_pages(address, name):
    (path,) = upload(address, name, b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>").json()
    for headers in ({}, {"Range": "bytes=0-3"}):
        served = httpx.get(f"{address}/gradio_api/file={path}", headers=headers)
        assert served.status_code in (200, 206)
        assert served.headers["content-disposition"].startswith("attachment")
        assert served.headers["x-content-type-options"] == "nosniff"
    assert "content-disposition" not in httpx.get(address).headers


def test_it_answers_to_its_own_names_only(address):
    port = address.rpartition(":")[2]
    for host, status in [("127.0.0.1", 200), ("LOCALHOST", 200), ("lips", 200), ("evil.example", 400), ("", 400)]:
        assert httpx.get(address, headers={"Host": f"{host}:{port}"}).status_code == status, host
    refused = httpx.get(f"{address}/config", headers={"Host": "127.0.0.1.evil.example"})
    assert (refused.status_code, "answers to 127.0.0.1, lips, localhost" in refused.text) == (400, True)


def test_pages_of_other_origins_cannot_upload(address):
    port = address.rpartition(":")[2]
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1", f"http://localhost:{port}"):
        assert upload(address, "a.mp4", b"x", Origin=origin).status_code == 403, origin
    assert upload(address, "a.mp4", b"x", Origin=address).status_code == 200
    assert upload(address, "a.mp4", b"x", Origin="https://lips", Host="lips").status_code == 200  # behind a proxy


def test_all_uploads_together_are_bounded(address):
    assert upload(address, "first.mp4", bytes(600_000)).status_code == 200
    refused = upload(address, "second.mp4", bytes(600_000))
    assert (refused.status_code, "together may have 1 MB" in refused.text) == (413, True)
    assert upload(address, "small.mp4", bytes(100_000)).status_code == 200


def test_an_upload_that_has_begun_counts_until_it_ends_or_breaks_off(server, address, capfd):
    connection = http.client.HTTPConnection(address.removeprefix("http://"))
    connection.putrequest("POST", "/gradio_api/upload")
    connection.putheader("Content-Type", "multipart/form-data; boundary=b")
    connection.putheader("Content-Length", "990000")
    connection.endheaders(BEGUN)
    (uploads,) = server[1].glob("*/uploads")
    eventually(lambda: list(uploads.iterdir()) != [])
    assert upload(address, "other.mp4", bytes(20_000)).status_code == 413
    connection.close()
    eventually(lambda: list(uploads.iterdir()) == [])
    assert upload(address, "other.mp4", bytes(20_000)).status_code == 200
    assert "Traceback" not in "".join(capfd.readouterr())


BEGUN = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.mp4"\r\n\r\n' + bytes(100)


def eventually(true: Callable[[], bool]) -> None:
    until_s = time.monotonic() + 20
    while not true():
        assert time.monotonic() < until_s
        time.sleep(0.05)


def test_an_upload_without_a_length_is_refused(address):
    multipart = {"Content-Type": "multipart/form-data; boundary=b"}
    chunks = (part for part in (b"--b\r\n", b"--b--\r\n"))
    assert httpx.post(f"{address}/gradio_api/upload", content=chunks, headers=multipart).status_code == 411


def test_a_refused_file_is_a_sentence_without_the_servers_folders(address, capfd):
    (path,) = upload(address, "broken.mp4", b"no video").json()
    answer = shown(address, path)
    assert "event: error" in answer and "cannot decode broken.mp4" in answer
    assert str(Path(path).parent) not in answer
    assert "Traceback" not in "".join(capfd.readouterr())


def test_results_do_not_tell_the_servers_folders(address, tmp_path):
    np.save(tmp_path / "clip.npy", np.zeros((50, 8, 8), np.uint8))
    (path,) = upload(address, "clip.npy", (tmp_path / "clip.npy").read_bytes()).json()
    *_, data = shown(address, path).strip().splitlines()
    files = json.loads(data.removeprefix("data: "))[2]
    (result,) = (file for file in files if file["path"].endswith(".json"))
    assert httpx.get(result["url"]).json()["path"] == "clip.npy"


LEFT = """
import time
from espnet_vivit.transcription.page.folder import page_folder
with page_folder() as folder:
    (folder / "upload.mp4").touch()
    print(folder, flush=True)
    time.sleep(60)
"""


def test_what_a_killed_page_left_is_deleted_at_the_next_start(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "espnet_vivit_page_of_nobody").mkdir()  # no lock: one that begins
    pages = [start(tmp_path, "-c", LEFT) for _ in range(2)]
    left, running = (Path(process.stdout.readline().strip()) for process in pages)
    assert {left.parent, running.parent} == {tmp_path} and left != running
    pages[0].kill()
    pages[0].wait()
    assert (left / "upload.mp4").is_file()
    with page_folder() as folder:
        assert not left.exists()
        assert (running / "upload.mp4").is_file()
        assert folder.stat().st_mode & 0o777 == 0o700
    assert not folder.exists()
    pages[1].kill()
    pages[1].wait()


SERVER = """
from espnet_vivit.bin.commands.page import main
from espnet_vivit.transcription.page import page
from tests.transcription.page.test_page import SaysNothing
page.Transcriber, page.render_examples = SaysNothing, lambda folder: []
main(["--model", "none", "--port", "{port}"])
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_it_without_its_uploads(tmp_path, number):
    process = start(tmp_path, "-c", SERVER.format(port=free_port()))
    address = process.stdout.readline().split()[1].rstrip("/")
    (path,) = upload(address, "a.mp4", b"x").json()
    assert tmp_path in Path(path).parents
    process.send_signal(number)
    assert process.wait(timeout=30) == (0 if number == signal.SIGINT else 128 + number)
    assert list(tmp_path.iterdir()) == []


def start(folder: Path, *arguments: str) -> subprocess.Popen:
    environment = os.environ | {"TMPDIR": str(folder)}
    return subprocess.Popen([sys.executable, "-u", *arguments], stdout=subprocess.PIPE, text=True, env=environment)
