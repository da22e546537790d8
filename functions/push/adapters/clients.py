"""boto3 clients, one per service and execution environment: making one takes time."""

from functools import cache
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_sqs import SQSClient

# A call to a service in the same Region takes milliseconds. Short timeouts leave time for the
# retries inside the ten seconds that a route has.
_FAST = Config(
    connect_timeout=1,
    read_timeout=2,
    retries={"mode": "standard", "total_max_attempts": 3},
)


@cache
def dynamodb() -> "DynamoDBClient":
    return boto3.client("dynamodb", config=_FAST)


@cache
def sqs() -> "SQSClient":
    return boto3.client("sqs", config=_FAST)
