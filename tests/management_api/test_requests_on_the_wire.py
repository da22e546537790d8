"""What arrives at the server: signatures that it can check, and no more than the rate."""

import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from itertools import chain

import botocore.session
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials, ReadOnlyCredentials
from botocore.exceptions import CredentialRetrievalError, NoCredentialsError, NoRegionError

from management_api import ManagementApi, Payload, Request, Result
from support.sink import Received, Reply, Sink, http

Engines = Callable[..., ManagementApi]


def posts(connection_ids: Iterable[str]) -> Iterator[Request]:
    """Yield posts of one payload."""
    payload = Payload(b"frame")
    return (Request.post(connection_id, payload) for connection_id in connection_ids)


class Rotating:
    """Credentials of which there are new ones whenever the test says so."""

    def __init__(self) -> None:
        self.number = 0
        self.failing = False

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        if self.failing:
            raise CredentialRetrievalError(provider="test", error_msg="none left")
        return ReadOnlyCredentials(*keys(self.number))


def keys(number: int) -> tuple[str, str, str]:
    return f"AKID{number}", f"secret{number}", f"token{number}"


class Session(botocore.session.Session):
    """A session with credentials of the test's."""

    def __init__(self, credentials: Rotating) -> None:
        super().__init__()
        self._rotating = credentials

    def get_credentials(self, *_: object) -> Rotating:  # type: ignore[override]
        return self._rotating


def assert_signed_by(request: Received, sink: Sink, *secret_keys: str | None) -> None:
    """Sign a request once more, as a server does to check a signature, with botocore."""
    base = sink.endpoint.removesuffix("/v1")
    again = AWSRequest(request.method, base + request.path, data=request.body)
    at = datetime.strptime(request.headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: at)
        SigV4Auth(Credentials(*secret_keys), "execute-api", "eu-central-1").add_auth(again)  # type: ignore[arg-type]
    assert request.headers["authorization"] == again.headers["Authorization"]


def test_every_signature_holds_while_clock_and_credentials_change(
    sink: Sink, engine_for: Engines
) -> None:
    rotating = Rotating()
    clock = datetime(2026, 11, 24, 23, 59, 50, tzinfo=UTC).timestamp()
    engine = engine_for(sink, session=Session(rotating), now=lambda: clock, max_connections=4)

    def requests() -> Iterator[Request]:
        """Let a quarter of a second pass with each, and the credentials change midway."""
        nonlocal clock
        payload = Payload(b"frame")
        for number in range(100):
            clock += 0.25
            rotating.number = number // 50
            id_ = f"id{number}="
            yield Request.close(id_) if number % 3 == 0 else Request.post(id_, payload)

    outcomes = list(engine.run(requests()))

    assert {outcome.result for outcome in outcomes} == {Result.OK}
    in_order = sorted(sink.received, key=lambda request: int(request.connection_id[2:-1]))
    for number, request in enumerate(in_order):
        signed_with = keys(number // 50)
        # A rotation is noticed with the next second.
        if signed_with[0] not in request.headers["authorization"]:
            assert number < 54
            signed_with = keys(0)
        assert request.headers["x-amz-security-token"] == signed_with[2]
        assert_signed_by(request, sink, *signed_with)
    dates = [request.headers["x-amz-date"] for request in in_order]
    assert dates == sorted(dates)
    assert (dates[0], dates[-1]) == ("20261124T235950Z", "20261125T000015Z")


def test_without_credentials_to_be_had_each_request_fails(sink: Sink, engine_for: Engines) -> None:
    rotating = Rotating()
    clock = 0.0
    engine = engine_for(sink, session=Session(rotating), now=lambda: clock)
    list(engine.run(posts("a")))
    rotating.failing = True
    clock += 1

    outcomes = list(engine.run(posts("ab")))

    assert [outcome.result for outcome in outcomes] == [Result.FAILED] * 2
    assert outcomes[0].reason.startswith("not signed: ")
    assert "none left" in outcomes[0].reason


def test_without_region_or_credentials_there_is_no_engine(
    monkeypatch: pytest.MonkeyPatch, sink: Sink
) -> None:
    monkeypatch.setattr(botocore.session.Session, "get_credentials", lambda _: None)
    with pytest.raises(NoCredentialsError):
        ManagementApi(sink.endpoint)
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(NoRegionError):
        ManagementApi(sink.endpoint)


@pytest.mark.parametrize("options", [{"timeout_seconds": 0}, {"max_connections": 0}])
def test_an_engine_needs_time_and_connections(sink: Sink, options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="more than 0"):
        ManagementApi(sink.endpoint, **options)  # type: ignore[arg-type]


def test_the_rate_holds_over_several_runs_and_both_methods(sink: Sink, engine_for: Engines) -> None:
    start = time.monotonic()
    engine = engine_for(sink, rate_per_second=200)

    for part in range(3):
        requests = posts(f"{part}-{number}" for number in range(20))
        list(engine.run(chain(requests, (Request.close(f"{part}-{n}") for n in range(20)))))

    times = [request.at for request in sink.received]
    assert len(times) == 120
    # A burst of 20 at once, and 100 more at 200 a second.
    assert times[-1] - start >= 0.49


def test_a_rate_leaves_the_processor_alone_while_it_waits(sink: Sink, engine_for: Engines) -> None:
    engine = engine_for(sink, rate_per_second=10)
    list(engine.run(posts("a")))

    cpu = time.process_time()
    list(engine.run(posts("abcdef")))

    assert time.process_time() - cpu < 0.25


def test_under_429s_the_rate_gives_way(sink: Sink, engine_for: Engines) -> None:
    """At the limit, 600 of 1,000 posts would be refused by a quota of 400 a second."""
    engine = engine_for(sink, rate_per_second=1000)
    quota_per_window, window_seconds = 20, 0.05
    windows: dict[int, int] = {}

    def answer(request: Received) -> Reply:
        window = int(request.at / window_seconds)
        windows[window] = windows.get(window, 0) + 1
        return Reply(http(200 if windows[window] <= quota_per_window else 429))

    sink.answer = answer
    outcomes = [outcome.result for outcome in engine.run(posts(map(str, range(1000))))]

    assert set(outcomes) == {Result.OK, Result.THROTTLED}
    assert outcomes.count(Result.THROTTLED) < 400
