"""How the snippets of documents are run: what they take for granted, and what has to come of them.

They run against a server that plays the service (tests/clients), so that it can be asked for what
is rare.
"""

import asyncio
import json
import os
import re
import shutil
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import indent

import pytest

from clients.service import Service
from clients.topics import USER
from integration.harness import eventually
from support.documents import ROOT, Block, Key, blocks, key_of

JAVASCRIPT = ROOT / "client/js"
ENTITY = "order-17"


class Program:
    """A program that runs, and what it has printed."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.printed: list[str] = []
        self.complaints: list[str] = []

    async def prints(self, *lines: str) -> None:
        """Wait until these lines are all that it has printed."""
        await eventually(lambda: len(self.printed) >= len(lines), "it prints")
        assert self.printed == list(lines)

    async def read(self, stream: asyncio.StreamReader | None, take: Callable[[str], None]) -> None:
        assert stream
        async for line in stream:
            take(line.decode().rstrip("\n"))


@asynccontextmanager
async def program(*command: str | Path, **environment: str) -> AsyncIterator[Program]:
    """Run a program while the block lasts."""
    process = await asyncio.create_subprocess_exec(
        *command, env={**os.environ, **environment}, stdout=PIPE, stderr=PIPE
    )
    running = Program(process)
    readers = [
        asyncio.create_task(running.read(process.stdout, running.printed.append)),
        asyncio.create_task(running.read(process.stderr, running.complaints.append)),
    ]
    try:
        yield running
    except AssertionError as exc:
        exc.add_note("\n".join(running.complaints))
        raise
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await asyncio.gather(*readers)
        await process.wait()


@dataclass
class World:
    """What a snippet runs in.

    Attributes:
        service: plays the service to it.
        url: the service's address.
        folder: of its own.
    """

    service: Service
    url: str
    folder: Path

    def at_service(self, text: str) -> str:
        """Return a text in which the address of an API is the service's."""
        text, replaced = re.subn(r"\"wss://\S+?\"", f'"{self.url}"', text)
        assert replaced == 1
        return text

    def javascript(self, text: str) -> list[str | Path]:
        """Return a command that runs a module which sees the client and ws as packages."""
        if not (shutil.which("node") and (JAVASCRIPT / "node_modules/ws").exists()):
            pytest.skip("Node.js and its package ws are not installed")
        packages = self.folder / "node_modules"
        packages.mkdir()
        (packages / "websocket-notifications-client").symlink_to(JAVASCRIPT)
        (packages / "ws").symlink_to(JAVASCRIPT / "node_modules/ws")
        path = self.folder / "snippet.mjs"
        # Imports come first wherever they stand.
        path.write_text(f'const url = "{self.url}";\n{text}')
        # Its own, which Node.js has since 20.10, and without being asked since 22.
        return ["node", "--no-warnings", "--experimental-websocket", path]

    def python(self, text: str) -> list[str | Path]:
        """Return a command that runs a program."""
        path = self.folder / "snippet.py"
        path.write_text(text)
        return [sys.executable, "-u", path]


Drive = Callable[[World, Program], Awaitable[None]]


@dataclass(frozen=True)
class Snippet:
    """How a snippet is run.

    Attributes:
        drive: what happens meanwhile, and what has to come of it.
        before: what it takes for granted.
        after: what uses what it makes.
        prepare: what is so before it starts.
        whole: it is a program, with an address that is to be replaced.
    """

    drive: Drive
    before: str = ""
    after: str = ""
    prepare: Callable[[World], None] = field(default=lambda _: None)
    whole: bool = False


async def two_messages(world: World, running: Program) -> None:
    await world.service.subscribed(1)
    (entity_id,) = world.service.entity_ids
    await world.service.publish(entity_id, 2)
    await running.prints(f"{entity_id} 1", f"{entity_id} 2")


async def messages_with_data(world: World, running: Program) -> None:
    await world.service.subscribed(1)
    await world.service.publish(ENTITY, data=7)
    await running.prints(f"{ENTITY} 1 7")


async def what_was_missed(world: World, running: Program) -> None:
    await running.prints(f"{ENTITY} 3")
    (request,) = world.service.connections[0].requests
    assert request.since == world.service.topic(ENTITY).at(2)


async def a_gap(world: World, running: Program) -> None:
    await running.prints("reloaded")


async def states_and_an_error(world: World, running: Program) -> None:
    await running.prints("connecting", "connected")
    await eventually(lambda: running.complaints, "it warns")
    assert running.complaints[0].startswith("InvalidSince ")


async def the_users_own(world: World, running: Program) -> None:
    await world.service.connection(1)
    await eventually(lambda: USER in world.service.connections[0].subscribed, "it subscribes")
    await world.service.publish(USER, callback="/orders/17")
    await running.prints(" 1")


async def a_token(world: World, running: Program) -> None:
    await world.service.subscribed(1)
    assert world.service.tokens == ["the-token"]


async def events_that_are_stored(world: World, running: Program) -> None:
    await world.service.subscribed(1)
    await world.service.publish(ENTITY, data=[1])
    topic = world.service.topic(ENTITY)
    await running.prints(*(f"{ENTITY} {n} {d} {topic.at(n)}" for n, d in [(3, None), (4, [1])]))


