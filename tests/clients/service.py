"""A server that plays the service to one client: as it is, or as a scenario bends it.

Left alone it answers as the service does. A scenario takes requests out of its hands with `hold`,
pushes what it likes, and ends connections in every way there is. Whatever the client does against
`docs/clients.md` or the contract is written down in `violations`, whichever scenario is played; and
so is what a scenario has the service say against the contract, unless it is to be a newer one.
"""

import asyncio
import base64
import json
import time
from collections import deque
from collections.abc import Awaitable, Callable, Generator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request as Handshake
from websockets.http11 import Response
from websockets.typing import Subprotocol

from clients.topics import USER, Frame, Room, Topic, about, id_of, is_cursor, parse
from clients.waiting import Changes
from support.contract import contract

# API Gateway closes a connection that sends a larger frame, with 1009.
MAX_FRAME_BYTES = 32 * 1024
MAX_ENTITIES = 99
# Timers are rounded, and may be a moment early.
EARLY_SECONDS = 0.005
# What comes of a handshake, where it is no status.
UNANSWERED = 0
CUT = -1
ACTIONS = {"subscribe", "history", "unsubscribe", "subscriptions", "ping", "authenticate"}
_ENCODED = "base64url.bearer.authorization."


@dataclass(eq=False)
class Request:
    """A request that came; whoever holds it decides what comes of it."""

    connection: "Connection"
    fields: Frame
    at: float
    answered: bool = False

    @property
    def action(self) -> str:
        return str(self.fields.get("action"))

    @property
    def parts(self) -> list[Frame]:
        """What it says about each entity."""
        if "entities" in self.fields:
            parts: list[Frame] = self.fields["entities"]
            return parts
        if "entityIds" in self.fields:
            return [{"entityId": entity_id} for entity_id in self.fields["entityIds"]]
        return [self.fields] if self.fields.keys() & {"entityId", "user"} else []

    @property
    def entity_ids(self) -> list[str]:
        return [id_of(part) for part in self.parts]

    @property
    def since(self) -> str | None:
        """The `since` of the only entity that it is about."""
        (part,) = self.parts
        since: str | None = part.get("since")
        return since

    @property
    def sinces(self) -> dict[str, str | None]:
        return {id_of(part): part.get("since") for part in self.parts}

    def admit(self, *refused: str) -> None:
        """Subscribe its connection, but not reply yet: from now on it gets what is published."""
        for entity_id in self.entity_ids:
            if entity_id not in refused:
                self.connection.subscribed[entity_id] = None

    async def reply(self, **codes: str) -> None:
        """Reply as the service does, save that entities are refused with these codes."""
        await self.send(self.answer(**codes))

    async def send(self, frame: Frame) -> None:
        """Reply with a frame, under the request's id."""
        echo = {"requestId": self.fields["requestId"]} if "requestId" in self.fields else {}
        self.answered = True
        # Before the client can say what it concludes from it.
        if self.connection.is_reached:
            self.connection.service.replied(self, frame)
        await self.connection.send(frame | echo)

    async def fail(self, code: str) -> None:
        """Reply that the request as a whole is refused."""
        self.connection.doubted()
        await self.send({"type": "Error", "code": code, "message": f"Because of {code}."})

    async def fail_at_gateway(self, message: str) -> None:
        """Reply as API Gateway itself does, which does not know the client's `requestId`."""
        self.answered = True
        self.connection.doubted()
        frame = {
            "message": message,
            "connectionId": "Zz9yQe-CoAMCJ6w=",
            "requestId": "Zz9yQE0NoAMF",
        }
        await self.connection.send(frame)

    def answer(self, **codes: str) -> Frame:
        """Do what is asked, and return the reply."""
        subscribed = self.connection.subscribed
        match self.action:
            case "ping":
                return {"type": "Pong", "time": "2026-11-24T01:46:41Z"}
            case "authenticate":
                return {"type": "Authenticated", "expiresAt": int(time.time()) + 3600}
            case "unsubscribe":
                for entity_id in self.entity_ids:
                    subscribed.pop(entity_id, None)
                return {"type": "Unsubscribed"} | {
                    name: self.fields[name] for name in self.fields if name.startswith("entityId")
                }
            case "subscriptions":
                return {"type": "Subscriptions", "entityIds": sorted(subscribed)}
            case "history":
                if id_of(self.fields) not in subscribed:
                    return {"type": "Error", "code": "NotSubscribed", "message": "It is not."}
                answer = self._about(self.fields, Room(True), {})
                return {"type": "Error" if "code" in answer else "History"} | answer
        return self._subscribe(codes)

    def _subscribe(self, codes: dict[str, str]) -> Frame:
        service = self.connection.service
        subscribed = self.connection.subscribed
        wanted = [entity_id for entity_id in self.entity_ids if entity_id not in codes]
        if len(subscribed.keys() | wanted) > service.max_subscriptions:
            return {"type": "Error", "code": "TooManySubscriptions", "message": "All or none."}
        if "entities" in self.fields:
            room = Room(False)
            answers = [self._about(part, room, codes) for part in self.parts]
            self.admit(*(id_of(answer) for answer in answers if "code" in answer))
            return {"type": "Subscribed", "entities": answers}
        answer = self._about(self.fields, Room(True), codes)
        if "code" in answer:
            return {"type": "Error"} | answer
        self.admit()
        return {"type": "Subscribed"} | answer

    def _about(self, part: Frame, room: Room, codes: dict[str, str]) -> Frame:
        entity_id = id_of(part)
        if code := codes.get(entity_id):
            # The user is named by its place alone.
            named = about(entity_id) if entity_id != USER else {}
            return named | {"code": code, "message": f"Because of {code}."}
        try:
            return self.connection.service.topic(entity_id).answer(part.get("since"), room)
        except ValueError:
            return about(entity_id) | {"code": "InvalidSince", "message": "It is no cursor."}


