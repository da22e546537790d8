"""How long the client waits, and for what."""

import random
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Times:
    """All in seconds; the defaults are those that every client keeps to."""

    connect_timeout: float = 10.0
    reply_timeout: float = 5.0
    # API Gateway closes what is idle for ten minutes.
    ping_interval: float = 480.0
    pong_timeout: float = 5.0
    # API Gateway closes every connection after two hours.
    rotate_after: tuple[float, float] = (6300.0, 6900.0)
    min_reconnect_delay: float = 0.5
    max_reconnect_delay: float = 20.0
    # A connection that lasted so long was a success.
    stable_after: float = 5.0
    # How long a frame waits for those before it, until they are asked for.
    hold: float = 2.0

    @classmethod
    def of_options(cls, options: dict[str, Any]) -> Self:
        """Read what `CLIENT_OPTIONS` holds, in milliseconds; leave out what is unknown.

        Raises:
            ValueError: a time is no number, or `rotateAfterMs` no pair.
        """
        names = {
            "connectTimeoutMs": "connect_timeout",
            "replyTimeoutMs": "reply_timeout",
            "pingIntervalMs": "ping_interval",
            "pongTimeoutMs": "pong_timeout",
            "rotateAfterMs": "rotate_after",
            "minReconnectDelayMs": "min_reconnect_delay",
            "maxReconnectDelayMs": "max_reconnect_delay",
            "stableAfterMs": "stable_after",
            "holdMs": "hold",
        }
        given: dict[str, Any] = {}
        for option, name in names.items():
            if option in options:
                try:
                    given[name] = _seconds(options[option], pair=option == "rotateAfterMs")
                except (TypeError, ValueError) as error:
                    raise ValueError(f"{option} is no time: {options[option]!r}") from error
        return cls(**given)


def _seconds(milliseconds: Any, *, pair: bool) -> float | tuple[float, float]:
    if pair:
        earliest, latest = milliseconds
        return float(earliest) / 1000, float(latest) / 1000
    return float(milliseconds) / 1000


class Backoff:
    """The times between attempts in a row: random, so that not all come back at once."""

    def __init__(self, times: Times) -> None:
        self._min = times.min_reconnect_delay
        self._max = times.max_reconnect_delay
        self._attempts = 0

    def next(self) -> float:
        """Return how many seconds to wait before the next attempt."""
        self._attempts += 1
        # The bound is reached long before; the power would become too large for a float.
        bound = min(self._max, self._min * 2 ** min(self._attempts, 30))
        return random.uniform(self._min, max(self._min, bound))  # noqa: S311 - spreads, hides nothing

    def reset(self) -> None:
        self._attempts = 0
