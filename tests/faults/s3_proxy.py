"""A server between us and an S3 server that answers wrongly now and then."""

import http.client
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

Fault = Callable[[str, str], str]
"""Method and path of a request -> what is done to it: "", or a name of `Handler`'s faults."""
_OWN = ("transfer-encoding", "connection", "content-length")


class Proxy(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, behind: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.behind = urllib.parse.urlsplit(behind).netloc
        self.fault: Fault = lambda method, path: ""
        self.hit = 0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def do(self) -> None:
        fault = self.server.fault(self.command, self.path)
        self.server.hit += bool(fault)
        if fault == "breaks off":  # in the middle of an upload
            if self.command == "PUT":
                self.rfile.read(2)
            self.close_connection = True
            self.connection.close()
            return
        body = self._body()
        if fault.isdecimal():
            self._answer(int(fault), {}, b"<Error><Code>SlowDown</Code></Error>")
            return
        headers = {
            name: value
            for name, value in self.headers.items()
            if name.lower() not in _OWN
            and not (fault == "ignores conditions" and name.lower().startswith("if-"))
        }
        behind = http.client.HTTPConnection(self.server.behind)
        behind.request(self.command, self.path, body, headers)
        answer = behind.getresponse()
        content = answer.read()
        behind.close()
        if fault == "loses the answer":
            self.close_connection = True
            self.connection.close()
            return
        if fault == "half an answer":
            self._answer(answer.status, dict(answer.getheaders()), content, sent=len(content) // 2)
            return
        self._answer(answer.status, dict(answer.getheaders()), content)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = do

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(chunks)

    def _answer(self, status: int, headers: dict[str, str], content: bytes, sent: int = -1) -> None:
        self.send_response(status)
        length = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(content))
        for name, value in headers.items():
            if name.lower() not in _OWN:
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(content if sent < 0 else content[:sent])
        if sent >= 0:
            self.close_connection = True
            self.connection.close()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def proxied(behind: str) -> Iterator[Proxy]:
    """A proxy in front of the server at `behind`, while the block runs."""
    proxy = Proxy(behind)
    Thread(target=proxy.serve_forever, daemon=True).start()
    try:
        yield proxy
    finally:
        proxy.shutdown()
        proxy.server_close()