@dataclass(eq=False)
class Connection:
    """A connection of the client.

    Attributes:
        subscribed: what it gets, in the order of subscribing.
        confirmed: what it was told that it is subscribed to.
        floors: by entity, the cursor of the last reply, which the client's position has reached.
        requests: all that came, in their order.
        last_said: when the last frame was sent; `-inf` where doubt is right.
        close_code: with what it ended; None as long as it is open.
        closed_by_client: that the client began the closing handshake.
    """

    service: "Service"
    websocket: ServerConnection
    number: int
    subscribed: dict[str, None] = field(default_factory=dict)
    confirmed: set[str] = field(default_factory=set)
    floors: dict[str, str] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    last_said: float = field(default_factory=time.monotonic)
    frozen: bool = False
    close_code: int | None = None
    closed_by_client: bool = False
    ended_by_service: bool = False

    @property
    def is_open(self) -> bool:
        return self.close_code is None and not self.ended_by_service

    @property
    def is_reached(self) -> bool:
        return self.is_open and not self.frozen

    @property
    def under_way(self) -> list[Request]:
        return [request for request in self.requests if not request.answered]

    def doubted(self) -> None:
        """Allow a ping at any time, as after an answer that leaves a request to be repeated."""
        self.last_said = float("-inf")

    async def push(self, *frames: Frame) -> None:
        """Send frames of an entity."""
        for frame in frames:
            if self.is_reached:
                self.service.position_of(id_of(frame)).said(frame["cursor"])
            await self.send(frame)

    async def send(self, frame: Frame) -> None:
        """Send a frame, if it can get there."""
        if not self.service.is_newer and (problem := contract().service_problem(frame)):
            self.service.violated(f"by the service: {problem}")
        if not self.is_reached:
            return
        if self.last_said >= 0:
            self.last_said = time.monotonic()
        self.service.note(f"{self.number} > {_in_brief(frame)}")
        with suppress(ConnectionClosed):
            await self.websocket.send(json.dumps(frame, ensure_ascii=False))

    def freeze(self) -> None:
        """Say and hear nothing any more, closing handshakes included, but stay there."""
        self.service.note(f"{self.number} is frozen")
        self.frozen = True
        self.websocket.transport.pause_reading()

    def cut(self) -> None:
        """Break the line."""
        self._ends("is cut")
        self.websocket.transport.abort()

    async def close(self, code: int, reason: str = "") -> None:
        """Close with a code."""
        self._ends(f"is closed with {code}")
        await self.websocket.close(code, reason)

    async def disconnect(
        self,
        code: str,
        *,
        reconnect: bool,
        reason: str | None = None,
    ) -> None:
        """Tell the client to leave, and wait for nothing."""
        frame: Frame = {"type": "Disconnect", "code": code, "reconnect": reconnect}
        if reason is not None:
            frame["reason"] = reason
        self.service.not_before(time.monotonic() + self.service.min_delay)
        await self.send(frame)

    async def end_subscription(self, entity_id: str, code: str) -> None:
        """End a subscription that the grants of a new token do not cover."""
        self.subscribed.pop(entity_id, None)
        self.confirmed.discard(entity_id)
        await self.send({"type": "Unsubscribed", "entityId": entity_id, "code": code})

    def _ends(self, how: str) -> None:
        self.service.note(f"{self.number} {how}")
        self.ended_by_service = True
        if not self.frozen and not any(each.is_open for each in self.service.connections):
            self.service.not_before(time.monotonic() + self.service.min_delay)


