"""The client: its states, attempts to connect, one connection that takes another's place."""

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NoReturn, Self

from websockets.exceptions import InvalidURI
from websockets.uri import parse_uri

from .conversation import Conversation
from .errors import ClosedForGood, SubscriptionRefused
from .feed import USER, Feed, Frame, Gap
from .line import Line, LineEndedError, RequestRefusedError, encode, open_socket
from .subscription import Subscription
from .times import Backoff, Times
from .tokens import GetToken, Life, fetch, renew

log = logging.getLogger(__package__)

# More than the longest id takes, and a cursor.
_MAX_ENTITY_BYTES = 4096


@dataclass(frozen=True, slots=True)
class State:
    """What the client is about.

    Attributes:
        code: why it is no longer connected, a WebSocket's close code or a word.
        delay: seconds until the next attempt.
    """

    name: Literal["connecting", "connected", "disconnected", "closed"]
    code: str | int | None = None
    reason: str = ""
    will_retry: bool | None = None
    delay: float | None = None


class NotificationsClient:
    """Follow entities over WebSockets, through whatever happens to a connection.

    As a context manager, it connects at the beginning of the block, and at its end closes what is
    open.
    """

    def __init__(
        self,
        url: str,
        *,
        get_token: GetToken | None = None,
        on_state: Callable[[State], object] | None = None,
        connect_options: Mapping[str, Any] | None = None,
        times: Times | None = None,
        parse_float: Callable[[str], Any] = float,
    ) -> None:
        """Prepare to connect.

        Args:
            url: of the WebSocket API's stage, such as `wss://….amazonaws.com/v1`.
            get_token: is called before each attempt with why it is made (`connect`, `reconnect`,
                `rotate`, or a code of the service, such as `TokenExpired`), and with
                `authenticate` at four fifths of a JWT's life, to renew it. It returns the token,
                or a coroutine for it. What it raises is tried again, save `UnauthorizedError`.
            on_state: is called with each new state.
            connect_options: for `websockets.connect`, such as `ssl`, `proxy`, `additional_headers`.
            times: how long it waits for what.
            parse_float: reads the numbers in frames that have a fraction or an exponent;
                `decimal.Decimal` keeps all their digits.

        Raises:
            ValueError: it is no address of a WebSocket.
        """
        try:
            parse_uri(url)
        except InvalidURI as error:
            raise ValueError(str(error)) from error
        self._url = url
        self._get_token = get_token
        self._on_state = on_state
        self._connect_options = connect_options or {}
        self._times = times or Times()
        self._parse_float = parse_float
        self._backoff = Backoff(self._times)
        self._is_token_refused = False
        # By entity, in the order in which they came.
        self._wanted: dict[str, list[Subscription]] = {}
        self._connections: set[_Connection] = set()
        # Of two, the one that is to take the other's place.
        self._second: _Connection | None = None
        self._task: asyncio.Task[None] | None = None
        self._error: ClosedForGood | None = None
        self.state = State("connecting")

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def subscribe(
        self,
        entity_id: str,
        *,
        since: str | None = None,
        on_gap: Callable[[Gap], object] | None = None,
        queue_size: int = 1000,
    ) -> Subscription:
        """Subscribe to an entity; events come from now on, whether they are taken at once or not.

        Args:
            entity_id: what to follow.
            since: a cursor, to begin with what came after it; `"last"`, to begin with the last
                event that there is; None, to begin with the next one.
            on_gap: is called when events cannot be brought any more, between those that the
                iteration gives before and after them. Without it, they are logged as a warning.
            queue_size: how many events wait for the program.
        """
        if not isinstance(entity_id, str):
            raise TypeError("entity_id must be a string")
        feed, error = _feed(entity_id, since)
        if entity_id == USER:
            error = SubscriptionRefused(entity_id, "InvalidEntityId", "It is empty.")
        return self._subscribe(feed, error, on_gap, queue_size)

    def subscribe_user(
        self,
        *,
        since: str | None = None,
        on_gap: Callable[[Gap], object] | None = None,
        queue_size: int = 1000,
    ) -> Subscription:
        """Subscribe to what is pushed to the user whose token it is, as to an entity.

        Where there is an `entity_id`, in events, gaps and errors, it is empty.
        """
        return self._subscribe(*_feed(USER, since), on_gap, queue_size)

    def _subscribe(
        self,
        feed: Feed,
        error: SubscriptionRefused | None,
        on_gap: Callable[[Gap], object] | None,
        queue_size: int,
    ) -> Subscription:
        if queue_size < 1:
            raise ValueError("queue_size must be 1 at least")
        entity_id = feed.entity_id
        others = self._wanted.get(entity_id, [])
        places = [each.feed for each in others if each.feed.position and not each.feed.paused]
        if feed.since is None and places:
            feed.begin_beside(max(places, key=lambda each: (not each.behind, each.number)))
        subscription = Subscription(
            feed, queue_size=queue_size, on_gap=on_gap, changed=self._subscription_changed
        )
        if self.state.name == "closed":
            subscription.end(self._error)
        elif error:
            subscription.end(error)
        else:
            self._wanted.setdefault(entity_id, []).append(subscription)
            self._look()
        return subscription

    async def close(self) -> None:
        """Close the connection, for good. All iterations end."""
        self._finish(LineEndedError("ClientClosed", is_final=True))
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await asyncio.gather(*(each.task for each in self._connections), return_exceptions=True)

    # States.

    async def _run(self) -> None:
        try:
            await self._keep_connected()
        except LineEndedError as ending:
            self._finish(ending)
        except Exception as error:
            # Nothing that another attempt could help against, such as a wrong connect option.
            log.exception("the client failed")
            self._finish(LineEndedError("ClientFailed", repr(error), is_final=True))

    async def _keep_connected(self) -> NoReturn:
        connection: _Connection | None = None
        why = "connect"
        while True:
            try:
                if connection is None:
                    self._enter(State("connecting"))
                    connection = await self._connect(why)
                    self._enter(State("connected"))
                why = "reconnect"
                connection = await self._follow(connection)
            except LineEndedError as ending:
                if ending.is_final:
                    raise
                connection, why = None, ending.why or why
                delay = self._backoff.next()
                self._enter(State("disconnected", ending.code, ending.reason, True, delay))
                await asyncio.sleep(delay)

    def _enter(self, state: State) -> None:
        self.state = state
        log.debug("%s", state)
        if self._on_state:
            try:
                self._on_state(state)
            except Exception:
                log.exception("on_state failed")

    def _finish(self, ending: LineEndedError) -> None:
        if self.state.name == "closed":
            return
        if ending.code != "ClientClosed":
            self._error = ClosedForGood(ending.code, ending.reason)
        for subscriptions in self._wanted.values():
            for subscription in subscriptions:
                subscription.end(self._error)
        for connection in self._connections:
            connection.leave()
        self._enter(State("closed", ending.code, ending.reason, False))

    # Connections.

    async def _connect(self, why: str) -> "_Connection":
        """Open a connection.

        Raises:
            LineEndedError: it could not be opened, now or ever.
        """
        token = await fetch(self._get_token, why) if self._get_token else None
        try:
            socket = await open_socket(self._url, token, self._times, self._connect_options)
        except LineEndedError as ending:
            if ending.token_refused and self._get_token and not self._is_token_refused:
                # Perhaps it was too old; the next one is new.
                self._is_token_refused = True
                raise LineEndedError(1006, ending.reason) from ending
            raise
        self._is_token_refused = False

        def on_end(entity_id: str, error: RequestRefusedError) -> None:
            conversation.ended(entity_id, error)

        line = Line(socket, self._times, self._heard, self._parse_float, on_end=on_end)
        conversation = Conversation(line, self._wanted, self._times)
        renewal = partial(
            renew,
            None if token is None else Life.of(token),
            get_token=self._get_token,
            authenticate=conversation.authenticate,
            times=self._times,
        )
        connection = _Connection(line, conversation, renewal)
        self._connections.add(connection)
        connection.task.add_done_callback(lambda _: self._connections.discard(connection))
        return connection

    async def _follow(self, connection: "_Connection") -> "_Connection":
        """Stay with a connection until another takes its place; return that.

        Raises:
            LineEndedError: it ended, and there is none; or there is to be none.
        """
        self._second = None
        rotation = asyncio.create_task(self._rotate(connection))
        try:
            either: set[asyncio.Future[Any]] = {rotation, connection.ended}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if rotation.done():
                second = rotation.result()
                connection.leave()
            elif (
                self._second
                and not self._second.ended.done()
                and not connection.ended.result().is_final
            ):
                second = self._second
            else:
                if _now() >= connection.opened_at + self._times.stable_after:
                    self._backoff.reset()
                raise connection.ended.result()
        finally:
            rotation.cancel()
            await asyncio.gather(rotation, return_exceptions=True)
        return second

    async def _rotate(self, first: "_Connection") -> "_Connection":
        """Open a second connection in time; return it when it has the replies to all."""
        age = random.uniform(*self._times.rotate_after)  # noqa: S311 - spreads, hides nothing
        await asyncio.sleep(first.opened_at + age - _now())
        backoff = Backoff(self._times)
        while True:
            try:
                self._second = await self._connect("rotate")
                await self._second.settled()
            except LineEndedError as ending:
                if ending.is_final:
                    raise
                delay = backoff.next()
                log.debug("the second connection failed; again in %.1f s: %r", delay, ending)
                await asyncio.sleep(delay)
            else:
                return self._second

    # What comes, and what the program wants.

    def _heard(self, frame: Frame) -> None:
        subscriptions: Sequence[Subscription] = ()
        match frame:
            case {"type": "User Push Notification"}:
                subscriptions = self._wanted.get(USER, ())
            case {"entityId": str() as entity_id} if entity_id != USER:
                subscriptions = self._wanted.get(entity_id, ())
        try:
            for subscription in subscriptions:
                subscription.live(frame, _now())
        except ValueError as error:
            log.warning("a frame that cannot be read: %s", error)
        if any(each.feed.is_waiting for each in subscriptions):
            self._look()

    def _subscription_changed(self, subscription: Subscription) -> None:
        entity_id = subscription.entity_id
        if subscription.ended and entity_id in self._wanted:
            others = [each for each in self._wanted[entity_id] if each is not subscription]
            if others:
                self._wanted[entity_id] = others
            else:
                del self._wanted[entity_id]
        self._look()

    def _look(self) -> None:
        for connection in self._connections:
            connection.conversation.look()


