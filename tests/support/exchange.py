"""A stand-in for the exchange of posts: what API Gateway answers is told beforehand.

It fails where the real one can: any result, before or after the frame has arrived; answers that
take their time, in any order; and an engine that fails under everybody.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from random import Random
from threading import RLock
from typing import NamedTuple

from management_api import Outcome, Payload, Request, Result
from support.contract import contract, parsed

NOW = 1_795_484_900.0

_REASONS = {
    Result.OK: "",
    Result.GONE: "HTTP 410: GoneException",
    Result.THROTTLED: "HTTP 429: LimitExceededException",
    Result.FAILED: "HTTP 503: ServiceUnavailableException",
    Result.REFUSED: "HTTP 403: ForbiddenException",
    Result.TOO_LARGE: "HTTP 413: PayloadTooLargeException",
}


class Clock:
    """A clock that only waiting moves."""

    def __init__(self) -> None:
        self.now = NOW
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        # A pause of no length would let a loop go on for ever.
        self.now += max(seconds, 0.001)


class Told(NamedTuple):
    """What a request comes to: after how many seconds, and whether it has its effect.

    Without `arrives`, it has if its result is OK. A timeout may come after the effect.
    """

    result: Result
    seconds: float = 0.0
    arrives: bool | None = None

    @property
    def has_effect(self) -> bool:
        return self.result is Result.OK if self.arrives is None else self.arrives


class FakeWindow:
    """The requests of one walk."""

    def __init__(self, exchange: "FakeExchange") -> None:
        self._exchange = exchange
        self._under_way: list[tuple[float, Outcome]] = []

    def post(self, connection_id: str, payload: Payload) -> None:
        contract().check_service(parsed(payload.body.decode()))
        self._send(Request.post(connection_id, payload, self))

    def close_connection(self, connection_id: str) -> None:
        self._send(Request.close(connection_id, self))

    def _send(self, request: Request) -> None:
        exchange = self._exchange
        told = exchange.carry_out(request)
        outcome = Outcome(request, told.result, _REASONS[told.result], told.seconds)
        self._under_way.append((exchange.clock() + told.seconds, outcome))
        exchange.most_in_flight = max(exchange.most_in_flight, len(self._under_way))

    def answer(self, within_seconds: float | None = None) -> Outcome | None:
        exchange = self._exchange
        if exchange.engine_error:
            raise RuntimeError("the engine failed")
        if within_seconds is None:
            assert self._under_way, "the real window would wait for ever"
        until = exchange.clock() + max(0.0, within_seconds or 0.0)
        first = min((at for at, _ in self._under_way), default=None)
        if first is None or (within_seconds is not None and first > until):
            exchange.clock.sleep(until - exchange.clock())
            return None
        if first > exchange.clock():
            exchange.clock.sleep(first - exchange.clock())
        now = exchange.clock()
        ready = [number for number, (at, _) in enumerate(self._under_way) if at <= now]
        return self._under_way.pop(exchange.choose(ready))[1]


class FakeExchange:
    """Runs calls, one after another or in threads, and answers what they send as it was told.

    Attributes:
        delivered: the frames that arrived, with their connections, in their order.
        posted: every connection that was posted to, whatever came of it.
        closed: the connections that were closed.
        before: runs before each request.
        engine_fails_at: the number of the request at which the engine fails.
    """

    def __init__(self, clock: Clock | None = None, *, threads: int = 0) -> None:
        """Answer slow requests by a clock; with `threads`, run as many calls at once."""
        self.clock = clock or Clock()
        self.delivered: list[tuple[str, bytes]] = []
        self.posted: list[str] = []
        self.closed: list[str] = []
        self.before: Callable[[], None] = lambda: None
        self.engine_fails_at: int | None = None
        self.engine_error: Exception | None = None
        self.most_in_flight = 0
        self._random: Random | None = None
        self._threads = threads
        self._lock = RLock()
        self._posts: defaultdict[str, deque[Told]] = defaultdict(deque)
        self._closings: defaultdict[str, deque[Told]] = defaultdict(deque)
        self._always: dict[str, Told] = {}
        self._requests = 0

    # What it is told.

    def tell(self, connection_id: str, *results: Result | Told) -> None:
        """Say what the next posts to a connection come to; past them, they succeed."""
        self._posts[connection_id].extend(map(_told, results))

    def tell_closing(self, connection_id: str, *results: Result | Told) -> None:
        """Say what the next attempts to close a connection come to."""
        self._closings[connection_id].extend(map(_told, results))

    def always(self, connection_id: str, result: Result | Told) -> None:
        """Say what all other posts to a connection come to."""
        self._always[connection_id] = _told(result)

    def answer_in_any_order(self, seed: int) -> None:
        self._random = Random(seed)  # noqa: S311 - repeatable, no secret

    # What it is asked afterwards.

    def receivers(self) -> list[str]:
        return [connection_id for connection_id, _ in self.delivered]

    def frames(self, connection_id: str) -> list[str]:
        """Return the frames that arrived at a connection."""
        return [frame.decode() for each, frame in self.delivered if each == connection_id]

    # What the functions use.

    def run(self, calls: Sequence[Callable[[], None]]) -> None:
        """Run calls until all have returned; raise what one of them raised, or the engine did."""
        try:
            if self._threads:
                with ThreadPoolExecutor(self._threads) as threads:
                    futures = [threads.submit(call) for call in calls]
                for future in futures:
                    future.result()
            else:
                for call in calls:
                    call()
        finally:
            error, self.engine_error = self.engine_error, None
            if error:
                raise error

    @contextmanager
    def window(self) -> Iterator[FakeWindow]:
        yield FakeWindow(self)

    def choose(self, numbers: Sequence[int]) -> int:
        """Return which of some answers comes first."""
        return self._random.choice(numbers) if self._random else numbers[0]

    def carry_out(self, request: Request) -> Told:
        """Carry a request out, as it was told."""
        with self._lock:
            self.before()
            self._requests += 1
            if self._requests == self.engine_fails_at:
                self.engine_error = OSError("no file descriptors are left")
            if self.engine_error:
                return Told(Result.FAILED)
            connection_id = request.connection_id
            ahead = self._posts if request.payload else self._closings
            if ahead[connection_id]:
                told = ahead[connection_id].popleft()
            elif request.payload:
                told = self._always.get(connection_id, Told(Result.OK))
            else:
                told = Told(Result.OK)
            if request.payload:
                self.posted.append(connection_id)
            if told.has_effect and request.payload:
                self.delivered.append((connection_id, request.payload.body))
            elif told.has_effect:
                self.closed.append(connection_id)
            return told


def _told(result: Result | Told) -> Told:
    return result if isinstance(result, Told) else Told(result)