@dataclass
class Position:
    """How far the client can be in the log of an entity, by what it was told.

    Attributes:
        reached: by epoch, the number up to which it can miss nothing.
        beyond: what it was told behind a hole.
        asked: the latest position that it asked from.
    """

    reached: dict[str, int] = field(default_factory=dict)
    beyond: set[tuple[str, int]] = field(default_factory=set)
    asked: str = ""

    def begins(self, cursor: str) -> None:
        """Take all up to a cursor as known."""
        epoch, number = parse(cursor)
        self.reached[epoch] = max(number, self.reached.get(epoch, -1))
        self._fill(epoch)

    def said(self, cursor: str) -> None:
        """Take a live frame as heard."""
        epoch, number = parse(cursor)
        self.beyond.add((epoch, number))
        self._fill(epoch)

    def _fill(self, epoch: str) -> None:
        while epoch in self.reached and (epoch, self.reached[epoch] + 1) in self.beyond:
            self.reached[epoch] += 1

    def may_be(self, cursor: str) -> bool:
        epoch, number = parse(cursor)
        return number <= self.reached.get(epoch, -1)


class Hold:
    """A request that a scenario waits for; `await` returns it."""

    def __init__(self, action: str, changes: Changes) -> None:
        self.action = action
        self.request: Request | None = None
        self._changes = changes

    def __await__(self) -> Generator[Any, Any, Request]:
        return self._arrival().__await__()

    async def _arrival(self) -> Request:
        await self._changes.until(lambda: self.request, f"a {self.action}")
        assert self.request
        return self.request


