"""The conversation with a client: what it is subscribed to, and what it missed."""

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from identity.claims import Identity
from push.access import Access
from push.connection import Connection
from push.errors import (
    ConnectionGone,
    Forbidden,
    NotSubscribed,
    PushError,
    TooManyConnections,
    TooManySubscriptions,
)
from push.observability import logger
from push.protocol import MAX_MESSAGE_BYTES, Answer, Refused, Reply, Wanted
from push.side_by_side import SideBySide, side_by_side
from push.topics import ENTITY, LONGEST_CURSOR, USER, Cursor, Head, Log, Recovery, Room, Topic

if TYPE_CHECKING:
    from push.adapters.table import ConnectionRow, Table

# All events of an answer; a single one may be larger, up to what a frame may have.
MAX_ANSWER_BYTES = 100 * 1024


class Subscriptions:
    """What connections are subscribed to.

    Where tokens are asked for, what a connection may do is what its item says, as it is now; where
    they are not, anybody may hear everything.

    Every method raises `ServiceUnavailable` when the table does not answer, `ConnectionGone` where
    the connection is not in it, and `TokenExpired` where its token is past its time.
    """

    def __init__(
        self,
        table: "Table",
        *,
        access: Access | None = None,
        max_per_connection: int = 0,
        side_by_side: SideBySide = side_by_side,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Use a table; `max_per_connection` is for those who subscribe."""
        self._table = table
        self._log = Log(table, clock=clock)
        self._access = access
        self._max = max_per_connection
        self._side_by_side = side_by_side
        self._clock = clock

    def subscribe(
        self, connection: Connection, parts: Sequence[Wanted | Refused], room: Room
    ) -> list[Answer | Refused]:
        """Subscribe to topics, all or none; bring what came after `since`, as far as there is room.

        What the token does not allow is refused for its own sake, as other parts are already. The
        heads are read after the rows are written: what the log does not hold yet finds the row.

        Raises:
            TooManySubscriptions: the connection would hold more than it may.
        """
        identity = self._identity(connection.connection_id)
        while True:
            allowed = [self._allowed(part, identity) for part in parts]
            topics = frozenset(part.topic for part in allowed if isinstance(part, Wanted))
            # If all were refused for their own sake: DynamoDB takes no empty set.
            if not topics or self._add(connection, topics, identity):
                break
            # Its token was renewed meanwhile: what that allows may differ.
            identity = self._identity(connection.connection_id)
        heads = dict(zip(topics, self._side_by_side(self._log.open, list(topics)), strict=True))
        answers = [
            Answer(part, self._recover(part, heads[part.topic], room))
            if isinstance(part, Wanted)
            else part
            for part in allowed
        ]
        told = [said_of(answer) for answer in answers if isinstance(answer, Answer)]
        logger.info("subscribed", subscriptions=told, refused=len(answers) - len(told))
        return answers

    def _identity(self, connection_id: str) -> Identity | None:
        """Return whose connection it is; None where anybody may hear everything."""
        if self._access is None:
            return None
        return self._access.identity(self._require(connection_id), self._clock())

    def _require(self, connection_id: str) -> "ConnectionRow":
        return require_connection(self._table, connection_id)

    def _allowed(self, part: Wanted | Refused, identity: Identity | None) -> Wanted | Refused:
        """Return what is wanted as the topic that it is for this connection, if that is allowed."""
        if isinstance(part, Refused):
            return part
        try:
            return part._replace(topic=self._topic(part.topic, identity))
        except Forbidden as rejection:
            return part.refused(rejection)

    def _topic(self, topic: Topic, identity: Identity | None) -> Topic:
        """Return a topic of a request as it is for a connection; raise `Forbidden`."""
        if self._access is not None and identity is not None:
            return self._access.topic(topic, identity)
        if topic.kind == USER:
            raise Forbidden("This connection has no user.")
        return topic

    def _add(
        self, connection: Connection, topics: frozenset[Topic], identity: Identity | None
    ) -> bool:
        """Write subscriptions; return False if the connection's token is another one now."""
        held: frozenset[Topic] = frozenset()
        # The subscription to its user came with the connection, and takes no room.
        most = self._max if identity is None else self._max + 1
        while len(topics) <= most:
            refused = self._table.add_subscriptions(
                connection, topics, held, room=most - len(topics - held), identity=identity
            )
            if refused is None:
                return True
            if refused.met is None:
                raise ConnectionGone("This connection is closed.")
            if identity is not None and refused.met.identity != identity:
                return False
            if len(refused.met.topics | topics) > most:
                break
            # Some of them are held already: they take no room. If they are gone by the next try,
            # that one is refused, and says so.
            held = refused.met.topics & topics
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
        if topic := self._subscribed(connection_id, wanted.topic):
            head = self._table.head(topic)
        if topic is None or head is None:
            raise NotSubscribed("Only who is subscribed to an entity may ask for its history.")
        wanted = wanted._replace(topic=topic)
        answer = Answer(wanted, self._recover(wanted, head, room))
        logger.info("history read", subscriptions=[said_of(answer)])
        return answer

    def _subscribed(self, connection_id: str, topic: Topic) -> Topic | None:
        """Return the topic as it is for a connection that is subscribed to it."""
        if self._access is None:
            return topic if self._table.is_subscribed(connection_id, topic) else None
        row = self._require(connection_id)
        topic = self._topic(topic, self._access.identity(row, self._clock()))
        return topic if topic in row.topics else None

    def unsubscribe(self, connection_id: str, topics: Sequence[Topic]) -> None:
        """End subscriptions; a success also if there was none. A frame on its way may still come.

        Whoever dies between the two writes leaves a topic in the set that has no row, and `forget`
        deletes a row that is not there. The other way round a row would be left.
        """
        if self._access is not None and self._access.has_tenants:
            identity = self._require(connection_id).identity
            tenant = identity.tenant if identity else ""
            topics = [topic._replace(tenant=tenant) for topic in topics]
        self._table.delete_subscriptions(connection_id, topics)
        self._table.take_topics(connection_id, frozenset(topics))
        logger.info("unsubscribed", topics=[topic.digest for topic in topics])

    def entity_ids(self, connection_id: str) -> list[str]:
        """Return the entities that a connection is subscribed to, sorted."""
        topics = self._require(connection_id).topics
        return sorted(topic.id for topic in topics if topic.kind == ENTITY)

    def require(self, connection_id: str) -> None:
        """See that a connection is known."""
        self._require(connection_id)


def require_connection(table: "Table", connection_id: str) -> "ConnectionRow":
    """Return what is known of a connection; raise `ConnectionGone` if it is not."""
    row = table.connection(connection_id)
    if row is None:
        raise ConnectionGone("This connection is closed.")
    return row


def remember(
    table: "Table",
    connection: Connection,
    identity: Identity | None,
    max_per_user: int,
) -> None:
    """Write a new connection; one with a user is subscribed to that user.

    Raises:
        Forbidden: its token has ended, which whoever verified it may have been lenient about, or
            is revoked. That is read after the connection is written, for whoever revokes writes
            first, and then reads the connections.
        TooManyConnections: its user has as many as may be. Of several that come at once, all may
            be refused. A connection whose end was lost counts until a post finds it gone.
    """
    if identity is not None and identity.expires_at <= connection.connected_at.timestamp():
        raise Forbidden("The token has ended.")
    if identity is not None and identity.expires_at < connection.ttl_seconds:
        table.note_expiry(connection.connection_id, identity.expires_at)
    table.put_connection(connection, identity)
    if identity is None:
        return
    user = Topic.user(identity.user_id, identity.tenant)
    head = Log(table).open(user)
    refusal: PushError | None = None
    if table.is_revoked(identity):
        refusal = Forbidden("The token is revoked.")
    elif len(table.subscribers(user, "", "~", max_per_user + 1)[0]) > max_per_user:
        refusal = TooManyConnections("The user has too many connections.")
    if refusal:
        forget(table, connection.connection_id)
        raise refusal
    told = {"topic": user.digest, "cursor": str(head.cursor)}
    logger.info("subscribed", subscriptions=[told], refused=0)


def said_of(answer: Answer) -> dict[str, object]:
    """Return what is logged of an answer: where the client stands, and what it got."""
    topic, recovery = answer.wanted.topic, answer.recovery
    said: dict[str, object] = {"topic": topic.digest, "cursor": str(recovery.cursor)}
    if isinstance(since := answer.wanted.since, Cursor):
        said["since"] = str(since)
    if since is not None:
        said |= {"recovered": recovery.recovered, "events": len(recovery.events)}
    if recovery.more:
        said["more"] = True
    return said


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
    around = len(Reply.about_several(answers).encode(request_id).encode()) + 512
    return Room(min(MAX_ANSWER_BYTES, MAX_MESSAGE_BYTES - around))
