"""Both clients, as programs, on lines that do what lines do."""

import asyncio
import json
import os
import shutil
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from types import MappingProxyType

import pytest

from integration.harness import Application, Frame, envelope, eventually, number_of, unique
from integration.trouble import Trouble, troubled
from local import stack

SEED = int(os.environ.get("TROUBLE_SEED", "1"))
SECONDS = float(os.environ.get("TROUBLE_SECONDS", "15"))
# A client whose connections last, apart from what is done to them: the service is slow to begin
# with, and a busy machine is slower.
OPTIONS = {
    "minReconnectDelayMs": 100,
    "maxReconnectDelayMs": 1_000,
    "pingIntervalMs": 1_000,
    "rotateAfterMs": [1_500, 4_000],
    "holdMs": 500,
}
_CATCHES_UP_WITHIN_SECONDS = 90.0
_NOTHING: Mapping[str, str] = MappingProxyType({})

_JAVASCRIPT = stack.ROOT / "client/js"
CLIENTS = {
    "javascript": ["node", str(_JAVASCRIPT / "follow.mjs")],
    "python": [sys.executable, "-m", "notifications_client"],
}


class Following:
    """A client that follows entities, as a program."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.events: list[Frame] = []
        self.said: list[Frame] = []

    async def read(self) -> None:
        """Read what it prints until it ends."""
        assert self.process.stdout
        assert self.process.stderr
        await asyncio.gather(
            self._read(self.process.stdout, self.events.append),
            self._read(self.process.stderr, self.said.append),
        )

    def numbers(self, entity_id: str) -> list[int]:
        """Return the numbers of an entity's events, as they were handed on."""
        return [
            number_of(event["cursor"]) for event in self.events if event["entityId"] == entity_id
        ]

    async def _read(self, stream: asyncio.StreamReader, take: Callable[[Frame], None]) -> None:
        async for line in stream:
            take(json.loads(line))


@asynccontextmanager
async def following(
    name: str,
    url: str,
    *arguments: str,
    options: Frame | None = None,
    environment: Mapping[str, str] = _NOTHING,
) -> AsyncIterator[Following]:
    """Run a client's command while the block lasts; it ends when it is told to, in order."""
    process = await asyncio.create_subprocess_exec(
        *CLIENTS[name],
        url,
        *arguments,
        env=os.environ
        | {
            "CLIENT_OPTIONS": json.dumps(options or {}),
            "PYTHONPATH": str(stack.ROOT / "client/python"),
            **environment,
        },
        stdout=PIPE,
        stderr=PIPE,
        # A line is a frame, of 120 KB at most.
        limit=2**20,
    )
    client = Following(process)
    try:
        async with asyncio.TaskGroup() as reading:
            task = reading.create_task(client.read())
            yield client
            process.terminate()
            async with asyncio.timeout(10):
                await task
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def require(name: str) -> None:
    if name == "javascript" and not (
        shutil.which("node") and (_JAVASCRIPT / "node_modules/ws").exists()
    ):
        pytest.skip("Node.js and its package ws are not installed")


async def log_of(application: Application, entity_id: str) -> str:
    """Begin an entity's log, by subscribing; return the cursor of its head."""
    async with application.client() as client:
        (cursor,) = await client.subscribe(entity_id)
        return cursor


def publish(application: Application, entity_ids: list[str], per_entity: int) -> int:
    """Publish past EventBridge, ten at a time; return how many."""
    bodies = [
        json.dumps(envelope(entityId=entity_id, message="m"))
        for _ in range(per_entity)
        for entity_id in entity_ids
    ]
    for start in range(0, len(bodies), 10):
        application.enqueue(*bodies[start : start + 10])
    return per_entity


