"""Send dead letters back to where they failed, once the cause is mended.

`make redrive` does so for a stack on AWS, `make redrive LOCAL=1` for the local one. A letter is
deleted only after its queue has taken it; if this is interrupted in between, the letter is sent
twice, and the ledger recognizes the second.

On AWS, SQS can do the same by itself; see docs/operations.md.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from local.aws import LocalAws

LOCAL_OUTPUTS = Path(__file__).parent.parent / ".local/outputs.json"

# Outputs of the stack: a dead-letter queue, and the queue whose function makes another try.
ROUTES = {
    "NotificationDeadLetterQueueUrl": "NotificationQueueUrl",
    "DeliveryDeadLetterQueueUrl": "DeliveryQueueUrl",
    "UndeliveredEventsQueueUrl": "NotificationQueueUrl",
}


def redrive(sqs: Any, source_url: str, target_url: str) -> int:
    """Move as many messages as are in a queue now to another; return how many that were.

    The number is fixed first, so that letters which fail again at once are not moved for ever.
    """
    attributes = sqs.get_queue_attributes(
        QueueUrl=source_url, AttributeNames=["ApproximateNumberOfMessages"]
    )["Attributes"]
    moved = 0
    for message in islice(
        _messages(sqs, source_url), int(attributes["ApproximateNumberOfMessages"])
    ):
        send_back(sqs, message, source_url, target_url)
        moved += 1
    return moved


def send_back(sqs: Any, message: dict[str, Any], source_url: str, target_url: str) -> None:
    """Move one message, as it was received; it is deleted only when the other queue has it."""
    # Without its attributes, which only say why it failed.
    sqs.send_message(QueueUrl=target_url, MessageBody=message["Body"])
    sqs.delete_message(QueueUrl=source_url, ReceiptHandle=message["ReceiptHandle"])


def _messages(sqs: Any, queue_url: str) -> Iterator[dict[str, Any]]:
    while batch := sqs.receive_message(
        QueueUrl=queue_url,
        # One at a time: what is received and then not moved stays hidden for a while.
        MaxNumberOfMessages=1,
        WaitTimeSeconds=1,
    ).get("Messages"):
        yield from batch


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="make redrive", description=__doc__)
    parser.add_argument("--stack-name", default="websocket-notifications", help="STACK")
    parser.add_argument("--local", action="store_true", help="the stack of make local (LOCAL=1)")
    options = parser.parse_args(arguments)
    try:
        sqs, outputs = _local_stack() if options.local else _stack(options.stack_name)
        for source, target in ROUTES.items():
            moved = redrive(sqs, outputs[source], outputs[target])
            print(f"{source}: {moved} sent back to {target}")
    except (BotoCoreError, ClientError, OSError) as exc:
        print(f"Not redriven: {exc}", file=sys.stderr)
        return 1
    return 0


def _stack(name: str) -> tuple[Any, dict[str, str]]:
    (stack,) = boto3.client("cloudformation").describe_stacks(StackName=name)["Stacks"]
    outputs = {row["OutputKey"]: row["OutputValue"] for row in stack["Outputs"]}
    return boto3.client("sqs"), outputs


def _local_stack() -> tuple[Any, dict[str, str]]:
    outputs: dict[str, str] = json.loads(LOCAL_OUTPUTS.read_text())
    return LocalAws(urlsplit(outputs["AwsEndpointUrl"]).port or 80).client("sqs"), outputs


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
