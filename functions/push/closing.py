"""Closing connections: of slow clients, of users who are kicked, and at the end of a token."""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from math import ceil, inf
from typing import TYPE_CHECKING, Protocol

from management_api import Outcome, Payload, Result
from push import json_text
from push.errors import ServiceUnavailable
from push.observability import count, logger
from push.side_by_side import SideBySide, side_by_side
from push.subscriptions import forget
from push.topics import USER, Topic

if TYPE_CHECKING:
    from push.adapters.table import Table
    from push.events import Kick
    from push.messages import Disconnect, DisconnectCode

# How long the handshake of a connection may take: `$connect` has ten seconds.
_OPENING_SECONDS = 10
# At once: so many wait for each other's answers.
_TOGETHER = 100
# What those may take: two posts, each up to its timeout, at a modest rate; and the table.
_TOGETHER_SECONDS = 10.0


class Window(Protocol):
    """The requests of one thread that are under way, among those of all others."""

    def post(self, connection_id: str, payload: Payload) -> None:
        """Put a post under way."""

    def close_connection(self, connection_id: str) -> None:
        """Put the end of a connection under way."""

    def answer(self, within_seconds: float | None = None) -> Outcome | None:
        """Return the next outcome, in any order; None if there is none in that time."""


Windows = Callable[[], AbstractContextManager[Window]]


def farewell(code: "DisconnectCode", *, reconnect: bool, reason: str | None = None) -> Payload:
    """Return what a client is told before it is closed."""
    frame: Disconnect = {"type": "Disconnect", "code": code, "reconnect": reconnect}
    if reason is not None:
        frame["reason"] = reason
    return Payload(json_text.encode(frame).encode())


def close(windows: Windows, connection_ids: Sequence[str], frame: Payload) -> list[Outcome]:
    """Tell connections why, and close them; return how closing each of them ended."""
    with windows() as window:
        for connection_id in connection_ids:
            window.post(connection_id, frame)
        # Many will not hear it, and are closed all the same.
        for _ in connection_ids:
            window.answer()
        for connection_id in connection_ids:
            window.close_connection(connection_id)
        return [outcome for _ in connection_ids if (outcome := window.answer())]


class ShuttingOut:
    """Closes connections whose time is over, and forgets them.

    Their subscriptions end first, so that only what is under way can still reach them. What says
    that they are to be closed goes last, so that whoever comes back after a failure finds it.
    """

    def __init__(
        self,
        table: "Table",
        windows: Windows,
        *,
        clock: Callable[[], float] = time.time,
        side_by_side: SideBySide = side_by_side,
    ) -> None:
        self._table = table
        self._windows = windows
        self._clock = clock
        self._side_by_side = side_by_side

    def kick(
        self, kick: "Kick", kept_seconds: int, seconds_left: Callable[[], float] = lambda: inf
    ) -> None:
        """Close the connections of a user, and refuse older tokens, for as long as those may live.

        The revocation is written before the connections are read, and read by whoever connects
        after its connection is written: so none slips through in between.

        Raises:
            ServiceUnavailable: not all are closed, or there was no time left for all; once more
                closes the others.
        """
        if kick.revoke_issued_before is not None:
            before = ceil(kick.revoke_issued_before)
            # Tokens that are yet to be issued are refused too, if it says so.
            until = max(before, int(self._clock())) + kept_seconds
            self._table.revoke(kick.user, before, until)
        after, more = "", True
        left: list[str] = []
        frame = farewell("Kicked", reconnect=False, reason=kick.reason)
        while more:
            _require_time(seconds_left)
            ids, more = self._table.subscribers(kick.user, after, "~", _TOGETHER)
            left += self._shut_out(ids, frame, "Kicked", kick.user)
            after = ids[-1] if ids else after
        _require_none(left)

    def expire(self, minutes: int, seconds_left: Callable[[], float] = lambda: inf) -> None:
        """Close the connections whose tokens ended in the last so many minutes.

        Raises:
            ServiceUnavailable: not all are closed, or there was no time left for all; the next
                minute finds the others.
        """
        now = int(self._clock())
        frame = farewell("TokenExpired", reconnect=True)
        left: list[str] = []
        # The newest first: whatever is behind, who ends now is not kept waiting.
        for minute in range(now // 60, now // 60 - minutes - 1, -1):
            ids = self._table.expiring(minute)
            for start in range(0, len(ids), _TOGETHER):
                _require_time(seconds_left)
                together = ids[start : start + _TOGETHER]
                over = self._side_by_side(lambda each: self._is_over(each, now), together)
                due = [each for each, is_over in zip(together, over, strict=True) if is_over]
                left += self._shut_out(due, frame, "TokenExpired")
                # Those whose token was renewed are noted for another minute; and one that is just
                # being written may not be there yet.
                done = together if minute < now // 60 - 1 else due
                self._table.forget_expiring(minute, [each for each in done if each not in left])
        _require_none(left)

    def _is_over(self, connection_id: str, now: int) -> bool:
        row = self._table.connection(connection_id)
        return bool(row and row.identity and row.identity.expires_at <= now)

    def _shut_out(
        self, connection_ids: Sequence[str], frame: Payload, why: str, *at_hand: Topic
    ) -> list[str]:
        """Close connections, and forget them; return those that could not be closed."""
        if not connection_ids:
            return []
        self._side_by_side(self._end_subscriptions, connection_ids)
        closed = [
            outcome.request.connection_id
            for outcome in close(self._windows, connection_ids, frame)
            if outcome.result is Result.OK
            or (
                outcome.result is Result.GONE
                and not may_be_opening(self._table, outcome.request.connection_id, self._clock())
            )
        ]
        self._side_by_side(lambda each: forget(self._table, each, *at_hand), closed)
        count("ClientsShutOut", len(closed))
        left = [each for each in connection_ids if each not in closed]
        if closed:
            logger.info("connections closed", reason=why, connections=closed)
        if left:
            logger.warning("connections not closed", reason=why, connections=left)
        return left

    def _end_subscriptions(self, connection_id: str) -> None:
        row = self._table.connection(connection_id)
        entities = [topic for topic in row.topics if topic.kind != USER] if row else []
        self._table.delete_subscriptions(connection_id, entities)


def may_be_opening(table: "Table", connection_id: str, now: float) -> bool:
    """Whether API Gateway may say "gone" of a connection since it is not open yet."""
    return table.connected_since(connection_id, now - _OPENING_SECONDS)


def _require_time(seconds_left: Callable[[], float]) -> None:
    """Raise in time, and not in the middle: what is closed by then is forgotten as well."""
    if seconds_left() < _TOGETHER_SECONDS:
        raise ServiceUnavailable("There was no time left to close all connections.")


def _require_none(left: Sequence[str]) -> None:
    """Raise once all others are closed: one that cannot be closed keeps nobody else open."""
    if left:
        raise ServiceUnavailable("Not all connections could be closed.")
