"""A web server on the loopback address, for what the engine downloads."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the server sends: ``body``, of which only ``sent`` bytes come; then it closes, or waits for ``stall``."""

    body: bytes = b""
    status: int = 200
    sent: int | None = None
    stall: threading.Event | None = None


@contextmanager
def serving(answers: dict[str, Answer]) -> Generator[str]:
    """Serve ``answers`` by path; yield the base address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = answers.get(self.path, Answer(status=404))
            self.send_response(answer.status)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body[: answer.sent])
            self.wfile.flush()
            if answer.stall is not None:
                answer.stall.wait(10)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        for answer in answers.values():
            if answer.stall is not None:
                answer.stall.set()
        server.shutdown()
        server.server_close()
