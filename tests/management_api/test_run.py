"""What a request comes to, and what it costs the others."""

import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import pytest

from management_api import ManagementApi, Outcome, Payload, Request, Result
from management_api.connection import Connection
from management_api.rate import Rate
from support.sink import Reply, Sink, Then, http

Engines = Callable[..., ManagementApi]


def ids(count: int) -> list[str]:
    return [f"L0SM9cOF{number:05d}Q=" for number in range(count)]


def posts(connection_ids: Iterable[str], body: bytes = b"frame") -> Iterator[Request]:
    """Yield posts of one payload."""
    payload = Payload(body)
    return (Request.post(connection_id, payload) for connection_id in connection_ids)


def plain(outcome: Outcome) -> tuple[str, Result, str]:
    return outcome.request.connection_id, outcome.result, outcome.reason


def by_id(outcomes: Iterator[Outcome]) -> dict[str, Outcome]:
    """Return the outcomes by id, of which each must come once."""
    found: dict[str, Outcome] = {}
    for outcome in outcomes:
        assert outcome.request.connection_id not in found
        found[outcome.request.connection_id] = outcome
    return found


def test_each_connection_is_posted_the_payload_once(sink: Sink, engine: ManagementApi) -> None:
    outcomes = by_id(engine.run(posts(ids(1000))))

    assert set(outcomes) == set(ids(1000))
    assert {(outcome.result, outcome.reason) for outcome in outcomes.values()} == {(Result.OK, "")}
    assert sorted(request.connection_id for request in sink.received) == ids(1000)
    assert {request.body for request in sink.received} == {b"frame"}
    assert sink.received[0].path.startswith("/v1/@connections/L0SM9cOF")
    assert sink.received[0].path.endswith("Q%3D")


def test_no_ids_are_no_posts(engine: ManagementApi) -> None:
    assert list(engine.run(posts([]))) == []


@pytest.mark.parametrize(
    ("status", "error_type", "body", "result", "reason"),
    [
        (200, "", b"", Result.OK, ""),
        (204, "", b"", Result.OK, ""),
        (410, "GoneException", b"", Result.GONE, "HTTP 410: GoneException"),
        (
            429,
            "LimitExceededException:http://internal.amazon.com/coral/",
            b'{"message":"Too Many Requests"}',
            Result.THROTTLED,
            "HTTP 429: LimitExceededException: Too Many Requests",
        ),
        (
            403,
            "ForbiddenException",
            b'{"Message":"not you"}',
            Result.REFUSED,
            "HTTP 403: ForbiddenException: not you",
        ),
        (400, "", b"not json", Result.REFUSED, "HTTP 400"),
        (404, "", b"[1]", Result.REFUSED, "HTTP 404"),
        (307, "", b'{"message":["x"]}', Result.REFUSED, "HTTP 307"),
        (408, "", b"", Result.FAILED, "HTTP 408"),
        (413, "PayloadTooLargeException", b"", Result.TOO_LARGE,
         "HTTP 413: PayloadTooLargeException"),
        (500, "", b"[" * 40_000, Result.FAILED, "HTTP 500"),
        (503, "", b'{"message":null}', Result.FAILED, "HTTP 503"),
        (504, "", b'{"message":"%s"}' % (b"x" * 999), Result.FAILED, "HTTP 504: " + "x" * 190),
    ],
)  # fmt: skip
def test_the_status_decides(
    sink: Sink,
    engine: ManagementApi,
    status: int,
    error_type: str,
    body: bytes,
    result: Result,
    reason: str,
) -> None:
    headers = [f"X-AMZN-errortype: {error_type}"] if error_type else []
    sink.answer = lambda request: (
        Reply(http(status, body, *headers)) if request.connection_id == "b" else Reply()
    )

    outcomes = by_id(engine.run(posts("abc")))

    assert plain(outcomes["b"]) == ("b", result, reason)
    assert outcomes["a"].result is outcomes["c"].result is Result.OK


