"""A proxy on loopback that counts what clients send to a server: each message of theirs is a round trip."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Counted:
    """What went through."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.sent: list[int] = []
        """The bytes of each message."""


@asynccontextmanager
async def counting(port: int) -> AsyncIterator[Counted]:
    """A proxy in front of the server at `port`; ends when its clients have hung up."""
    served: list[asyncio.Event] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(done := asyncio.Event())
        up, down = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(_forward(reader, down, counted.sent), _forward(up, writer, []))
        done.set()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as proxy:
        counted = Counted(proxy.sockets[0].getsockname()[1])
        yield counted
        while served:
            await served.pop().wait()


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: list[int]) -> None:
    while chunk := await reader.read(65536):
        seen.append(len(chunk))
        writer.write(chunk)
    writer.close()
    await writer.wait_closed()
