"""What the checks of one run share: names that are nobody else's, clients, and what they leave."""

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from itertools import count
from typing import Any, Protocol, TypeVar
from uuid import uuid4

from operations.smoke.client import Frame
from operations.smoke.outcome import Failed, Skipped
from operations.smoke.stack import SOURCE, Letter, Row
from operations.smoke.tokens import Tokens

T = TypeVar("T")

_POLL_SECONDS = 0.5
# Of the requests that clean up.
_TOGETHER = 8


class Service(Protocol):
    """What a scene needs of a stack; see `Stack`."""

    outputs: dict[str, str]
    parameters: dict[str, str]

    @property
    def asks_for_tokens(self) -> bool: ...
    def put_event(self, detail_type: str, detail: dict[str, Any]) -> str: ...
    def enqueue(self, bodies: Sequence[str]) -> None: ...
    def dead_letters(self, marker: str) -> list[Letter]: ...
    def redrive(self, letter: Letter) -> None: ...
    def delete(self, letter: Letter) -> None: ...
    def rows(self, partition: str, *, after: str = "") -> list[Row]: ...
    def delete_rows(self, partition: str) -> None: ...
    def log_groups(self) -> list[str]: ...
    def logged(self, log_group: str, words: Sequence[str], since: float) -> list[str]: ...


class Client(Protocol):
    """What a scene needs of a client; see `client.Client`."""

    @property
    def subprotocol(self) -> str | None: ...
    async def request(self, action: str, **fields: object) -> Frame: ...
    async def exchange(self, text: str) -> Frame: ...
    async def push(self) -> Frame: ...
    async def pushes_within(self, seconds: float) -> list[Frame]: ...
    async def last_words(self, within_seconds: float | None = None) -> Frame: ...
    async def vanish(self) -> None: ...


class Connecting(Protocol):
    """Connects a client while a block lasts; see `client.connected`."""

    def __call__(
        self, address: str, token: str | None, patience_seconds: float
    ) -> AbstractAsyncContextManager[Client]: ...


