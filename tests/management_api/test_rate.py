"""The rate of the engine, under a clock that the test moves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from management_api.rate import Rate


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Gateway:
    """Sends through a rate to a quota that is filled continuously, as API Gateway's is."""

    def __init__(self, rate: Rate, clock: Clock, quota: float, latency: float = 0.01) -> None:
        self._rate = rate
        self._clock = clock
        self._quota = quota
        self._latency = latency
        self._tokens = 0.0
        self._answers: list[tuple[float, float, bool]] = []
        self.accepted = 0
        self.throttled = 0

    def run(self, seconds: float, step: float = 0.001) -> None:
        end = self._clock.now + seconds
        while self._clock.now < end:
            while self._rate.delay_seconds() == 0:
                throttled = self._tokens < 1
                self._tokens -= not throttled
                self.accepted += not throttled
                self.throttled += throttled
                sent_at = self._rate.spend()
                self._answers.append((self._clock.now + self._latency, sent_at, throttled))
            self._clock.now += step
            self._tokens = min(self._quota * 0.05, self._tokens + self._quota * step)
            while self._answers and self._answers[0][0] <= self._clock.now:
                _, sent_at, throttled = self._answers.pop(0)
                self._rate.answered(sent_at, throttled=throttled)


def sent(rate: Rate, clock: Clock, seconds: float, step: float = 0.001) -> int:
    """Send whatever may be sent for some seconds; return how much that was."""
    count, end = 0, clock.now + seconds
    while clock.now < end:
        while rate.delay_seconds() == 0:
            rate.spend()
            count += 1
        clock.now += step
    return count


def answer(rate: Rate, clock: Clock, answers: int, throttled: int) -> None:
    """Let a window pass in which so many of the answers were 429."""
    at = rate.spend()
    for number in range(answers):
        if number == answers - 1:
            clock.now += 0.1
        rate.answered(at, throttled=number < throttled)


def test_a_second_holds_the_rate_and_one_burst() -> None:
    clock = Clock()

    assert sent(Rate(1000, clock=clock), clock, seconds=1) == pytest.approx(1100, abs=2)


def test_a_long_pause_saves_up_no_more_than_one_burst() -> None:
    clock = Clock()
    rate = Rate(1000, clock=clock)
    sent(rate, clock, seconds=1)
    clock.now += 3600

    assert sent(rate, clock, seconds=0.001) == 100


def test_a_rate_of_less_than_ten_sends_one_at_a_time() -> None:
    clock = Clock()
    rate = Rate(2, clock=clock)

    assert rate.delay_seconds() == 0
    rate.spend()
    assert rate.delay_seconds() == pytest.approx(0.5)
    clock.now += 0.5
    assert rate.delay_seconds() == 0


def test_the_delay_is_when_the_next_may_go() -> None:
    clock = Clock()
    rate = Rate(100, clock=clock)
    sent(rate, clock, seconds=0.0001)
    delay = rate.delay_seconds()

    clock.now += delay * 0.99
    assert rate.delay_seconds() > 0
    clock.now += delay * 0.02
    assert rate.delay_seconds() == 0


@given(
    limit=st.floats(1, 10_000),
    pauses=st.lists(st.floats(0, 2), min_size=1, max_size=30),
)
def test_no_span_of_time_holds_more_than_rate_and_burst(limit: float, pauses: list[float]) -> None:
    clock = Clock()
    rate = Rate(limit, clock=clock)
    times: list[float] = []
    for pause in pauses:
        clock.now += pause
        while rate.delay_seconds() == 0 and len(times) < 20_000:
            rate.spend()
            times.append(clock.now)

    burst = max(1.0, limit * 0.1)
    starts = {time: index for index, time in reversed(list(enumerate(times)))}
    ends = {time: index for index, time in enumerate(times)}
    for start, first in starts.items():
        for end, last in ends.items():
            if end >= start:
                assert last - first + 1 <= limit * (end - start) + burst + 1e-6 * limit + 1e-3


def test_without_a_limit_nothing_waits() -> None:
    clock = Clock()
    rate = Rate(None, clock=clock)
    for _ in range(100_000):
        assert rate.delay_seconds() == 0
        rate.answered(rate.spend(), throttled=True)


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_must_let_something_through(limit: float) -> None:
    with pytest.raises(ValueError, match="more than 0"):
        Rate(limit)


def test_the_rate_falls_to_what_was_accepted() -> None:
    clock = Clock()
    rate = Rate(1000, clock=clock)

    answer(rate, clock, answers=100, throttled=30)

    assert rate.per_second == pytest.approx(700)


def test_one_judgement_halves_the_rate_at_most() -> None:
    clock = Clock()
    rate = Rate(1000, clock=clock)

    answer(rate, clock, answers=100, throttled=100)

    assert rate.per_second == pytest.approx(500)


def test_it_is_lowered_once_for_the_requests_of_one_rate() -> None:
    clock = Clock()
    rate = Rate(1000, clock=clock)
    sent_before = rate.spend()
    answer(rate, clock, answers=100, throttled=50)

    for _ in range(1000):
        rate.answered(sent_before, throttled=True)
        clock.now += 0.01

    assert rate.per_second == pytest.approx(500)


@pytest.mark.parametrize(("answers", "throttled"), [(1000, 10), (20, 2)])
def test_a_few_clients_with_full_buffers_do_not_slow_the_others(
    answers: int, throttled: int
) -> None:
    clock = Clock()
    rate = Rate(1000, clock=clock)

    answer(rate, clock, answers, throttled)

    assert rate.per_second == 1000


def test_the_rate_comes_back_to_the_limit_and_not_above() -> None:
    clock = Clock()
    rate = Rate(1000, clock=clock)
    answer(rate, clock, answers=100, throttled=50)

    clock.now += 1
    rate.delay_seconds()
    assert rate.per_second == pytest.approx(775, abs=30)
    clock.now += 60
    rate.delay_seconds()
    assert rate.per_second == 1000


def test_throttled_for_good_it_keeps_asking() -> None:
    clock = Clock()
    rate = Rate(1000, clock=clock)
    gateway = Gateway(rate, clock, quota=0.001)

    gateway.run(seconds=20)

    assert 50 <= gateway.throttled / 20 <= 200


@pytest.mark.parametrize("quota", [300, 700, 2000])
def test_a_smaller_quota_is_used_up_with_few_refusals(quota: float) -> None:
    clock = Clock()
    rate = Rate(1000, clock=clock)
    gateway = Gateway(rate, clock, quota)

    gateway.run(seconds=20)

    assert gateway.accepted / 20 >= 0.85 * min(quota, 1000)
    assert gateway.throttled <= 0.15 * gateway.accepted
