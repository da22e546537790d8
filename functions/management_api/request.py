"""What is asked of one WebSocket connection."""

from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Self


class Payload:
    """The body of posts. It is hashed once, however many connections it goes to."""

    __slots__ = ("body", "hash")

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.hash = sha256(body).hexdigest()
        """In the form in which a signature holds it."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request to one connection; write `Request.post(...)` or `Request.close(...)`.

    `payload` is `None` where the connection is to be closed. `context` is the caller's own: it
    comes back with the outcome.
    """

    connection_id: str
    payload: Payload | None
    context: Any = None

    @classmethod
    def post(cls, connection_id: str, payload: Payload, context: Any = None) -> Self:
        """Return a request that sends the payload to the client (POST)."""
        return cls(connection_id, payload, context)

    @classmethod
    def close(cls, connection_id: str, context: Any = None) -> Self:
        """Return a request that closes the connection (DELETE)."""
        return cls(connection_id, None, context)
