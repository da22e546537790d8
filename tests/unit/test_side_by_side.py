"""Several requests at once: their results in order, and the first error."""

from contextvars import ContextVar
from threading import Barrier

import pytest

from push.backoff import between, growing_delays
from push.side_by_side import side_by_side


@pytest.mark.parametrize("count", [0, 1, 2, 40])
def test_results_are_in_the_order_of_the_arguments(count: int) -> None:
    assert side_by_side(lambda number: number * 2, range(count)) == [*range(0, 2 * count, 2)]


def test_calls_run_at_the_same_time() -> None:
    """None of them returns before all have begun."""
    barrier = Barrier(8, timeout=10)

    side_by_side(lambda _: barrier.wait(), range(8))


@pytest.mark.parametrize("count", [1, 5])
def test_an_error_is_raised(count: int) -> None:
    def fail(number: int) -> None:
        if number == count - 1:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        side_by_side(fail, range(count))


def test_delays_grow_up_to_a_bound_at_random(monkeypatch: pytest.MonkeyPatch) -> None:
    ranges: list[tuple[float, float]] = []

    def most(least: float, most: float) -> float:
        ranges.append((least, most))
        return most

    monkeypatch.setattr("random.uniform", most)
    delays = growing_delays(0.1, 1.0)

    assert [next(delays) for _ in range(6)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    assert {least for least, _ in ranges} == {0}


def test_a_delay_is_within_its_range() -> None:
    assert all(1 <= between(1, 2) <= 2 for _ in range(100))


def test_calls_know_what_whoever_asked_for_them_knows() -> None:
    """Among it the keys of log lines."""
    name: ContextVar[str] = ContextVar("name", default="")
    name.set("asked")

    assert side_by_side(lambda _: name.get(), range(8)) == ["asked"] * 8
