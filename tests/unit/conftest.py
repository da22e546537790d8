"""Unit tests: moto for the services, a fake for API Gateway, and no sockets."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import StringIO
from logging import StreamHandler
from typing import Any

import boto3
import pytest
from moto import mock_aws
from pytest_socket import disable_socket, enable_socket

from push.adapters import clients, table
from push.observability import logger
from support import template
from support.poster import FakePoster

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
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    yield
    table.connection_table.cache_clear()
    clients.dynamodb.cache_clear()
    clients.sqs.cache_clear()


@pytest.fixture
def dynamodb() -> Iterator[Any]:
    """A client of a moto DynamoDB that holds the template's table."""
    with mock_aws():
        client = boto3.client("dynamodb")
        properties = template.written()["Resources"]["ConnectionsTable"]["Properties"]
        wanted = ("AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes", "BillingMode")
        client.create_table(TableName=TABLE_NAME, **{name: properties[name] for name in wanted})
        yield client


@pytest.fixture
def rows(dynamodb: Any) -> Callable[[], list[dict[str, Any]]]:
    """Return all items of the table, by key, in plain Python."""

    def scan() -> list[dict[str, Any]]:
        items = dynamodb.scan(TableName=TABLE_NAME)["Items"]
        plain = [{k: next(iter(v.values())) for k, v in item.items()} for item in items]
        return sorted(plain, key=lambda item: (item["pk"], item["sk"]))

    return scan


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
    """What Powertools reads of a Lambda context."""

    function_name: str = "test"
    memory_limit_in_mb: int = 128
    invoked_function_arn: str = "arn:aws:lambda:us-east-1:123456789012:function:test"
    aws_request_id: str = "52fdfc07-2182-154f-163f-5f0f9a621d72"

    def get_remaining_time_in_millis(self) -> int:
        return 60_000


@pytest.fixture
def context() -> Any:
    return Context()


@pytest.fixture
def poster() -> FakePoster:
    return FakePoster()
