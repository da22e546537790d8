"""Many threads, one engine: each thread sends in a window of its own.

The engine runs in the thread that called `run`, and only for as long as that lasts: nothing is
under way between two invocations of a Lambda function. Its requests are taken from all windows in
turn, so that a window with few does not wait behind one with many.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from threading import Lock

from management_api.engine import ManagementApi
from management_api.outcome import Outcome
from management_api.request import Payload, Request


class Window:
    """The requests of one thread, among those of all others."""

    def __init__(self, exchange: "Exchange") -> None:
        self._exchange = exchange
        self._answers: SimpleQueue[Outcome | None] = SimpleQueue()

    def post(self, connection_id: str, payload: Payload) -> None:
        """Put a post under way."""
        self._exchange._send(self, Request(connection_id, payload, self))

    def close_connection(self, connection_id: str) -> None:
        """Put the end of a connection under way."""
        self._exchange._send(self, Request(connection_id, None, self))

    def answer(self, within_seconds: float | None = None) -> Outcome | None:
        """Wait for the next outcome, in any order; return None if there is none in that time.

        Raises:
            RuntimeError: the engine failed, and there will be none.
        """
        try:
            timeout = None if within_seconds is None else max(0.0, within_seconds)
            outcome = self._answers.get(timeout=timeout)
        except Empty:
            return None
        if outcome is None:
            self._answers.put(None)
            raise RuntimeError("the engine failed")
        return outcome


class Exchange:
    """Runs calls in threads, and what their windows send through one engine."""

    def __init__(self, api: ManagementApi, threads: int) -> None:
        """Use an engine; `threads` is how many calls may run at once."""
        self._api = api
        self._threads = ThreadPoolExecutor(threads)
        self._lock = Lock()
        self._at_work = 0
        # Requests not yet taken by the engine. Windows come first that were served longest ago.
        self._waiting: dict[Window, deque[Request]] = {}
        self._windows: set[Window] = set()
        self._failed = False

    def run(self, calls: Sequence[Callable[[], None]]) -> None:
        """Run calls, each in a thread, until all have returned; raise what one of them raised."""
        with self._lock:
            self._at_work = len(calls)
            self._failed = False
        futures = [self._threads.submit(call) for call in calls]
        for future in futures:
            future.add_done_callback(self._returned)
        try:
            for outcome in self._api.run(self._requests()):
                outcome.request.context._answers.put(outcome)
        except BaseException:
            # Whoever waits for an answer, now or later, must not wait for ever.
            with self._lock:
                self._failed = True
                for window in self._windows:
                    window._answers.put(None)
            raise
        finally:
            wait(futures)
        for future in futures:
            future.result()

    @contextmanager
    def window(self) -> Iterator[Window]:
        """Open a window; what it has not sent when the block ends is not sent any more."""
        window = Window(self)
        with self._lock:
            self._windows.add(window)
            if self._failed:
                window._answers.put(None)
        try:
            yield window
        finally:
            with self._lock:
                self._windows.remove(window)
                self._waiting.pop(window, None)

    def _send(self, window: Window, request: Request) -> None:
        with self._lock:
            self._waiting.setdefault(window, deque()).append(request)
        self._api.wake()

    def _requests(self) -> Iterator[Request | None]:
        """Yield one request of each window in turn, None while there is none."""
        while True:
            with self._lock:
                request = self._next()
                if request is None and not self._at_work:
                    return
            yield request

    def _next(self) -> Request | None:
        if not self._waiting:
            return None
        window = next(iter(self._waiting))
        requests = self._waiting.pop(window)
        request = requests.popleft()
        if requests:
            self._waiting[window] = requests
        return request

    def _returned(self, future: Future[None]) -> None:
        with self._lock:
            self._at_work -= 1
        self._api.wake()
