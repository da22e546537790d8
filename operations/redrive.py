"""Send dead letters back to where they failed, once the cause is mended.

A letter is deleted only after its queue has taken it; if this is interrupted in between, the letter
is sent twice, and the ledger recognizes the second.

On AWS, SQS can do the same by itself; see docs/operations.md.
"""

import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from operations.deployed import Deployed, parser, run

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


def redrive_all(stack: Deployed) -> None:
    sqs, outputs = stack.client("sqs"), stack.outputs()
    for source, target in ROUTES.items():
        moved = redrive(sqs, outputs[source], outputs[target])
        print(f"{source}: {moved} sent back to {target}")


def main(arguments: Sequence[str]) -> int:
    return run(redrive_all, parser("make redrive", __doc__).parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