def test_requests_of_many_payloads_and_both_methods_go_out_in_one_run(
    sink: Sink, engine: ManagementApi
) -> None:
    payloads = [Payload(b"%d" % number) for number in range(50)]
    requests = [
        Request.close(id_) if number % 5 == 0 else Request.post(id_, payloads[number % 50])
        for number, id_ in enumerate(ids(500))
    ]
    sink.answer = lambda request: Reply(http(204 if request.method == "DELETE" else 200))

    outcomes = list(engine.run(requests))

    assert {outcome.result for outcome in outcomes} == {Result.OK}
    assert Counter(outcome.request for outcome in outcomes) == Counter(requests)
    assert {
        request.connection_id: (request.method, request.body) for request in sink.received
    } == {
        request.connection_id: ("POST", request.payload.body) if request.payload else
        ("DELETE", b"") for request in requests
    }  # fmt: skip
    assert len(sink.received) == 500


@pytest.mark.parametrize(
    ("status", "result"),
    [
        (204, Result.OK),
        (410, Result.GONE),
        (429, Result.THROTTLED),
        (500, Result.FAILED),
        (403, Result.REFUSED),
    ],
)
def test_a_connection_may_be_closed(
    sink: Sink, engine: ManagementApi, status: int, result: Result
) -> None:
    sink.answer = lambda _: Reply(http(status) if status != 204 else b"HTTP/1.1 204 \r\n\r\n")

    (outcome,) = engine.run([Request.close("L0SM9cOFvHcCIhw=")])

    assert outcome.result is result
    (received,) = sink.received
    assert (received.method, received.path, received.body) == (
        "DELETE",
        "/v1/@connections/L0SM9cOFvHcCIhw%3D",
        b"",
    )


def test_the_context_of_a_request_comes_back_with_its_outcome(engine: ManagementApi) -> None:
    payload, one, other = Payload(b"frame"), object(), object()
    requests = [Request.post("a", payload, one), Request.close("b", other)]

    outcomes = by_id(engine.run(requests))

    assert outcomes["a"].request.context is one
    assert outcomes["b"].request.context is other


def test_an_outcome_tells_how_long_its_request_took(sink: Sink, engine: ManagementApi) -> None:
    list(engine.run(posts("yz")))
    sink.answer = lambda request: Reply(
        delay_seconds=0.8 if request.connection_id == "slow" else 0.1
    )  # fmt: skip

    outcomes = by_id(engine.run(posts(["slow", "a"])))

    assert 0.1 <= outcomes["a"].seconds < 0.6
    assert 0.8 <= outcomes["slow"].seconds < 1.3


def test_that_leaves_out_the_time_that_the_caller_took(sink: Sink, engine: ManagementApi) -> None:
    list(engine.run(posts("yz")))
    sink.answer = lambda request: Reply(
        delay_seconds=0.2 if request.connection_id == "b" else 0.1
    )  # fmt: skip
    outcomes = engine.run(posts("ab"))
    next(outcomes)
    time.sleep(1)

    assert next(outcomes).seconds < 0.8


def test_a_request_given_up_took_as_long_as_the_timeout(sink: Sink, engine_for: Engines) -> None:
    engine = engine_for(sink, timeout_seconds=0.3)
    sink.answer = lambda _: Reply(b"")

    (outcome,) = engine.run(posts("a"))

    assert 0.3 <= outcome.seconds < 0.8


def test_only_what_may_pass_is_worth_another_try() -> None:
    assert {result for result in Result if result.may_pass} == {Result.FAILED, Result.THROTTLED}


@pytest.mark.parametrize("piece_bytes", [1, 3])
@pytest.mark.parametrize(
    "response",
    [
        http(200, b"{}"),
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: CHUNKED\r\n\r\n2;x\r\n{}\r\n0\r\nEnd: x\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" + http(200, b"{}"),
        b"HTTP/1.1 204 No Content\r\n\r\n",
        http(200, b"{}", "connection: Keep-Alive", version="1.0"),
    ],
)
def test_a_response_may_come_in_pieces_and_its_connection_is_kept(
    sink: Sink, engines_of_one: Engines, response: bytes, piece_bytes: int
) -> None:
    engine = engines_of_one(sink)
    sink.answer = lambda _: Reply(response, piece_bytes=piece_bytes)

    outcomes = by_id(engine.run(posts(ids(5))))

    assert {outcome.result for outcome in outcomes.values()} == {Result.OK}
    assert sink.accepted == 1


