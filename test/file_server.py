"""A web server on loopback that has one file, and can cut connections, refuse ranges and lie."""
from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FileServer(ThreadingHTTPServer):
    """Serves ``content``; ``cut`` is the number of bytes after which each connection ends."""

    daemon_threads = True

    def __init__(self, content):
        super().__init__(('127.0.0.1', 0), Handler)
        self.content, self.cut, self.ranges, self.kind = content, None, True, 'application/octet-stream'
        self.starts = []

    @property
    def url(self):
        return f'http://127.0.0.1:{self.server_port}/weights.pth'


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        wanted = self.headers.get('Range')
        start = int(wanted.removeprefix('bytes=').rstrip('-')) if wanted and server.ranges else 0
        server.starts.append(start)
        if server.content is None:
            self.send_error(404)
            return
        if start >= len(server.content):
            self.send_error(416)
            return
        body = server.content[start:]
        self.send_response(206 if start else 200)
        self.send_header('Content-Type', server.kind)
        self.send_header('Content-Length', str(len(body)))
        if start:
            self.send_header('Content-Range', f'bytes {start}-{len(server.content) - 1}/{len(server.content)}')
        self.end_headers()
        self.wfile.write(body[:server.cut])

    def log_message(self, *args):
        pass


@contextmanager
def serving(content: bytes) -> Iterator[FileServer]:
    """Such a server, running."""
    with FileServer(content) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
