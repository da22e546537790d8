"""Threads that send through one engine, each in a window of its own."""

import threading
from collections.abc import Callable, Iterator

import pytest

from management_api import Exchange, ManagementApi, Payload, Result, Window
from support.sink import Reply, Sink, Then, http

Engines = Callable[..., ManagementApi]


def post_all(exchange: Exchange, name: str, number: int, got: dict[str, list[str]]) -> None:
    """Post a payload of one's own to some connections, and note whose answers came."""
    with exchange.window() as window:
        for index in range(number):
            window.post(f"{name}-{index}", Payload(name.encode()))
        got[name] = [connection_of(window) for _ in range(number)]


def connection_of(window: Window) -> str:
    outcome = window.answer(10)
    assert outcome is not None
    assert outcome.result is Result.OK
    return outcome.request.connection_id


def test_each_window_gets_the_answers_to_what_it_sent(sink: Sink, engine: ManagementApi) -> None:
    exchange = Exchange(engine, threads=10)
    got: dict[str, list[str]] = {}
    names = [f"window{number}" for number in range(10)]

    def call(name: str) -> Callable[[], None]:
        return lambda: post_all(exchange, name, 50, got)

    exchange.run([call(name) for name in names])

    for name in names:
        assert sorted(got[name]) == sorted(f"{name}-{index}" for index in range(50))
        bodies = {r.body for r in sink.received if r.connection_id.startswith(f"{name}-")}
        assert bodies == {name.encode()}


def test_a_window_with_few_does_not_wait_behind_one_with_many(
    sink: Sink, engines_of_one: Engines
) -> None:
    exchange = Exchange(engines_of_one(sink), threads=2)
    many_are_waiting = threading.Event()
    sink.answer = lambda _: Reply(delay_seconds=0.002)

    def many() -> None:
        with exchange.window() as window:
            for index in range(200):
                window.post(f"many-{index}", Payload(b"many"))
            many_are_waiting.set()
            for _ in range(200):
                window.answer(10)

    def few() -> None:
        assert many_are_waiting.wait(10)
        with exchange.window() as window:
            window.post("few", Payload(b"few"))
            connection_of(window)

    exchange.run([many, few])

    order = [request.connection_id for request in sink.received]
    assert order.index("few") < len(order) - 50


def test_an_answer_is_waited_for_no_longer_than_asked(sink: Sink, engine: ManagementApi) -> None:
    exchange = Exchange(engine, threads=1)
    release = threading.Event()
    sink.answer = lambda _: Reply(delay_seconds=0.5)
    answers = []

    def call() -> None:
        with exchange.window() as window:
            window.post("a", Payload(b"x"))
            answers.append(window.answer(0.05))
            answers.append(window.answer(-1))
            answers.append(window.answer(10))
        release.set()

    exchange.run([call])

    assert answers[:2] == [None, None]
    assert answers[2] is not None
    assert release.is_set()


def test_a_connection_is_closed_through_a_window(sink: Sink, engine: ManagementApi) -> None:
    exchange = Exchange(engine, threads=1)
    sink.answer = lambda _: Reply(http(204))
    outcomes = []

    def call() -> None:
        with exchange.window() as window:
            window.close_connection("a")
            outcomes.append(window.answer(10))

    exchange.run([call])

    assert outcomes[0] is not None
    assert outcomes[0].result is Result.OK
    assert outcomes[0].request.payload is None


def test_what_a_window_has_not_sent_when_it_ends_is_not_sent(
    sink: Sink, engines_of_one: Engines
) -> None:
    exchange = Exchange(engines_of_one(sink), threads=1)
    sink.answer = lambda _: Reply(delay_seconds=0.05)

    def call() -> None:
        with exchange.window() as window:
            for index in range(100):
                window.post(f"{index}", Payload(b"x"))
            window.answer(10)

    exchange.run([call])

    assert len(sink.received) < 10


def test_a_run_without_posts_ends_when_its_calls_do(engine: ManagementApi) -> None:
    done: list[int] = []
    exchange = Exchange(engine, threads=3)

    exchange.run([lambda: done.append(1)] * 3)
    exchange.run([])

    assert done == [1, 1, 1]


def test_an_error_of_a_call_is_raised_once_all_have_returned(engine: ManagementApi) -> None:
    exchange = Exchange(engine, threads=2)
    others: list[str] = []

    def fails() -> None:
        raise ValueError("mine")

    def works() -> None:
        post_all(exchange, "works", 5, {})
        others.append("done")

    with pytest.raises(ValueError, match="mine"):
        exchange.run([fails, works])
    assert others == ["done"]


class Broken(ManagementApi):
    """An engine that fails with the first request."""

    def run(self, requests: object) -> Iterator[object]:  # type: ignore[override]
        for request in requests:  # type: ignore[attr-defined]
            if request:
                raise MemoryError
            yield from ()


def test_nobody_waits_for_ever_when_the_engine_fails(sink: Sink) -> None:
    broken = Broken(sink.endpoint)
    exchange = Exchange(broken, threads=1)
    errors = []

    def call() -> None:
        for _ in range(2):
            with exchange.window() as window:
                window.post("a", Payload(b"x"))
                for _ in range(2):
                    with pytest.raises(RuntimeError, match="engine failed"):
                        window.answer(10)
                    errors.append("told")

    with pytest.raises(MemoryError):
        exchange.run([call])
    broken.close()
    assert len(errors) == 4


def test_a_stalled_request_holds_its_window_alone(sink: Sink, engine_for: Engines) -> None:
    exchange = Exchange(engine_for(sink, timeout_seconds=0.5), threads=2)
    sink.answer = lambda request: (
        Reply(b"", then=Then.STALL) if request.connection_id == "slow" else Reply()
    )
    ended: list[str] = []

    def slow() -> None:
        with exchange.window() as window:
            window.post("slow", Payload(b"x"))
            outcome = window.answer(10)
            assert outcome is not None
            assert outcome.result is Result.FAILED
            assert outcome.seconds >= 0.5
        ended.append("slow")

    def quick() -> None:
        post_all(exchange, "quick", 20, {})
        ended.append("quick")

    exchange.run([slow, quick])

    assert ended == ["quick", "slow"]
