"""Decide which requests meet a fault that somebody asked for."""

from __future__ import annotations

import random
from collections.abc import Mapping
from enum import Enum
from typing import Any

from .options import Options


class Fault(Enum):
    """Name what happens to an @connections request, each but the last two in place of its effect.

    A request meets one at most.
    """

    LIMITED = "429"
    SERVER_ERROR = "5xx"
    GONE = "410"
    RESET = "reset"
    STALL = "stall"
    DUPLICATE = "duplicate"


class InvalidFaultsError(Exception):
    """Say why the faults cannot be changed so; none was."""


# The largest value of each, by its name in control.py; the smallest is 0. Shares end at 1.
_LATENCY, _STALL_SECONDS = "latencyMs", "stallSeconds"
_LOSE_DISCONNECT, _LOSE_NEXT_DISCONNECTS = "loseDisconnect", "loseNextDisconnects"
_MOST = dict.fromkeys((*(fault.value for fault in Fault), _LOSE_DISCONNECT), 1.0) | {
    _LATENCY: 1e9,
    _STALL_SECONDS: 1e9,
    _LOSE_NEXT_DISCONNECTS: 1e9,
}


class Faults:
    """Hold what was asked for, which may change at any time, and draw from it.

    All draws are from one generator, so that a seed repeats them for the same order of calls.
    """

    def __init__(self, options: Options) -> None:
        self._random = random.Random(options.fault_seed)  # noqa: S311 - repeatable, no secret
        self._values = {
            Fault.LIMITED.value: options.fault_429,
            Fault.SERVER_ERROR.value: options.fault_5xx,
            Fault.GONE.value: options.fault_410,
            Fault.RESET.value: options.fault_reset,
            Fault.STALL.value: options.fault_stall,
            Fault.DUPLICATE.value: options.fault_duplicate,
            _STALL_SECONDS: options.fault_stall_seconds,
            _LATENCY: options.fault_latency_ms,
            _LOSE_DISCONNECT: options.fault_lose_disconnect,
            _LOSE_NEXT_DISCONNECTS: 0,
        }

    def values(self) -> dict[str, float]:
        """Return all by name: shares, milliseconds, seconds, and a number of events."""
        return dict(self._values)

    def change(self, changes: Mapping[str, Any]) -> None:
        """Take new values for some; requests that have met their fault already keep it.

        Raises:
            InvalidFaultsError: A name is unknown, or a value is none.
        """
        for name, value in changes.items():
            if name not in _MOST:
                raise InvalidFaultsError(f"{name!r} is none of {', '.join(_MOST)}")
            # A boolean is an integer to Python.
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise InvalidFaultsError(f"{name} is not a number")
            if not 0 <= value <= _MOST[name]:
                raise InvalidFaultsError(f"{name} is not between 0 and {_MOST[name]:g}")
            if name == _LOSE_NEXT_DISCONNECTS and value != int(value):
                raise InvalidFaultsError(f"{name} is not a whole number")
        changed = {**self._values, **changes}
        if sum(changed[fault.value] for fault in Fault) > 1:
            names = ", ".join(fault.value for fault in Fault)
            raise InvalidFaultsError(f"the shares of {names} exceed 1 together")
        self._values = changed

    @property
    def latency_seconds(self) -> float:
        """Return what is added to each @connections request."""
        return self._values[_LATENCY] / 1000

    @property
    def stall_seconds(self) -> float:
        """Return for how long a stalled request is held."""
        return self._values[_STALL_SECONDS]

    def draw(self) -> Fault | None:
        """Return the fault of the next @connections request; one draw decides among all."""
        drawn = self._random.random()
        for fault in Fault:
            share = self._values[fault.value]
            if drawn < share:
                return fault
            drawn -= share
        return None

    def server_error_status(self) -> int:
        """Return 500 or 503, the two a caller has to treat alike."""
        return self._random.choice((500, 503))

    def loses_disconnect(self) -> bool:
        """Tell whether the next ``$disconnect`` is lost."""
        drawn = self._random.random()
        if self._values[_LOSE_NEXT_DISCONNECTS] > 0:
            self._values[_LOSE_NEXT_DISCONNECTS] -= 1
            return True
        return drawn < self._values[_LOSE_DISCONNECT]
