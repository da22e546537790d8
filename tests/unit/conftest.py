"""Unit tests: moto for the services, a fake exchange for API Gateway, and no sockets."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from io import StringIO
from logging import StreamHandler
from typing import Any

import pytest
from botocore.config import Config
from moto import mock_aws
from pytest_socket import disable_socket, enable_socket

import deliver.app
import management_api
import notifier.app
from push import wiring
from push.adapters.table import Table
from push.observability import logger
from support import template
from support.exchange import Clock, FakeExchange
from support.queues import NAMES, Queues

TABLE_NAME = "connections"


@pytest.fixture(autouse=True)
def no_sockets() -> Iterator[None]:
    disable_socket(allow_unix_socket=True)
    yield
    enable_socket()


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Set what the template sets, and nothing of the machine's own AWS."""
    variables = {
        "TABLE_NAME": TABLE_NAME,
        "MAX_SUBSCRIPTIONS_PER_CONNECTION": "3",
        "CONNECTIONS_ENDPOINT": "https://abcd123456.execute-api.us-east-1.amazonaws.com/v1",
        "POSTS_PER_SECOND": "8000",
        "NOTIFIER_MAX_CONCURRENCY": "5",
        "DELIVER_MAX_CONCURRENCY": "3",
        "SUBSCRIBERS_PER_DELIVERY": "1000",
        "HISTORY_SECONDS": "604800",
        "LOG_UNWATCHED": "false",
        "AUTHENTICATION": "NONE",
        "GRANTS_DELIMITER": "/",
        "TENANT_CLAIM": "",
        "MAX_CONNECTIONS_PER_USER": "100",
        "LONGEST_TOKEN_SECONDS": "86400",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    for name in ("PROFILE", "ENDPOINT_URL", "SESSION_TOKEN", "LAMBDA_FUNCTION_NAME"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    # Tests find what the functions must not send; these do not look.
    checking = wiring._FAST.merge(Config(parameter_validation=True))
    monkeypatch.setattr(wiring, "_FAST", checking)
    yield
    forget_parts()


def forget_parts() -> None:
    """Have all parts made anew, save the session, whose knowledge takes half a test's time."""
    for part in vars(wiring).values():
        if part is not wiring._session and hasattr(part, "cache_clear"):
            part.cache_clear()


@pytest.fixture
def remade() -> Callable[[], None]:
    """Have the functions read their settings anew."""
    return forget_parts


@pytest.fixture
def services() -> Iterator[None]:
    """Let moto answer; clients are made after this."""
    with mock_aws():
        yield


@pytest.fixture
def dynamodb(services: None) -> Any:
    """The functions' client, of a moto DynamoDB that holds the template's table."""
    client = wiring._client("dynamodb")
    client.create_table(TableName=TABLE_NAME, **table_properties())
    return client


@cache
def table_properties() -> dict[str, Any]:
    properties = template.written()["Resources"]["ConnectionsTable"]["Properties"]
    wanted = ("AttributeDefinitions", "KeySchema", "BillingMode")
    return {name: properties[name] for name in wanted}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def table(dynamodb: Any, clock: Clock) -> Table:
    return Table(dynamodb, TABLE_NAME, clock=clock, sleep=clock.sleep)


@pytest.fixture
def rows(dynamodb: Any) -> Callable[[], list[dict[str, Any]]]:
    """Return all items of the table, by key, in plain Python; sets and lists sorted."""

    def scan() -> list[dict[str, Any]]:
        items = dynamodb.scan(TableName=TABLE_NAME)["Items"]
        found = [{name: plain(value) for name, value in item.items()} for item in items]
        return sorted(found, key=lambda item: (item["pk"], item["sk"]))

    return scan


def plain(value: dict[str, Any]) -> Any:
    ((kind, content),) = value.items()
    match kind:
        case "N":
            return int(content)
        case "SS":
            return sorted(content)
        case "L":
            return [plain(each) for each in content]
    return content


@pytest.fixture
def exchange(monkeypatch: pytest.MonkeyPatch) -> FakeExchange:
    """What the functions that post use instead of the engine."""
    fake = FakeExchange()
    monkeypatch.setattr(management_api, "ManagementApi", lambda endpoint, **options: None)
    monkeypatch.setattr(management_api, "Exchange", lambda api, threads: fake)
    return fake


@pytest.fixture
def queues(
    dynamodb: Any, exchange: FakeExchange, context: Any, monkeypatch: pytest.MonkeyPatch
) -> Queues:
    """The queues, with the notifier and the courier behind them."""

    def at(url_of: str, handler: Callable[..., Any]) -> Callable[..., Any]:
        def call(event: dict[str, Any], context: Any) -> Any:
            # Each function is told its own queue.
            monkeypatch.setenv("QUEUE_URL", made.urls[url_of])
            return handler(event, context)

        return call

    handlers = {
        "events": at("events", notifier.app.lambda_handler),
        "letters": at("letters", deliver.app.lambda_handler),
    }
    made = Queues(wiring._client("sqs"), handlers, context)
    for variable, name in NAMES.items():
        monkeypatch.setenv(variable, made.urls[name])
    return made


@pytest.fixture
def logs() -> Iterator[StringIO]:
    """What the functions log, a JSON object a line."""
    handler, captured = logger.registered_handler, StringIO()
    assert isinstance(handler, StreamHandler)
    stdout = handler.setStream(captured)
    yield captured
    handler.setStream(stdout)


@dataclass
class Context:
    """What the functions read of a Lambda context."""

    function_name: str = "test"
    memory_limit_in_mb: int = 128
    invoked_function_arn: str = "arn:aws:lambda:us-east-1:123456789012:function:test"
    aws_request_id: str = "52fdfc07-2182-154f-163f-5f0f9a621d72"
    seconds_left: float = 30.0

    def get_remaining_time_in_millis(self) -> int:
        return int(self.seconds_left * 1000)


@pytest.fixture
def context() -> Any:
    return Context()
