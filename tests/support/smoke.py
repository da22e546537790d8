"""A stack in memory for the checks of `make smoke`, which keeps its promises or breaks one."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

from operations.smoke.client import Frame, Refused
from operations.smoke.outcome import Failed
from operations.smoke.scene import number
from operations.smoke.stack import Letter, Row

_EPOCH = "0123456789ab"


class FakeTokens:
    """Tokens that say in plain text whose they are, and how long they live."""

    tenant = "acme"

    def mint(self, user: str, seconds: int = 900) -> str:
        return f"{user}!{seconds}"


class FakeStack:
    """What `Stack` is, in memory.

    Args:
        broken: the one promise that it breaks; none if it is empty.
    """

    asks_for_tokens = True

    def __init__(self, broken: str = "") -> None:
        self.broken = broken
        self.outputs = {"WebsocketUri": "wss://stack.test/v1"}
        self.parameters = {"MaxSubscriptionsPerConnection": "101", "GrantsDelimiter": "/"}
        self.letters: list[Letter] = []
        self.clients: list[FakeClient] = []
        self.logs: dict[str, list[Frame]] = {}
        self.left: dict[str, set[str]] = {}
        self._ids = count(1)
        self._done: set[str] = set()

    # The publisher's side.

    def put_event(self, detail_type: str, detail: dict[str, Any]) -> str:
        event_id = f"event-{next(self._ids)}"
        if self.broken != "no event arrives":
            self.handle({"id": event_id, "detail-type": detail_type, "detail": detail})
        return event_id

    def enqueue(self, bodies: Sequence[str]) -> None:
        for body in bodies:
            self.handle(json.loads(body), body)

    def handle(self, event: dict[str, Any], body: str = "") -> None:
        detail = event["detail"]
        assert detail["tenant"] == FakeTokens.tenant
        if event["detail-type"] == "Disconnect User":
            self._kick(detail["userId"])
        elif "entityId" not in detail and "userId" not in detail:
            self._set_aside(body)
        elif event["id"] not in self._done or self.broken == "copies are delivered":
            self._done.add(event["id"])
            self._deliver(event, detail)

    def _kick(self, user: str) -> None:
        for client in list(self.clients):
            if client.user == user and self.broken != "nobody is kicked":
                client.close("Kicked")

    def _deliver(self, event: dict[str, Any], detail: dict[str, Any]) -> None:
        to_user = "userId" in detail
        key = f"USER#{detail['userId']}" if to_user else f"ENTITY#{detail['entityId']}"
        frame = {"type": "User Push Notification" if to_user else event["detail-type"]}
        frame |= {name: detail[name] for name in ("entityId", "message", "data") if name in detail}
        frame |= {"id": event["id"], "time": "2026-11-24T12:00:00Z"} | self._distorted(frame)
        heard = [client for client in self.clients if key in client.topics]
        if to_user and self.broken == "users hear nothing":
            heard = []
        if not heard and self.broken == "what nobody waits for is kept":
            self.left.setdefault(key, set()).add("HEAD")
        log = self.logs.setdefault(key, [])
        frame["cursor"] = f"{_EPOCH}-{len(log) + 1}"
        log.append(frame)
        for client in heard * (2 if self.broken == "frames come twice" else 1):
            client.take(frame)

    def _distorted(self, frame: Frame) -> Frame:
        if self.broken == "frames are changed":
            return {"message": "?"}
        if self.broken == "large frames are cut":
            return {"message": frame["message"][:32_000]}
        return {}

    def _set_aside(self, body: str) -> None:
        if self.broken == "poison is lost":
            return
        code = "InvalidEvent" if self.broken == "the reason is wrong" else "InvalidEntityId"
        if self.broken == "a letter is changed":
            body += " "
        self.letters.append(Letter(body, {"errorCode": code, "reason": "because"}, None))

    def dead_letters(self, marker: str) -> list[Letter]:
        return [letter for letter in self.letters if marker in letter.body]

    def redrive(self, letter: Letter) -> None:
        self.letters.remove(letter)
        if self.broken == "what is redriven is lost":
            return
        self.enqueue([letter.body])

    def delete(self, letter: Letter) -> None:
        self.letters.remove(letter)

    # What an operator sees.

    def rows(self, partition: str, *, after: str = "") -> list[Row]:
        kind, _, name = partition.partition("#")
        if kind == "CONNECTION":
            known = any(client.name == name for client in self.clients)
            return [{"pk": partition, "sk": "CONNECTION"}] * known
        key = partition.removeprefix("TENANT#acme#")
        assert key != partition
        if after and self.broken == "a query needs a key that is there":
            return []
        names = {f"CONNECTION#{client.name}" for client in self.clients if key in client.topics}
        heads = set() if after else self.left.get(key, set())
        return [{"pk": partition, "sk": sk} for sk in sorted(names | heads)]

    def delete_rows(self, partition: str) -> None:
        self.left.pop(partition.removeprefix("TENANT#acme#"), None)

    def log_groups(self) -> list[str]:
        return ["PingLogGroup", "SubscribeLogGroup"]

    def logged(self, log_group: str, words: Sequence[str], since: float) -> list[str]:
        denied = self.broken == "a permission is missing" and log_group == "SubscribeLogGroup"
        return ["AccessDenied: dynamodb:GetItem"] if denied else []

    @asynccontextmanager
    async def connected(
        self, address: str, token: str | None, patience_seconds: float
    ) -> AsyncIterator["FakeClient"]:
        """Connect a client; see `operations.smoke.client.connected`."""
        assert address == self.outputs["WebsocketUri"]
        if self.broken == "nobody gets in":
            raise Failed(f"{address} cannot be reached: refused")
        user, _, seconds = (token or "").partition("!")
        if not seconds and self.broken != "everybody gets in":
            raise Refused(500 if self.broken == "the authorizer fails" else 403)
        client = FakeClient(self, f"connection-{next(self._ids)}", user, patience_seconds)
        self.clients.append(client)
        if seconds == "0" and self.broken != "tokens never end":
            client.close("TokenExpired")
        try:
            yield client
        finally:
            if not (client.has_vanished and self.broken == "who vanishes stays"):
                self.forget(client)

    def forget(self, client: "FakeClient") -> None:
        if client in self.clients:
            self.clients.remove(client)


class FakeClient:
    """A client of it, connected."""

    def __init__(self, stack: FakeStack, name: str, user: str, patience_seconds: float) -> None:
        self.name = name
        self.user = user
        self.topics = {f"USER#{user}"}
        self.has_vanished = False
        self._stack = stack
        self._patience = patience_seconds
        self._pushed: asyncio.Queue[Frame] = asyncio.Queue()
        self._closed = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    @property
    def subprotocol(self) -> str | None:
        return None if self._stack.broken == "no subprotocol comes back" else "websocket"

    def take(self, frame: Frame) -> None:
        # Publishers are other threads.
        self._loop.call_soon_threadsafe(self._pushed.put_nowait, frame)

    def close(self, code: str) -> None:
        self.take({"type": "Disconnect", "code": code})
        self._loop.call_soon_threadsafe(self._closed.set)
        self._stack.forget(self)

    async def request(self, action: str, **fields: object) -> Frame:
        answers: dict[str, Callable[..., Frame]] = {
            "subscribe": self._subscribe,
            "history": self._history,
            "unsubscribe": self._unsubscribe,
            "subscriptions": lambda: {"type": "Subscriptions", "entityIds": self._entity_ids()},
            "ping": lambda: {"type": "Pong", "time": "2026-11-24T12:00:00Z"},
            "authenticate": self._authenticate,
        }
        if action == "ping" and self._stack.broken == "pings are not known":
            return _error("UnknownAction")
        return answers[action](**fields) if action in answers else _error("UnknownAction")

    async def exchange(self, text: str) -> Frame:
        if self._stack.broken == "$default has no route":
            raise Failed('a frame came as {"message": "Forbidden"}')
        codes = {"not JSON": "InvalidJson", "[1]": "InvalidFrame"}
        return _error(codes.get(text, "UnknownAction"))

    async def push(self) -> Frame:
        try:
            async with asyncio.timeout(self._patience):
                return await self._pushed.get()
        except TimeoutError:
            raise Failed("a frame did not come") from None

    async def pushes_within(self, seconds: float) -> list[Frame]:
        await asyncio.sleep(seconds)
        return [self._pushed.get_nowait() for _ in range(self._pushed.qsize())]

    async def last_words(self, within_seconds: float | None = None) -> Frame:
        try:
            async with asyncio.timeout(within_seconds or self._patience):
                await self._closed.wait()
        except TimeoutError:
            raise Failed("the end of the connection did not come") from None
        return (await self.pushes_within(0))[-1]

    async def vanish(self) -> None:
        self.has_vanished = True

    def _entity_ids(self) -> list[str]:
        return sorted(key[7:] for key in self.topics if key.startswith("ENTITY#"))

    def _subscribe(
        self, entityId: str = "", entities: Sequence[Frame] = (), since: object = None
    ) -> Frame:
        if entities:
            wanted = [part["entityId"] for part in entities]
            parts = [self._part(each) for each in wanted]
            allowed = [each for each, part in zip(wanted, parts, strict=True) if "code" not in part]
            if self._is_too_many(allowed):
                return _error("TooManySubscriptions")
            if self._stack.broken == "of several one is forgotten":
                allowed.pop()
            self.topics |= {f"ENTITY#{each}" for each in allowed}
            return {"type": "Subscribed", "entities": parts}
        if not entityId:
            return _error("InvalidEntityId")
        if since is not None and not isinstance(since, str):
            return _error("InvalidSince")
        if self._is_too_many([entityId]):
            return _error("TooManySubscriptions")
        self.topics.add(f"ENTITY#{entityId}")
        return {"type": "Subscribed"} | self._answer(entityId, since)

    def _part(self, entity_id: str) -> Frame:
        if not entity_id:
            return {"entityId": entity_id, "code": "InvalidEntityId"}
        if not entity_id.startswith("smoke/") and self._stack.broken != "all is allowed":
            return {"entityId": entity_id, "code": "Forbidden"}
        return self._answer(entity_id, None)

    def _is_too_many(self, entity_ids: Sequence[str]) -> bool:
        held = self._entity_ids()
        most = int(self._stack.parameters["MaxSubscriptionsPerConnection"])
        if self._stack.broken == "a repetition is too many" and len(held) >= most:
            return True
        if self._stack.broken == "there is no limit":
            return False
        return len({*held, *entity_ids}) > most

    def _answer(self, entity_id: str, since: object) -> Frame:
        log = self._stack.logs.setdefault(f"ENTITY#{entity_id}", [])
        answer: Frame = {"entityId": entity_id, "cursor": f"{_EPOCH}-{len(log)}"}
        if since is None:
            return answer
        after = len(log) - 1 if since == "last" else number(str(since))
        if self._stack.broken == "an event is forgotten":
            after += 1
        return answer | {"recovered": True, "events": log[after:]}

    def _history(self, entityId: str, since: object) -> Frame:
        if f"ENTITY#{entityId}" not in self.topics:
            return _error("NotSubscribed")
        return {"type": "History"} | self._answer(entityId, since)

    def _unsubscribe(self, entityId: str = "", entityIds: Sequence[str] = ()) -> Frame:
        if self._stack.broken != "nobody is unsubscribed":
            self.topics -= {f"ENTITY#{each}" for each in (entityId, *entityIds)}
        return {"type": "Unsubscribed"}

    def _authenticate(self, token: str) -> Frame:
        user, _, seconds = token.partition("!")
        if user != self.user and self._stack.broken != "any token renews":
            return _error("Forbidden")
        return {"type": "Authenticated", "expiresAt": time.time() + int(seconds)}


def _error(code: str) -> Frame:
    return {"type": "Error", "code": code}
