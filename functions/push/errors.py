"""Errors of the domain.

    PushError
    ├── RequestRejected          answered to the client as an `Error` frame with `code`
    │   ├── InvalidJson          the frame is not JSON
    │   ├── InvalidFrame         the frame is JSON but not an object
    │   ├── InvalidRequestId     `requestId` cannot be echoed
    │   ├── InvalidEntityId      `entityId` is missing or out of bounds
    │   ├── InvalidEntities      `entities` or `entityIds` is no list of 1 to 99 different ones
    │   ├── InvalidSince         `since` is no cursor
    │   ├── NotSubscribed        only subscribers may ask for the history
    │   ├── UnknownAction        no route has this `action`
    │   ├── TooManySubscriptions the connection would hold more than it may
    │   ├── Forbidden            the token does not allow it
    │   ├── TokenExpired         the token is past its time
    │   ├── ConnectionGone       the connection is not in the table (any more)
    │   └── ServiceUnavailable   a service did not answer; the same request may succeed later
    ├── TooManyConnections       the user has as many as may be
    ├── EventRejected            a message that no retry can deliver
    └── Unclaimed                a message whose work is not this invocation's
        ├── Finished             it is done: this message is a copy
        ├── Superseded           somebody else took it over
        └── Busy                 somebody else is at it, for a while

`code` is part of the wire protocol: clients compare it, so a published code never changes. The
first line of the docstring says in the contract when it comes.
"""

from typing import ClassVar, Literal


class PushError(Exception):
    """Base of all errors that this package raises on purpose."""


class RequestRejected(PushError):
    """A request that is answered with an `Error` frame; the message is meant for the client."""

    code: ClassVar[str]


class InvalidJson(RequestRejected):
    """The frame is not JSON."""

    code = "InvalidJson"


class InvalidFrame(RequestRejected):
    """The frame is not a JSON object, or too deeply nested to be routed."""

    code = "InvalidFrame"


class InvalidRequestId(RequestRejected):
    """`requestId` cannot be echoed."""

    code = "InvalidRequestId"


class InvalidEntityId(RequestRejected):
    """`entityId` is missing, not a string, or out of bounds."""

    code = "InvalidEntityId"


class InvalidEntities(RequestRejected):
    """`entities` or `entityIds` is no list of 1 to 99 different ones."""

    code = "InvalidEntities"


class InvalidSince(RequestRejected):
    """`since` is no cursor, or is missing where it is needed."""

    code = "InvalidSince"


class NotSubscribed(RequestRejected):
    """Only who is subscribed may ask for the history."""

    code = "NotSubscribed"


class UnknownAction(RequestRejected):
    """There is no such action, or none is named."""

    code = "UnknownAction"


class TooManySubscriptions(RequestRejected):
    """The connection would hold more subscriptions than it may."""

    code = "TooManySubscriptions"


class Forbidden(RequestRejected):
    """The token does not allow it, or there is none."""

    code: ClassVar[Literal["Forbidden"]] = "Forbidden"


class TokenExpired(RequestRejected):
    """The token that the connection came with is past its time."""

    code = "TokenExpired"


class ConnectionGone(RequestRejected):
    """The service does not know the connection (any more): open another."""

    code = "ConnectionGone"


class ServiceUnavailable(RequestRejected):
    """A service did not answer; the same request may succeed later.

    One that the request depends on failed or timed out after the client's own retries. Whether the
    request was carried out is not known. Routes answer it; the functions that read a queue let the
    message come back.
    """

    code = "ServiceUnavailable"


class TooManyConnections(PushError):
    """The user of a token has as many connections as may be."""


class EventRejected(PushError):
    """A message that no retry can deliver.

    Attributes:
        code: stable name of the reason, carried by the dead letter.
    """

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Unclaimed(PushError):
    """The work of a message is not this invocation's."""


class Finished(Unclaimed):
    """The job is done: this message is a copy."""


class Superseded(Unclaimed):
    """Somebody else took the job over, and has a message of its own."""


class Busy(Unclaimed):
    """Somebody else holds the job, until `until` (seconds since the epoch) at the latest."""

    def __init__(self, until: float) -> None:
        super().__init__(f"held until {until:.0f}")
        self.until = until
