"""TLS as both drivers do it: who is believed, what is sent, and the sentence when it fails.

The test's PostgreSQL is built without TLS, so a door in front of it speaks PostgreSQL's TLS and passes the rest on.
"""

import asyncio
import select
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from db import errors
from db.manager import DatabaseManager
from db.settings import from_environment
from tests.postgres import Server

pytestmark = [
    pytest.mark.postgres,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl, which makes the certificate"),
]

SSL_REQUEST = (8).to_bytes(4) + (80877103).to_bytes(4)
"""What a client that wants TLS says first."""


class Door:
    """Listens on loopback; notes of each client that came through TLS the subject of its certificate, or None."""

    def __init__(self, server: Server, certificate: Path, key: Path) -> None:
        self.server, self.certificate, self.key = server, certificate, key
        self.seen: list[str | None] = []
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate, key)
        self._context.load_verify_locations(certificate)
        self._context.verify_mode = ssl.CERT_OPTIONAL
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def ask(self, host: str, **more: str) -> list[str | None]:
        """Connect with both drivers; what the door noted of them."""
        self.seen.clear()
        url = self.server.url().replace(f"127.0.0.1:{self.server.port}", f"{host}:{self._listener.getsockname()[1]}")
        manager = DatabaseManager(from_environment({"DATABASE_URL": url, **more}))

        async def run() -> None:
            async with manager.get_async_session() as session:
                assert await session.scalar("SELECT 1") == 1

        try:
            asyncio.run(run())
            with manager.get_sync_session() as session:
                assert session.scalar("SELECT 1") == 1
        finally:
            manager.close()
        return list(self.seen)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._threads.append(threading.Thread(target=self._serve, args=(client,)))
                self._threads[-1].start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError), client, socket.create_connection(("127.0.0.1", self.server.port)) as down:
            begun = client.recv(8, socket.MSG_WAITALL)
            if begun != SSL_REQUEST:
                down.sendall(begun)
                self._pass_on(client, down)
                return
            client.sendall(b"S")
            with self._context.wrap_socket(client, server_side=True) as secured:
                subject = (secured.getpeercert() or {}).get("subject")
                self.seen.append(str(subject) if subject else None)
                self._pass_on(secured, down)

    def _pass_on(self, one: socket.socket, other: socket.socket) -> None:
        ways = {one: other, other: one}
        while True:
            pending = isinstance(one, ssl.SSLSocket) and one.pending()
            for ready in [one] if pending else select.select(list(ways), [], [])[0]:
                if not (chunk := ready.recv(65536)):
                    return
                ways[ready].sendall(chunk)


@pytest.fixture(scope="module")
def door(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "cert.pem", folder / "key.pem"
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    )
    subprocess.run([*command.split(), "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    key.chmod(0o600)
    made = Door(server, certificate, key)
    yield made
    made.close()


def test_a_server_whose_name_and_certificate_are_right_is_believed(door: Door) -> None:
    assert (
        door.ask("localhost", DATABASE_SSLMODE="verify-full", DATABASE_SSLROOTCERT=str(door.certificate)) == [None] * 2
    )


def test_a_name_that_the_certificate_does_not_have_is_not(door: Door) -> None:
    with pytest.raises(errors.TlsFailed):
        door.ask("127.0.0.1", DATABASE_SSLMODE="verify-full", DATABASE_SSLROOTCERT=str(door.certificate))
    assert door.ask("127.0.0.1", DATABASE_SSLMODE="verify-ca", DATABASE_SSLROOTCERT=str(door.certificate)) == [None] * 2


def test_an_authority_that_nobody_knows_is_not(door: Door) -> None:
    with pytest.raises(errors.TlsFailed, match="sslrootcert"):
        door.ask("localhost", DATABASE_SSLMODE="verify-full")
    assert door.ask("localhost", DATABASE_SSLMODE="require") == [None] * 2


def test_a_client_certificate_is_sent(door: Door) -> None:
    seen = door.ask(
        "localhost",
        DATABASE_SSLMODE="verify-full",
        DATABASE_SSLROOTCERT=str(door.certificate),
        DATABASE_SSLCERT=str(door.certificate),
        DATABASE_SSLKEY=str(door.key),
    )
    assert len(seen) == 2 and all("localhost" in str(subject) for subject in seen)


def test_loopback_goes_without(door: Door) -> None:
    assert door.ask("127.0.0.1") == []


def test_a_file_that_is_not_there_is_named(door: Door) -> None:
    with pytest.raises(errors.DatabaseError, match=r"nowhere\.pem"):
        door.ask("localhost", DATABASE_SSLMODE="verify-full", DATABASE_SSLROOTCERT="nowhere.pem")


def test_psycopg_refuses_as_asyncpg_does(door: Door) -> None:
    port = door._listener.getsockname()[1]
    url = f"{door.server.url().replace(str(door.server.port), str(port))}?sslmode=verify-full"
    manager = DatabaseManager(from_environment({"DATABASE_URL": url}))
    with pytest.raises(errors.TlsFailed), manager.get_sync_session() as session:
        session.execute("SELECT 1")


def test_a_server_without_tls_gets_no_password(server: Server) -> None:
    manager = DatabaseManager(from_environment({"DATABASE_URL": f"{server.url()}?sslmode=require"}))

    async def run() -> None:
        async with manager.get_async_session() as session:
            await session.execute("SELECT 1")

    with pytest.raises(errors.TlsFailed, match="sslmode=disable"):
        asyncio.run(run())
    with pytest.raises(errors.TlsFailed, match="sslmode=disable"), manager.get_sync_session() as session:
        session.execute("SELECT 1")
