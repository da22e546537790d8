"""Keep what clients send out of the log, whichever library writes.

A token may be in any part of a request. Libraries log what they stumble over with the text of
exceptions and with tracebacks, which quote the request. Here each such record becomes one line:
which library it was, what it said before any value was put in, and the kind of the exception.

What a function says when it fails is the developer's own, and is told. If it repeats what a client
sent, that is left out.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .events import Session
    from .options import Options

log = logging.getLogger(__name__)

# Shorter words are no tokens, and are parts of others.
MIN_SECRET_CHARACTERS = 6
MAX_TOLD_CHARACTERS = 300
# The gateway's own address, which functions name when they cannot reach it, and what it adds.
NO_SECRETS = ("host", "x-amzn-trace-id", "x-forwarded-for", "x-forwarded-port", "x-forwarded-proto")

_PLACEHOLDER = re.compile(r"%(\(\w+\))?[-#0-9.]*[a-zA-Z]")


class LibrariesBrieflyFilter(logging.Filter):
    """Reduce the records of all other packages to what no client can have written."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name == __package__ or record.name.startswith(f"{__package__}."):
            return True
        cause = record.exc_info[0] if record.exc_info else None
        said = _PLACEHOLDER.sub("…", str(record.msg).partition("\n")[0])
        record.msg = f"{record.name}: {said}" + (f" ({cause.__name__})" if cause else "")
        record.args = record.exc_info = record.exc_text = record.stack_info = None
        return True


def tell(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what the event loop could not hand to anybody, as its exception handler."""
    # What follows are objects, whose representations may hold what they were given.
    message = re.split("[(<\n]", str(context["message"]), maxsplit=1)[0].strip()
    error = context.get("exception")
    log.error("event loop: %s (%s)", message, type(error).__name__ if error else "no exception")


def cause(error: Exception, options: Options, session: Session, body: str = "") -> str:
    """Return which error it was, and what the function said, for the log."""
    return repr(error) + told(getattr(error, "error_message", ""), options, session, body)


def told(text: str, options: Options, session: Session, body: str = "") -> str:
    """Return ``: text``, in one line, without what the client sent; nothing if that is hidden."""
    if options.hide_function_errors or not text:
        return ""
    text = " ".join(_scrubbed(text, session, body).split())
    return f": {text[:MAX_TOLD_CHARACTERS]}"


def _scrubbed(text: str, session: Session, body: str) -> str:
    sent = {
        part
        for value in _sent(session, body)
        # Also what a token consists of, such as the parts of a JWT, or "Bearer" and the rest.
        for part in (value, *re.split(r"[\s,;.=&:]+", value))
        if len(part) >= MIN_SECRET_CHARACTERS
    }
    for part in sorted(sent, key=len, reverse=True):
        text = text.replace(part, "…")
    return text


def _sent(session: Session, body: str) -> Iterator[str]:
    yield from (value for _, value in session.handshake.query)
    headers = session.handshake.headers
    yield from (value for name, value in headers if name.lower() not in NO_SECRETS)
    yield from session.handshake.offered_subprotocols
    yield body
    try:
        waiting = [json.loads(body)]
    except (ValueError, RecursionError):
        return
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, dict):
            waiting += [*value, *value.values()]
