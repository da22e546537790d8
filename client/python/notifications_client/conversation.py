"""What is said on a connection: it gathers what is wanted, and says it in few requests."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn, Protocol

from .errors import SubscriptionRefused
from .feed import LAST, USER, Ask, Feed, Frame
from .line import LineEndedError, PassingError, RequestRefusedError, encode, refused
from .subscription import Subscription
from .times import Backoff, Times

log = logging.getLogger(__package__)

_MAX_ENTITIES = 99
# API Gateway closes a connection that sends a larger frame. The request around them is small.
_MAX_ENTITIES_BYTES = 32 * 1024 - 256
# A timer that fires so late has slept with the machine.
_LATE_SECONDS = 10.0
# How often there is one that can be late.
_TICK_SECONDS = 1.0

# What the program wants, by entity, in the order in which it came to want it.
Wanted = Mapping[str, Sequence[Subscription]]


class Asking(Protocol):
    """What a conversation needs of a line."""

    heard_at: float

    async def request(self, action: str, **fields: Any) -> Frame: ...


class Conversation:
    """Make requests on a line, one at a time, until it ends.

    Attributes:
        settled: is set once all that is wanted is subscribed to.
    """

    def __init__(
        self,
        line: Asking,
        wanted: Wanted,
        times: Times,
        *,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._line = line
        self._wanted = wanted
        self._times = times
        self.settled = asyncio.Event()
        self._wall_clock = wall_clock
        self._clock = asyncio.get_running_loop().time
        self._backoff = Backoff(times)
        self._changed = asyncio.Event()
        self._subscribed: dict[str, None] = {}
        # Halves of what was refused as a whole.
        self._pieces: deque[list[str]] = deque()
        self._is_in_doubt = False
        self._token: str | None = None
        self._authenticated = asyncio.Event()

    def look(self) -> None:
        """Have it look whether something is wanted."""
        self._changed.set()

    async def authenticate(self, token: str) -> None:
        """Tell the service a new token; return when it has taken it."""
        self._token = token
        self._authenticated.clear()
        self.look()
        await self._authenticated.wait()

    def ended(self, entity_id: str, error: RequestRefusedError) -> None:
        """Take note that the service has ended a subscription."""
        self._subscribed.pop(entity_id, None)
        self._refuse(self._wanted.get(entity_id, ()), error)

    async def run(self) -> NoReturn:
        """Ask for what is wanted, whenever something is.

        Raises:
            LineEndedError: it is of no use to go on here.
        """
        while True:
            self._changed.clear()
            try:
                if not await self._say_something():
                    await self._rest()
                else:
                    self._backoff.reset()
            except PassingError as error:
                seconds = self._backoff.next()
                log.debug("%s; again in %.1f s", error, seconds)
                await asyncio.sleep(seconds)

    async def _say_something(self) -> bool:
        if USER not in self._wanted:
            # A connection has its user's notifications from the beginning to the end.
            self._subscribed.pop(USER, None)
        if self._token is not None:
            await self._authenticate(self._token)
        elif unwanted := [each for each in self._subscribed if each not in self._wanted]:
            await self._unsubscribe(unwanted)
        elif entity_ids := self._to_subscribe():
            await self._subscribe(entity_ids)
        else:
            self.settled.set()
            if subscription := self._next_behind():
                await self._ask_history(subscription)
            elif self._is_in_doubt or self._clock() >= self._ping_at:
                await self._ping()
            else:
                return False
        # Whatever was asked, its reply is proof.
        self._is_in_doubt = False
        return True

    async def _rest(self) -> None:
        """Wait until there is something to say, or a tick; notice whether the machine slept."""
        times = [self._ping_at, *(self._due(each) for each in self._subscriptions())]
        seconds = min(_TICK_SECONDS, max(0.0, min(times) - self._clock()))
        began = self._wall_clock()
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            pass
        # The loop's own clock may have stopped while the machine slept.
        if self._wall_clock() - began > seconds + _LATE_SECONDS:
            self._is_in_doubt = True

    # What is wanted.

    def _subscriptions(self) -> Iterator[Subscription]:
        for entity_id, subscriptions in self._wanted.items():
            if entity_id in self._subscribed:
                yield from subscriptions

    def _is_to_be_subscribed(self, entity_id: str) -> bool:
        return entity_id in self._wanted and (
            entity_id not in self._subscribed
            or any(each.feed.position is None for each in self._wanted[entity_id])
        )

    def _to_subscribe(self) -> list[str]:
        while self._pieces:
            piece = self._pieces.popleft()
            if piece := [each for each in piece if self._is_to_be_subscribed(each)]:
                return piece
        entity_ids = [each for each in self._wanted if self._is_to_be_subscribed(each)]
        return _as_many_as_fit(entity_ids, self._entity)

    def _entity(self, entity_id: str) -> Frame:
        feeds = [each.feed for each in self._wanted[entity_id]]
        if entity_id in self._subscribed:
            # It is asked for once more, for those that do not know yet where they begin.
            feeds = [feed for feed in feeds if feed.position is None]
        since = _earliest(feeds)
        return subject(entity_id) | ({} if since is None else {"since": since})

    def _next_behind(self) -> Subscription | None:
        now = self._clock()
        return next((each for each in self._subscriptions() if self._due(each) <= now), None)

    def _due(self, subscription: Subscription) -> float:
        """Return when the subscription has to ask for its history."""
        feed = subscription.feed
        if feed.paused or feed.position is None:
            return float("inf")
        if feed.behind:
            return float("-inf")
        return float("inf") if feed.waiting_since is None else feed.waiting_since + self._times.hold

    @property
    def _ping_at(self) -> float:
        return self._line.heard_at + self._times.ping_interval

    # Requests.

    async def _authenticate(self, token: str) -> None:
        try:
            await self._line.request("authenticate", token=token)
        except RequestRefusedError as error:
            # Another connection, with another token.
            raise LineEndedError(error.code, error.message, why=error.code) from error
        self._token = None
        self._authenticated.set()

    async def _unsubscribe(self, entity_ids: list[str]) -> None:
        entity_ids = _as_many_as_fit(entity_ids, lambda each: each)
        try:
            await self._line.request("unsubscribe", entityIds=entity_ids)
        except RequestRefusedError as error:
            log.warning("unsubscribe was refused: %s", error)
        for entity_id in entity_ids:
            del self._subscribed[entity_id]

    async def _subscribe(self, entity_ids: list[str]) -> None:
        entities = [self._entity(each) for each in entity_ids]
        asks = [
            self._asks(entity_id, each.get("since"))
            for entity_id, each in zip(entity_ids, entities, strict=True)
        ]
        try:
            reply = await self._line.request("subscribe", entities=entities)
            answers = _parts(reply, len(entities))
        except PassingError:
            self._pieces.appendleft(entity_ids)
            raise
        except RequestRefusedError as error:
            if len(entity_ids) > 1:
                # Those that came first get the room that there is.
                middle = (len(entity_ids) + 1) // 2
                self._pieces.extendleft([entity_ids[middle:], entity_ids[:middle]])
            else:
                self._refuse(self._wanted.get(entity_ids[0], ()), error)
            return
        failures = [
            failure
            for entity_id, asked, answer in zip(entity_ids, asks, answers, strict=True)
            if (failure := self._subscribed_to(entity_id, asked, answer))
        ]
        for failure in failures:
            raise failure

    def _subscribed_to(
        self, entity_id: str, asked: list[tuple[Subscription, Ask]], answer: Frame
    ) -> Exception | None:
        """Take one part of a reply; return what is to be done about the whole connection."""
        if "code" in answer:
            failure = refused(answer)
            if not isinstance(failure, RequestRefusedError):
                return failure
            self._refuse(self._wanted.get(entity_id, ()), failure)
        else:
            self._answer(asked, answer)
            self._subscribed[entity_id] = None
        return None

    async def _ask_history(self, subscription: Subscription) -> None:
        since = subscription.feed.since
        asked = self._asks(subscription.entity_id, since)
        try:
            reply = await self._line.request(
                "history", **subject(subscription.entity_id), since=since
            )
        except RequestRefusedError as error:
            self._refuse([subscription], error)
            return
        self._answer(asked, reply)
        if reply.get("more") and subscription.feed.since == since and not subscription.ended:
            raise PassingError("a reply that brings nothing, though there is more")

    async def _ping(self) -> None:
        try:
            await self._line.request("ping")
        except RequestRefusedError as error:
            log.debug("a ping was refused: %s", error)

    def _asks(self, entity_id: str, since: str | None) -> list[tuple[Subscription, Ask]]:
        return [(each, each.feed.ask(since)) for each in self._wanted[entity_id]]

    def _answer(self, asked: list[tuple[Subscription, Ask]], answer: Frame) -> None:
        try:
            for subscription, ask in asked:
                subscription.answered(ask, answer, self._clock())
        except (AttributeError, TypeError, ValueError) as error:
            raise PassingError(f"a reply that cannot be read: {error}") from error

    def _refuse(self, subscriptions: Iterable[Subscription], error: RequestRefusedError) -> None:
        for each in list(subscriptions):
            each.refuse(SubscriptionRefused(each.entity_id, error.code, error.message))


def subject(entity_id: str) -> Frame:
    """Return what a request says to be about an entity, or the user."""
    return {"user": True} if entity_id == USER else {"entityId": entity_id}


def _parts(reply: Frame, number: int) -> list[Frame]:
    parts = reply.get("entities")
    if (
        isinstance(parts, list)
        and len(parts) == number
        and all(isinstance(part, dict) for part in parts)
    ):
        return parts
    raise PassingError("a reply about something else")


def _earliest(feeds: Sequence[Feed]) -> str | None:
    """Return from where on all are served by one reply, if that can be."""
    # Those that are paused take no reply now.
    positions = [feed.position for feed in feeds if feed.position and not feed.paused]
    if positions := positions or [feed.position for feed in feeds if feed.position]:
        of_one_log = [each for each in positions if each.epoch == positions[0].epoch]
        return str(min(of_one_log, key=lambda each: each.number))
    return LAST if any(feed.wants_last for feed in feeds) else None


def _as_many_as_fit(entity_ids: list[str], entry: Callable[[str], Any]) -> list[str]:
    room = _MAX_ENTITIES_BYTES
    fitting: list[str] = []
    for entity_id in entity_ids[:_MAX_ENTITIES]:
        room -= len(encode(entry(entity_id))) + 1
        if room < 0:
            break
        fitting.append(entity_id)
    return fitting
