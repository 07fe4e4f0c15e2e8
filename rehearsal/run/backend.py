"""The backend as production would run it: with the contract and what its own identity may read, and nothing else."""

from __future__ import annotations

import base64
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

from db.errors import DatabaseError
from db.manager import DatabaseManager
from db.settings import from_environment
from rehearsal.cloud.run_executions import closed
from rehearsal.run.stage import Stage

_TIMEOUT_S = 30
_RECYCLE_S = 1
"""Under load, connections are made anew so often: each is a login."""


class Shut(Exception):
    """The cloud does not let the backend in; the message is the cloud's."""


def environment(stage: Stage, contract: Mapping[str, Any]) -> dict[str, str]:
    """What the deployed service would have: secrets read with its identity, the socket's folder as it is here.

    All that the contract names are read: a revision doesn't start where its account may not read one of its secrets.
    Raises ``Shut`` in Google's words where a binding is missing.
    """
    token = stage.cloud.token_for(contract["runtime_service_account"])
    references = {name: reference for name, reference in contract.items() if name.endswith("_secret") and reference}
    secrets = {name: read_secret(stage, reference, token) for name, reference in references.items()}
    return {
        "DATABASE_URL": reached(stage, contract, secrets["database_url_secret"], contract["runtime_service_account"]),
        "GAIA_IDENTITY_KEY": secrets["identity_key_secret"],
        "DATABASE_POOL_SIZE": str(contract["pool_size"]),
        "DATABASE_POOL_OVERFLOW": str(contract["pool_overflow"]),
    }


def read_secret(stage: Stage, reference: Mapping[str, str], token: str) -> str:
    """A pinned version, through Secret Manager's API. Raises ``Shut``."""
    path = quote(f"{reference['id']}/versions/{reference['version']}")
    request = urllib.request.Request(
        f"{stage.cloud.url}/secretmanager/v1/{path}:access", headers={"Authorization": f"Bearer {token}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
            return base64.b64decode(json.load(answer)["payload"]["data"]).decode()
    except urllib.error.HTTPError as error:
        said = json.load(error)["error"]
        raise Shut(f"{said.get('status', said['code'])}: {said['message']}") from None


def reached(stage: Stage, contract: Mapping[str, Any], url: str, account: str) -> str:
    """The URL with the instance's socket where it lies on this machine, if the account may connect. Raises ``Shut``."""
    network = bool(contract["vpc_connector"] or contract["vpc_network"])
    if why := closed(stage.cloud, contract["instance_connection_name"], account, reaches_network=network):
        raise Shut(why)
    return with_socket(stage, contract, url)


def with_socket(stage: Stage, contract: Mapping[str, Any], url: str) -> str:
    """The URL's login at the instance's socket, where that lies on this machine; an address leads nowhere here."""
    parts = urlsplit(url)
    query = {"host": str(stage.servers.sockets / contract["instance_connection_name"])}
    return urlunsplit(parts._replace(netloc=f"{parts.netloc.rpartition('@')[0]}@", query=urlencode(query)))


@dataclass
class Load:
    """Clients of one environment that work on and on, each second with new connections, and note what fails."""

    environment: Mapping[str, str] = field(repr=False)
    workers: int = 3
    failures: list[str] = field(default_factory=list)
    worked: int = 0

    def __enter__(self) -> Load:
        self._manager = DatabaseManager(
            from_environment({**self.environment, "DATABASE_POOL_RECYCLE_S": str(_RECYCLE_S)})
        )
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(self.workers)]
        for thread in self._threads:
            thread.start()
        until = time.monotonic() + _TIMEOUT_S
        while not self.worked and not self.failures and time.monotonic() < until:
            time.sleep(0.01)
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()
        with suppress(DatabaseError):
            self._manager.close()

    def _work(self) -> None:
        while not self._stopped.is_set():
            try:
                with self._manager.get_sync_session() as session:
                    session.execute("SELECT 1")
                self.worked += 1
            except DatabaseError as error:
                self.failures.append(f"{type(error).__name__}: {error}")
            self._stopped.wait(0.02)
