"""Show what waits in a stack's queues, and its dead letters: what failed, when, and why.

They stay where they are.

With DELETE=code those whose code it is are deleted: events that can never be delivered.
"""

import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from operations.deployed import Deployed, parser, run

READ = ("NotificationQueueUrl", "DeliveryQueueUrl")
DEAD_LETTERS = (
    "NotificationDeadLetterQueueUrl",
    "DeliveryDeadLetterQueueUrl",
    "UndeliveredEventsQueueUrl",
)
# Of one queue. Whoever has more of them needs the first ones.
MOST = 100
# For which a letter is hidden while the others are read.
_HIDDEN_SECONDS = 30
_BODY_CHARACTERS = 300
# Attributes: of what a function set aside, and of what EventBridge could not hand over.
# https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-dlq.html
_WHY = (("errorCode", "reason"), ("ERROR_CODE", "ERROR_MESSAGE"))
_NUMBER = "ApproximateNumberOfMessages"


def show(stack: Deployed, delete: str = "") -> None:
    sqs, outputs = stack.client("sqs"), stack.outputs()
    for queue in READ:
        print(f"{queue.removesuffix('Url')}: {_waiting(sqs, outputs[queue])}")
    for queue in DEAD_LETTERS:
        letters = list(_letters(sqs, outputs[queue]))
        print(f"{queue.removesuffix('Url')}: {len(letters)}")
        for letter in letters:
            code, reason = _why(letter)
            gone = bool(delete) and code == delete
            if gone:
                sqs.delete_message(QueueUrl=outputs[queue], ReceiptHandle=letter["ReceiptHandle"])
            else:
                sqs.change_message_visibility(
                    QueueUrl=outputs[queue],
                    ReceiptHandle=letter["ReceiptHandle"],
                    VisibilityTimeout=0,
                )
            sent = datetime.fromtimestamp(int(letter["Attributes"]["SentTimestamp"]) / 1000, UTC)
            print(
                f"  {sent:%Y-%m-%d %H:%M:%S} {code or 'failed twelve times'}"
                f"{f': {reason}' if reason else ''}{' (deleted)' if gone else ''}"
            )
            print(f"    message {letter['MessageId']}: {letter['Body'][:_BODY_CHARACTERS]}")


def _why(letter: dict[str, Any]) -> tuple[str, str]:
    """Return the code and the reason that a function, or EventBridge, gave a letter."""
    attributes = {
        name: value.get("StringValue", "")
        for name, value in letter.get("MessageAttributes", {}).items()
    }
    for code, reason in _WHY:
        if code in attributes:
            return attributes[code], attributes.get(reason, "")
    return "", ""


def _waiting(sqs: Any, queue_url: str) -> str:
    attributes = _attributes(sqs, queue_url)
    return (
        f"{attributes[_NUMBER]} waiting, {attributes[f'{_NUMBER}NotVisible']} at work or tried "
        f"again later, {attributes[f'{_NUMBER}Delayed']} delayed"
    )


def _attributes(sqs: Any, queue_url: str) -> dict[str, int]:
    names = [_NUMBER, f"{_NUMBER}NotVisible", f"{_NUMBER}Delayed"]
    answer = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=names)
    return {name: int(answer["Attributes"][name]) for name in names}


def _letters(sqs: Any, queue_url: str) -> Iterator[dict[str, Any]]:
    """Yield the letters of a queue, each once."""
    most = min(_attributes(sqs, queue_url)[_NUMBER], MOST)
    seen: set[str] = set()
    while len(seen) < most:
        batch = sqs.receive_message(
            QueueUrl=queue_url,
            MaxNumberOfMessages=10,
            VisibilityTimeout=_HIDDEN_SECONDS,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["SentTimestamp"],
            # All servers of the queue are asked.
            WaitTimeSeconds=1,
        ).get("Messages", [])
        if not (new := [each for each in batch if each["MessageId"] not in seen]):
            return
        seen |= {each["MessageId"] for each in new}
        yield from new


def main(arguments: Sequence[str]) -> int:
    parsed = parser("make letters", __doc__)
    parsed.add_argument("--delete", default="", help="code of letters to delete (DELETE)")
    options = parsed.parse_args(arguments)
    return run(partial(show, delete=options.delete), options)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
