"""One subscription of the program: a feed, and the queue from which events are taken."""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Self

from .errors import NotificationsError
from .feed import Ask, Cursor, Event, Feed, Frame, Gap, Item

log = logging.getLogger(__package__)


class Subscription:
    """The events of an entity, or the user's own; iterate over it with `async for`.

    As a context manager, it ends at the end of the block. The iteration ends after `unsubscribe`
    and when the client is closed.

    A slow program holds up nothing: when `queue_size` events wait for it, no more are taken, and
    once it has caught up with half of them, the service is asked for what came meanwhile. So a
    program that falls behind loses what the service keeps no more, and nothing else, and a gap says
    so. (What one reply brings, a hundred events or so, is taken even if there is not so much room.)

    Iterating raises:
        SubscriptionRefused: the service refuses it, now or after another connection.
        ClosedForGood: the client will make no more attempts.
    """

    def __init__(
        self,
        feed: Feed,
        *,
        queue_size: int,
        on_gap: Callable[[Gap], object] | None,
        changed: Callable[["Subscription"], object],
    ) -> None:
        """Made by `NotificationsClient.subscribe`; `changed` is called when it wants something."""
        self.feed = feed
        self._queue: deque[Item] = deque()
        self._queue_size = queue_size
        self._on_gap = on_gap
        self._changed = changed
        self._cursor = feed.position
        self._ready = asyncio.Event()
        self._ended = False
        self._error: NotificationsError | None = None

    @property
    def entity_id(self) -> str:
        return self.feed.entity_id

    @property
    def ended(self) -> bool:
        return self._ended

    @property
    def cursor(self) -> str | None:
        """Return the cursor of the last event that was taken, or where the subscription began.

        Stored, and passed as `since` after a restart, it brings what came after that.
        """
        cursor = self._taken()
        return str(cursor) if cursor else None

    def unsubscribe(self) -> None:
        """End the subscription. What has not been taken is dropped."""
        if not self._ended:
            self.end()
            self._changed(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.unsubscribe()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while True:
            match await self._next():
                case Event() as event:
                    return event
                case gap:
                    self._tell(gap)

    async def with_gaps(self) -> AsyncIterator[Event | Gap]:
        """Iterate over the events and the gaps between them; `on_gap` is not called."""
        while True:
            try:
                item = await self._next()
            except StopAsyncIteration:
                return
            yield item

    # For the client.

    def live(self, frame: Frame, now: float) -> None:
        """Take a frame that was pushed."""
        self._put(self.feed.live(frame, now))

    def answered(self, ask: Ask, reply: Frame, now: float) -> None:
        """Take what a reply says about the entity."""
        self._put(self.feed.answered(ask, reply, now))

    def refuse(self, error: NotificationsError) -> None:
        """End it since the service does not let it be."""
        self.end(error)
        self._changed(self)

    def end(self, error: NotificationsError | None = None) -> None:
        """End it: with an error after what waits, without one at once."""
        if self._ended:
            return
        self._cursor = self._taken()
        self._ended = True
        self._error = error
        if error is None:
            self._queue.clear()
        self._ready.set()

    def _put(self, items: Iterator[Item]) -> None:
        if self._ended:
            return
        if not self._queue:
            self._cursor = self.feed.position
        for item in items:
            self._queue.append(item)
            if len(self._queue) >= self._queue_size:
                self.feed.pause()
        if self._queue:
            self._ready.set()

    def _taken(self) -> Cursor | None:
        # Where nothing waits for the program, it is where the feed is.
        return self._cursor if self._queue or self._ended else self.feed.position

    async def _next(self) -> Item:
        while not self._queue:
            if self._error:
                raise self._error.with_traceback(None)
            if self._ended:
                raise StopAsyncIteration
            self._ready.clear()
            await self._ready.wait()
        item = self._queue.popleft()
        self._cursor = Cursor.parse(item.cursor)
        if self.feed.paused and len(self._queue) <= self._queue_size // 2 and not self._ended:
            self.feed.resume()
            self._changed(self)
        return item

    def _tell(self, gap: Gap) -> None:
        if self._on_gap is None:
            log.warning("%s: the events after %s up to %s are lost", *_said(gap))
            return
        try:
            self._on_gap(gap)
        except Exception:
            log.exception("on_gap failed")


def _said(gap: Gap) -> tuple[str, str, str]:
    return gap.entity_id or "the user", gap.after, gap.upto
