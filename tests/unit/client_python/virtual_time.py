"""An event loop in which waiting takes no time."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any


class _Selector(selectors.DefaultSelector):
    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events: list[tuple[selectors.SelectorKey, int]] = super().select(0)
        if not events:
            assert timeout is not None, "nothing will ever happen"
            self.now += timeout
        return events


class VirtualTime(asyncio.SelectorEventLoop):
    """Whenever nothing is left to do, it is the time of what is due next."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now

    def timers(self) -> list[asyncio.TimerHandle]:
        """Return what is due one day."""
        scheduled: list[asyncio.TimerHandle] = self._scheduled  # type: ignore[attr-defined]
        return [each for each in scheduled if not each.cancelled()]


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run a test to its end, after which nothing may be left."""

    async def checked() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTime)
        async with asyncio.timeout(100_000):
            await main
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert not loop.timers()

    with asyncio.Runner(loop_factory=VirtualTime) as runner:
        runner.run(checked())


def now() -> float:
    return asyncio.get_running_loop().time()