@pytest.mark.parametrize("name", CLIENTS)
async def test_the_walkthrough_with_a_client(application: Application, name: str) -> None:
    require(name)
    entity_id, other = unique("entity"), unique("entity")
    async with following(name, application.outputs["WebsocketUri"], entity_id, other) as client:
        await eventually(lambda: application.subscribers(other), "it subscribes")
        event_id = application.publish(entity_id, message="Grüße 🚀", data={"n": [None, 1]})
        await eventually(lambda: client.events, "it prints the event")

    (event,) = client.events
    assert (event["id"], event["message"], event["data"]) == (
        event_id,
        "Grüße 🚀",
        {"n": [None, 1]},
    )
    states = [said["state"] for said in client.said]
    assert states == ["connecting", "connected", "closed"]
    await eventually(lambda: not application.subscribers(entity_id), "it is disconnected")


async def test_whoever_the_service_has_forgotten_comes_back_and_misses_nothing(
    application: Application,
) -> None:
    """Lose a connection's rows, as a 410 does that is not true; the line is in order."""
    names = [name for name in CLIENTS if name == "python" or shutil.which("node")]
    entity_id = unique("entity")
    options = {"pingIntervalMs": 1_000}
    for name in names:
        require(name)
        url = application.outputs["WebsocketUri"]
        async with following(name, url, entity_id, options=options) as client:
            await eventually(lambda: application.subscribers(entity_id), "it subscribes")
            application.publish(entity_id)
            await eventually(lambda: client.events, "it gets what is published")
            connection_id = application.connection_id(entity_id)
            for row in application.rows(connectionId=connection_id):
                application.delete_row(row)
            application.publish(entity_id)
            await application.settled()
            await eventually(lambda: len(client.events) == 2, "it recovers what it missed")
        assert {"disconnected", "ConnectionGone"} <= {
            value for said in client.said for value in said.values() if isinstance(value, str)
        }
        await eventually(lambda: not application.subscribers(entity_id), "it is disconnected")


async def test_each_event_comes_once_and_in_order_whatever_lines_do(
    application: Application,
) -> None:
    names = [name for name in CLIENTS if name == "python" or shutil.which("node")]
    for name in names:
        require(name)
    entity_ids = [unique("entity") for _ in range(3)]
    cursors = {entity_id: await log_of(application, entity_id) for entity_id in entity_ids}
    application.start_gateway(
        *("--max-lifetime-seconds", "6", "--fault-lose-disconnect", "0.3"),
        *("--fault-429", "0.05", "--fault-5xx", "0.02"),
    )
    try:
        published = 0
        url = application.outputs["WebsocketUri"]
        async with troubled(url, Trouble(), SEED) as (proxy, troubled_url):
            clients: dict[tuple[str, str], Following] = {}
            async with asyncio.TaskGroup() as tasks:
                done = asyncio.Event()

                async def follow(name: str, entity_id: str) -> None:
                    arguments = (entity_id, "--since", cursors[entity_id])
                    async with following(name, troubled_url, *arguments, options=OPTIONS) as client:
                        clients[name, entity_id] = client
                        await done.wait()

                for name in names:
                    for entity_id in entity_ids:
                        tasks.create_task(follow(name, entity_id))
                ends_at = asyncio.get_running_loop().time() + SECONDS
                while asyncio.get_running_loop().time() < ends_at:
                    published += await asyncio.to_thread(publish, application, entity_ids, 10)
                    # As fast as the service takes them, and no faster.
                    await eventually(lambda: application.queued() < 60, "it keeps up", 60)
                proxy.is_calm = True
                await application.settled()
                for (_, entity_id), client in clients.items():
                    await eventually(
                        lambda entity_id=entity_id, client=client: (  # type: ignore[misc]
                            len(client.numbers(entity_id)) >= published
                        ),
                        "all has come",
                        _CATCHES_UP_WITHIN_SECONDS,
                    )
                done.set()
    finally:
        application.start_gateway()
    assert proxy.cut
    assert proxy.frozen
    assert proxy.duplicated > published / 10
    for (_, entity_id), client in clients.items():
        assert client.numbers(entity_id) == list(range(1, published + 1))
        assert not [said for said in client.said if "gap" in said or "error" in said]
