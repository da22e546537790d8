"""The stack that is looked at, found by its name."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from operations.redrive import send_back
from operations.smoke.outcome import Failed, Skipped

# So that others who listen on the bus can tell these events.
SOURCE = "websocket-notifications.smoke"
# While a look at the dead letters lasts, those of others are hidden for so long at most.
_LOOK_SECONDS = 20
# Of a look at the dead letters, each with ten of them.
_MOST_RECEIVES = 100
_BATCH = 10
# Of a log.
_MOST_LINES = 100

Clients = Callable[[str], Any]
Row = dict[str, str]


class NoStackError(Exception):
    """There is no such stack, or it is another application's."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter of this run.

    Attributes:
        attributes: what the function that set it aside says of it.
    """

    body: str
    attributes: Mapping[str, str]
    message: Any


class Stack:
    """A deployed stack, and what its caller may see of it.

    All methods raise `Skipped` where the caller lacks a permission, but `put_event`: without that
    nothing can be looked at.
    """

    def __init__(self, name: str, clients: Clients) -> None:
        """Find a stack.

        Raises:
            NoStackError: it is not there, or none of this application.
            BotoCoreError, ClientError: it cannot be asked for.
        """
        self.name = name
        self._cloudformation = clients("cloudformation")
        try:
            (found,) = self._cloudformation.describe_stacks(StackName=name)["Stacks"]
        except ClientError as exc:
            if exc.response["Error"]["Code"] != "ValidationError":
                raise
            raise NoStackError(f"There is no stack {name} here.") from exc
        self.outputs = {row["OutputKey"]: row["OutputValue"] for row in found.get("Outputs") or ()}
        self.parameters = {
            row["ParameterKey"]: row.get("ParameterValue", "")
            for row in found.get("Parameters") or ()
        }
        missing = {
            *{"WebsocketUri", "NotificationQueueUrl", "TableName", "EventBusName"}
            - self.outputs.keys(),
            *{"Authentication", "MaxSubscriptionsPerConnection"} - self.parameters.keys(),
        }
        if missing:
            raise NoStackError(f"The stack {name} is none of this application: no {min(missing)}.")
        self._events, self._sqs = clients("events"), clients("sqs")
        self._dynamodb, self._logs = clients("dynamodb"), clients("logs")
        self._secrets = clients("secretsmanager")
        self._resources: dict[str, str] = {}

    @property
    def asks_for_tokens(self) -> bool:
        return bool(self.parameters["Authentication"] == "JWT")

    def put_event(self, detail_type: str, detail: Mapping[str, Any]) -> str:
        """Put an event on the bus, and return its id."""
        entry = {
            "EventBusName": self.outputs["EventBusName"],
            "Source": SOURCE,
            "DetailType": detail_type,
            "Detail": json.dumps(detail),
        }
        answer = self._events.put_events(Entries=[entry])
        (result,) = answer["Entries"]
        if "EventId" not in result:
            raise Failed(f"the bus refuses an event: {result.get('ErrorMessage', result)}")
        return str(result["EventId"])

    def enqueue(self, bodies: Sequence[str]) -> None:
        """Send up to ten messages to the notification queue at once, past the bus."""
        with _permitted("sqs:SendMessage on the notification queue"):
            answer = self._sqs.send_message_batch(
                QueueUrl=self.outputs["NotificationQueueUrl"],
                Entries=[{"Id": str(n), "MessageBody": body} for n, body in enumerate(bodies)],
            )
        if answer.get("Failed"):
            raise Failed(f"the notification queue refuses a message: {answer['Failed'][0]}")

    def dead_letters(self, marker: str) -> list[Letter]:
        """Return the dead letters that hold a marker, and hide them for a moment.

        Those of others are made visible again at once.
        """
        ours, others = [], []
        try:
            for _ in range(_MOST_RECEIVES):
                with _permitted("sqs:ReceiveMessage on the notification dead-letter queue"):
                    messages = self._sqs.receive_message(
                        QueueUrl=self._dead_letter_queue,
                        MaxNumberOfMessages=_BATCH,
                        MessageAttributeNames=["All"],
                        VisibilityTimeout=_LOOK_SECONDS,
                        # Without waiting, SQS asks only some of the machines that hold a queue.
                        WaitTimeSeconds=1,
                    ).get("Messages", [])
                ours += [each for each in messages if marker in each["Body"]]
                others += [each for each in messages if marker not in each["Body"]]
                if ours or not messages:
                    break
        finally:
            self._show_again(others)
        return [
            Letter(
                message["Body"],
                {
                    name: attribute.get("StringValue", "")
                    for name, attribute in message.get("MessageAttributes", {}).items()
                },
                message,
            )
            for message in ours
        ]

    def redrive(self, letter: Letter) -> None:
        """Send one letter back to where it failed."""
        with _permitted("sqs:SendMessage and sqs:DeleteMessage"):
            send_back(
                self._sqs,
                letter.message,
                self._dead_letter_queue,
                self.outputs["NotificationQueueUrl"],
            )

    def delete(self, letter: Letter) -> None:
        """Delete one letter."""
        with _permitted("sqs:DeleteMessage on the notification dead-letter queue"):
            self._sqs.delete_message(
                QueueUrl=self._dead_letter_queue, ReceiptHandle=letter.message["ReceiptHandle"]
            )

    @property
    def _dead_letter_queue(self) -> str:
        return str(self.outputs["NotificationDeadLetterQueueUrl"])

    def _show_again(self, messages: Sequence[Any]) -> None:
        for start in range(0, len(messages), _BATCH):
            with _permitted("sqs:ChangeMessageVisibility on the notification dead-letter queue"):
                self._sqs.change_message_visibility_batch(
                    QueueUrl=self._dead_letter_queue,
                    Entries=[
                        {
                            "Id": str(number),
                            "ReceiptHandle": message["ReceiptHandle"],
                            "VisibilityTimeout": 0,
                        }
                        for number, message in enumerate(messages[start : start + _BATCH])
                    ],
                )

    def rows(self, partition: str, *, after: str = "") -> list[Row]:
        """Return the keys of a partition of the table, those behind a subscriber's if one is named.

        `after` need not be there: couriers begin at boundaries whose connection may have gone.
        """
        condition, values = "pk = :pk", {":pk": {"S": partition}}
        start: dict[str, Any] = {}
        if after:
            condition += " AND sk BETWEEN :after AND :upto"
            values |= {":after": {"S": after}, ":upto": {"S": "CONNECTION#~"}}
            start = {"ExclusiveStartKey": {"pk": {"S": partition}, "sk": {"S": after}}}
        with _permitted("dynamodb:Query on the table"):
            items = self._dynamodb.query(
                TableName=self.outputs["TableName"],
                ConsistentRead=True,
                KeyConditionExpression=condition,
                ExpressionAttributeValues=values,
                ProjectionExpression="pk, sk",
                **start,
            )["Items"]
        return [{name: value["S"] for name, value in item.items()} for item in items]

    def delete_rows(self, partition: str) -> None:
        """Delete what a partition of the table holds."""
        for row in self.rows(partition):
            with _permitted("dynamodb:DeleteItem on the table"):
                self._dynamodb.delete_item(
                    TableName=self.outputs["TableName"],
                    Key={name: {"S": value} for name, value in row.items()},
                )

    def log_groups(self) -> list[str]:
        """Return the logical ids of the log groups of the stack's functions."""
        return sorted(name for name in self._resource_ids() if name.endswith("LogGroup"))

    def resource(self, logical_id: str) -> str:
        """Return the name that a resource has."""
        return self._resource_ids()[logical_id]

    def logged(self, log_group: str, words: Sequence[str], since: float) -> list[str]:
        """Return the lines of a log that hold one of the words, since a time."""
        with _permitted("logs:FilterLogEvents on the functions' log groups"):
            # A page may be empty, and another follow.
            pages = self._logs.get_paginator("filter_log_events").paginate(
                logGroupName=self.resource(log_group),
                startTime=int(since * 1000),
                filterPattern=" ".join(f"?{word}" for word in words),
                PaginationConfig={"MaxItems": _MOST_LINES},
            )
            return [event["message"] for page in pages for event in page["events"]]

    def secret(self) -> str:
        """Return the secret that the stack made."""
        with _permitted("secretsmanager:GetSecretValue on the stack's secret"):
            answer = self._secrets.get_secret_value(SecretId=self.resource("TokenSecret"))
        return str(answer["SecretString"])

    def _resource_ids(self) -> dict[str, str]:
        if not self._resources:
            pages = self._cloudformation.get_paginator("list_stack_resources")
            with _permitted("cloudformation:ListStackResources"):
                self._resources = {
                    row["LogicalResourceId"]: row["PhysicalResourceId"]
                    for page in pages.paginate(StackName=self.name)
                    for row in page["StackResourceSummaries"]
                }
        return self._resources


@contextmanager
def _permitted(what: str) -> Iterator[None]:
    """Say what is missing where the caller may not do something."""
    try:
        yield
    except ClientError as exc:
        code = exc.response["Error"]["Code"]
        if "AccessDenied" in code or "NotAuthorized" in code:
            raise Skipped(f"you may not {what}") from exc
        raise
