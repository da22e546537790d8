"""What is left out of a cold start changes nothing that comes after it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import botocore.session
import pytest

from push import wiring

FUNCTIONS = Path(wiring.__file__).parents[1]
APPS = sorted(FUNCTIONS.glob("*/app.py"))

REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "dynamodb": ("get_item", {"TableName": "t", "Key": {"pk": {"S": "a"}}}),
    "sqs": ("list_queues", {}),
    "secretsmanager": ("get_secret_value", {"SecretId": "s"}),
}


def request(session: botocore.session.Session, service: str, region: str) -> tuple[str, str]:
    """Return where a request goes, and for which Region and service it is signed."""
    client = session.create_client(service, region_name=region)
    sent: list[tuple[str, str]] = []

    def stop(request: Any, **_: Any) -> None:
        scope = request.headers["Authorization"].decode().split("/")
        sent.append((request.url, "/".join(scope[2:4])))
        raise InterruptedError

    client.meta.events.register("before-send", stop)
    operation, parameters = REQUESTS[service]
    with pytest.raises(InterruptedError):
        getattr(client, operation)(**parameters)
    return sent[0]


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"AWS_ENDPOINT_URL": "http://127.0.0.1:4566"},
        {"AWS_USE_FIPS_ENDPOINT": "true"},
        {"AWS_USE_DUALSTACK_ENDPOINT": "true"},
    ],
    ids=lambda variables: next(iter(variables), "nothing"),
)
@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1", "cn-north-1", "us-gov-west-1"])
def test_requests_go_where_botocore_sends_them(
    region: str, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    ours, plain = wiring._session.__wrapped__(), botocore.session.get_session()

    for service in REQUESTS:
        assert request(ours, service, region) == request(plain, service, region)


@pytest.mark.parametrize("app", APPS, ids=lambda app: app.parent.name)
def test_garbage_is_collected_once_a_function_has_initialized(app: Path) -> None:
    """Whoever imports the wiring makes something of it: that ends what the import began."""
    text = app.read_text()

    assert ("wiring" in text) == ("wiring.at_initialization(" in text)


def test_a_function_that_initialized_in_lambda_collects_garbage() -> None:
    script = "import gc, ping.app; print(gc.isenabled(), gc.get_freeze_count() > 10_000)"
    environment = os.environ | {"AWS_LAMBDA_FUNCTION_NAME": "ping", "PYTHONPATH": str(FUNCTIONS)}

    ended = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )

    assert ended.stdout.split() == ["True", "True"]
