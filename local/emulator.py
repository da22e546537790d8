"""Run the emulator behind a guard that lets no web page in.

The emulator takes any signature and answers any origin, as nothing would keep a page of any site,
open in a browser on this machine, from creating a function: code that runs here. So whatever a
browser sends is refused before the emulator sees it, and so is whatever names a host that is not
this machine: a name that its owner leads to 127.0.0.1 has an origin of its own, for which browsers
send no `Origin`. Programs, the AWS CLI and SDKs among them, send neither.

It also lets the calls of a function end before its configuration is changed, which an edit of the
code does: the emulator would end the workers in the middle of them.

It runs on the emulator's interpreter, and imports nothing of this project.
"""

import asyncio
import json
import os
import re
import resource
from collections import Counter
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    MutableMapping,
)
from contextlib import asynccontextmanager, suppress
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Coroutine[Any, Any, None]]

# Browsers lead the names below `localhost` to this machine themselves, whatever a name server says:
# https://www.w3.org/TR/secure-contexts/#localhost
_THIS_MACHINE = re.compile(
    rb"(127\.0\.0\.1|\[::1\]|localhost|[a-z0-9.-]+\.localhost)(:[0-9]{1,5})?", re.IGNORECASE
)
# Browsers add them, and pages cannot keep them from it. `Origin` is missing where a page loads what
# it cannot read, such as a picture; there the others tell, in every browser since 2023.
# https://www.w3.org/TR/fetch-metadata/
_OF_BROWSERS = frozenset([b"origin", b"sec-fetch-site", b"sec-fetch-mode", b"sec-fetch-dest"])
_KEEP_ALIVE_SECONDS = 75.0
# By its name or its ARN, with or without a version.
_OF_FUNCTION = re.compile(
    r"/2015-03-31/functions/(arn:[^/]*:function:)?(?P<name>[^/:]+)(:[^/]*)?"
    r"/(?P<what>invocations|configuration)"
)
_ORDERED = {("invocations", "POST"), ("configuration", "PUT")}


def refusal(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """Return why a request with these headers is not answered; None if it is."""
    hosts = []
    for name, value in headers:
        if name.lower() in _OF_BROWSERS:
            return "The emulator is for programs: it answers no browser."
        if name.lower() == b"host":
            hosts.append(value)
    if len(hosts) != 1 or not _THIS_MACHINE.fullmatch(hosts[0]):
        return "The emulator answers as 127.0.0.1 or localhost only."
    return None


def guarded(application: Application) -> Application:
    """Return an ASGI application that hands on what is not to be refused."""

    async def guard(scope: Message, receive: Receive, send: Send) -> None:
        reason = refusal(scope["headers"]) if scope["type"] in ("http", "websocket") else None
        if reason is None:
            await application(scope, receive, send)
        elif scope["type"] == "websocket":
            # Before it is accepted, this is an answer with status 403.
            await send({"type": "websocket.close", "code": 1008})
        else:
            body = json.dumps({"__type": "AccessDeniedException", "message": reason}).encode()
            headers = [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
                (b"connection", b"close"),
            ]
            await send({"type": "http.response.start", "status": 403, "headers": headers})
            await send({"type": "http.response.body", "body": body})

    return guard


class Calls:
    """Let a function's calls end before its configuration is changed, and others wait for that.

    Calls take milliseconds, but for the first of a worker: a second, or more on a busy machine.
    """

    def __init__(self, application: Application, longest_seconds: float = 3.0) -> None:
        self._application = application
        self._longest_seconds = longest_seconds
        self._under_way: Counter[str] = Counter()
        self._changing: Counter[str] = Counter()
        self._moved = asyncio.Condition()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        asked = _OF_FUNCTION.fullmatch(scope.get("path", ""))
        if asked is None or (asked["what"], scope["method"]) not in _ORDERED:
            await self._application(scope, receive, send)
            return
        turn = self._change if asked["what"] == "configuration" else self._call
        async with turn(asked["name"]):
            await self._application(scope, receive, send)

    @asynccontextmanager
    async def _change(self, function: str) -> AsyncIterator[None]:
        self._changing[function] += 1
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._longest_seconds):
                    await self._wait_for_none(self._under_way, function)
            yield
        finally:
            self._changing[function] -= 1
            await self._tell()

    @asynccontextmanager
    async def _call(self, function: str) -> AsyncIterator[None]:
        await self._wait_for_none(self._changing, function)
        self._under_way[function] += 1
        try:
            yield
        finally:
            self._under_way[function] -= 1
            await self._tell()

    async def _wait_for_none(self, counter: Counter[str], function: str) -> None:
        async with self._moved:
            await self._moved.wait_for(lambda: not counter[function])

    async def _tell(self) -> None:
        async with self._moved:
            self._moved.notify_all()


def main() -> None:
    """Serve on BIND_HOST and GATEWAY_PORT, the emulator's own settings, until SIGTERM."""
    # Here, where only the emulator's interpreter gets to: it has them, and the tests' has not.
    from hypercorn.asyncio import serve  # noqa: PLC0415
    from hypercorn.config import Config  # noqa: PLC0415
    from ministack.app import app  # noqa: PLC0415

    # A descriptor for each connection: take all that are allowed.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    config = Config()
    config.bind = [f"{os.environ['BIND_HOST']}:{os.environ['GATEWAY_PORT']}"]
    config.keep_alive_timeout = _KEEP_ALIVE_SECONDS
    asyncio.run(serve(guarded(Calls(app)), config))


if __name__ == "__main__":
    main()
