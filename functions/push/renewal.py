"""Renewal: another token for a connection that is open."""

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from identity.claims import Identity
from management_api import Exchange, Payload
from push import json_text
from push.access import Access
from push.connection import Connection
from push.errors import Forbidden
from push.observability import count, logger
from push.side_by_side import SideBySide, side_by_side
from push.subscriptions import require_connection
from push.topics import Topic

if TYPE_CHECKING:
    from identity.tokens import Verifier
    from push.adapters.table import Table
    from push.messages import SubscriptionEnded


class Renewal:
    """Takes new tokens.

    Every method raises `ServiceUnavailable` when the table does not answer.
    """

    def __init__(
        self,
        table: "Table",
        verifier: "Verifier",
        access: Access,
        exchange: Exchange,
        *,
        clock: Callable[[], float] = time.time,
        side_by_side: SideBySide = side_by_side,
    ) -> None:
        self.verifier = verifier
        self._table = table
        self._access = access
        self._exchange = exchange
        self._clock = clock
        self._side_by_side = side_by_side

    def renew(self, connection: Connection, identity: Identity) -> None:
        """Let a connection go on with another token of the same user.

        What it is subscribed to lives as long as the new token. What that does not allow ends, and
        the client is told, with a frame for each.

        The item goes before the rows that it prolongs: whoever subscribes meanwhile meets its new
        token, or is in its set. Where this dies in between, a post that finds such a row past its
        time looks at the item (`Access.ends_at`), and goes out.

        Raises:
            ConnectionGone: the connection is not known.
            TokenExpired: the old token has ended: it is too late.
            Forbidden: it is somebody else's, has ended, or is revoked.
        """
        connection_id = connection.connection_id
        row = require_connection(self._table, connection_id)
        old = self._access.identity(row, self._clock())
        if (old.user_id, old.tenant) != (identity.user_id, identity.tenant):
            raise Forbidden("The token is another user's.")
        # The leeway of who verified it is of no use here.
        if identity.expires_at <= self._clock():
            raise Forbidden("The token has ended.")
        # Before anything is written: whoever revokes later finds this connection, and closes it.
        if self._table.is_revoked(identity):
            raise Forbidden("The token is revoked.")
        if identity.expires_at < connection.ttl_seconds:
            self._table.note_expiry(connection_id, identity.expires_at)
        # First: whoever dies after this has told the client, and the old token still counts.
        self._end(connection_id, self._lost(row.topics, identity))
        topics = self._table.renew(connection_id, old, identity)
        if topics is None:
            raise Forbidden("Another token came at the same time.")
        while True:
            self._apply(connection, topics, identity)
            now = self._table.connection(connection_id)
            if now is None or now.identity is None or now.identity == identity:
                logger.info("token renewed")
                return
            # Yet another token came meanwhile, whose work this one's may have undone.
            identity, topics = now.identity, now.topics

    def _apply(self, connection: Connection, topics: frozenset[Topic], identity: Identity) -> None:
        """Let subscriptions live as long as a token, and end those that it does not allow."""
        lost = self._lost(topics, identity)
        kept = topics.difference(lost)
        self._side_by_side(
            lambda topic: self._table.prolong(connection, topic, identity), list(kept)
        )
        self._end(connection.connection_id, lost)

    def _lost(self, topics: frozenset[Topic], identity: Identity) -> list[Topic]:
        return [topic for topic in topics if not self._access.covers(topic, identity)]

    def _end(self, connection_id: str, topics: Sequence[Topic]) -> None:
        """End subscriptions, and tell the client of each."""
        if not topics:
            return
        self._table.delete_subscriptions(connection_id, topics)
        self._table.take_topics(connection_id, frozenset(topics))
        self._exchange.run([lambda: self._tell(connection_id, topics)])
        count("SubscriptionsRemoved", len(topics))
        logger.info("unsubscribed", topics=[topic.digest for topic in topics])

    def _tell(self, connection_id: str, topics: Sequence[Topic]) -> None:
        """Say that subscriptions have ended; whether that arrives is not waited for again."""
        with self._exchange.window() as window:
            for topic in topics:
                frame: SubscriptionEnded = {
                    "type": "Unsubscribed",
                    "entityId": topic.id,
                    "code": Forbidden.code,
                }
                window.post(connection_id, Payload(json_text.encode(frame).encode()))
            for _ in topics:
                window.answer()
