"""How long a token lives, and what renews it before its end."""

import asyncio
import base64
import inspect
import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import time as wall_clock
from typing import Self

from .errors import UnauthorizedError
from .line import LineEndedError
from .times import Backoff, Times

log = logging.getLogger(__package__)

# Nothing is renewed before, however old the token was.
_LEAST_SECONDS = 1.0

GetToken = Callable[[str], str | Awaitable[str]]


async def fetch(get_token: GetToken, why: str) -> str:
    """Return a token.

    Raises:
        LineEndedError: there is none, now or ever.
    """
    try:
        token = get_token(why)
        if inspect.isawaitable(token):
            token = await token
        if not isinstance(token, str):
            raise TypeError("get_token returned no string")
    except UnauthorizedError as error:
        raise LineEndedError("Unauthorized", str(error), is_final=True) from error
    except Exception as error:
        log.warning("get_token failed: %r", error)
        raise LineEndedError("TokenFailed", str(error)) from error
    return token


@dataclass(frozen=True, slots=True)
class Life:
    """The time between the issue and the end of a token, in seconds since the epoch."""

    issued_at: float
    end: float

    @classmethod
    def of(cls, token: str) -> Self | None:
        """Read what a JWT says; return None if it says nothing, or is something else.

        It is not for the client to trust or to doubt: only the service can verify it.
        """
        try:
            _, payload, *_ = token.split(".")
            claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
            life = cls(float(claims["iat"]), float(claims["exp"]))
        except (LookupError, OverflowError, RecursionError, TypeError, ValueError):
            return None
        return life if 0 < life.issued_at < life.end < float("inf") else None

    @property
    def renew_at(self) -> float:
        return self.issued_at + (self.end - self.issued_at) * 4 / 5


async def renew(
    life: Life | None,
    *,
    get_token: GetToken | None,
    authenticate: Callable[[str], Awaitable[None]],
    times: Times,
) -> None:
    """Renew a token in time, then the one that took its place; return when there is nothing to.

    Args:
        get_token: the program's.
        authenticate: tells it to the service, and returns when it was taken.

    Raises:
        LineEndedError: there is no token to be had any more.
    """
    backoff = Backoff(times)
    least = _LEAST_SECONDS
    while get_token and life and wall_clock() + least < life.end:
        ahead = life.renew_at - wall_clock()
        if ahead > least:
            backoff.reset()
        await asyncio.sleep(max(ahead, least))
        least = backoff.next()
        try:
            token = await fetch(get_token, "authenticate")
        except LineEndedError as error:
            if error.is_final:
                raise
            continue
        following = Life.of(token)
        # One that lives no longer is the same as before: perhaps there is another soon.
        if following is None or following.end > life.end:
            await authenticate(token)
            life = following
