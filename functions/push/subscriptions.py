"""The conversation with a client: what it is subscribed to, and what it missed."""

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from push.connection import Connection
from push.errors import ConnectionGone, NotSubscribed, TooManySubscriptions
from push.protocol import MAX_MESSAGE_BYTES, Answer, Refused, Reply, Wanted
from push.side_by_side import SideBySide, side_by_side
from push.topics import LONGEST_CURSOR, Head, Log, Recovery, Room, Topic

if TYPE_CHECKING:
    from push.adapters.table import Table

# All events of an answer; a single one may be larger, up to what a frame may have.
MAX_ANSWER_BYTES = 100 * 1024


class Subscriptions:
    """What connections are subscribed to.

    Every method raises `ServiceUnavailable` when the table does not answer.
    """

    def __init__(
        self,
        table: "Table",
        *,
        max_per_connection: int = 0,
        side_by_side: SideBySide = side_by_side,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Use a table; `max_per_connection` is for those who subscribe."""
        self._table = table
        self._log = Log(table, clock=clock)
        self._max = max_per_connection
        self._side_by_side = side_by_side

    def subscribe(
        self, connection: Connection, wanted: Sequence[Wanted], room: Room
    ) -> list[Answer]:
        """Subscribe to topics, all or none; bring what came after `since`, as far as there is room.

        The heads are read after the rows are written: what the log does not hold yet finds the row.

        Raises:
            ConnectionGone: the connection is not in the table.
            TooManySubscriptions: it would hold more than it may.
        """
        topics = [topic for topic, _ in wanted]
        if not topics:
            # All were refused for their own sake, and DynamoDB takes no empty set.
            return []
        self._add(connection, frozenset(topics))
        heads = self._side_by_side(self._log.open, topics)
        return [
            Answer(each, self._recover(each, head, room))
            for each, head in zip(wanted, heads, strict=True)
        ]

    def _add(self, connection: Connection, topics: frozenset[Topic]) -> None:
        held: frozenset[Topic] = frozenset()
        while len(topics) <= self._max:
            refused = self._table.add_subscriptions(
                connection, topics, held, room=self._max - len(topics - held)
            )
            if refused is None:
                return
            if not refused.exists:
                raise ConnectionGone("This connection is closed.")
            if len(refused.topics | topics) > self._max:
                break
            # Some of them are held already: they take no room. If they are gone by the next try,
            # that one is refused, and says so.
            held = refused.topics & topics
        raise TooManySubscriptions(f"A connection holds at most {self._max} subscriptions.")

    def _recover(self, wanted: Wanted, head: Head, room: Room) -> Recovery:
        if wanted.since is None:
            return Recovery(head.cursor, recovered=True)
        return self._log.recover(wanted.topic, head, wanted.since, room)

    def history(self, connection_id: str, wanted: Wanted, room: Room) -> Answer:
        """Return what came after `since`, for a subscriber. Writes nothing.

        Raises:
            NotSubscribed: the connection is not subscribed to the topic.
        """
        head = None
        if self._table.is_subscribed(connection_id, wanted.topic):
            head = self._table.head(wanted.topic)
        if head is None:
            raise NotSubscribed("Only who is subscribed to an entity may ask for its history.")
        return Answer(wanted, self._recover(wanted, head, room))

    def unsubscribe(self, connection_id: str, topics: Sequence[Topic]) -> None:
        """End subscriptions; a success also if there was none. A frame on its way may still come.

        Whoever dies between the two writes leaves a topic in the set that has no row, and `forget`
        deletes a row that is not there. The other way round a row would be left.
        """
        self._table.delete_subscriptions(connection_id, topics)
        self._table.take_topics(connection_id, frozenset(topics))

    def entity_ids(self, connection_id: str) -> list[str]:
        """Return the entities that a connection is subscribed to, sorted.

        Raises:
            ConnectionGone: the connection is not in the table.
        """
        return sorted(topic.id for topic in self.require(connection_id))

    def require(self, connection_id: str) -> frozenset[Topic]:
        """Return what a connection is subscribed to; raise `ConnectionGone` if it is not known."""
        topics = self._table.topics_of(connection_id)
        if topics is None:
            raise ConnectionGone("This connection is closed.")
        return topics


def forget(table: "Table", connection_id: str, *at_hand: Topic) -> int:
    """Delete a connection that is gone, whole; return of how many topics.

    Its set names its rows, and once it is deleted nobody can add one. Whoever dies after that, or
    loses its answer, leaves rows that no set names; so a walk that meets one deletes it in any
    case, as the topic `at_hand`.
    """
    topics = table.delete_connection(connection_id) | set(at_hand)
    table.delete_subscriptions(connection_id, sorted(topics))
    return len(topics)


def room_for_one() -> Room:
    """Return the room of an answer about one topic: an event of any size comes at least."""
    return Room(MAX_ANSWER_BYTES, one_at_least=True)


def room_for_several(parts: Sequence[Wanted | Refused], request_id: str | int | None) -> Room:
    """Return the room of an answer about several topics: the frame as a whole has to fit."""
    longest = Recovery(LONGEST_CURSOR, recovered=False, more=True)
    answers = [part if isinstance(part, Refused) else Answer(part, longest) for part in parts]
    # A comma between events, and some to spare.
    around = len(Reply.about_several("Subscribed", answers).encode(request_id).encode()) + 512
    return Room(min(MAX_ANSWER_BYTES, MAX_MESSAGE_BYTES - around))
