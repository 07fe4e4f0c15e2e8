"""The metadata server of one task: whoever asks it is the job's service account.

https://cloud.google.com/run/docs/container-contract#metadata-server
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LIFETIME_S = 3599
_ACCOUNTS = "/computeMetadata/v1/instance/service-accounts"


@contextlib.contextmanager
def serving(email: str, *, token: Callable[[], str], facts: Mapping[str, str]) -> Iterator[str]:
    """The address, for GCE_METADATA_HOST. ``facts`` are further paths below ``/computeMetadata/v1/``."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0].rstrip("/")
            if self.headers.get("Metadata-Flavor") != "Google":
                return self._answer(403, "Missing Metadata-Flavor:Google header.")
            who = path.removeprefix(f"{_ACCOUNTS}/")
            account, _, what = who.partition("/")
            if path == "" or path == "/computeMetadata/v1":
                return self._answer(200, "ok")
            if account in ("default", email) and what == "token":
                found = {"access_token": token(), "expires_in": LIFETIME_S, "token_type": "Bearer"}
                return self._answer(200, json.dumps(found), "application/json")
            if account in ("default", email) and what == "email":
                return self._answer(200, email)
            if account in ("default", email) and what == "scopes":
                return self._answer(200, "https://www.googleapis.com/auth/cloud-platform")
            if path == _ACCOUNTS:
                return self._answer(200, f"default/\n{email}/\n")
            fact = facts.get(path.removeprefix("/computeMetadata/v1/"))
            return self._answer(404, "not found") if fact is None else self._answer(200, fact)

        def _answer(self, code: int, text: str, kind: str = "application/text") -> None:
            self.send_response(code)
            self.send_header("Metadata-Flavor", "Google")
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: object) -> None:
            """A token's path is nothing to write down."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
