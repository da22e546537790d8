"""Several requests to a service at once."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import cache
from typing import Protocol, TypeVar

T = TypeVar("T")
R = TypeVar("R")

# A request waits for milliseconds and costs the better part of one of processor time.
_THREADS = 8


class SideBySide(Protocol):
    """The signature of `side_by_side`; tests have one that takes turns."""

    def __call__(self, call: Callable[[T], R], arguments: Iterable[T], /) -> list[R]: ...


def side_by_side(call: Callable[[T], R], arguments: Iterable[T]) -> list[R]:
    """Return the results of a call for each argument, in order; raise the first error.

    What the calls log has the keys of whoever asked for them.
    """
    arguments = list(arguments)
    if len(arguments) < 2:
        return [call(argument) for argument in arguments]
    contexts = [copy_context() for _ in arguments]
    return list(_threads().map(lambda context, each: context.run(call, each), contexts, arguments))


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_THREADS)
