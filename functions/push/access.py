"""What a connection may hear, by the token that it came with."""

from typing import TYPE_CHECKING, NamedTuple

from identity.claims import Identity
from push.errors import Forbidden, TokenExpired
from push.grants import cover
from push.topics import USER, Topic

if TYPE_CHECKING:
    from push.adapters.table import ConnectionRow


class Access(NamedTuple):
    """The rules where tokens are asked for.

    Attributes:
        delimiter: between the segments of entity ids and of patterns.
        has_tenants: whether every topic is a tenant's.
    """

    delimiter: str
    has_tenants: bool

    def identity(self, row: "ConnectionRow", now: float) -> Identity:
        """Return whose connection it is.

        Raises:
            TokenExpired: the token is past its time, or there was none.
        """
        identity = row.identity
        # Without one: it came before tokens were asked for.
        if identity is None or identity.expires_at <= now:
            raise TokenExpired("The token of this connection is past its time.")
        return identity

    def covers(self, topic: Topic, identity: Identity) -> bool:
        """Whether a token allows a topic of its tenant; its user's own it always does."""
        return topic.kind == USER or cover(identity.grants, topic.id, self.delimiter)

    def ends_at(self, row: "ConnectionRow | None", topic: Topic) -> int:
        """Return when a subscription ends by what its connection's item says now.

        In seconds since the epoch; 0 where there is none, or the token does not allow it.
        """
        if row is None or row.identity is None or topic not in row.topics:
            return 0
        return row.identity.expires_at if self.covers(topic, row.identity) else 0

    def topic(self, topic: Topic, identity: Identity) -> Topic:
        """Return a topic of a request as it is for a user; raise `Forbidden`.

        The tenant is the token's, whatever a frame says.
        """
        if topic.kind == USER:
            return Topic.user(identity.user_id, identity.tenant)
        if not self.covers(topic, identity):
            raise Forbidden("The token does not allow this entity.")
        return topic._replace(tenant=identity.tenant)
