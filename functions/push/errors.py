"""Errors of the domain.

    PushError
    ├── RequestRejected          answered to the client as an `Error` frame with `code`
    │   ├── InvalidJson          the frame is not JSON
    │   ├── InvalidFrame         the frame is JSON but not an object
    │   ├── InvalidRequestId     `requestId` cannot be echoed
    │   ├── InvalidEntityId      `entityId` is missing or out of bounds
    │   ├── UnknownAction        no route has this `action`
    │   ├── TooManySubscriptions the connection holds as many as it may
    │   ├── ConnectionGone       the connection is not in the table (any more)
    │   └── ServiceUnavailable   a service did not answer; the same request may succeed later
    └── EventRejected            an event that can never be delivered, whoever retries it

`code` is part of the wire protocol: clients compare it, so a published code never changes.
"""

from typing import ClassVar


class PushError(Exception):
    """Base of all errors that this package raises on purpose."""


class RequestRejected(PushError):
    """A request that is answered with an `Error` frame; the message is meant for the client."""

    code: ClassVar[str]


class InvalidJson(RequestRejected):
    code = "InvalidJson"


class InvalidFrame(RequestRejected):
    code = "InvalidFrame"


class InvalidRequestId(RequestRejected):
    code = "InvalidRequestId"


class InvalidEntityId(RequestRejected):
    code = "InvalidEntityId"


class UnknownAction(RequestRejected):
    code = "UnknownAction"


class TooManySubscriptions(RequestRejected):
    code = "TooManySubscriptions"


class ConnectionGone(RequestRejected):
    code = "ConnectionGone"


class ServiceUnavailable(RequestRejected):
    """A service the request depends on failed or timed out after the client's own retries.

    Routes answer it; the notifier lets it fail the record, so that the queue tries again.
    """

    code = "ServiceUnavailable"


class EventRejected(PushError):
    """An event that no retry can deliver.

    Attributes:
        code: stable name of the reason, carried by the dead letter.
    """

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