class Service:
    """The service, for one client.

    Attributes:
        entity_ids: what the client was told to follow.
        connections: all that were opened, in their order.
        attempts: when each handshake came.
        tokens: what each of them brought; None where it was none.
        refusals: statuses that the next handshakes are refused with; or UNANSWERED, or CUT.
        violations: what the client did wrong.
        respond: how requests are answered that nobody holds.
        deliver: how frames get to a connection that is subscribed.
        is_newer: whether it may say what the contract of today does not.
        strict_delays: whether attempts may not come early; not where connections overlap.
    """

    def __init__(self, changes: Changes, *, min_delay: float, ping: float) -> None:
        self.min_delay = min_delay
        self.max_subscriptions = 100
        self.entity_ids: list[str] = []
        self.topics: dict[str, Topic] = {}
        self.connections: list[Connection] = []
        self.attempts: list[float] = []
        self.tokens: list[str | None] = []
        self.refusals: deque[int] = deque()
        self.violations: list[str] = []
        self.respond: Callable[[Request], Awaitable[None]] = Request.reply
        self.deliver: Callable[[Connection, Frame], Awaitable[None]] = Connection.push
        self.is_newer = False
        self.strict_delays = True
        self.transcript: list[str] = []
        self._changes = changes
        self._ping = ping
        self._holds: list[Hold] = []
        self._positions: dict[str, Position] = {}
        self._earliest = 0.0
        self._began = time.monotonic()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: Server | None = None
        self._port = 0
        self._stopped = asyncio.Event()

    async def start(self, port: int = 0) -> str:
        """Listen, and return the address."""
        self._server = await serve(
            self._handle,
            "127.0.0.1",
            port,
            process_request=self._handshake,
            subprotocols=[Subprotocol("websocket")],
            compression=None,
            ping_interval=None,
            close_timeout=2,
            max_size=MAX_FRAME_BYTES,
            # A scenario's machine may be busy.
            open_timeout=60,
        )
        self._port = next(iter(self._server.sockets)).getsockname()[1]
        return f"ws://127.0.0.1:{self._port}/v1"

    async def go_away(self) -> None:
        """Cut all connections, and be nowhere."""
        assert self._server
        self._server.close(close_connections=False)
        for connection in self.connections:
            connection.cut()
        await self._server.wait_closed()

    async def come_back(self) -> None:
        """Be where it was."""
        await self.start(self._port)

    async def stop(self) -> None:
        """End everything."""
        self._stopped.set()
        for task in self._tasks:
            task.cancel()
        for connection in self.connections:
            connection.websocket.transport.abort()
        if self._server:
            self._server.close()
            await self._server.wait_closed()

    def note(self, text: str) -> None:
        """Write down what happened, for whoever reads about a failure; wake who waits for it."""
        self.transcript.append(f"{time.monotonic() - self._began:8.3f} {text}")
        self._changes.happened()

    def violated(self, rule: str) -> None:
        self.note(f"VIOLATION: {rule}")
        self.violations.append(rule)

    def topic(self, entity_id: str) -> Topic:
        """Return the log of an entity, opened if need be."""
        return self.topics.setdefault(entity_id, Topic(entity_id, "5f0c2a9be41d"))

    def position_of(self, entity_id: str) -> Position:
        return self._positions.setdefault(entity_id, Position())

    def hold(self, action: str) -> Hold:
        """Take the next request of this kind out of the service's hands."""
        hold = Hold(action, self._changes)
        self._holds.append(hold)
        return hold

    def let_go(self) -> None:
        """Take no more requests out of the service's hands."""
        self._holds.clear()

    async def connection(self, number: int) -> Connection:
        """Wait for the connection that is opened as the `number`th."""
        await self._changes.until(lambda: len(self.connections) >= number, f"connection {number}")
        return self.connections[number - 1]

    async def subscribed(self, number: int, *entity_ids: str) -> Connection:
        """Wait until that connection is subscribed to these, or to all, and has all replies."""
        connection = await self.connection(number)
        wanted = set(entity_ids or self.entity_ids)
        await self._changes.until(
            lambda: connection.subscribed.keys() >= wanted and not connection.under_way,
            f"connection {number} is subscribed to all",
        )
        return connection

    async def settled(self) -> Connection:
        """Wait for a connection that is open and subscribed to all, and has all replies."""

        def found() -> Connection | None:
            for each in self.connections:
                is_there = each.is_reached and each.close_code is None and not each.under_way
                if is_there and each.subscribed.keys() >= set(self.entity_ids):
                    return each
            return None

        await self._changes.until(found, "a connection is subscribed to all")
        connection = found()
        assert connection
        return connection

    async def left(self, connection: Connection) -> int:
        """Wait until a connection is closed, and return the code."""
        await self._changes.until(
            lambda: connection.close_code is not None, f"connection {connection.number} is closed"
        )
        assert connection.close_code is not None
        return connection.close_code

    async def attempted(self, count: int) -> None:
        """Wait for so many handshakes in all."""
        await self._changes.until(lambda: len(self.attempts) >= count, f"{count} attempts")

    def log(self, entity_id: str, count: int = 1, **fields: object) -> list[Frame]:
        """Append events to a log, and push them to nobody."""
        return [self.topic(entity_id).append(**fields) for _ in range(count)]

    async def publish(self, entity_id: str, count: int = 1, **fields: object) -> list[Frame]:
        """Append events to a log, and push them to whoever is subscribed."""
        frames = self.log(entity_id, count, **fields)
        for frame in frames:
            for connection in [each for each in self.connections if each.is_open]:
                if entity_id in connection.subscribed:
                    await self.deliver(connection, frame)
        return frames

    def spawn(self, work: Awaitable[None]) -> None:
        """Do something beside, until the service stops."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (problem := task.exception()):
            self.violated(f"the server failed: {problem!r}")

    def not_before(self, at: float) -> None:
        """Take an attempt before this time as a violation."""
        self._earliest = at

    def replied(self, request: Request, frame: Frame) -> None:
        """Note what the client knows from a reply."""
        for answer in frame.get("entities", [frame]):
            if "cursor" in answer and id_of(answer) in request.entity_ids:
                self.position_of(id_of(answer)).begins(answer["cursor"])
                request.connection.confirmed.add(id_of(answer))
                if answer.get("recovered", True):
                    request.connection.floors[id_of(answer)] = answer["cursor"]

    async def _handshake(self, websocket: ServerConnection, request: Handshake) -> Response | None:
        now = time.monotonic()
        self.attempts.append(now)
        self.note(f"attempt {len(self.attempts)}")
        if self.strict_delays and now < self._earliest - EARLY_SECONDS:
            early = (self._earliest - now) * 1000
            self.violated(f"attempt {len(self.attempts)} came {early:.0f} ms early")
        fields = request.headers.get_all("Sec-WebSocket-Protocol")
        name, *tokens = ",".join(fields).replace(" ", "").split(",")
        if name != "websocket" or len(tokens) > 1:
            self.violated(f"offers {fields}, not websocket and then a token at most")
        self.tokens.append(_decoded(tokens[0]) if tokens else None)
        if not self.refusals:
            return None
        status = self.refusals.popleft()
        if status == CUT:
            self.note("is cut off")
            self.not_before(time.monotonic() + self.min_delay)
            websocket.transport.abort()
        if status == UNANSWERED:
            await self._stopped.wait()
        if status in (CUT, UNANSWERED):
            # Nobody hears it.
            status = 503
        self.note(f"is refused with {status}")
        self.not_before(time.monotonic() + self.min_delay)
        return websocket.respond(status, '{"message":"refused"}')

    async def _handle(self, websocket: ServerConnection) -> None:
        connection = Connection(self, websocket, len(self.connections) + 1)
        self.connections.append(connection)
        self.note(f"{connection.number} is open")
        try:
            async for message in websocket:
                self._came(connection, message)
        except ConnectionClosed:
            pass
        state = websocket.protocol
        if state.close_sent and state.close_sent.code == 1009:
            self.violated(f"a frame of more than {MAX_FRAME_BYTES} bytes")
        connection.closed_by_client = bool(state.close_rcvd and state.close_rcvd_then_sent)
        connection.close_code = websocket.close_code or 1006
        self.note(f"{connection.number} ended with {connection.close_code}")

    def _came(self, connection: Connection, message: str | bytes) -> None:
        text = message if isinstance(message, str) else message.decode()
        self.note(f"{connection.number} < {text}")
        request = Request(connection, json.loads(text), time.monotonic())
        self._check(request)
        connection.requests.append(request)
        for hold in self._holds:
            if hold.action == request.action:
                hold.request = request
                self._holds.remove(hold)
                self._changes.happened()
                return
        self.spawn(self._respond(request))

    async def _respond(self, request: Request) -> None:
        await self.respond(request)
        self._changes.happened()

    def _check(self, request: Request) -> None:
        """Compare a request with what the page says about requests."""
        connection = request.connection
        if problem := contract().request_problem(request.fields):
            self.violated(problem)
        if connection.under_way:
            self.violated(f"{request.fields} while {connection.under_way[0].fields} is under way")
        if "requestId" not in request.fields:
            self.violated(f"no requestId: {request.fields}")
        if request.action not in ACTIONS:
            self.violated(f"no action: {request.fields}")
        self._check_entities(request)
        if request.action == "ping":
            silent = time.monotonic() - connection.last_said
            if silent < self._ping - EARLY_SECONDS:
                self.violated(f"a ping after {silent:.3f} s of silence")

    def _check_entities(self, request: Request) -> None:
        connection, ids = request.connection, request.entity_ids
        if len(ids) > MAX_ENTITIES or len(set(ids)) < len(ids):
            self.violated(f"{len(ids)} entities, {len(set(ids))} different ones")
        if any(("user" in part) == ("entityId" in part) for part in request.parts):
            self.violated(f"an entity or the user: {request.fields}")
        if USER in ids and request.action not in ("subscribe", "history"):
            self.violated(f"nothing else about the user: {request.fields}")
        if request.action == "subscribe" and connection.confirmed & set(ids):
            self.violated(f"subscribes again to {connection.confirmed & set(ids)}")
        for entity_id, since in request.sinces.items():
            if since is not None and is_cursor(since):
                self._check_since(connection, entity_id, since)
            elif request.action == "history":
                self.violated(f"history since {since}")

    def _check_since(self, connection: Connection, entity_id: str, since: str) -> None:
        position = self.position_of(entity_id)
        epoch, number = parse(since)
        if not position.may_be(since):
            self.violated(f"since {since} is beyond {position.reached}")
        for floor in filter(None, (position.asked, connection.floors.get(entity_id))):
            least = parse(floor)
            if epoch == least[0] and number < least[1]:
                self.violated(f"since {since} is behind {floor}, which it had reached")
        position.asked = since


def _decoded(offered: str) -> str:
    """Return the token that a subprotocol stands for."""
    if not offered.startswith(_ENCODED):
        return offered
    text = offered.removeprefix(_ENCODED)
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()


def _in_brief(frame: Frame) -> str:
    """Return a frame for the transcript, where an event is its cursor."""
    if frame.get("type") in ("Entity Updated", "User Push Notification"):
        return f"{id_of(frame)[:20]} {frame['cursor']}"
    return json.dumps(_without_events(frame), ensure_ascii=False)


def _without_events(members: Frame) -> Frame:
    shorter = dict(members)
    if events := members.get("events"):
        shorter["events"] = [events[0]["cursor"], "...", events[-1]["cursor"]]
    if answers := members.get("entities"):
        shorter["entities"] = [_without_events(answer) for answer in answers]
    return shorter
