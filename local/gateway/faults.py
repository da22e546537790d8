"""Decide which requests meet a fault that somebody asked for."""

from __future__ import annotations

import random
from enum import Enum

from .options import Options


class Fault(Enum):
    """Name what happens to an @connections request in place of its service."""

    LIMITED = "429"
    SERVER_ERROR = "5xx"
    GONE = "410"
    RESET = "reset"
    STALL = "stall"


class Faults:
    """Draw faults from one generator, so that a seed repeats them for the same order of calls."""

    def __init__(self, options: Options) -> None:
        self._random = random.Random(options.fault_seed)  # noqa: S311 - repeatable, no secret
        self._lose_disconnect = options.fault_lose_disconnect
        self._shares = (
            (Fault.LIMITED, options.fault_429),
            (Fault.SERVER_ERROR, options.fault_5xx),
            (Fault.GONE, options.fault_410),
            (Fault.RESET, options.fault_reset),
            (Fault.STALL, options.fault_stall),
        )

    def draw(self) -> Fault | None:
        """Return the fault of the next @connections request; one draw decides among all."""
        drawn = self._random.random()
        for fault, share in self._shares:
            if drawn < share:
                return fault
            drawn -= share
        return None

    def server_error_status(self) -> int:
        """Return 500 or 503, the two a caller has to treat alike."""
        return self._random.choice((500, 503))

    def loses_disconnect(self) -> bool:
        """Tell whether the next ``$disconnect`` is lost."""
        return self._random.random() < self._lose_disconnect
