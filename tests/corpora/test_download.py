"""A record from a server that drops connections, knows no ranges, or has a damaged file."""

import hashlib
import io
import json
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from espnet_vivit.corpora.download import download_grid, download_record, list_record, unpack
from espnet_vivit.errors import DataError, MediaError

CONTENT = bytes(range(256)) * 1500  # 384 000 bytes


class Record:
    """A Zenodo record on this machine; `drop` bytes into each answer the connection ends, as often as `drops` says."""

    def __init__(self):
        self.files: dict[str, bytes] = {}
        self.wrong_sums: set[str] = set()
        self.drops, self.drop, self.ranges = 0, 100_000, True
        self.asked: list[tuple[str, str | None]] = []
        record = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                record.answer(self)

            def log_message(self, *_):
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, request):
        name = request.path.strip("/")
        if name == "record":
            body = json.dumps({"files": [self.entry(name) for name in self.files]}).encode()
            request.send_response(200)
            request.end_headers()
            request.wfile.write(body)
            return
        wanted = request.headers.get("Range")
        self.asked.append((name, wanted))
        body, first = self.files[name], 0
        if wanted and self.ranges:
            first = int(wanted.removeprefix("bytes=").removesuffix("-"))
        request.send_response(206 if first else 200)
        request.send_header("Content-Length", str(len(body) - first))
        request.end_headers()
        sent = body[first:]
        if self.drops:
            self.drops -= 1
            sent = sent[: self.drop]
        request.wfile.write(sent)

    def entry(self, name):
        digest = hashlib.md5(self.files[name] + (b"!" if name in self.wrong_sums else b"")).hexdigest()
        links = {"self": f"{self.url}/{name}"}
        return {"key": name, "size": len(self.files[name]), "checksum": f"md5:{digest}", "links": links}


@pytest.fixture
def record():
    record = Record()
    yield record
    record.server.shutdown()
    record.server.server_close()


def get(record, folder, **options):
    return download_record(f"{record.url}/record", folder, progress=False, pause_s=0.0, **options)


def test_a_broken_connection_is_taken_up_where_it_ended(record, tmp_path):
    record.files, record.drops = {"s1.zip": CONTENT}, 2
    (path,) = get(record, tmp_path)
    assert path.read_bytes() == CONTENT and sorted(tmp_path.iterdir()) == [path]
    assert record.asked == [("s1.zip", None), ("s1.zip", "bytes=100000-"), ("s1.zip", "bytes=200000-")]
    record.asked.clear()
    get(record, tmp_path)
    assert record.asked == [], "what is whole is not fetched again"


def test_a_run_that_was_stopped_goes_on_from_its_bytes(record, tmp_path):
    record.files = {"s1.zip": CONTENT}
    (tmp_path / "s1.zip.part").write_bytes(CONTENT[:150_000])
    (path,) = get(record, tmp_path)
    assert path.read_bytes() == CONTENT and record.asked == [("s1.zip", "bytes=150000-")]


def test_bytes_that_are_wrong_are_fetched_once_more(record, tmp_path):
    record.files = {"s1.zip": CONTENT}
    (tmp_path / "s1.zip.part").write_bytes(b"x" * 150_000)
    (path,) = get(record, tmp_path)
    assert path.read_bytes() == CONTENT and record.asked[-1] == ("s1.zip", None)


def test_a_server_without_ranges_sends_all_again(record, tmp_path):
    record.files, record.drops, record.ranges = {"s1.zip": CONTENT}, 1, False
    (path,) = get(record, tmp_path)
    assert path.read_bytes() == CONTENT


def test_bad_files_are_listed_and_the_others_come(record, tmp_path):
    record.files = {"a.zip": CONTENT, "b.zip": CONTENT[:1000], "c.zip": CONTENT[:2000]}
    record.wrong_sums = {"a.zip"}
    with pytest.raises(MediaError, match=r"1 files are not here:\n  a\.zip has the wrong MD5 sum"):
        get(record, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.zip", "c.zip"]


def test_a_server_that_sends_nothing_more_is_given_up(record, tmp_path):
    record.files, record.drops, record.drop = {"s1.zip": CONTENT}, 10**6, 0
    with pytest.raises(MediaError, match=r"0 of 384000 bytes after 8 attempts"):
        get(record, tmp_path)


def test_no_record_and_no_such_file(record, tmp_path):
    record.files = {"s1.zip": CONTENT}
    with pytest.raises(DataError, match=r"the record has no s21\.zip: found s1\.zip"):
        get(record, tmp_path, wanted=["s21.zip"])
    with pytest.raises(DataError, match="is no Zenodo record"):
        list_record(f"{record.url}/s1.zip")
    with pytest.raises(MediaError, match="no answer from"):
        list_record("http://127.0.0.1:9/record")


def zipped(files):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    return stream.getvalue()


def test_grid_is_unpacked_and_damaged_members_are_named(record, tmp_path):
    archive = zipped({"s1/bbaf2n.mpg": b"picture" * 10, "s1/bbaf3s.mpg": b"sound" * 10})
    record.files = {
        "s1.zip": archive.replace(b"sound" * 10, b"noise" * 10, 1),
        "alignments.zip": zipped({"s1/bbaf2n.align": "0 1 sil"}),
        "audio_25k.zip": b"",
        "jasagrid.pdf": b"",
    }
    bad = download_grid(tmp_path, url=f"{record.url}/record")
    assert len(bad) == 1 and bad[0].startswith("s1.zip: s1/bbaf3s.mpg: ")
    assert (tmp_path / "s1/s1/bbaf2n.mpg").read_bytes() == b"picture" * 10
    assert (tmp_path / "alignments/s1/bbaf2n.align").is_file()
    assert not (tmp_path / "s1/s1/bbaf3s.mpg").exists()
    assert {name for name, _ in record.asked} == {"s1.zip", "alignments.zip"}


def test_an_archive_cannot_write_elsewhere(tmp_path):
    (tmp_path / "x.zip").write_bytes(zipped({"../evil.mpg": b"x", "good.mpg": b"x"}))
    assert unpack(tmp_path / "x.zip", tmp_path / "in") == ["../evil.mpg: outside of the folder"]
    assert not (tmp_path / "evil.mpg").exists() and (tmp_path / "in/good.mpg").is_file()
    (tmp_path / "y.zip").write_bytes(b"no archive")
    with pytest.raises(MediaError, match="not a whole"):
        unpack(tmp_path / "y.zip", tmp_path / "in")
