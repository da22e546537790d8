"""Delays between tries, at random: those who failed together should not return together."""

import random
from collections.abc import Iterator


def between(least: float, most: float) -> float:
    """Return a random number of seconds in a range."""
    return random.uniform(least, most)  # noqa: S311 - spreads tries, keeps no secret


def growing_delays(first: float, most: float) -> Iterator[float]:
    """Yield delays in seconds, for ever: each from the whole range below a bound that doubles."""
    bound = first
    while True:
        yield between(0, bound)
        bound = min(bound * 2, most)
