"""A web server of files, in a thread of its own: for those who fetch while the test's loop rests."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple, Self


class Answer(NamedTuple):
    """What is answered at a path. `headers` stand in place of the right Content-Length."""

    body: bytes
    status: int = 200
    headers: Mapping[str, str] | None = None


class FileServer:
    """Answers at its paths, and with 404 elsewhere. `asked`: the paths, as they were asked for."""

    def __init__(self, files: Mapping[str, bytes | Answer]) -> None:
        self.asked: list[str] = []
        answers = {path: file if isinstance(file, Answer) else Answer(file) for path, file in files.items()}
        asked = self.asked

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                body, status, headers = answers.get(self.path, Answer(b"no such file", 404))
                self.send_response(status)
                for name, value in (headers or {"Content-Length": str(len(body))}).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
