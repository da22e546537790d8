"""An iterable that has no request at the moment, and the wake that makes a run ask again."""

import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from selectors import DefaultSelector
from typing import Any

import pytest

from management_api import ManagementApi, Outcome, Payload, Request, Result
from management_api.connection import Connection
from management_api.waker import Waker
from support.sink import Reply, Sink

Engines = Callable[..., ManagementApi]
FRAME = Payload(b"frame")


class Source:
    """An iterable of requests that come while a run is under way; it counts how often it is asked.

    `on_none` runs before each `None`.
    """

    def __init__(self, *connection_ids: str) -> None:
        self.ids = deque(connection_ids)
        self.ended = False
        self.asked = 0
        self.on_none: Callable[[], None] = lambda: None

    def __iter__(self) -> Iterator[Request | None]:
        return self

    def __next__(self) -> Request | None:
        self.asked += 1
        # Before the look at the ids: what is put before the end is not lost.
        ended = self.ended
        if self.ids:
            return Request.post(self.ids.popleft(), FRAME)
        if ended:
            raise StopIteration
        self.on_none()
        return None


@contextmanager
def soon(action: Callable[[], Any], after_seconds: float = 0.1) -> Iterator[None]:
    """Do something in another thread while the block runs."""
    timer = threading.Timer(after_seconds, action)
    timer.start()
    yield
    timer.join()


def finished(run: Iterator[Outcome], seconds: float = 10) -> list[Outcome]:
    """Return all outcomes of a run, which must not sleep for ever."""
    outcomes: list[Outcome] = []
    thread = threading.Thread(target=lambda: outcomes.extend(run), daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), "the run sleeps"
    return outcomes


def ids_of(outcomes: list[Outcome]) -> list[str]:
    assert {outcome.result for outcome in outcomes} <= {Result.OK}
    return sorted(outcome.request.connection_id for outcome in outcomes)


def test_a_run_that_sleeps_goes_on_when_another_thread_wakes_it(
    sink: Sink, engine: ManagementApi
) -> None:
    source = Source("a")

    def more() -> None:
        source.ids.append("b")
        source.ended = True
        engine.wake()

    with soon(more):
        assert ids_of(finished(engine.run(source))) == ["a", "b"]


def test_the_end_of_the_iterable_may_come_with_a_wake(engine: ManagementApi) -> None:
    source = Source()

    def end() -> None:
        source.ended = True
        engine.wake()

    with soon(end):
        assert finished(engine.run(source)) == []


def test_an_error_of_the_iterable_may_come_after_a_none(engine: ManagementApi) -> None:
    def failing() -> Iterator[Request | None]:
        yield Request.post("a", FRAME)
        engine.wake()
        yield None
        raise ConnectionError("no more pages")

    outcomes = engine.run(failing())

    assert next(outcomes).result is Result.OK
    with pytest.raises(ConnectionError, match="no more pages"):
        next(outcomes)


def test_outcomes_make_a_run_ask_again_without_a_wake(sink: Sink, engine: ManagementApi) -> None:
    """What the caller learns from one may be what the next request waited for."""
    source = Source("a")
    outcomes = []

    for outcome in engine.run(source):
        outcomes.append(outcome)
        if len(outcomes) < 5:
            source.ids.append("abcde"[len(outcomes)])
        else:
            source.ended = True

    assert ids_of(outcomes) == list("abcde")


def test_a_wake_that_comes_while_the_iterable_is_asked_is_not_missed(
    sink: Sink, engine: ManagementApi
) -> None:
    source = Source()

    def too_late_for_this_answer() -> None:
        source.ids.append("a")
        source.ended = True
        engine.wake()

    source.on_none = too_late_for_this_answer

    assert ids_of(finished(engine.run(source))) == ["a"]


@pytest.mark.parametrize("moment", [(Waker, "asleep"), (DefaultSelector, "select")])
def test_a_wake_that_comes_between_a_none_and_the_sleep_is_not_missed(
    sink: Sink, engine: ManagementApi, monkeypatch: pytest.MonkeyPatch, moment: tuple[type, str]
) -> None:
    """Before the engine says that it sleeps, or between that and the sleep."""
    source = Source()
    owner, name = moment
    original = getattr(owner, name)

    def woken_first(*arguments: Any) -> Any:
        if not source.ended:
            source.ids.append("a")
            source.ended = True
            engine.wake()
        return original(*arguments)

    monkeypatch.setattr(owner, name, woken_first)

    assert ids_of(finished(engine.run(source))) == ["a"]


def test_of_many_wakes_from_many_threads_none_is_missed(sink: Sink, engine: ManagementApi) -> None:
    source = Source()

    def add(thread: int) -> None:
        for number in range(200):
            source.ids.append(f"{thread}-{number}")
            engine.wake()
            if number % 20 == 0:
                time.sleep(0.005)

    threads = [threading.Thread(target=add, args=[number]) for number in range(4)]

    def end() -> None:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        source.ended = True
        engine.wake()

    with soon(end, after_seconds=0):
        outcomes = finished(engine.run(source), seconds=30)

    assert ids_of(outcomes) == sorted(f"{a}-{b}" for a in range(4) for b in range(200))


