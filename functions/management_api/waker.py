"""Word from another thread to an engine that waits."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Waker:
    """A mark that any thread may set anew, and a socket that ends a sleep of the engine.

    No wake is lost: whoever wakes first sets the mark and then looks for a sleeper, and whoever
    is about to sleep first says so and then looks at the mark. At least one sees the other, since
    threads see each other's assignments in order.
    """

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._asleep = False
        self.mark = object()
        """Another object after each wake. Runs that are nested each remember the one they saw."""

    def wake(self) -> None:
        """End the sleep of the engine, if it sleeps; keep it from falling asleep otherwise."""
        self.mark = object()
        if self._asleep:
            self._asleep = False
            # If the socket is full, there is more than enough in it to wake by.
            with suppress(BlockingIOError):
                self._writer.send(b"\0")

    @contextmanager
    def asleep(self, seen: object) -> Iterator[bool]:
        """Say that the engine sleeps; enter with whether it may, `seen` being still the mark."""
        self._asleep = True
        try:
            yield self.mark is seen
        finally:
            self._asleep = False

    def fileno(self) -> int:
        return self._reader.fileno()

    def drain(self) -> None:
        """Take out what wakes have put into the socket."""
        with suppress(BlockingIOError):
            self._reader.recv(4096)

    def close(self) -> None:
        self._reader.close()
        self._writer.close()
