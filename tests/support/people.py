"""Clients of the world: people with browsers, who lose the network and come back.

They keep the protocol: a frame is heard once, in the order of the numbers; frames overtake each
other, so what a client comes back with is not the cursor of its newest frame, but the last one up
to which it has heard all.
"""

from collections.abc import Callable
from typing import Any

from push.connection import Connection as KnownConnection
from push.errors import RequestRejected
from push.protocol import Answer, Wanted
from push.subscriptions import Subscriptions
from push.topics import Cursor, Room, Topic
from support.world import EVENTS_PER_ANSWER, Connection, World


class Feed:
    """One topic, as a client follows it."""

    def __init__(self) -> None:
        self.cursor: Cursor | None = None
        """Every number of this epoch up to it has been heard, or given up."""
        self.base: Cursor | None = None
        """Where the client began, or began anew because it could not recover."""
        self.heard: list[int] = []
        self.ahead: set[int] = set()
        self.early: list[Cursor] | None = None
        """Live frames that came before the reply."""

    def take(self, cursor: Cursor) -> None:
        """Take a frame, live or from an answer."""
        if self.early is not None:
            self.early.append(cursor)
            return
        if self.cursor is None or cursor.epoch != self.cursor.epoch:
            return
        if cursor.seq > self.cursor.seq:
            self.ahead.add(cursor.seq)
        while (following := self.cursor.seq + 1) in self.ahead:
            self.ahead.remove(following)
            self.heard.append(following)
            self.cursor = Cursor(cursor.epoch, following)

    def answered(self, answer: Answer) -> None:
        """Take a reply: first what it brings, then what came live before it."""
        early, self.early = self.early or [], None
        recovery = answer.recovery
        if answer.wanted.since is None or not recovery.recovered:
            self.base = self.cursor = recovery.cursor
            self.heard, self.ahead = [], set()
        for cursor in (*(event.cursor for event in recovery.events), *early):
            self.take(cursor)


class Client:
    """A person with a browser."""

    def __init__(self, world: World, topics: list[Topic]) -> None:
        self.world, self.rnd, self.topics = world, world.random, topics
        self.feeds: dict[Topic, Feed] = {}
        self.connection: Connection | None = None
        self.subscribed: set[Topic] = set()
        self.comes_back = self.rnd.random() < 0.8
        self.refusals: list[str] = []

    # What API Gateway calls.

    def hear(self, connection_id: str, frame: dict[str, Any]) -> None:
        feed = self.feeds.get(Topic.entity(frame["entityId"]))
        if feed:
            feed.take(Cursor.parse(frame["cursor"]))

    def hear_reply(self, answer: Any) -> None:
        if not isinstance(answer, list):
            return
        for each in answer:
            feed = self.feeds.get(each.wanted.topic)
            if feed and feed.early is not None:
                if not each.recovery.recovered and self.world.audit:
                    self.world.audit.not_recovered(each.wanted)
                feed.answered(each)

    # What the person does.

    def life(self) -> None:
        rnd = self.rnd
        self.world.wait(rnd.choice((0, 2, 10)))
        for topic in rnd.sample(self.topics, rnd.choice((1, 1, min(2, len(self.topics))))):
            self.feeds[topic] = Feed()
        self.come_back()
        for _ in range(rnd.randint(0, 3)):
            rnd.choice(
                (self.rest, self.leave, self.vanish, self.vanish, self.rotate, self.change)
            )()
            self.come_back()
        if not self.comes_back:
            rnd.choice((self.leave, self.vanish))()
            return
        while not self.world.last_call:
            self.world.wait(condition=lambda: self.is_lost() or self.world.last_call)
            self.come_back()

    def is_lost(self) -> bool:
        return self.connection is None or not self.connection.open

    def rest(self) -> None:
        self.world.wait(self.rnd.choice((1, 5, 20)))

    def leave(self) -> None:
        """Close the connection, and stay away."""
        if self.connection:
            self.world.hang_up(self.connection.id)
        self.stay_away()

    def vanish(self) -> None:
        """Lose the network. API Gateway does not know: posts to this connection still succeed."""
        if self.connection:
            self.connection.vanished = True
        self.stay_away()

    def stay_away(self) -> None:
        self.connection = None
        self.world.wait(self.rnd.choice((0, 0, 2, 2, 5, 10, 50, 300, 3_000, 15_000, 90_000)))

    def rotate(self) -> None:
        """Open a new connection before the old one is two hours old."""
        old, self.connection = self.connection, None
        self.come_back()
        if old:
            self.world.hang_up(old.id)

    def change(self) -> None:
        """Unsubscribe from a topic; perhaps subscribe to it again, or to another."""
        topic = self.rnd.choice(list(self.feeds))
        feed = self.feeds.pop(topic)
        self.subscribed.discard(topic)

        def unsubscribe(routes: Subscriptions, me: KnownConnection) -> list[Answer]:
            routes.unsubscribe(me.connection_id, [topic])
            return []

        while self.request(unsubscribe) is None and not self.is_lost():
            pass
        self.world.wait(self.rnd.choice((0, 2, 10)))
        choice = self.rnd.random()
        if choice < 0.5:
            self.feeds[topic] = feed
        elif choice < 0.8 or not self.feeds:
            others = [each for each in self.topics if each not in self.feeds]
            self.feeds[self.rnd.choice(others)] = Feed()

    def come_back(self) -> None:
        """Connect if need be, and subscribe to what is wanted and is not yet, page by page."""
        while self.is_lost() or self.feeds.keys() - self.subscribed:
            while self.is_lost():
                connection = self.world.dial(self)
                self.world.wait(condition=lambda: not connection.pending)  # noqa: B023
                self.connection, self.subscribed = connection, set()
            wanted = [
                Wanted(topic, feed.cursor)
                for topic, feed in self.feeds.items()
                if topic not in self.subscribed
            ]
            for topic, _ in wanted:
                self.feeds[topic].early = self.feeds[topic].early or []
            answers = self.request(
                lambda routes, me: routes.subscribe(me, wanted, _room())  # noqa: B023
            )
            while answers and not self.is_lost():
                self.subscribed |= {a.wanted.topic for a in answers if not a.recovery.more}
                more = next((a for a in answers if a.recovery.more), None)
                if more is None:
                    break
                topic = more.wanted.topic
                rest = Wanted(topic, self.feeds[topic].cursor)
                self.feeds[topic].early = []
                answers = self.request(
                    lambda routes, me: [routes.history(me.connection_id, rest, _room())]  # noqa: B023
                )

    def request(self, run: Callable[[Any, Any], Any]) -> list[Answer] | None:
        """Make a request; None if it failed, or if the connection was lost meanwhile."""
        connection = self.connection
        assert connection is not None
        number = self.world.ask(connection, run)
        if self.rnd.random() < 0.1:  # the person closes the page, or the train enters a tunnel
            self.world.wait(self.rnd.choice((0.1, 1, 5)))
            if number not in connection.replies:
                self.rnd.choice((self.leave, self.vanish))()
                return None
        self.world.wait(condition=lambda: number in connection.replies or not connection.open)
        answer = connection.replies.get(number)
        if isinstance(answer, RequestRejected) and answer.code != "ServiceUnavailable":
            self.refusals.append(answer.code)
        return answer if isinstance(answer, list) else None


def _room() -> Room:
    return Room(100_000, EVENTS_PER_ANSWER, one_at_least=True)
