"""Wait for what comes of what others do, without sleeping."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class Changes:
    """Wake whoever waits for a condition each time that something has happened.

    Attributes:
        patience_seconds: how long a condition is waited for; long, for machines are busy.
        over: why there is nothing more to wait for; empty as long as there is.
    """

    def __init__(self, patience_seconds: float) -> None:
        self.patience_seconds = patience_seconds
        self.over = ""
        self._waiting: set[asyncio.Future[None]] = set()

    def happened(self) -> None:
        """Have everybody look again."""
        for each in self._waiting:
            if not each.done():
                each.set_result(None)
        self._waiting.clear()

    async def until(self, condition: Callable[[], T], what: str) -> T:
        """Return what a condition returns once it is truthy.

        Raises:
            AssertionError: It was not for as long as there is patience.
        """
        try:
            async with asyncio.timeout(self.patience_seconds):
                while not (found := condition()):
                    assert not self.over, f"{self.over}; waited for: {what}"
                    waiter = asyncio.get_running_loop().create_future()
                    self._waiting.add(waiter)
                    await waiter
                return found
        except TimeoutError:
            raise AssertionError(f"waited in vain: {what}") from None
