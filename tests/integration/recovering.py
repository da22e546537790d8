"""A client that comes back: it keeps the protocol's other half, and checks this one at every step.

Frames of an entity overtake each other, may arrive before the reply to their `subscribe`, and may
come both in a reply and live. So a client takes what was pushed only after the reply, in the order
of the numbers, and comes back with the cursor up to which it misses nothing.
"""

import asyncio
from collections.abc import Iterable
from contextlib import AsyncExitStack, suppress
from typing import Self

from integration.harness import Application, Client, Frame, number_of

# A function that dies holds its events for a while, and so may the one that takes them over.
_LIVE_WITHIN_SECONDS = 60.0


class Feed:
    """One entity, as a client follows it over all its connections.

    Attributes:
        heard: the frames since the first `Subscribed`, in order and without a hole.
        repeats: how many frames were pushed to a connection that had them already.
    """

    def __init__(self, entity_id: str) -> None:
        self.entity_id = entity_id
        self.heard: list[Frame] = []
        self.repeats = 0
        self._epoch = ""
        self._first = 0
        # Behind a hole.
        self._ahead: dict[int, Frame] = {}
        # Of this connection: what was asked for, what was pushed, and from where on all must be.
        self._asked_after: int | None = None
        self._pushed: dict[int, Frame] = {}
        self._live_after: int | None = None

    @property
    def number(self) -> int:
        """The number up to which nothing is missing."""
        return self._first + len(self.heard)

    @property
    def cursor(self) -> str | None:
        """What the client comes back with."""
        return f"{self._epoch}-{self.number}" if self._epoch else None

    def connected(self) -> None:
        """Begin on a new connection."""
        self._pushed = {}
        self._live_after = None

    def wanted(self) -> Frame:
        """Return what a request says about the entity."""
        self._asked_after = self.number if self._epoch else None
        since = {"since": self.cursor} if self._epoch else {}
        return {"entityId": self.entity_id, **since}

    def push(self, frame: Frame) -> None:
        """Take a frame that came live."""
        number = number_of(frame["cursor"])
        self.repeats += number in self._pushed
        assert self._pushed.setdefault(number, frame) == frame, "a repeat is the same frame"
        if self._live_after is not None:
            self._take([frame])

    def answered(self, answer: Frame) -> bool:
        """Take what a reply says about the entity; return whether there is more."""
        assert answer["entityId"] == self.entity_id
        cursor: str = answer["cursor"]
        more: bool = answer.get("more", False)
        if self._asked_after is None:
            self._epoch, self._first = cursor.partition("-")[0], number_of(cursor)
        else:
            assert answer["recovered"] is True, answer
            numbers = [number_of(event["cursor"]) for event in answer["events"]]
            assert numbers == list(range(self._asked_after + 1, number_of(cursor) + 1)), answer
            self._take(answer["events"])
        if not more:
            self._live_after = number_of(cursor)
            self._take(self._pushed.values())
        return more

    def missing_up_to(self, number: int) -> set[int]:
        """Return the numbers that had to come live on this connection and have not."""
        assert self._live_after is not None
        return set(range(self._live_after + 1, number + 1)) - self._pushed.keys()

    def _take(self, frames: Iterable[Frame]) -> None:
        for frame in frames:
            assert frame["cursor"].startswith(self._epoch)
            number = number_of(frame["cursor"])
            if number > self.number:
                self._ahead[number] = frame
            elif number > self._first:
                assert self.heard[number - self._first - 1] == frame, "a number is one event"
        while following := self._ahead.pop(self.number + 1, None):
            self.heard.append(following)


class Follower:
    """A client that follows some entities, over as many connections as it takes.

    As a context manager, it leaves at the end of the block.
    """

    def __init__(self, application: Application, *entity_ids: str) -> None:
        self.feeds = {entity_id: Feed(entity_id) for entity_id in entity_ids}
        self._application = application
        self._socket = AsyncExitStack()
        self._client: Client | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.leave()

    @property
    def client(self) -> Client:
        assert self._client, "the follower is connected"
        return self._client

    @property
    def is_connected(self) -> bool:
        return self._client is not None

    @property
    def repeats(self) -> int:
        return sum(feed.repeats for feed in self.feeds.values())

    async def come(self) -> None:
        """Connect, and subscribe to all with the cursors that there are."""
        self._client = await self._socket.enter_async_context(self._application.client())
        for feed in self.feeds.values():
            feed.connected()
        await self.subscribe(*self.feeds)

    async def subscribe(self, *entity_ids: str) -> None:
        """Subscribe, and ask for what the reply had no room for."""
        feeds = [self.feeds[entity_id] for entity_id in entity_ids]
        if len(feeds) == 1:
            answers = [await self._request("subscribe", **feeds[0].wanted())]
        else:
            entities = [feed.wanted() for feed in feeds]
            answers = (await self._request("subscribe", entities=entities))["entities"]
        for feed, answer in zip(feeds, answers, strict=True):
            page = answer
            while feed.answered(page):
                # A reply about several entities may have no room for any event; one about one has.
                page = await self._request("history", **feed.wanted())
                assert page["events"] or not page.get("more"), page

    async def unsubscribe(self, entity_id: str) -> None:
        reply = await self._request("unsubscribe", entityId=entity_id)
        assert reply["type"] == "Unsubscribed"

    async def hear_all_of(self, entity_id: str) -> None:
        """Wait for what the log of an entity holds by now: all of it has to come live."""
        feed = self.feeds[entity_id]
        reply = await self._request("history", entityId=entity_id, since=feed.cursor)
        assert reply["recovered"], reply
        number = number_of(reply["cursor"])
        with suppress(TimeoutError):
            async with asyncio.timeout(_LIVE_WITHIN_SECONDS):
                while feed.missing_up_to(number):
                    self._push(await self.client.next_frame(_LIVE_WITHIN_SECONDS))
        assert not feed.missing_up_to(number), "all that is logged comes live"

    async def look(self) -> None:
        """Take all that was pushed up to now."""
        for frame in await self.client.arrived():
            self._push(frame)

    async def leave(self) -> None:
        """Close the connection."""
        self._client = None
        await self._socket.aclose()

    async def vanish(self) -> None:
        """Lose the connection, and with it what has not been looked at."""
        await self.client.kill()
        await self.leave()

    async def _request(self, action: str, **fields: object) -> Frame:
        reply = await self.client.request(action, **fields)
        for frame in self.client.kept():
            self._push(frame)
        assert reply["type"] != "Error", reply
        return reply

    def _push(self, frame: Frame) -> None:
        self.feeds[frame["entityId"]].push(frame)