def test_a_sleeping_run_asks_once_a_wake(engine: ManagementApi) -> None:
    source = Source()

    def wake_five_times() -> None:
        for _ in range(5):
            engine.wake()
            time.sleep(0.05)
        source.ended = True
        engine.wake()

    cpu = time.process_time()
    with soon(wake_five_times):
        finished(engine.run(source))

    assert source.asked == 1 + 5 + 1
    assert time.process_time() - cpu < 0.1


def test_while_one_answer_is_awaited_a_none_is_asked_for_once(
    sink: Sink, engine: ManagementApi
) -> None:
    sink.answer = lambda _: Reply(delay_seconds=0.3)
    source = Source("a")
    outcomes = engine.run(source)

    cpu = time.process_time()
    next(outcomes)

    assert source.asked == 2
    assert time.process_time() - cpu < 0.15
    source.ended = True
    assert list(outcomes) == []


def test_a_wake_that_the_rate_makes_wait_is_waited_for_asleep(
    sink: Sink, engine_for: Engines
) -> None:
    """The rate is spent by a run inside the iterable of another."""
    engine = engine_for(sink, rate_per_second=2)
    source = Source()

    def spend_and_wake() -> None:
        next(engine.run([Request.post("inner", FRAME)]))
        source.ended = True
        engine.wake()

    source.on_none = spend_and_wake
    start, cpu = time.monotonic(), time.process_time()

    assert finished(engine.run(source)) == []
    assert time.monotonic() - start > 0.4
    assert time.process_time() - cpu < 0.2


def test_timeouts_hold_while_there_is_no_next_request(sink: Sink, engine_for: Engines) -> None:
    engine = engine_for(sink, timeout_seconds=0.3)
    sink.answer = lambda _: Reply(b"")
    source = Source("a")
    outcomes = engine.run(source)

    start = time.monotonic()
    outcome = next(outcomes)

    assert outcome.reason == "no response within 0.3 s"
    assert 0.3 <= time.monotonic() - start < 2
    source.ended = True
    assert list(outcomes) == []


def test_answers_come_in_while_there_is_no_next_request(sink: Sink, engine: ManagementApi) -> None:
    sink.answer = lambda request: Reply(delay_seconds=0.1 * int(request.connection_id))
    source = Source("3", "1", "2")
    outcomes = engine.run(source)

    assert ids_of([next(outcomes) for _ in range(3)]) == ["1", "2", "3"]
    source.ended = True
    assert list(outcomes) == []


def test_a_connection_closed_during_a_sleep_is_replaced(
    sink: Sink, engines_of_one: Engines
) -> None:
    engine = engines_of_one(sink)
    source = Source("a")

    def close_and_go_on() -> None:
        sink.close_connections()
        time.sleep(0.4)
        source.ids.append("b")
        source.ended = True
        engine.wake()

    cpu = time.process_time()
    with soon(close_and_go_on):
        assert ids_of(finished(engine.run(source))) == ["a", "b"]

    assert time.process_time() - cpu < 0.2
    assert sink.accepted == 2


def test_a_connection_answered_as_soon_as_it_opens_does_not_keep_the_engine_busy(
    sink: Sink, engine: ManagementApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is there when the engine has sent, before it waits again."""
    send = Connection._go_on_sending

    def send_and_wait(self: Connection) -> None:
        send(self)
        time.sleep(0.1)

    monkeypatch.setattr(Connection, "_go_on_sending", send_and_wait)
    source = Source("a")

    def end() -> None:
        source.ended = True
        engine.wake()

    cpu = time.process_time()
    with soon(end, after_seconds=0.6):
        finished(engine.run(source))

    assert time.process_time() - cpu < 0.2


def test_a_wake_is_no_system_call_unless_it_ends_a_sleep(
    sink: Sink, engine: ManagementApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = 0
    send = socket.socket.send

    def counting(self: socket.socket, data: bytes) -> int:
        nonlocal sent
        sent += len(data) == 1
        return send(self, data)

    def wake_often() -> None:
        for _ in range(100):
            engine.wake()

    monkeypatch.setattr(socket.socket, "send", counting)
    wake_often()
    source = Source("a")
    sink.answer = lambda _: Reply(delay_seconds=0.1)
    outcomes = engine.run(source)
    next(outcomes)
    wake_often()
    assert sent == 0

    def end() -> None:
        source.ended = True
        wake_often()

    with soon(end):
        assert finished(outcomes) == []
    assert sent == 1


def test_a_wake_of_an_engine_that_is_closed_does_nothing(engine: ManagementApi) -> None:
    engine.close()
    engine.wake()