async def each_once_and_in_order(world: World, running: Program) -> None:
    """Do what lines and a service can do to a client, and see what it hands on."""
    service = world.service
    topic = service.topic(ENTITY)
    connection = await service.subscribed(1)
    first = service.log(ENTITY, 4)
    # Twice, too early, and one that never comes.
    await connection.push(first[0], first[0], first[3], first[1])
    shown = [json.dumps(frame) for frame in first]
    await eventually(lambda: len(running.printed) >= 4, "it asks for what is missing")
    hold = service.hold("subscribe")
    connection.cut()
    missed = service.log(ENTITY, 120)
    request = await hold
    assert request.since == topic.at(4)
    # One comes live before the reply, which has room for a hundred.
    request.admit()
    await request.connection.push(missed[0])
    await request.reply()
    shown += [json.dumps(frame) for frame in missed]
    await eventually(lambda: len(running.printed) >= len(shown), "it asks for more")
    again = service.hold("subscribe")
    request.connection.cut()
    service.log(ENTITY, 3)
    topic.trim(126)
    request = await again
    await request.reply()
    (last,) = await service.publish(ENTITY)
    await eventually(lambda: len(running.printed) >= len(shown) + 2, "it goes on after the gap")
    heard = [json.loads(line) for line in running.printed]
    assert heard[: len(shown)] == [json.loads(line) for line in shown]
    gap, event = heard[len(shown) :]
    assert (gap["recovered"], gap["cursor"], event) == (False, topic.at(127), last)
    await request.connection.disconnect("Kicked", reconnect=False)
    await eventually(lambda: len(running.printed) >= len(shown) + 3, "it says the farewell")
    assert json.loads(running.printed[-1])["code"] == "Kicked"


def log_with_three(world: World) -> None:
    world.service.log(ENTITY, 3)


def log_without_its_beginning(world: World) -> None:
    log_with_three(world)
    world.service.topic(ENTITY).trim(2)


_CLIENT = """
import { NotificationsClient } from "websocket-notifications-client";
const client = new NotificationsClient(url);
"""
_SHOW = "const show = ({ message }) => console.log(message);\n"
_FOLLOW_IN_JAVASCRIPT = "\nfollow(url, 'order-17', (frame) => console.log(JSON.stringify(frame)));"
_FOLLOW_IN_PYTHON = """
async def main():
    async for frame in follow(URL, "order-17"):
        print(json.dumps(frame))

asyncio.run(main())
"""
_IN_A_COROUTINE = """
import asyncio

async def main():
{snippet}

asyncio.run(main())
"""

SNIPPETS: dict[Key, Snippet] = {
    ("README.md", "client.subscribe("): Snippet(two_messages, whole=True),
    ("README.md", "    async for event in client.subscribe("): Snippet(
        two_messages, before="from notifications_client import NotificationsClient\n", whole=True
    ),
    ("client/js/README.md", 'const subscription = client.subscribe("order-17", (event) => {'): (
        Snippet(messages_with_data, whole=True)
    ),
    ("client/js/README.md", "const client = new NotificationsClient(url, { WebSocket });"): Snippet(
        two_messages,
        'import { NotificationsClient } from "websocket-notifications-client";\n',
        'client.subscribe("order-17", ({ message }) => console.log(message));',
    ),
    ("client/js/README.md", 'const subscription = client.subscribe("order-17", show,'): Snippet(
        what_was_missed,
        _CLIENT + _SHOW + 'const localStorage = { cursor: "5f0c2a9be41d-2" };\n',
        prepare=log_with_three,
    ),
    ("client/js/README.md", 'subscription.on("gap",'): Snippet(
        a_gap,
        _CLIENT
        + 'const reload = () => console.log("reloaded");\n'
        + "const since = '5f0c2a9be41d-1';\n"
        + "const subscription = client.subscribe('order-17', () => {}, { since });\n",
        prepare=log_without_its_beginning,
    ),
    ("client/js/README.md", 'client.on("state",'): Snippet(
        states_and_an_error,
        _CLIENT
        + _SHOW
        + "const showState = (state) => console.log(state);\n"
        + 'const subscription = client.subscribe("order-17", show, { since: "yesterday" });\n',
    ),
    ("client/js/README.md", "const own = client.subscribeUser("): Snippet(
        the_users_own, _CLIENT + "const show = console.log;\nconst stored = undefined;\n"
    ),
    ("client/js/README.md", "  getToken: async"): Snippet(
        a_token,
        'import { NotificationsClient } from "websocket-notifications-client";\n'
        'const fetch = async (path) => new Response(path.replace("/", "the-"));\n',
        'client.subscribe("order-17", () => {});',
    ),
    ("client/python/README.md", "    async for event in client.subscribe("): Snippet(
        events_that_are_stored,
        'stored_cursor = "5f0c2a9be41d-2"\n'
        'handle = lambda message, data: print(message, data, end=" ")\n'
        "store = print\n",
        prepare=log_with_three,
        whole=True,
    ),
    ("docs/protocol.md", "async def follow("): Snippet(
        each_once_and_in_order, after=_FOLLOW_IN_PYTHON
    ),
    ("docs/protocol.md", "export function follow("): Snippet(
        each_once_and_in_order, after=_FOLLOW_IN_JAVASCRIPT
    ),
}


def snippets() -> list[tuple[Block, Snippet]]:
    """Return all blocks that are programs of clients, with how they are run."""
    found = [(block, key_of(block, SNIPPETS)) for block in blocks("js", "python")]
    return [(block, SNIPPETS[key]) for block, key in found if key]


def command_of(world: World, block: Block, snippet: Snippet) -> list[str | Path]:
    text = world.at_service(block.text) if snippet.whole else block.text
    if block.language == "js":
        return world.javascript(snippet.before + text + snippet.after)
    if re.search("^async with", text, re.MULTILINE):
        imports, _, rest = text.rpartition("import NotificationsClient\n")
        text = imports + ("import NotificationsClient\n" if imports else "")
        text += _IN_A_COROUTINE.format(snippet=indent(rest, "    "))
    return world.python(snippet.before + text + snippet.after.replace("URL", f'"{world.url}"'))
