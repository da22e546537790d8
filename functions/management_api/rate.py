"""How many requests a second: a token bucket that gives way to 429s.

The quota of API Gateway belongs to the whole account, so the share of one engine can be too high
for the moment even when its configuration is right. An engine whose requests are refused lowers its
rate to about what was accepted, and comes back to its limit over some seconds.
"""

import time
from collections.abc import Callable

# How much may be sent at once after a pause, in seconds of the rate.
_BURST_SECONDS = 0.1
# Answers are judged together: at least this long, and this many.
_JUDGED_SECONDS = 0.1
_JUDGED_ANSWERS = 20
# API Gateway also answers 429 when one client's buffer is full. So few say nothing about the rate.
_TOLERATED_THROTTLES = 2
_TOLERATED_SHARE = 0.01
# One judgement lowers the rate to no less than half.
_LEAST_FACTOR = 0.5
# From nothing to the limit. It also keeps some requests going where all are refused.
_RECOVERY_SECONDS = 4.0


class Rate:
    """The requests that one engine may send, over all its runs."""

    def __init__(self, limit: float | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Allow `limit` requests per second; `None` is no limit, whatever is answered."""
        if limit is not None and limit <= 0:
            raise ValueError("the rate must be more than 0 requests per second")
        self._limit = limit
        self._clock = clock
        self._updated_at = clock()
        self.per_second = limit or 0.0
        """The rate now; it is lower than the limit after 429s."""
        self._tokens = self._burst()
        self._judge_anew(self._updated_at)

    def delay_seconds(self) -> float:
        """Return how long the next request has to wait; 0 if it may be sent now."""
        if self._limit is None:
            return 0.0
        now = self._clock()
        elapsed, self._updated_at = now - self._updated_at, now
        recovered = self.per_second + self._limit * elapsed / _RECOVERY_SECONDS
        self.per_second = min(self._limit, recovered)
        self._tokens = min(self._burst(), self._tokens + self.per_second * elapsed)
        return 0.0 if self._tokens >= 1 else (1 - self._tokens) / self.per_second

    def spend(self) -> float:
        """Count a request that is sent; return the time, to be handed to `answered`."""
        self._tokens -= 1
        return self._updated_at

    def answered(self, sent_at: float, *, throttled: bool) -> None:
        """Learn from the answer to a request that was sent at `sent_at`.

        Requests sent before the rate was last lowered say nothing about the rate as it is now.
        """
        if self._limit is None or sent_at < self._judged_from:
            return
        self._answers += 1
        self._throttles += throttled
        now = self._clock()
        if now - self._judged_from < _JUDGED_SECONDS or self._answers < _JUDGED_ANSWERS:
            return
        share = self._throttles / self._answers
        if self._throttles > _TOLERATED_THROTTLES and share > _TOLERATED_SHARE:
            self.per_second *= max(_LEAST_FACTOR, 1 - share)
        self._judge_anew(now)

    def _judge_anew(self, now: float) -> None:
        self._judged_from = now
        self._answers = 0
        self._throttles = 0

    def _burst(self) -> float:
        return max(1.0, self.per_second * _BURST_SECONDS)
