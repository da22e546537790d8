"""What the answer to a post means for its recipient."""

import json
from typing import Any

from push.adapters.posting.response import Response
from push.posting import Outcome, Result

_MAX_REASON_CHARACTERS = 200

# https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-how-to-call-websocket-api-connections.html
# 408 is what a server answers that gave up on a request it did not get whole.
_RESULTS = {
    408: Result.FAILED,
    410: Result.GONE,
    413: Result.TOO_LARGE,
    429: Result.THROTTLED,
}


def outcome_of(connection_id: str, response: Response) -> Outcome:
    """Return what became of the post to `connection_id`."""
    status = response.status
    if 200 <= status < 300:
        return Outcome(connection_id, Result.DELIVERED)
    # A redirect leads nowhere: the host is part of the signature.
    result = Result.FAILED if status >= 500 else _RESULTS.get(status, Result.REFUSED)
    return Outcome(connection_id, result, _reason(response))


def _reason(response: Response) -> str:
    """Return the error's type and message, as far as the response names them."""
    # The type may be followed by a colon and an address.
    error_type = response.headers.get(b"x-amzn-errortype", b"").decode("latin-1").partition(":")[0]
    words = [f"HTTP {response.status}", error_type, _message(response.body)]
    return ": ".join(word for word in words if word)[:_MAX_REASON_CHARACTERS]


def _message(body: bytes) -> str:
    try:
        content: Any = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(content, dict):
        return ""
    message = content.get("message") or content.get("Message")
    return message if isinstance(message, str) else ""
