"""The seam between what has to be sent to whom, and how it is sent."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Protocol


class Result(Enum):
    """What became of one post; the value is the code in logs and dead letters."""

    DELIVERED = "Delivered"
    GONE = "Gone"
    """The connection is closed, for good (410)."""
    THROTTLED = "Throttled"
    """Over the account's quota, or this client's buffer is full (429)."""
    FAILED = "Failed"
    """A 5xx, a timeout, a reset or no connection: it may pass."""
    REFUSED = "Refused"
    """Any other 4xx: it will not pass."""
    TOO_LARGE = "TooLarge"
    """The frame is larger than API Gateway takes (413)."""

    @property
    def may_pass(self) -> bool:
        return self in (Result.THROTTLED, Result.FAILED)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of the post to one connection; `reason` says why it failed."""

    connection_id: str
    result: Result
    reason: str = ""


class Poster(Protocol):
    """Posts one payload to many connections."""

    def post(self, payload: bytes, connection_ids: Iterable[str]) -> Iterator[Outcome]:
        """Post `payload` to each id once; yield one outcome per id, in any order.

        The ids are consumed while posts are under way. No outcome is an exception.
        """