class Scene:
    """Where checks act.

    Attributes:
        run: a name that no other run has.
        patience_seconds: how long what has to come is waited for; a cold start is within it.
        silence_seconds: how long what must not come is waited for.
        short_token_seconds: how long a token lives whose end is waited for.
        expire_seconds: how long after that the connection may stay open; who closes it looks once
            a minute.
    """

    def __init__(
        self,
        stack: Service,
        connecting: Connecting,
        tokens: Tokens | None = None,
        *,
        patience_seconds: float = 20.0,
        silence_seconds: float = 1.5,
        short_token_seconds: int = 15,
        expire_seconds: float = 75.0,
    ) -> None:
        self.run = secrets.token_hex(6)
        self.patience_seconds = patience_seconds
        self.silence_seconds = silence_seconds
        self.short_token_seconds = short_token_seconds
        self.expire_seconds = expire_seconds
        self.began = time.time()
        self.stack = stack
        self.measured: list[float] = []
        self._connecting = connecting
        self._tokens = tokens
        self._numbers = count(1)
        self._partitions: set[str] = set()

    @property
    def tokens(self) -> Tokens:
        """Where tokens come from; raise `Skipped` where none are asked for."""
        if self._tokens is None:
            raise Skipped("the stack asks for no tokens")
        return self._tokens

    def require_tokens(self) -> None:
        """Raise `Skipped` where no tokens are asked for."""
        _ = self.tokens

    @property
    def tenant(self) -> str:
        return self._tokens.tenant if self._tokens else ""

    def entity(self) -> str:
        """Return the id of an entity that nobody else knows."""
        delimiter = self.stack.parameters.get("GrantsDelimiter") or "/"
        entity_id = delimiter.join(("smoke", self.run, str(next(self._numbers))))
        self._partitions.add(self.partition("ENTITY", entity_id))
        return entity_id

    def user(self) -> str:
        """Return the name of a user whom nobody else knows."""
        user_id = f"smoke-{self.run}-{next(self._numbers)}"
        self._partitions.add(self.partition("USER", user_id))
        return user_id

    def partition(self, kind: str, name: str) -> str:
        """Return the partition key of a topic in the table."""
        tenant = self.tenant.replace("%", "%25").replace("#", "%23")
        return "#".join((*(("TENANT", tenant) if tenant else ()), kind, name))

    @asynccontextmanager
    async def client(self, user: str = "", token: str | None = None) -> AsyncIterator[Client]:
        """Connect a client, with a token where one is asked for; close it in the end."""
        if token is None and self._tokens is not None:
            token = self._tokens.mint(user)
        address = self.stack.outputs["WebsocketUri"]
        async with self._connecting(address, token, self.patience_seconds) as client:
            yield client

    async def publish(self, entity_id: str, **detail: object) -> str:
        """Put an event of an entity on the bus, and return its id."""
        return await self.put_event("Entity Updated", {"entityId": entity_id, **detail})

    async def put_event(self, detail_type: str, detail: dict[str, Any]) -> str:
        """Put an event on the bus, and return its id."""
        return await self.ask(self.stack.put_event, detail_type, detail | self._of_tenant())

    async def enqueue(self, *bodies: str) -> None:
        """Send messages to the notification queue, past the bus."""
        await self.ask(self.stack.enqueue, bodies)

    def event(self, **detail: object) -> str:
        """Return an event as EventBridge hands it to the queue, with an id of its own."""
        return json.dumps(
            {
                "version": "0",
                "id": str(uuid4()),
                "detail-type": "Entity Updated",
                "source": SOURCE,
                "time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                "resources": [],
                "detail": detail | self._of_tenant(),
            }
        )

    def _of_tenant(self) -> dict[str, str]:
        return {"tenant": self.tenant} if self.tenant else {}

    async def ask(self, call: Callable[..., T], *arguments: object) -> T:
        """Call a method of the stack, which waits for a service, beside everything else."""
        return await asyncio.to_thread(call, *arguments)

    async def rows(self, partition: str, *, after: str = "") -> list[Row]:
        return await asyncio.to_thread(self.stack.rows, partition, after=after)

    async def eventually(
        self, look: Callable[[], T], what: str, within_seconds: float | None = None
    ) -> T:
        """Return the first true answer; raise `Failed` if there is none in time."""
        within = self.patience_seconds if within_seconds is None else within_seconds
        deadline = time.monotonic() + within
        while not (answer := await asyncio.to_thread(look)):
            if time.monotonic() > deadline:
                raise Failed(f"{what}: not within {within:g} s")
            await asyncio.sleep(_POLL_SECONDS)
        return answer

    async def dead_letter(self, marker: str) -> Letter:
        """Return the dead letter that holds a marker, once it is there."""
        what = "a dead letter, in the notification dead-letter queue"
        letters = await self.eventually(lambda: self.stack.dead_letters(marker), what)
        return letters[0]

    async def delete_letters(self, marker: str) -> None:
        """Delete what is left of the dead letters that hold a marker."""
        for letter in await self.ask(self.stack.dead_letters, marker):
            await self.ask(self.stack.delete, letter)

    async def clean(self) -> str:
        """Delete what the table holds of this run; return what could not be, or nothing."""
        limit = asyncio.Semaphore(_TOGETHER)

        async def delete(partition: str) -> None:
            async with limit:
                await self.ask(self.stack.delete_rows, partition)

        try:
            await asyncio.gather(*map(delete, sorted(self._partitions)))
        except Skipped as denied:
            return f"the logs of {len(self._partitions)} entities are left to their TTL: {denied}"
        return ""


def numbers(frames: Sequence[Frame]) -> list[int]:
    """Return the numbers in the cursors of frames."""
    return [number(frame["cursor"]) for frame in frames]


def number(cursor: str) -> int:
    return int(cursor.rpartition("-")[2])