@pytest.mark.parametrize(
    "reply",
    [
        Reply(http(200, b"", "Connection: close"), then=Then.CLOSE),
        Reply(http(200, b"", "Connection: close")),
        Reply(http(200, version="1.0")),
        Reply(b"HTTP/1.1 200 OK\r\n\r\nuntil the end", then=Then.CLOSE),
        Reply(http(200) + b"more than was asked"),
        Reply(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"),
        Reply(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}"),
        Reply(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
        Reply(b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n" + b"x" * 99_999),
        Reply(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nxx", then=Then.RESET),
        Reply(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nxx", then=Then.CLOSE),
    ],
)
def test_a_delivered_post_may_cost_its_connection(
    sink: Sink, engines_of_one: Engines, reply: Reply
) -> None:
    """What follows a status 200 never makes the post one to be tried again."""
    engine = engines_of_one(sink)
    sink.answer = lambda _: reply

    outcomes = by_id(engine.run(posts(ids(3))))

    assert {outcome.result for outcome in outcomes.values()} == {Result.OK}
    assert sink.accepted == 3


def test_a_delivered_post_whose_body_never_ends_is_delivered(
    sink: Sink, engine_for: Engines
) -> None:
    engine = engine_for(sink, timeout_seconds=0.2)
    sink.answer = lambda _: Reply(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nxx")

    assert [plain(outcome) for outcome in engine.run(posts("a"))] == [("a", Result.OK, "")]


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply(b"", then=Then.CLOSE), "closed by the server before a response"),
        (Reply(b"", then=Then.RESET), "before a response"),
        (Reply(b"HTTP/1.1 200 OK\r\nConte", then=Then.CLOSE), "in the head of a response"),
        (Reply(b"HTTP/1.1 200 OK\r\nConte", then=Then.RESET), "in the head of a response"),
        (Reply(b"HT", then=Then.RESET), "in the head of a response"),
        (Reply(b"SSH-2.0-OpenSSH_9.6\r\n"), "not an HTTP/1.x response"),
        (Reply(b"HTTP/2 200 OK\r\n\r\n"), "not an HTTP/1.x response"),
        (Reply(b"HTTP/1.1 2000 OK\r\n\r\n"), "not an HTTP/1.x response"),
        (Reply(b"HTTP/1.1 101 Switching Protocols\r\n\r\n"), "switch of protocols"),
        (Reply(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 40_000), "too large"),
        (Reply(b"HTTP/1.1 100 Continue\r\n\r\n" * 9_000), "no whole head"),
    ],
)
def test_what_is_no_answer_fails_one_post_and_its_connection(
    sink: Sink, engines_of_one: Engines, reply: Reply, reason: str
) -> None:
    engine = engines_of_one(sink)
    sink.answer = lambda request: reply if request.connection_id == "b" else Reply()

    outcomes = by_id(engine.run(posts("abc")))

    assert outcomes["b"].result is Result.FAILED
    assert reason in outcomes["b"].reason
    assert outcomes["a"].result is outcomes["c"].result is Result.OK
    assert [request.connection_id for request in sink.received] == ["a", "b", "c"]
    assert sink.accepted == 2


def test_a_stalled_recipient_delays_nobody_else(sink: Sink, engine_for: Engines) -> None:
    engine = engine_for(sink, timeout_seconds=1.5, max_connections=4)
    sink.answer = lambda request: Reply(b"") if request.connection_id == "slow" else Reply()

    start = time.monotonic()
    outcomes = []
    for outcome in engine.run(posts(["slow", *ids(300)])):
        outcomes.append(outcome)
        if len(outcomes) == 300:
            others_took = time.monotonic() - start

    assert plain(outcomes[-1]) == ("slow", Result.FAILED, "no response within 1.5 s")
    assert others_took < 1.5


def test_a_late_answer_is_not_taken_for_that_to_the_next_post(
    sink: Sink, engines_of_one: Engines
) -> None:
    engine = engines_of_one(sink, timeout_seconds=0.2)
    sink.answer = lambda request: (
        Reply(http(410), delay_seconds=0.3) if request.connection_id == "slow" else
        Reply(delay_seconds=0.15)
    )  # fmt: skip

    outcomes = by_id(engine.run(posts(["slow", "a", "b"])))

    assert outcomes["slow"].result is Result.FAILED
    assert outcomes["a"].result is outcomes["b"].result is Result.OK


def test_time_that_the_caller_takes_is_not_the_servers(sink: Sink, engine_for: Engines) -> None:
    engine = engine_for(sink, timeout_seconds=0.4)
    sink.answer = lambda _: Reply(delay_seconds=0.1)
    list(engine.run(posts("yz", b"opens two connections")))
    sink.answer = lambda request: Reply(
        delay_seconds=0.7 if request.connection_id == "b" else 0.0
    )  # fmt: skip

    outcomes = engine.run(posts("ab"))
    first = next(outcomes)
    time.sleep(0.5)

    assert plain(first) == ("a", Result.OK, "")
    assert [plain(outcome) for outcome in outcomes] == [("b", Result.OK, "")]


def test_time_that_the_next_id_takes_is_not_the_servers(sink: Sink, engine_for: Engines) -> None:
    engine = engine_for(sink, timeout_seconds=0.4)
    sink.answer = lambda _: Reply(delay_seconds=0.1)
    list(engine.run(posts("yz", b"opens two connections")))
    sink.answer = lambda request: Reply(
        delay_seconds=0.7 if request.connection_id == "a" else 0.0
    )  # fmt: skip

    def slow_pages() -> Iterator[str]:
        yield "a"
        time.sleep(0.5)
        yield "b"

    assert {outcome.result for outcome in engine.run(posts(slow_pages(), b"x"))} == {Result.OK}


def test_posts_of_one_engine_share_its_connections(sink: Sink, engine: ManagementApi) -> None:
    list(engine.run(posts(ids(10), b"one")))
    opened = sink.accepted

    list(engine.run(posts(ids(10), b"two")))
    list(engine.run(posts(ids(10), b"three")))

    assert sink.accepted == opened
    assert sink.open_connections == opened


def test_no_more_connections_are_opened_than_allowed(sink: Sink, engine_for: Engines) -> None:
    engine = engine_for(sink, max_connections=7)
    sink.answer = lambda _: Reply(delay_seconds=0.01)

    list(engine.run(posts(ids(200))))

    assert sink.accepted == 7


@pytest.mark.parametrize("then", [Then.CLOSE, Then.RESET])
def test_connections_that_the_server_closed_between_posts_are_replaced(
    sink: Sink, engine: ManagementApi, then: Then
) -> None:
    list(engine.run(posts(ids(10))))
    if then is Then.CLOSE:
        sink.close_connections()
    else:
        sink.reset_connections()

    outcomes = by_id(engine.run(posts(ids(10))))

    assert {outcome.result for outcome in outcomes.values()} == {Result.OK}
    assert len(sink.received) == 20


def test_a_post_that_cannot_have_left_is_sent_again(
    sink: Sink, engine: ManagementApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reset comes between the check of a kept connection and the post on it."""
    list(engine.run(posts(ids(10))))
    sink.reset_connections()
    monkeypatch.setattr(Connection, "is_fit", lambda _: True)

    outcomes = by_id(engine.run(posts(ids(10))))

    assert {outcome.result for outcome in outcomes.values()} == {Result.OK}
    assert len(sink.received) == 20


def test_a_post_that_may_have_left_is_not_sent_again(sink: Sink, engines_of_one: Engines) -> None:
    engine = engines_of_one(sink)
    list(engine.run(posts("a")))
    sink.answer = lambda _: Reply(b"", then=Then.CLOSE)

    (outcome,) = engine.run(posts("b"))

    assert outcome.result is Result.FAILED
    assert [request.connection_id for request in sink.received] == ["a", "b"]


def test_connections_idle_for_a_minute_are_not_trusted(
    sink: Sink, engines_of_one: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engines_of_one(sink)
    list(engine.run(posts("a")))
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 60)

    list(engine.run(posts("a")))

    assert sink.accepted == 2


def test_no_more_connections_are_kept_than_allowed(sink: Sink, engine_for: Engines) -> None:
    engine = engine_for(sink, max_connections=2)
    sink.answer = lambda _: Reply(delay_seconds=0.05)
    runs = [engine.run(posts(ids(3))) for _ in range(2)]
    for _ in range(3):
        assert [next(run).result for run in runs] == [Result.OK] * 2
    assert sink.accepted == 4
    for run in runs:
        assert list(run) == []

    sink.wait_until(lambda: sink.open_connections == 2)


def test_an_address_that_cannot_be_reached_is_left_for_another(
    sink: Sink, engine: ManagementApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, _, port = sink.endpoint.removesuffix("/v1").rpartition("/")[2].partition(":")
    with socket.create_server((host, 0)) as closed:
        closed_port = closed.getsockname()[1]
    found = [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, number))
        for number in (closed_port, int(port))
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)

    outcomes = by_id(engine.run(posts(ids(100))))

    assert {outcome.result for outcome in outcomes.values()} == {Result.OK}


def test_a_server_that_restarts_is_found_again(sink: Sink, engine: ManagementApi) -> None:
    list(engine.run(posts(ids(10))))
    sink.stop()
    while_down = by_id(engine.run(posts(ids(1000))))
    sink.start()
    afterwards = by_id(engine.run(posts(ids(10))))

    assert {outcome.result for outcome in while_down.values()} == {Result.FAILED}
    assert while_down[ids(1)[0]].reason == "not connected: Connection refused"
    assert {outcome.result for outcome in afterwards.values()} == {Result.OK}


def test_a_connection_that_said_something_unasked_is_not_used_again(
    sink: Sink, engine: ManagementApi
) -> None:
    list(engine.run(posts(ids(10))))
    opened = sink.accepted
    sink.say_to_all(http(410))

    outcomes = by_id(engine.run(posts(ids(10))))

    assert {outcome.result for outcome in outcomes.values()} == {Result.OK}
    assert sink.accepted > opened


def test_a_connection_closed_while_the_rate_holds_posts_back_is_replaced(
    sink: Sink, engines_of_one: Engines
) -> None:
    engine = engines_of_one(sink, rate_per_second=10)
    outcomes = engine.run(posts("ab"))
    next(outcomes)
    sink.close_connections()

    assert plain(next(outcomes)) == ("b", Result.OK, "")


def test_connections_closed_while_the_caller_is_away_are_replaced(
    sink: Sink, engines_of_one: Engines
) -> None:
    engine = engines_of_one(sink, rate_per_second=10)
    outcomes = engine.run(posts("ab"))
    next(outcomes)
    sink.close_connections()
    time.sleep(0.15)  # from here on the rate allows the next post at once

    assert plain(next(outcomes)) == ("b", Result.OK, "")


def test_connections_closed_together_are_each_dropped_once(
    sink: Sink, engine_for: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The word that one is closed may be heard after the other's has led to a check of both."""
    engine = engine_for(sink, max_connections=2)
    sink.answer = lambda _: Reply(delay_seconds=0.05)
    delays = [0.0, 0.0, *[10.0] * 9]
    monkeypatch.setattr(Rate, "delay_seconds", lambda _: delays.pop(0) if delays else 0.0)
    outcomes = engine.run(posts("abc"))
    assert {next(outcomes).request.connection_id for _ in range(2)} == {"a", "b"}
    sink.close_connections()
    delays[:] = [10.0]

    assert [plain(outcome) for outcome in outcomes] == [("c", Result.OK, "")]


def test_a_run_closed_early_leaves_no_half_read_connection(sink: Sink, engine_for: Engines) -> None:
    engine = engine_for(sink, max_connections=8)
    sink.answer = lambda request: Reply(
        delay_seconds=0.0 if request.connection_id == "first" else 0.1
    )  # fmt: skip
    outcomes = engine.run(posts(["first", *ids(50)]))
    next(outcomes)
    outcomes.close()  # type: ignore[attr-defined]
    # Later than the answers that nobody waits for any more.
    sink.answer = lambda _: Reply(http(410), delay_seconds=0.2)

    outcomes = engine.run(posts(ids(50)))

    assert {outcome.result for outcome in outcomes} == {Result.GONE}


def test_an_error_of_the_ids_is_raised_when_the_posts_under_way_are_done(
    sink: Sink, engine: ManagementApi
) -> None:
    sink.answer = lambda _: Reply(delay_seconds=0.05)

    def failing() -> Iterator[str]:
        yield from ids(10)
        raise ConnectionError("no more pages")

    outcomes: list[Outcome] = []
    with pytest.raises(ConnectionError, match="no more pages"):
        outcomes.extend(engine.run(posts(failing())))
    # `extend` keeps what came before the error.
    assert Counter(map(plain, outcomes)) == Counter((id_, Result.OK, "") for id_ in ids(10))


def test_ids_are_taken_no_faster_than_they_are_posted(sink: Sink, engine_for: Engines) -> None:
    engine = engine_for(sink, max_connections=4)
    taken = 0

    def counted() -> Iterator[str]:
        nonlocal taken
        for id_ in ids(1000):
            taken += 1
            yield id_

    for yielded, _ in enumerate(engine.run(posts(counted()))):
        assert taken - yielded <= 3 * 4


def test_runs_of_one_engine_may_be_nested(sink: Sink, engine: ManagementApi) -> None:
    sink.answer = lambda request: Reply(http(410 if request.body == b"inner" else 200))

    for outer in engine.run(posts(ids(20), b"outer")):
        assert outer.result is Result.OK
        inner = by_id(engine.run(posts("ab", b"inner")))
        assert [outcome.result for outcome in inner.values()] == [Result.GONE] * 2


def test_a_large_payload_goes_out_in_parts(sink: Sink, engine: ManagementApi) -> None:
    payload = bytes(range(256)) * 512 * 32

    outcomes = by_id(engine.run(posts(ids(3), payload)))

    assert {outcome.result for outcome in outcomes.values()} == {Result.OK}
    assert all(request.body == payload for request in sink.received)


def test_a_refusal_may_come_before_the_request_is_out(sink: Sink, engine_for: Engines) -> None:
    engine = engine_for(sink, timeout_seconds=30)
    sink.answer_head = lambda: Reply(http(413))

    (outcome,) = engine.run(posts("a", b"x" * 32 * 1024 * 1024))
    sink.answer_head = lambda: None
    (afterwards,) = engine.run(posts("a"))

    assert outcome.result is Result.TOO_LARGE
    assert afterwards.result is Result.OK
    assert sink.accepted == 2


def test_a_refusal_is_read_though_the_server_closed_with_it(
    sink: Sink, engine_for: Engines
) -> None:
    engine = engine_for(sink, timeout_seconds=30)
    sink.answer_head = lambda: Reply(http(413), then=Then.CLOSE)

    (outcome,) = engine.run(posts("a", b"x" * 32 * 1024 * 1024))

    assert outcome.result is Result.TOO_LARGE


def test_what_cannot_be_an_id_is_refused(sink: Sink, engine: ManagementApi) -> None:
    outcomes = by_id(engine.run(posts(["\ud800", "a"])))

    assert plain(outcomes["\ud800"]) == ("\ud800", Result.REFUSED, "not a connection id")
    assert outcomes["a"].result is Result.OK


def test_a_host_without_an_address_fails_each_post(
    monkeypatch: pytest.MonkeyPatch, engine_for: Engines
) -> None:
    looked_up = 0

    def getaddrinfo(*_: object, **__: object) -> None:
        nonlocal looked_up
        looked_up += 1
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    engine = engine_for("https://nowhere.invalid/v1", max_connections=4)
    taken = 0

    def counted() -> Iterator[str]:
        nonlocal taken
        for id_ in ids(1000):
            taken += 1
            yield id_

    for yielded, outcome in enumerate(engine.run(posts(counted()))):
        assert outcome.result is Result.FAILED
        assert outcome.reason == "nowhere.invalid not found: Name or service not known"
        assert taken - yielded <= 3 * 4
    assert taken == 1000
    assert looked_up <= 10


def test_a_server_that_is_not_trusted_gets_no_post(
    sink: Sink, monkeypatch: pytest.MonkeyPatch, engine_for: Engines
) -> None:
    if sink.endpoint.startswith("http:"):
        pytest.skip("without TLS there is nobody to trust")
    monkeypatch.delenv("AWS_CA_BUNDLE")

    (outcome,) = engine_for(sink).run(posts("a"))

    assert outcome.result is Result.FAILED
    assert outcome.reason == "not connected: certificate not trusted: self-signed certificate"
    assert sink.received == []


def test_requests_ca_bundle_is_trusted_as_by_boto3(
    sink: Sink, certificate: str, monkeypatch: pytest.MonkeyPatch, engine_for: Engines
) -> None:
    monkeypatch.delenv("AWS_CA_BUNDLE")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", certificate)

    (outcome,) = engine_for(sink).run(posts("a"))

    assert plain(outcome) == ("a", Result.OK, "")


def test_a_server_that_never_shakes_hands_is_given_up(engine_for: Engines) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = f"https://127.0.0.1:{listener.getsockname()[1]}/v1"
        (outcome,) = engine_for(endpoint, timeout_seconds=0.2).run(posts("a"))

    assert plain(outcome) == ("a", Result.FAILED, "no response within 0.2 s")
