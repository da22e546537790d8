"""Lines that do what lines do: a proxy in front of the gateway that cuts, freezes, delays,
duplicates and reorders."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from local.aws import HOST


@dataclass(frozen=True, slots=True)
class Trouble:
    """What happens to lines.

    Attributes:
        whole_seconds: how long a line is in order, on average; then it is cut, or freezes.
        freezes: share of lines that freeze, instead of being cut: nothing goes through any more,
            and nobody is told.
        duplicates: share of frames to the client that come twice.
        delays: share of frames to the client that are late, so that others overtake them.
        delay_seconds: how late, at most.
    """

    whole_seconds: float = 4.0
    freezes: float = 0.25
    duplicates: float = 0.1
    delays: float = 0.3
    delay_seconds: float = 0.4


class Proxy:
    """What stands between clients and the gateway."""

    def __init__(self, target: str, trouble: Trouble, seed: int) -> None:
        self._target = target
        self._trouble = trouble
        # Repeatable, and no secret.
        self._random = random.Random(seed)  # noqa: S311
        self.is_calm = False
        self.cut = self.frozen = self.duplicated = self.delayed = 0

    async def serve(self, client: ServerConnection) -> None:
        """Carry frames both ways until one side ends, or the line does."""
        try:
            service = await connect(
                self._target,
                subprotocols=[Subprotocol("websocket")],
                ping_interval=None,
                max_queue=None,
            )
        except (OSError, TimeoutError):
            client.transport.abort()
            return
        async with service, asyncio.TaskGroup() as line:
            carrying = [
                line.create_task(self._to_client(service, client)),
                line.create_task(self._to_service(client, service)),
            ]
            lasting = line.create_task(self._last(client))
            await asyncio.wait([*carrying, lasting], return_when=asyncio.FIRST_COMPLETED)
            if lasting.done() and lasting.result():
                for task in carrying:
                    task.cancel()
                self.frozen += 1
                # The client has to find out by itself.
                await client.wait_closed()
            elif lasting.done():
                self.cut += 1
                client.transport.abort()
            else:
                await client.close()
            lasting.cancel()
            for task in carrying:
                task.cancel()

    async def _last(self, client: ServerConnection) -> bool:
        """Wait until the line fails; return whether it freezes."""
        while True:
            await asyncio.sleep(self._random.expovariate(1 / self._trouble.whole_seconds))
            if not self.is_calm:
                return self._random.random() < self._trouble.freezes

    async def _to_service(self, client: ServerConnection, service: ClientConnection) -> None:
        with suppress(ConnectionClosed):
            async for frame in client:
                await service.send(frame)

    async def _to_client(self, service: ClientConnection, client: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            async with asyncio.TaskGroup() as late:
                async for frame in service:
                    drawn = 1.0 if self.is_calm else self._random.random()
                    if drawn < self._trouble.duplicates:
                        self.duplicated += 1
                        await client.send(frame)
                    if (
                        self._trouble.duplicates
                        <= drawn
                        < (self._trouble.duplicates + self._trouble.delays)
                    ):
                        self.delayed += 1
                        late.create_task(self._send_late(client, frame))
                    else:
                        await client.send(frame)

    async def _send_late(self, client: ServerConnection, frame: str | bytes) -> None:
        await asyncio.sleep(self._random.random() * self._trouble.delay_seconds)
        with suppress(ConnectionClosed):
            await client.send(frame)


@asynccontextmanager
async def troubled(target: str, trouble: Trouble, seed: int) -> AsyncIterator[tuple[Proxy, str]]:
    """Serve a proxy; yield it, and the address for clients."""
    proxy = Proxy(target, trouble, seed)
    async with serve(
        proxy.serve,
        HOST,
        0,
        subprotocols=[Subprotocol("websocket")],
        ping_interval=None,
        compression=None,
        max_queue=None,
        close_timeout=1,
    ) as server:
        port = server.sockets[0].getsockname()[1]
        yield proxy, f"ws://{HOST}:{port}/v1"
