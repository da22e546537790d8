"""What looks at a stack: `make letters`, `make errors`, `make redrive`, and how all find it."""

import json
import subprocess
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from moto import mock_aws

from operations import errors, letters, redrive
from operations.deployed import Deployed
from support import template

QUEUES = (*letters.READ, *letters.DEAD_LETTERS)
LOG_GROUPS = ("NotifierLogGroup", "ConnectLogGroup")
LOOKING = ("alarms", "letters", "errors", "trace", "redrive", "smoke")


class Stack:
    """A stack of queues and log groups, by moto."""

    def __init__(self) -> None:
        self.sqs = boto3.client("sqs", region_name="us-east-1")
        self.logs = boto3.client("logs", region_name="us-east-1")
        self.urls = {name: self.sqs.create_queue(QueueName=name)["QueueUrl"] for name in QUEUES}
        for name in LOG_GROUPS:
            self.logs.create_log_group(logGroupName=f"mine-{name}")
            self.logs.create_log_stream(logGroupName=f"mine-{name}", logStreamName="s")
        self.deployed = Deployed("mine", self.client)

    def client(self, service: str) -> Any:
        if service != "cloudformation":
            return {"sqs": self.sqs, "logs": self.logs}[service]
        outputs = [{"OutputKey": name, "OutputValue": url} for name, url in self.urls.items()]
        # One that was never called has no log group yet.
        rows = [
            {
                "LogicalResourceId": name,
                "PhysicalResourceId": f"mine-{name}",
                "ResourceType": "AWS::Logs::LogGroup",
            }
            for name in (*LOG_GROUPS, "PingLogGroup")
        ]
        pages = SimpleNamespace(paginate=lambda StackName: [{"StackResourceSummaries": rows}])
        return SimpleNamespace(
            describe_stacks=lambda StackName: {"Stacks": [{"Outputs": outputs}]},
            get_paginator=lambda operation: pages,
        )

    def send(self, queue: str, body: str, **attributes: str) -> None:
        named: Any = {
            name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
        }
        self.sqs.send_message(QueueUrl=self.urls[queue], MessageBody=body, MessageAttributes=named)

    def received(self, queue: str) -> list[str]:
        """Return what anybody sees in a queue now."""
        found: list[str] = []
        while messages := self.sqs.receive_message(
            QueueUrl=self.urls[queue], MaxNumberOfMessages=10, VisibilityTimeout=60
        ).get("Messages"):
            found += [message["Body"] for message in messages]
        return sorted(found)

    def log(self, group: str, *messages: str, seconds_ago: float = 1) -> None:
        at = int((time.time() - seconds_ago) * 1000)
        self.logs.put_log_events(
            logGroupName=f"mine-{group}",
            logStreamName="s",
            logEvents=[{"timestamp": at, "message": message} for message in messages],
        )


@pytest.fixture
def stack() -> Iterator[Stack]:
    with mock_aws():
        yield Stack()


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Any:
    return lambda: [line.strip() for line in capsys.readouterr().out.splitlines()]


def test_letters_are_told_with_their_reasons_and_stay(stack: Stack, printed: Any) -> None:
    dead = "NotificationDeadLetterQueueUrl"
    stack.send("NotificationQueueUrl", "waits")
    stack.send(dead, "poison", errorCode="InvalidEntityId", reason="entityId must be a string.")
    stack.send(dead, "x" * 1_000)
    stack.send(
        "UndeliveredEventsQueueUrl", "event", ERROR_CODE="NO_PERMISSIONS", ERROR_MESSAGE="Denied."
    )

    letters.show(stack.deployed)

    lines = printed()
    assert lines[:2] == [
        "NotificationQueue: 1 waiting, 0 at work or tried again later, 0 delayed",
        "DeliveryQueue: 0 waiting, 0 at work or tried again later, 0 delayed",
    ]
    assert "NotificationDeadLetterQueue: 2" in lines
    reasons = [line[20:] for line in lines if line.startswith("20")]
    assert reasons == [
        "InvalidEntityId: entityId must be a string.",
        "failed twelve times",
        "NO_PERMISSIONS: Denied.",
    ]
    assert max(map(len, lines)) < 400
    assert stack.received(dead) == ["poison", "x" * 1_000]
    assert stack.received("UndeliveredEventsQueueUrl") == ["event"]


