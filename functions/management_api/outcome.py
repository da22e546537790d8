"""What came of a request."""

import json
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from management_api.request import Request
from management_api.response import Response

_MAX_REASON_CHARACTERS = 200


class Result(Enum):
    """The result of one request; the value is a code for logs."""

    OK = "Ok"
    GONE = "Gone"
    """The connection is closed, for good (410)."""
    THROTTLED = "Throttled"
    """Over the account's quota, or this client's buffer is full (429)."""
    FAILED = "Failed"
    """A 5xx, a timeout, a reset or no connection: it may pass."""
    REFUSED = "Refused"
    """Any other 4xx: it will not pass."""
    TOO_LARGE = "TooLarge"
    """The payload is larger than API Gateway takes (413)."""

    @property
    def may_pass(self) -> bool:
        """Whether the same request may succeed later."""
        return self in (Result.THROTTLED, Result.FAILED)


# https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-how-to-call-websocket-api-connections.html
# 408 is what a server answers that gave up on a request it did not get whole.
_RESULTS = {
    408: Result.FAILED,
    410: Result.GONE,
    413: Result.TOO_LARGE,
    429: Result.THROTTLED,
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a request; `reason` says why it is not OK.

    `seconds` is how long the request took by itself, from being sent to its outcome: the time
    that the caller of the run took meanwhile is left out, as it is from timeouts. Outcomes that
    differ in it alone are equal.
    """

    request: Request
    result: Result
    reason: str = ""
    seconds: float = field(default=0.0, compare=False)


def verdict(response: Response) -> tuple[Result, str]:
    """Return what a response means for the request, and the reason if it is not OK."""
    status = response.status
    if 200 <= status < 300:
        return Result.OK, ""
    # A redirect leads nowhere: the host is part of the signature.
    result = Result.FAILED if status >= 500 else _RESULTS.get(status, Result.REFUSED)
    # The type may be followed by a colon and an address.
    error_type = response.error_type.decode("latin-1").partition(":")[0]
    words = [f"HTTP {status}", error_type, _message(response.body)]
    return result, ": ".join(word for word in words if word)[:_MAX_REASON_CHARACTERS]


def _message(body: bytes) -> str:
    try:
        content: Any = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(content, dict):
        return ""
    message = content.get("message") or content.get("Message")
    return message if isinstance(message, str) else ""
