"""The adapter that posts to connections, against a stubbed @connections API."""

import threading
from collections.abc import Iterator
from typing import Any, cast

import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ReadTimeoutError

from push.adapters.connections import ConnectionPoster
from push.delivery import Outcome, Result


class Answers:
    """Answers instead of the network: status and error code per connection id."""

    def __init__(self) -> None:
        self.by_path: dict[str, list[tuple[int, str]]] = {}
        self.requests: list[Any] = []
        self._lock = threading.Lock()

    def __call__(self, request: Any, **_: Any) -> AWSResponse:
        connection = request.url.rpartition("/")[2]
        with self._lock:
            self.requests.append(request)
            queue = self.by_path.get(connection, [])
            status, code = queue.pop(0) if queue else (200, "")
        if code == "timeout":
            raise ReadTimeoutError(endpoint_url=request.url)
        headers: Any = {"x-amzn-errortype": code} if code else {}
        return AWSResponse(request.url, status, headers, Raw())


class Raw:
    def stream(self, **_: Any) -> Iterator[bytes]:
        yield b"{}"


@pytest.fixture
def answers() -> Answers:
    return Answers()


@pytest.fixture
def poster(answers: Answers, monkeypatch: pytest.MonkeyPatch) -> ConnectionPoster:
    monkeypatch.setattr("time.sleep", lambda _: None)
    poster = ConnectionPoster("https://abc.execute-api.us-east-1.amazonaws.com/v1")
    poster._api.meta.events.register("before-send", cast(Any, answers))
    return poster


def test_a_post_goes_to_the_stage_with_the_connection_id_encoded(
    poster: ConnectionPoster, answers: Answers
) -> None:
    outcomes = list(poster.post(b"frame", ["L0SM9cOFvHcCIhw="]))

    assert outcomes == [Outcome("L0SM9cOFvHcCIhw=", Result.DELIVERED)]
    (request,) = answers.requests
    assert request.method == "POST"
    assert request.url == (
        "https://abc.execute-api.us-east-1.amazonaws.com/v1/@connections/L0SM9cOFvHcCIhw%3D"
    )
    assert request.body == b"frame"


def test_one_connection_that_is_gone_leaves_the_others_alone(
    poster: ConnectionPoster, answers: Answers
) -> None:
    answers.by_path["b"] = [(410, "GoneException")]

    outcomes = {outcome.connection_id: outcome.result for outcome in poster.post(b"x", "abc")}

    assert outcomes == {"a": Result.DELIVERED, "b": Result.GONE, "c": Result.DELIVERED}


@pytest.mark.parametrize(
    "passing",
    [(429, "LimitExceededException"), (500, "InternalServerError"), (503, ""), (0, "timeout")],
)
def test_what_may_pass_is_tried_again(
    poster: ConnectionPoster, answers: Answers, passing: tuple[int, str]
) -> None:
    answers.by_path["a"] = [passing, passing]

    assert [outcome.result for outcome in poster.post(b"x", "a")] == [Result.DELIVERED]
    assert len(answers.requests) == 3


@pytest.mark.parametrize(
    ("lasting", "tries"),
    [
        ((429, "LimitExceededException"), 4),
        ((500, "InternalServerError"), 4),
        ((0, "timeout"), 4),
        ((403, "ForbiddenException"), 1),
        ((413, "PayloadTooLargeException"), 1),
    ],
)
def test_what_does_not_pass_is_a_failure_with_its_reason(
    poster: ConnectionPoster, answers: Answers, lasting: tuple[int, str], tries: int
) -> None:
    answers.by_path["b"] = [lasting] * 9

    outcomes = {outcome.connection_id: outcome for outcome in poster.post(b"x", "abc")}

    assert outcomes["b"].result is Result.FAILED
    assert (lasting[1] if lasting[1] != "timeout" else "timeout") in outcomes["b"].reason
    assert outcomes["a"].result is outcomes["c"].result is Result.DELIVERED
    assert len(answers.requests) == 2 + tries


def test_ids_are_taken_only_as_posts_complete(poster: ConnectionPoster, answers: Answers) -> None:
    taken = 0

    def ids() -> Iterator[str]:
        nonlocal taken
        for number in range(10_000):
            taken += 1
            yield str(number)

    outcomes = poster.post(b"x", ids())
    next(outcomes)

    assert taken <= 100
    outcomes.close()  # type: ignore[attr-defined]


def test_every_id_has_one_outcome(poster: ConnectionPoster) -> None:
    ids = [str(number) for number in range(500)]

    assert sorted(outcome.connection_id for outcome in poster.post(b"x", ids)) == sorted(ids)
