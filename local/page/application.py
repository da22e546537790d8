"""What the page sees and does of the deployed stack, through the public APIs of its services."""

import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any

from local.page.errors import Unavailable
from operations import redrive

SOURCE = "the page"
# Of PutEvents, and of a batch of deletions.
_BATCH, _DELETIONS = 10, 25
# A look takes as long as the table is large, so it ends somewhere: each page has a MB at most.
_PAGES = 10
_ITEMS_OF_A_KIND = 20
# What is shown of a value, and of the letters of a queue.
_SHOWN, _LETTERS = 600, 10
_DEPTHS = {
    "ApproximateNumberOfMessages": "waiting",
    "ApproximateNumberOfMessagesNotVisible": "inFlight",
    "ApproximateNumberOfMessagesDelayed": "delayed",
}
_QUEUES = {"notifications": "NotificationQueueUrl", "deliveries": "DeliveryQueueUrl"}
_KINDS = ("connections", "subscriptions", "heads", "events", "jobs", "others")

Item = dict[str, Any]


class Application:
    """The bus, the table and the queues that the outputs of the stack name.

    Its methods wait for the services, so they are for threads.

    Args:
        client: makes a boto3 client of a service.
    """

    def __init__(self, client: Callable[[str], Any], outputs: Mapping[str, str]) -> None:
        self._outputs = outputs
        self._events = client("events")
        self._dynamodb = client("dynamodb")
        self._sqs = client("sqs")

    def publish(self, entity_id: str, number: int, message: str | None) -> list[str]:
        """Put so many events of an entity on the bus, and return their ids."""
        text = {} if message is None else {"message": message}
        numbers = count(1)
        ids: list[str] = []
        while len(ids) < number:
            # With the time at which each batch goes out, from which the page takes the latency.
            ids += self._put(
                {
                    "entityId": entity_id,
                    **text,
                    "data": {"n": next(numbers), "publishedAt": int(time.time() * 1000)},
                }
                for _ in range(min(_BATCH, number - len(ids)))
            )
        return ids

    def publish_poison(self) -> list[str]:
        """Put an event on the bus that can never be delivered, and return its id."""
        return self._put([{"message": "This event says of no entity that it changed."}])

    def push(self, user_id: str, message: str) -> list[str]:
        """Put a notification for a user on the bus, and return its id."""
        return self._put([{"userId": user_id, "message": message}], "Send User Push Notification")

    def kick(self, user_id: str, *, is_revoked: bool) -> list[str]:
        """Have a user disconnected, whose tokens until now may be refused from now on."""
        revocation = {"revokeIssuedBefore": int(time.time())} if is_revoked else {}
        detail = {"userId": user_id, "reason": "Somebody asked for it.", **revocation}
        return self._put([detail], "Disconnect User")

    def _put(
        self, details: Iterator[Item] | Sequence[Item], detail_type: str = "Entity Updated"
    ) -> list[str]:
        result = self._events.put_events(
            Entries=[
                {
                    "EventBusName": self._outputs["EventBusName"],
                    "Source": SOURCE,
                    "DetailType": detail_type,
                    "Detail": json.dumps(detail),
                }
                for detail in details
            ]
        )
        if result["FailedEntryCount"]:
            raise Unavailable(f"The bus refused {result['FailedEntryCount']} events.")
        return [str(entry["EventId"]) for entry in result["Entries"]]

    def items(self) -> dict[str, Any]:
        """Return the newest items of the table by kind, and how many there are of each."""
        found: dict[str, list[Item]] = defaultdict(list)
        pages = self._dynamodb.get_paginator("scan").paginate(
            TableName=self._outputs["TableName"], ConsistentRead=True
        )
        is_whole = True
        for number, page in enumerate(pages, 1):
            for item in page["Items"]:
                found[kind_of(item["sk"]["S"])].append(item)
            if number == _PAGES and "LastEvaluatedKey" in page:
                is_whole = False
                break
        return {
            "isWhole": is_whole,
            "kinds": [
                {
                    "kind": kind,
                    "total": len(found[kind]),
                    "newest": [shown(item) for item in newest(found[kind], _ITEMS_OF_A_KIND)],
                }
                for kind in _KINDS
                if kind != "others" or found[kind]
            ],
        }

    def queues(self) -> dict[str, dict[str, int]]:
        """Return how many messages wait, are in flight and are delayed, by queue."""
        return {name: self._depth(self._outputs[output]) for name, output in _QUEUES.items()}

    def letters(self) -> dict[str, Any]:
        """Return how many dead letters there are, and some of each queue, all left where they are.

        A queue shows ten at most without hiding them for a while.
        """
        total, found = 0, []
        for source in redrive.ROUTES:
            url = self._outputs[source]
            depth = self._depth(url)
            total += sum(depth.values())
            if not depth["waiting"]:
                continue
            messages = self._sqs.receive_message(
                QueueUrl=url,
                MaxNumberOfMessages=_LETTERS,
                VisibilityTimeout=0,
                WaitTimeSeconds=0,
                MessageAttributeNames=["errorCode", "reason"],
            ).get("Messages", [])
            for message in messages:
                attributes = message.get("MessageAttributes", {})
                found.append(
                    {
                        "id": message["MessageId"],
                        "queue": source.removesuffix("Url"),
                        "errorCode": attributes.get("errorCode", {}).get("StringValue"),
                        "reason": attributes.get("reason", {}).get("StringValue"),
                        "body": cut(message["Body"]),
                    }
                )
        return {"total": total, "some": found}

    def redrive(self) -> int:
        """Send all dead letters back to where they failed; return how many there were."""
        return sum(
            redrive.redrive(self._sqs, self._outputs[source], self._outputs[target])
            for source, target in redrive.ROUTES.items()
        )

    def trim(self, entity_id: str) -> int:
        """Delete the events that the log of an entity keeps, as their age would in time."""
        pages = self._dynamodb.get_paginator("query").paginate(
            TableName=self._outputs["TableName"],
            ConsistentRead=True,
            KeyConditionExpression="pk = :entity AND begins_with(sk, :event)",
            ExpressionAttributeValues={
                ":entity": {"S": f"ENTITY#{entity_id}"},
                ":event": {"S": "EVENT#"},
            },
            ProjectionExpression="pk, sk",
        )
        keys = [item for page in pages for item in page["Items"]]
        for start in range(0, len(keys), _DELETIONS):
            self._dynamodb.batch_write_item(
                RequestItems={
                    self._outputs["TableName"]: [
                        {"DeleteRequest": {"Key": key}} for key in keys[start : start + _DELETIONS]
                    ]
                }
            )
        return len(keys)

    def _depth(self, queue_url: str) -> dict[str, int]:
        attributes = self._sqs.get_queue_attributes(
            QueueUrl=queue_url, AttributeNames=list(_DEPTHS)
        )["Attributes"]
        return {name: int(attributes[attribute]) for attribute, name in _DEPTHS.items()}


