"""Keep what clients send out of the log, whichever library writes.

A token may be in any part of a request. Libraries log what they stumble over with the text of
exceptions and with tracebacks, which quote the request. Here each such record becomes one line:
which library it was, what it said before any value was put in, and the kind of the exception.
"""

from __future__ import annotations

import asyncio
import logging
import re
from typing import Any

log = logging.getLogger(__name__)

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
