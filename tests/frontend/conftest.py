"""A hub on this machine for the tests of what is read from one."""

import http.server
import json
import socket
import threading

import pytest
from huggingface_hub import constants


@pytest.fixture
def hub(monkeypatch):
    """A hub on this machine: `hub(code)` answers every request with that error, `hub(None)` never answers.

    `hub(code, info)` says `info` of every model, and has that error for every file.
    """
    servers = []

    def start(error_code, info=None):
        if error_code is None:
            server = socket.create_server(("127.0.0.1", 0))  # connections wait in its queue for ever
            servers.append(server.close)
            port = server.getsockname()[1]
        else:
            server = http.server.HTTPServer(("127.0.0.1", 0), answer_with(error_code, info))
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
            servers.extend([server.shutdown, server.server_close])
            port = server.server_port
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")
        files = f"http://127.0.0.1:{port}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", files)

    yield start
    for stop in servers:
        stop()


def answer_with(error_code, info):
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = b"" if info is None or "/api/" not in self.path else json.dumps(info).encode()
            self.send_response(200 if body else 404)
            if not body:
                self.send_header("X-Error-Code", error_code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *args):
            """Not on the terminal."""

    return Answer
