"""Who may ask the page for what: a layer of ASGI around Gradio's app.

A web site that the user visits can send requests to a page on the user's own machine. So the page answers to its own
names only (against DNS rebinding), takes nothing from the pages of other origins, and sends files as attachments: an
uploaded HTML or SVG file is never shown as a page of this origin. Gradio alone does neither. Uploads are refused before
their first byte is read once all of them together would be larger than allowed.
"""

import math
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

OWN_NAMES = ("127.0.0.1", "localhost")
_FILES = "/gradio_api/"  # all but the page itself and the parts of it that Gradio brings along


class PageGuard:
    """`PageGuard(app, hosts=..., folder=..., max_total_mb=...)` is `app` behind these rules.

    hosts: names that the page answers to besides `OWN_NAMES`.
    folder: where uploads are written; max_total_mb: of what lies there and what is being uploaded.
    """

    def __init__(self, app: App, *, hosts: tuple[str, ...], folder: Path, max_total_mb: float):
        self._app, self._folder, self._max_total_mb = app, folder, max_total_mb
        self._hosts = {name.lower() for name in (*OWN_NAMES, *hosts)}
        self._arriving = 0  # bytes of uploads that have begun

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self._app(scope, receive, send)
        headers = Headers(scope=scope)
        upload = headers.get("content-type", "").lower().startswith("multipart/")
        refusal = self._refused_sender(headers) or (self._refused_size(headers) if upload else None)
        if refusal is not None:
            status, sentence = refusal
            while upload and (await receive()).get("more_body"):
                pass  # to its end: a browser shows no answer that comes while it is still sending
            return await PlainTextResponse(sentence, status)(scope, receive, send)
        if not upload:
            return await self._app(scope, receive, _sending(scope, send))
        self._arriving += (size := int(headers["content-length"]))
        try:
            await self._app(scope, receive, _sending(scope, send))
        except ClientDisconnect:  # nobody is left to answer
            return
        finally:
            self._arriving -= size
            if not self._arriving:
                self._delete_unfinished()

    def _delete_unfinished(self) -> None:
        """Delete what uploads that broke off have left; Gradio moves whole ones into folders."""
        for path in self._folder.glob("*"):
            if path.is_file():
                path.unlink()

    def _refused_sender(self, headers: Headers) -> tuple[int, str] | None:
        host = headers.get("host", "")
        if urlsplit(f"//{host}").hostname not in self._hosts:
            names = ", ".join(sorted(self._hosts))
            return 400, f"This page answers to {names}. --allowed_hosts NAME adds a name."
        if "origin" in headers and urlsplit(headers["origin"]).netloc.lower() != host.lower():
            return 403, "This page takes requests from itself only, not from other web pages."
        return None

    def _refused_size(self, headers: Headers) -> tuple[int, str] | None:
        if "content-length" not in headers:
            return 411, "An upload has to say its length (Content-Length)."
        bound = self._max_total_mb * 1e6
        if int(headers["content-length"]) + self._arriving + _bytes_in(self._folder) > bound:
            what = f"All uploads together may have {math.floor(self._max_total_mb)} MB"
            return 413, f"{what}: wait until old ones are deleted, or restart the page with a larger --max_total_mb."
        return None


def _sending(scope: Message, send: Send) -> Send:
    """`send` with headers by which a browser saves files and shows none as a page."""

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["X-Content-Type-Options"] = "nosniff"
            if scope["path"].startswith(_FILES):
                _, _, name = headers.get("content-disposition", "").partition(";")
                headers["Content-Disposition"] = f"attachment;{name}" if name else "attachment"
        await send(message)

    return sent


def _bytes_in(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # deleted meanwhile
            total += path.lstat().st_size
    return total
