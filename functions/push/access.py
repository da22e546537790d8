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

    def covers(self, entity: Topic, identity: Identity) -> bool:
        return cover(identity.grants, entity.id, self.delimiter)

    def topic(self, topic: Topic, identity: Identity) -> Topic:
        """Return a topic of a request as it is for a user; raise `Forbidden`.

        The tenant is the token's, whatever a frame says.
        """
        if topic.kind == USER:
            return Topic.user(identity.user_id, identity.tenant)
        if not self.covers(topic, identity):
            raise Forbidden("The token does not allow this entity.")
        return topic._replace(tenant=identity.tenant)
