"""A proxy on loopback that holds a server's answers back for a moment: a kill finds what was answered on the way."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

COMMITTED = b"COMMIT\0"
"""The tag with which PostgreSQL acknowledges: a message ``CommandComplete``."""


class Late:
    """What went through."""

    def __init__(self, target: int, held_s: float) -> None:
        self.port = 0
        self.lost_commits = 0
        """Acknowledgements that were on their way when the server hung up, and never came."""
        self._target, self._held_s = target, held_s
        self._held: list[deque[bytes]] = []
        self._serving: set[asyncio.Task[None] | None] = set()

    @property
    def held_commits(self) -> int:
        """Acknowledgements that are on their way now."""
        return sum(b"".join(held).count(COMMITTED) for held in self._held)

    async def serve(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        """One connection. Where the server hangs up, so does this, at once and without what is held back."""
        self._serving.add(asyncio.current_task())
        try:
            server, down = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            client.transport.abort()
            return
        asking = asyncio.create_task(_carry(reader, down))
        held: deque[bytes] = deque()
        self._held.append(held)
        with suppress(OSError):
            while chunk := await server.read(65536):
                held.append(chunk)
                asyncio.get_running_loop().call_later(self._held_s, _pass_on, held, client)
        self.lost_commits += b"".join(held).count(COMMITTED)
        held.clear()
        self._held.remove(held)
        client.transport.abort()
        await asking

    async def ended(self) -> None:
        """Wait until all clients have hung up."""
        await asyncio.gather(*(task for task in self._serving if task is not None))


@asynccontextmanager
async def late(port: int, held_s: float) -> AsyncIterator[Late]:
    """A proxy in front of the server at ``port``; ends when its clients have hung up."""
    proxy = Late(port, held_s)
    async with await asyncio.start_server(proxy.serve, "127.0.0.1", 0) as listener:
        proxy.port = listener.sockets[0].getsockname()[1]
        yield proxy
        await proxy.ended()


def _pass_on(held: deque[bytes], client: asyncio.StreamWriter) -> None:
    if held:
        client.write(held.popleft())


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while chunk := await reader.read(65536):
            writer.write(chunk)
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
