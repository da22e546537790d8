"""Whatever the server does: one outcome per request, and the right one."""

from collections import Counter
from collections.abc import Callable

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from management_api import ManagementApi, Payload, Request, Result
from support.sink import Reply, Sink, Then, http

_TIMEOUT_SECONDS = 0.15
_RESULTS = {
    200: Result.OK,
    410: Result.GONE,
    413: Result.TOO_LARGE,
    429: Result.THROTTLED,
    403: Result.REFUSED,
    500: Result.FAILED,
    503: Result.FAILED,
}


@st.composite
def replies(draw: st.DrawFn) -> tuple[Reply, Result]:
    """Return what the server does with one request, and what has to be reported of it."""
    status = draw(st.sampled_from([200, 200, 200, *_RESULTS]))
    headers = draw(st.sampled_from([(), ("Connection: close",), ("X-Amzn-ErrorType: E",)]))
    response = http(status, draw(st.binary(max_size=40)), *headers)
    reply = Reply(
        draw(
            st.sampled_from([response, response, response[: draw(st.integers(0, len(response)))]])
        ),
        delay_seconds=draw(st.sampled_from([0.0, 0.0, 0.005])),
        piece_bytes=draw(st.sampled_from([None, None, 1, 7])),
        then=draw(st.sampled_from([Then.KEEP, Then.KEEP, Then.CLOSE, Then.RESET, Then.STALL])),
    )
    whole_head = b"\r\n\r\n" in reply.data
    return reply, _RESULTS[status] if whole_head else Result.FAILED


@settings(
    max_examples=30,
    deadline=None,
    # The server is the same for all examples; it forgets what came before.
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    script=st.lists(replies(), min_size=1, max_size=25),
    connections=st.integers(1, 6),
    second_run=st.booleans(),
)
def test_each_request_has_one_outcome_and_it_is_the_right_one(
    sink: Sink,
    engine_for: Callable[..., ManagementApi],
    script: list[tuple[Reply, Result]],
    connections: int,
    second_run: bool,
) -> None:
    engine = engine_for(sink, max_connections=connections, timeout_seconds=_TIMEOUT_SECONDS)
    sink.answer = lambda request: script[int(request.connection_id)][0]
    payload = Payload(b"frame")
    requests = [Request.post(str(number), payload) for number in range(len(script))]
    for _ in range(2 if second_run else 1):
        sink.received.clear()
        outcomes = list(engine.run(requests))

        assert Counter(outcome.request for outcome in outcomes) == Counter(requests)
        for outcome in outcomes:
            reply, expected = script[int(outcome.request.connection_id)]
            if outcome.result is Result.FAILED and _may_be_lost(reply, script):
                continue
            assert outcome.result is expected, (outcome, reply)
        # No frame is repeated.
        posted = Counter(request.connection_id for request in sink.received)
        assert max(posted.values(), default=0) <= 1
    engine.close()


def _may_be_lost(reply: Reply, script: list[tuple[Reply, Result]]) -> bool:
    """Return whether a request may fail whatever its own reply is.

    A connection that the server closes, or stalls, after a response that did not say so may have
    been handed the next request meanwhile, and a reset may overtake what was sent before it.
    """
    unannounced = any(
        other.then is not Then.KEEP and b"Connection: close" not in other.data
        for other, _ in script
    )
    return unannounced or reply.then is Then.RESET