class _Connection:
    """A line, and what is said on it, until it ends.

    Attributes:
        ended: is done with the reason as soon as there is one; the task closes the line after that.
    """

    def __init__(
        self,
        line: Line,
        conversation: Conversation,
        renewal: Callable[[], Coroutine[Any, Any, None]],
    ) -> None:
        self.conversation = conversation
        self.opened_at = _now()
        self.ended: asyncio.Future[LineEndedError] = asyncio.get_running_loop().create_future()
        self._line = line
        self._renewal = renewal
        self._leaving = asyncio.Event()
        self.task = asyncio.create_task(self._run())

    def leave(self) -> None:
        """Have it end. (A task that is cancelled before it began would not close the line.)"""
        self._leaving.set()

    async def settled(self) -> None:
        """Wait for the replies to all that is wanted.

        Raises:
            LineEndedError: the connection ends before.
        """
        await self.conversation.settled.wait()
        if self.ended.done():
            raise self.ended.result()

    async def _wait_to_leave(self) -> NoReturn:
        await self._leaving.wait()
        raise LineEndedError("ClientClosed")

    async def _run(self) -> None:
        ending = LineEndedError("ClientClosed")
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._wait_to_leave())
                group.create_task(self._line.receive())
                group.create_task(self.conversation.run())
                group.create_task(self._renewal())
        except* LineEndedError as endings:
            (ending, *_) = (each for each in endings.exceptions if isinstance(each, LineEndedError))
        except* Exception as errors:
            log.exception("a connection failed")
            ending = LineEndedError(1006, repr(errors.exceptions[0]))
        finally:
            self.ended.set_result(ending)
            self.conversation.settled.set()
            await self._line.close()


def _feed(entity_id: str, since: str | None) -> tuple[Feed, SubscriptionRefused | None]:
    """Return a feed; and why not, if the service need not be asked."""
    try:
        feed = Feed(entity_id, since)
    except ValueError as error:
        return Feed(entity_id), SubscriptionRefused(entity_id, "InvalidSince", str(error))
    if len(encode({"entityId": entity_id, "since": since})) > _MAX_ENTITY_BYTES:
        return feed, SubscriptionRefused(entity_id, "InvalidEntityId", "It is too long.")
    return feed, None


def _now() -> float:
    return asyncio.get_running_loop().time()
