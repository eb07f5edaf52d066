"""A server on localhost for the tests of downloads: it can cut, forget ranges, and change its files."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread


@dataclass
class Site:
    """What is served, how, and what was asked for.

    Args:
        files: Bytes by path, such as ``"/a.zip"``.
        cuts: After how many bytes the answers are cut, one after the other.
        statuses: Statuses to answer with first, instead of a file.
        ranges: Whether ranges are honoured.
        tags: Whether files have an ``ETag``.
        lengths: Whether answers state their length.
        kind: The content type.
        encoding: The ``Content-Encoding`` that answers state, whatever the files hold.
        refuses: Whether every range is answered with 416.
        kinds: Content types by path, where they are not ``kind``.
        redirects: Where else a path is, by path.
        stall: If given, an answer that is cut stays open, with nothing more to come, until this is set.
    """

    files: dict[str, bytes]
    cuts: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    ranges: bool = True
    tags: bool = True
    lengths: bool = True
    kind: str = "application/octet-stream"
    encoding: str | None = None
    refuses: bool = False
    kinds: dict[str, str] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    stall: Event | None = None
    asked: list[dict[str, str]] = field(default_factory=list)
    url: str = ""

    @property
    def wanted(self) -> list[str | None]:
        """The ``Range`` of every request."""
        return [headers.get("Range") for headers in self.asked]


@contextmanager
def serve(site: Site):
    """Serves the site on a free port of localhost."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def do_GET(self):
            site.asked.append(dict(self.headers) | {"path": self.path})
            if self.path in site.redirects:
                self.send_response(302)
                self.send_header("Location", site.redirects[self.path])
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            content = site.files.get(self.path)
            status = site.statuses.pop(0) if site.statuses else 200 if content is not None else 404
            if status != 200:
                self.send_error(status)
                return
            _answer(self, site, content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    site.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()


def _answer(handler, site, content):
    tag = f'"{hashlib.sha256(content).hexdigest()[:8]}"'
    start = _start(handler.headers, site, tag)
    if start is not None and (site.refuses or start >= len(content)):
        handler.send_response(416)
        handler.send_header("Content-Range", f"bytes */{len(content)}")
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return
    body = content[start or 0 :]
    handler.send_response(200 if start is None else 206)
    handler.send_header("Content-Type", site.kinds.get(handler.path, site.kind))
    if site.encoding:
        handler.send_header("Content-Encoding", site.encoding)
    if site.tags:
        handler.send_header("ETag", tag)
    if site.lengths:
        handler.send_header("Content-Length", str(len(body)))
    if start is not None:
        handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
    handler.end_headers()
    with suppress(ConnectionError):  # a client may leave early
        cut = site.cuts.pop(0) if site.cuts else None
        handler.wfile.write(body[:cut])
        if cut is not None and site.stall is not None:
            site.stall.wait(30)


def _start(headers, site, tag):
    """Returns where the wanted range begins, None where the whole file is sent."""
    wanted = headers.get("Range")
    same = headers.get("If-Range") in (None, tag)
    return int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and site.ranges and same else None
