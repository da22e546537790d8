"""The real engine against a server on loopback, plain and over TLS."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.certificate import write_certificate
from management_api import ManagementApi
from support.sink import Sink


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> str:
    path: Path = tmp_path_factory.mktemp("tls") / "sink.pem"
    write_certificate(path)
    return str(path)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, certificate: str) -> None:
    """Set what Lambda sets, trust the sink, and leave out the machine's own AWS."""
    variables = {
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_SESSION_TOKEN": "token",
        "AWS_CA_BUNDLE": certificate,
        "AWS_CONFIG_FILE": "/dev/null",
        # Proxies are not used: a post through this one would fail.
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "HTTP_PROXY": "http://127.0.0.1:9",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(params=["plain", "tls"])
def sink(request: pytest.FixtureRequest, certificate: str) -> Iterator[Sink]:
    sink = Sink(certificate if request.param == "tls" else None)
    yield sink
    sink.shut_down()


@pytest.fixture
def engine_for() -> Iterator[Callable[..., ManagementApi]]:
    """Make engines for a sink, or an endpoint; they are closed when the test ends."""
    engines: list[ManagementApi] = []

    def make(sink: Sink | str, **options: Any) -> ManagementApi:
        endpoint = sink if isinstance(sink, str) else sink.endpoint
        engines.append(ManagementApi(endpoint, **options))
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()


@pytest.fixture
def engine(sink: Sink, engine_for: Callable[..., ManagementApi]) -> ManagementApi:
    return engine_for(sink)


@pytest.fixture
def engines_of_one(engine_for: Callable[..., ManagementApi]) -> Callable[..., ManagementApi]:
    """Make engines with a single connection: requests go out one by one."""
    return lambda sink, **options: engine_for(sink, max_connections=1, **options)
