"""Limit requests per stage and per route by token buckets."""

from __future__ import annotations

import time
from collections.abc import Callable

from .api import Limit, Stage


class TokenBucket:
    """Hold up to ``burst`` tokens, refilled at ``rate`` tokens per second."""

    def __init__(self, limit: Limit, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit = limit
        self._clock = clock
        self._tokens = float(limit.burst)
        self._filled_at = clock()

    def refill(self) -> float:
        """Add what has accrued since the last call and return the tokens there are."""
        now = self._clock()
        accrued = (now - self._filled_at) * self.limit.rate
        self._tokens = min(self._tokens + accrued, float(self.limit.burst))
        self._filled_at = now
        return self._tokens

    def take(self) -> None:
        """Take one token; the caller has seen that there is one."""
        self._tokens -= 1


class Throttle:
    """Admit requests under the limits of their stage and, if it has one, of their route.

    API Gateway calls its limits targets, met on a best-effort basis; here they are exact.
    """

    def __init__(self, rate: float | None, burst: int | None) -> None:
        self._rate = rate
        self._burst = burst
        self._buckets: dict[tuple[str, str, str | None], TokenBucket] = {}

    def admits(self, api_id: str, stage: Stage, route_key: str | None = None) -> bool:
        """Tell whether one more request fits; it is counted only if it does."""
        limit = Limit(
            stage.limit.rate if self._rate is None else self._rate,
            stage.limit.burst if self._burst is None else self._burst,
        )
        buckets = [self._bucket((api_id, stage.name, None), limit)]
        if route_key is not None and route_key in stage.limits:
            key = (api_id, stage.name, route_key)
            buckets.append(self._bucket(key, stage.limits[route_key]))
        if any(bucket.refill() < 1 for bucket in buckets):
            return False
        for bucket in buckets:
            bucket.take()
        return True

    def _bucket(self, key: tuple[str, str, str | None], limit: Limit) -> TokenBucket:
        bucket = self._buckets.get(key)
        if bucket is None or bucket.limit != limit:
            bucket = self._buckets[key] = TokenBucket(limit)
        return bucket
