"""Clients of boto3 against the benchmarks' services, as a process on loopback."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import md5
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

_ROOT = Path(__file__).parents[2]
_SERVICE_SECONDS = 0.02
QUEUE = "https://sqs.eu-central-1.amazonaws.com/123456789012/delivery"
ITEM = {"pk": {"S": "a"}, "sk": {"S": "1"}, "n": {"N": "5"}, "b": {"B": b"\x00\xff"}}
KEY = {"pk": {"S": "a"}, "sk": {"S": "1"}}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    milliseconds = str(_SERVICE_SECONDS * 1000)
    services = subprocess.Popen(
        [
            *(sys.executable, "-m", "benchmarks.services"),
            *("--table-ms", milliseconds, "--queue-ms", milliseconds),
        ],
        cwd=_ROOT,
        env={**os.environ, "PYTHONPATH": "tests"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert services.stdout
    try:
        yield f"http://127.0.0.1:{services.stdout.readline().strip()}"
    finally:
        services.terminate()
        services.wait()
        services.stdout.close()


@pytest.fixture
def client_of(endpoint: str) -> Any:
    def make(service: str) -> Any:
        client: Any = boto3.client
        return client(
            service,
            endpoint_url=endpoint,
            region_name="eu-central-1",
            aws_access_key_id="AKIDEXAMPLE",
            aws_secret_access_key="secret",
            config=Config(retries={"total_max_attempts": 1}, max_pool_connections=32),
        )

    return make


@pytest.fixture
def dynamodb(client_of: Any) -> Any:
    client = client_of("dynamodb")
    client.put_item(TableName="t", Item=ITEM)
    return client


@pytest.fixture
def sqs(client_of: Any) -> Any:
    return client_of("sqs")


def meter(endpoint: str) -> dict[str, Any]:
    with urlopen(f"{endpoint}/meter") as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def reset(endpoint: str) -> None:
    with urlopen(Request(f"{endpoint}/reset", method="POST")) as answer:
        answer.read()


def test_items_go_there_and_come_back(dynamodb: Any) -> None:
    assert dynamodb.get_item(TableName="t", Key=KEY)["Item"] == ITEM
    asked = {"KeyConditionExpression": "pk = :a", "ExpressionAttributeValues": {":a": {"S": "a"}}}
    assert dynamodb.query(TableName="t", **asked)["Items"] == [ITEM]


def test_a_condition_that_fails_tells_the_item(dynamodb: Any) -> None:
    with pytest.raises(dynamodb.exceptions.ConditionalCheckFailedException) as refused:
        dynamodb.put_item(
            TableName="t",
            Item=KEY,
            ConditionExpression="attribute_not_exists(pk)",
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
    assert refused.value.response["Item"] == ITEM
    assert refused.value.response["Error"] == {
        "Code": "ConditionalCheckFailedException",
        "Message": "The conditional request failed",
    }


def test_a_cancelled_transaction_says_why(dynamodb: Any) -> None:
    never = {
        "ConditionExpression": "attribute_not_exists(pk)",
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }
    with pytest.raises(dynamodb.exceptions.TransactionCanceledException) as cancelled:
        dynamodb.transact_write_items(
            TransactItems=[
                {"Put": {"TableName": "t", "Item": {**KEY, "sk": {"S": "2"}}}},
                {"Delete": {"TableName": "t", "Key": KEY, **never}},
            ]
        )
    reasons = cancelled.value.response["CancellationReasons"]
    assert [reason["Code"] for reason in reasons] == ["None", "ConditionalCheckFailed"]
    assert reasons[1]["Item"] == ITEM


def test_what_is_invalid_or_unknown_is_an_error(dynamodb: Any) -> None:
    with pytest.raises(ClientError, match=r"ValidationException.*reserved keyword: ttl"):
        dynamodb.get_item(TableName="t", Key=KEY, ProjectionExpression="ttl")
    with pytest.raises(ClientError, match="NotImplemented") as unknown:
        dynamodb.get_item(TableName="t", Key=KEY, AttributesToGet=["n"])
    # Not one that SDKs try again.
    assert unknown.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501
    with pytest.raises(ClientError, match="UnknownOperationException"):
        dynamodb.list_tables()


def test_messages_are_taken_with_their_md5(sqs: Any) -> None:
    answer = sqs.send_message(QueueUrl=QUEUE, MessageBody="é")
    assert answer["MD5OfMessageBody"] == md5("é".encode(), usedforsecurity=False).hexdigest()
    entries = [{"Id": str(number), "MessageBody": f"body {number}"} for number in range(10)]
    answer = sqs.send_message_batch(QueueUrl=QUEUE, Entries=entries)
    assert [each["Id"] for each in answer["Successful"]] == [each["Id"] for each in entries]
    with pytest.raises(ClientError, match="TooManyEntriesInBatchRequest"):
        sqs.send_message_batch(QueueUrl=QUEUE, Entries=[*entries, {"Id": "x", "MessageBody": "x"}])


def test_a_received_message_is_hidden_until_it_shall_come_back(sqs: Any) -> None:
    url = f"{QUEUE}-hidden"
    reason = {"reason": {"DataType": "String", "StringValue": "poison"}}
    sqs.send_message(QueueUrl=url, MessageBody="now", MessageAttributes=reason)
    sqs.send_message(QueueUrl=url, MessageBody="later", DelaySeconds=900)
    (message,) = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
    assert (message["Body"], message["MessageAttributes"]) == ("now", reason)
    assert "Messages" not in sqs.receive_message(QueueUrl=url)
    receipt = {"QueueUrl": url, "ReceiptHandle": message["ReceiptHandle"]}
    sqs.change_message_visibility(**receipt, VisibilityTimeout=0)
    (message,) = sqs.receive_message(QueueUrl=url)["Messages"]
    sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    sqs.change_message_visibility(QueueUrl=url, ReceiptHandle="made up", VisibilityTimeout=0)
    assert "Messages" not in sqs.receive_message(QueueUrl=url)


def test_requests_are_counted_until_a_reset(endpoint: str, dynamodb: Any, sqs: Any) -> None:
    reset(endpoint)
    dynamodb.get_item(TableName="t", Key=KEY, ConsistentRead=True)
    dynamodb.put_item(TableName="t", Item=ITEM)
    sqs.send_message(QueueUrl=f"{QUEUE}-counted", MessageBody="x")
    counted = meter(endpoint)
    assert counted["tables"] == {
        "requests": 2,
        "read_units": 1,
        "write_units": 1,
        "operations": {"GetItem": 1, "PutItem": 1},
    }
    assert counted["queues"]["operations"] == {"SendMessage": 1}
    assert counted["queues"]["messages"][f"{QUEUE}-counted"] == 1
    reset(endpoint)
    assert meter(endpoint)["tables"]["requests"] == 0


def test_requests_of_one_connection_are_answered_in_their_order(endpoint: str) -> None:
    slow = "POST / HTTP/1.1\r\nX-Amz-Target: AmazonSQS.ReceiveMessage\r\nContent-Length: 16\r\n\r\n"
    fast = "GET /nowhere HTTP/1.1\r\n\r\n"
    host, _, port = endpoint.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(f'{slow}{{"QueueUrl":"q"}}'.encode())
        time.sleep(_SERVICE_SECONDS / 4)
        connection.sendall(fast.encode() * 2)
        answers = b""
        while answers.count(b"HTTP/1.1 ") < 3 and (more := connection.recv(4096)):
            answers += more
    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"200", b"404", b"404"]


def test_requests_take_their_time_side_by_side(dynamodb: Any) -> None:
    started = time.monotonic()
    with ThreadPoolExecutor(10) as threads:
        list(threads.map(lambda _: dynamodb.get_item(TableName="t", Key=KEY), range(20)))
    seconds = time.monotonic() - started
    assert 2 * _SERVICE_SECONDS <= seconds < 20 * _SERVICE_SECONDS