def kind_of(sort_key: str) -> str:
    """Return of which kind an item is; README.md has the table of them."""
    match sort_key.partition("#")[:2]:
        case ("CONNECTION", ""):
            return "connections"
        case ("CONNECTION", "#"):
            return "subscriptions"
        case ("HEAD", ""):
            return "heads"
        case ("EVENT", "#"):
            return "events"
        case ("JOB", ""):
            return "jobs"
    return "others"


def newest(items: Sequence[Item], most: int) -> list[Item]:
    """Return the items that are to be kept for longest, which for one kind are the newest."""
    return sorted(
        items,
        key=lambda item: (int(item.get("ttl", {}).get("N", 0)), item["sk"]["S"]),
        reverse=True,
    )[:most]


def shown(item: Item) -> dict[str, str]:
    """Return an item's attributes as texts, its key first."""
    texts = {name: cut(_text(value)) for name, value in sorted(item.items())}
    return {"pk": texts.pop("pk"), "sk": texts.pop("sk"), **texts}


def _text(value: Item) -> str:
    ((kind, content),) = value.items()
    match kind:
        case "S" | "N":
            return str(content)
        case "SS" | "NS":
            return ", ".join(sorted(content))
        case "L":
            return ", ".join(_text(each) for each in content)
    return json.dumps(content, default=str)


def cut(text: str) -> str:
    """Return the beginning of a text, marked if there is more."""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]} …"