def test_more_letters_than_one_answer_holds_are_told_each_once(stack: Stack, printed: Any) -> None:
    for number in range(25):
        stack.send("DeliveryDeadLetterQueueUrl", f"letter {number}.")

    letters.show(stack.deployed)

    told = [line.rpartition(": ")[2] for line in printed() if line.startswith("message ")]
    assert sorted(told) == sorted(f"letter {number}." for number in range(25))


def test_letters_of_one_code_are_deleted_and_no_others(stack: Stack, printed: Any) -> None:
    dead = "NotificationDeadLetterQueueUrl"
    stack.send(dead, "a", errorCode="InvalidEntityId", reason="r")
    stack.send(dead, "b", errorCode="InvalidJson", reason="r")
    stack.send(dead, "c")

    letters.show(stack.deployed, delete="InvalidEntityId")

    assert [line for line in printed() if line.endswith("(deleted)")] != []
    assert stack.received(dead) == ["b", "c"]


def test_dead_letters_go_back_to_where_they_failed(stack: Stack, printed: Any) -> None:
    for source in redrive.ROUTES:
        stack.send(source, source, errorCode="x")

    redrive.redrive_all(stack.deployed)

    assert printed() == [f"{a}: 1 sent back to {b}" for a, b in redrive.ROUTES.items()]
    assert stack.received("NotificationQueueUrl") == [
        "NotificationDeadLetterQueueUrl",
        "UndeliveredEventsQueueUrl",
    ]
    assert stack.received("DeliveryQueueUrl") == ["DeliveryDeadLetterQueueUrl"]


def line(level: str, message: str, **more: object) -> str:
    return json.dumps({"level": level, "message": message, **more})


def test_errors_are_told_in_order_and_nothing_else(stack: Stack, printed: Any) -> None:
    failed = line(
        "ERROR", "record failed", event_id="7", exception="Traceback …\n  File x\nOSError: no"
    )
    stack.log("NotifierLogGroup", failed, line("INFO", "no ERROR here"), seconds_ago=30)
    stack.log("ConnectLogGroup", "2026-11-24 Task timed out after 29.00 seconds", seconds_ago=20)
    stack.log("NotifierLogGroup", line("ERROR", "too old"), seconds_ago=3_000)

    errors.show(stack.deployed, minutes=15)

    *told, counted = printed()
    assert [each[9:] for each in told] == [
        "Notifier: record failed event_id=7 exception=OSError: no",
        "Connect: 2026-11-24 Task timed out after 29.00 seconds",
    ]
    assert counted == "2 errors in 15 minutes"


def test_of_many_errors_the_last_are_told_and_all_are_counted(stack: Stack, printed: Any) -> None:
    for number in range(60):
        stack.log("ConnectLogGroup", line("ERROR", f"error {number}"), seconds_ago=100 - number)

    errors.show(stack.deployed, minutes=15)

    *told, counted = printed()
    assert [each.rpartition(" ")[2] for each in told] == [str(number) for number in range(10, 60)]
    assert counted == "60 errors in 15 minutes"


# Which stack.


def command(target: str, *variables: str) -> str:
    """Return what make would run."""
    return subprocess.run(
        ["make", "--dry-run", "--always-make", "--no-print-directory", target, *variables],
        cwd=template.PATH.parent,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.replace("\\\n", " ")


@pytest.mark.parametrize("target", LOOKING)
def test_a_command_looks_at_the_stack_that_is_named_or_at_the_local_one(target: str) -> None:
    def asked(*variables: str) -> list[str]:
        (said,) = [
            each for each in command(target, *variables).splitlines() if "operations." in each
        ]
        return said.split()

    default, named, local = asked(), asked("STACK=mine"), asked("LOCAL=1", "STACK=mine")

    at = default.index("--stack-name")
    assert default[at + 1] == "websocket-notifications"
    assert named[named.index("--stack-name") + 1] == "mine"
    assert "--local" in local
    assert "--stack-name" not in local
    assert "--local" not in default + named


def test_the_help_of_such_a_command_says_so() -> None:
    """It is where people look first."""
    text = (template.PATH.parent / "Makefile").read_text()
    for target in LOOKING:
        (said,) = [each for each in text.splitlines() if each.startswith(f"{target}: .venv/")]
        assert "STACK, or LOCAL=1" in said
