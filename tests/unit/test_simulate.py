"""The simulation of a fan-out: its results obey the limits that it is about."""

import pytest

from benchmarks.simulate import Scenario, simulate


@pytest.mark.parametrize("subscribers", [1, 1_000, 1_001, 10_000, 1_000_000])
@pytest.mark.parametrize("couriers", [2, 5, 50])
def test_no_fan_out_is_faster_than_the_rate_allows(subscribers: int, couriers: int) -> None:
    result = simulate(Scenario(subscribers, 8_000, 5, couriers))

    assert result.last >= subscribers / 8_000
    assert result.half <= result.last


def test_a_large_fan_out_comes_close_to_the_couriers_share_of_the_rate() -> None:
    result = simulate(Scenario(1_000_000, 10_000, 5, 5))

    assert 200 <= result.last <= 210
    assert result.invocations == 1_001


def test_few_subscribers_take_one_invocation() -> None:
    assert simulate(Scenario(1_000, 8_000, 5, 5)).invocations == 1


def test_failing_posts_cost_time_and_money() -> None:
    good = simulate(Scenario(100_000, 8_000, 5, 5))
    bad = simulate(Scenario(100_000, 8_000, 5, 5, failing=0.2))

    assert bad.last > good.last
    assert bad.dollars > good.dollars
    assert bad.posts == pytest.approx(125_000)
