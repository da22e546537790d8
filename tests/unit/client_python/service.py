"""The service, as far as its clients see it: logs of entities, connections, and requests."""

import asyncio
import json
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from websockets.exceptions import ConnectionClosedError

from notifications_client.conversation import subject
from notifications_client.feed import USER, Cursor, Frame
from notifications_client.line import LineEndedError
from notifications_client.times import Times
from support.contract import contract
from unit.client_python.virtual_time import now

EPOCH = "5f0c2a9be41d"
Responder = Callable[["Connection", Frame], Frame | None]


class Log:
    """The events of an entity, of which only the newest may be kept.

    Attributes:
        page: the most events of a reply.
    """

    def __init__(self, entity_id: str, page: int = 100) -> None:
        self.entity_id = entity_id
        self.page = page
        self.epoch = EPOCH
        self._events: list[Frame] = []
        self._kept_after = 0

    def at(self, number: int) -> str:
        return f"{self.epoch}-{number}"

    @property
    def cursor(self) -> str:
        return self.at(len(self._events))

    def append(self, **members: Any) -> Frame:
        frame = {
            "type": "Entity Updated" if self.entity_id != USER else "User Push Notification",
            **({"entityId": self.entity_id} if self.entity_id != USER else {}),
            **members,
            "id": self.at(len(self._events) + 1),
            "time": "2026-11-24T01:46:41Z",
            "cursor": self.at(len(self._events) + 1),
        }
        self._events.append(frame)
        return frame

    def trim(self) -> None:
        """Keep nothing of what there is."""
        self._kept_after = len(self._events)

    def begin_again(self) -> None:
        """Begin another epoch."""
        self.epoch = f"{int(self.epoch, 16) + 1:012x}"
        self._events = []
        self._kept_after = 0

    def answer(self, since: str | None) -> Frame:
        """Return what a reply says about the entity."""
        said: Frame = subject(self.entity_id) | {"cursor": self.cursor}
        if since is None:
            return said
        if since == "last":
            after = max(0, len(self._events) - 1)
        else:
            asked = Cursor.parse(since)
            after = asked.number
            if asked.epoch != self.epoch or after > len(self._events):
                return said | {"recovered": False, "events": []}
        if after < len(self._events) and after < self._kept_after:
            return said | {"recovered": False, "events": []}
        events = self._events[after : after + self.page]
        said |= {"cursor": self.at(after + len(events)), "recovered": True, "events": events}
        return said | ({"more": True} if after + len(events) < len(self._events) else {})


class Connection:
    """A WebSocket, as the client holds it, and what the service knows of it."""

    def __init__(self, service: "Service") -> None:
        self.service = service
        self.subscribed: dict[str, None] = {}
        self.requests: list[Frame] = []
        self.closed_with: int | None = None
        self.close_code: int | None = None
        self.close_reason: str | None = None
        self.is_open = True
        self._arriving: asyncio.Queue[str | None] = asyncio.Queue()

    async def recv(self) -> str:
        text = await self._arriving.get()
        if text is None:
            raise ConnectionClosedError(None, None)
        return text

    async def send(self, message: str, /) -> None:
        assert self.is_open
        assert len(message.encode()) <= 32 * 1024
        request = json.loads(message)
        assert not (problem := contract().request_problem(request)), problem
        self.requests.append(request)
        if reply := self.service.respond(self, request):
            self.push(reply, is_bent=self.service.is_bent)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        if self.is_open:
            self.closed_with = code
            self.end(code)

    def push(self, frame: Frame, *, is_bent: bool = False) -> None:
        """Have a frame arrive: one of the contract, unless it is bent on purpose."""
        if not is_bent:
            contract().check_service(frame)
        self._arriving.put_nowait(json.dumps(frame))

    def end(self, code: int | None = None, reason: str = "") -> None:
        """Have it end, without a word if there is no code."""
        self.is_open = False
        self.close_code, self.close_reason = code, reason
        self._arriving.put_nowait(None)

    def asked(self, action: str) -> list[Frame]:
        return [request for request in self.requests if request["action"] == action]


class Service:
    """What clients connect to.

    Attributes:
        attempts: when each attempt to connect was made, and with which token.
        failures: of the next attempts; a number has the attempt take so long.
        respond: what answers requests; a test may put something else in its place.
        is_bent: whether its answers may be none of the contract.
    """

    def __init__(self) -> None:
        self.logs: dict[str, Log] = {}
        self.connections: list[Connection] = []
        self.attempts: list[tuple[float, str | None]] = []
        self.failures: deque[LineEndedError | float] = deque()
        self.respond: Responder = self.reply
        self.is_bent = False

    async def open_socket(
        self, url: str, token: str | None, times: Times, connect_options: Mapping[str, Any]
    ) -> Connection:
        self.attempts.append((now(), token))
        if self.failures:
            failure = self.failures.popleft()
            if isinstance(failure, LineEndedError):
                raise failure
            await asyncio.sleep(failure)
        self.connections.append(Connection(self))
        return self.connections[-1]

    def log(self, entity_id: str) -> Log:
        return self.logs.setdefault(entity_id, Log(entity_id))

    def publish(self, entity_id: str, count: int = 1, **members: Any) -> list[Frame]:
        """Log events, and push them to whoever is subscribed."""
        frames = [self.log(entity_id).append(**members) for _ in range(count)]
        for connection in self.connections:
            if connection.is_open and entity_id in connection.subscribed:
                for frame in frames:
                    connection.push(frame)
        return frames

    def reply(self, connection: Connection, request: Frame) -> Frame:
        """Return what the service replies to a request."""
        about = {"requestId": request["requestId"]}
        match request["action"]:
            case "subscribe":
                entities = request["entities"]
                connection.subscribed |= dict.fromkeys(id_of(each) for each in entities)
                parts = [self.log(id_of(each)).answer(each.get("since")) for each in entities]
                return {"type": "Subscribed", "entities": parts} | about
            case "history":
                said = self.log(id_of(request)).answer(request["since"])
                return {"type": "History"} | said | about
            case "authenticate":
                return {"type": "Authenticated", "expiresAt": 0} | about
            case "unsubscribe":
                for entity_id in request["entityIds"]:
                    del connection.subscribed[entity_id]
                return {"type": "Unsubscribed", "entityIds": request["entityIds"]} | about
        return {"type": "Pong", "time": "2026-11-24T01:46:41Z"} | about


def id_of(part: Frame) -> str:
    """Return the entity that a request is about, or what stands for the user."""
    return USER if part.get("user") is True else part["entityId"]


def error(code: str, request: Frame) -> Frame:
    return {"type": "Error", "code": code, "message": "no", "requestId": request["requestId"]}
