"""The DynamoDB table: connections, and who is subscribed to what.

    connection    pk CONNECTION#<connectionId>   sk CONNECTION
    subscription  pk ENTITY#<entityId>           sk CONNECTION#<connectionId>

The subscribers of an entity are one partition of the base table, so they are read consistently:
an event that follows a client's `Subscribed` finds that client. What a connection holds is found
through the index `ByConnection`, which is only eventually consistent. The connection item counts
its subscriptions, in the transactions that write them, so that a reader of the index knows
whether the index has caught up.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from push.adapters import clients
from push.backoff import growing_delays
from push.connection import Connection, iso_8601
from push.errors import ConnectionGone, ServiceUnavailable, TooManySubscriptions
from push.observability import logger
from push.settings import StoreSettings

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import TransactWriteItemTypeDef

    Key = dict[str, dict[str, str]]

INDEX = "ByConnection"
_CONNECTION = "CONNECTION"
_CONNECTION_PREFIX = "CONNECTION#"
_ENTITY_PREFIX = "ENTITY#"

# BatchWriteItem takes 25 requests.
_BATCH_SIZE = 25
# Frames of one connection are handled concurrently, and their transactions meet in its item.
_CONTENTION_DEADLINE_SECONDS = 5.0
# The index usually follows within milliseconds; a second is a bad day.
_INDEX_DEADLINE_SECONDS = 1.0


@cache
def connection_table() -> "ConnectionTable":
    """Return the environment's table, made on first use."""
    return ConnectionTable(clients.dynamodb(), StoreSettings.from_environment())


class ConnectionTable:
    """Reads and writes the table.

    Every method raises `ServiceUnavailable` when DynamoDB fails after the client's own retries.
    """

    def __init__(
        self,
        dynamodb: "DynamoDBClient",
        settings: StoreSettings,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._dynamodb = dynamodb
        self._table = settings.table_name
        self._max_subscriptions = settings.max_subscriptions_per_connection
        self._clock = clock
        self._sleep = sleep

    def add_connection(self, connection: Connection) -> None:
        """Write the connection item, once: a repeated call keeps the count of subscriptions."""
        try:
            with translated_errors():
                self._dynamodb.put_item(
                    TableName=self._table,
                    Item={
                        **_connection_key(connection.connection_id),
                        "connectionId": {"S": connection.connection_id},
                        "ipAddress": {"S": connection.ip_address},
                        "connectedAt": {"S": iso_8601(connection.connected_at)},
                        "subscriptionCount": {"N": "0"},
                        "ttl": {"N": str(connection.ttl_seconds)},
                    },
                    ConditionExpression="attribute_not_exists(pk)",
                )
        except ConditionFailed:
            logger.info("connection already known")

    def subscribe(self, connection: Connection, entity_id: str) -> bool:
        """Subscribe a connection to an entity; return whether that is new.

        The subscription is written in one transaction with a condition on the connection item,
        so a subscribe that races a disconnect leaves nothing behind.

        Raises:
            ConnectionGone: the connection is not in the table.
            TooManySubscriptions: it holds as many as the settings allow.
        """
        put: TransactWriteItemTypeDef = {
            "Put": {
                "TableName": self._table,
                "Item": {
                    **_subscription_key(entity_id, connection.connection_id),
                    "entityId": {"S": entity_id},
                    "connectionId": {"S": connection.connection_id},
                    "subscribedAt": {"S": iso_8601(self._now())},
                    "ttl": {"N": str(connection.ttl_seconds)},
                },
                "ConditionExpression": "attribute_not_exists(pk)",
            }
        }
        count: TransactWriteItemTypeDef = {
            "Update": {
                "TableName": self._table,
                "Key": _connection_key(connection.connection_id),
                "UpdateExpression": "ADD subscriptionCount :one",
                # False also for a missing item, which has no subscriptionCount to compare.
                "ConditionExpression": "subscriptionCount < :max",
                "ExpressionAttributeValues": {
                    ":one": {"N": "1"},
                    ":max": {"N": str(self._max_subscriptions)},
                },
                "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
            }
        }
        put_refused, count_refused = self._transact(put, count)
        if count_refused and not count_refused.get("Item"):
            raise ConnectionGone("This connection is closed.")
        if put_refused:
            return False
        if count_refused:
            raise TooManySubscriptions(
                f"A connection holds at most {self._max_subscriptions} subscriptions."
            )
        return True

    def unsubscribe(self, connection_id: str, entity_id: str) -> bool:
        """End a subscription; return whether there was one."""
        delete: TransactWriteItemTypeDef = {
            "Delete": {
                "TableName": self._table,
                "Key": _subscription_key(entity_id, connection_id),
                "ConditionExpression": "attribute_exists(pk)",
            }
        }
        count: TransactWriteItemTypeDef = {
            "Update": {
                "TableName": self._table,
                "Key": _connection_key(connection_id),
                "UpdateExpression": "ADD subscriptionCount :minus_one",
                "ConditionExpression": "attribute_exists(pk)",
                "ExpressionAttributeValues": {":minus_one": {"N": "-1"}},
            }
        }
        delete_refused, count_refused = self._transact(delete, count)
        if delete_refused:
            return False
        if count_refused:
            # The connection went meanwhile, and its clean-up may have missed this row.
            self._delete([_subscription_key(entity_id, connection_id)])
        return True

    def subscriptions(self, connection_id: str) -> list[str]:
        """Return the ids of the entities that a connection is subscribed to, sorted.

        Raises:
            ConnectionGone: the connection is not in the table.
        """
        with translated_errors():
            item = self._dynamodb.get_item(
                TableName=self._table,
                Key=_connection_key(connection_id),
                ProjectionExpression="subscriptionCount",
                ConsistentRead=True,
            ).get("Item")
        if item is None:
            raise ConnectionGone("This connection is closed.")
        rows = self._rows_of(connection_id, at_least=int(item["subscriptionCount"]["N"]))
        return sorted(row["pk"]["S"].removeprefix(_ENTITY_PREFIX) for row in rows)

    def subscribers(self, entity_id: str, *, after: str = "") -> Iterator[str]:
        """Yield the connection ids of an entity's subscribers, in order, page after page.

        With `after`, start with the one that follows this id, whether or not it still exists.

        Only the key is projected: whole items cost the reader 5 to 6 times the CPU. Expired rows
        that DynamoDB has not deleted yet are left out.
        """
        start: Any = {"ExclusiveStartKey": _subscription_key(entity_id, after)} if after else {}
        pages = self._dynamodb.get_paginator("query").paginate(
            **start,
            TableName=self._table,
            ConsistentRead=True,
            KeyConditionExpression="pk = :entity AND begins_with(sk, :connection)",
            FilterExpression="#ttl > :now",
            ProjectionExpression="sk",
            ExpressionAttributeNames={"#ttl": "ttl"},
            ExpressionAttributeValues={
                ":entity": {"S": _ENTITY_PREFIX + entity_id},
                ":connection": {"S": _CONNECTION_PREFIX},
                ":now": {"N": str(int(self._clock()))},
            },
        )
        with translated_errors():
            for page in pages:
                for row in page["Items"]:
                    yield row["sk"]["S"].removeprefix(_CONNECTION_PREFIX)

    def remove_connection(self, connection_id: str, *known_entity_ids: str) -> int:
        """Delete a connection and all its subscriptions; return how many of these there were.

        The connection item goes first: from then on no subscribe succeeds, and the item's count
        says how many rows the index has to show. `known_entity_ids` are deleted even if it does
        not show them.
        """
        with translated_errors():
            removed = self._dynamodb.delete_item(
                TableName=self._table,
                Key=_connection_key(connection_id),
                ReturnValues="ALL_OLD",
            ).get("Attributes", {})
        expected = int(removed.get("subscriptionCount", {"N": "0"})["N"])
        rows = self._rows_of(connection_id, at_least=expected)
        known = [_subscription_key(entity_id, connection_id) for entity_id in known_entity_ids]
        rows += [key for key in known if key not in rows]
        self._delete(rows)
        return len(rows)

    def _rows_of(self, connection_id: str, *, at_least: int) -> "list[Key]":
        """Return the keys of a connection's subscriptions, once the index shows `at_least` many.

        Past the deadline, return what it shows: the TTL removes what is left.
        """
        deadline = self._clock() + _INDEX_DEADLINE_SECONDS
        for delay in growing_delays(0.02, 0.2):
            rows = list(self._indexed_rows(connection_id))
            if len(rows) >= at_least:
                return rows
            if self._clock() >= deadline:
                break
            self._sleep(delay)
        logger.warning("index is behind", expected=at_least, found=len(rows))
        return rows

    def _indexed_rows(self, connection_id: str) -> "Iterator[Key]":
        pages = self._dynamodb.get_paginator("query").paginate(
            TableName=self._table,
            IndexName=INDEX,
            KeyConditionExpression="connectionId = :id",
            ProjectionExpression="pk, sk",
            ExpressionAttributeValues={":id": {"S": connection_id}},
        )
        with translated_errors():
            for page in pages:
                for row in page["Items"]:
                    if row["pk"]["S"].startswith(_ENTITY_PREFIX):
                        yield {"pk": {"S": row["pk"]["S"]}, "sk": {"S": row["sk"]["S"]}}

    def _delete(self, keys: "Sequence[Key]") -> None:
        for start in range(0, len(keys), _BATCH_SIZE):
            batch = keys[start : start + _BATCH_SIZE]
            pending: Any = {self._table: [{"DeleteRequest": {"Key": key}} for key in batch]}
            deadline = self._clock() + _CONTENTION_DEADLINE_SECONDS
            for delay in growing_delays(0.02, 0.2):
                with translated_errors():
                    result = self._dynamodb.batch_write_item(RequestItems=pending)
                if not (pending := result.get("UnprocessedItems")):
                    break
                if self._clock() >= deadline:
                    raise ServiceUnavailable("The table is throttled.")
                self._sleep(delay)

    def _transact(self, *items: "TransactWriteItemTypeDef") -> list[Mapping[str, Any] | None]:
        """Write all items or none; return for each the reason if its condition failed.

        A transaction that met another one, or a throttled partition, is tried again:
        botocore does not do so.
        """
        deadline = self._clock() + _CONTENTION_DEADLINE_SECONDS
        for delay in growing_delays(0.02, 0.2):
            try:
                with translated_errors():
                    self._dynamodb.transact_write_items(TransactItems=items)
                return [None] * len(items)
            except _TransactionCancelled as cancelled:
                codes = {reason["Code"] for reason in cancelled.reasons}
                if codes <= {"None", "ConditionalCheckFailed"}:
                    return [
                        reason if reason["Code"] == "ConditionalCheckFailed" else None
                        for reason in cancelled.reasons
                    ]
                if not codes & _PASSING or self._clock() >= deadline:
                    raise ServiceUnavailable("The request could not be saved.") from cancelled
            self._sleep(delay)
        raise AssertionError("delays never end")

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)


# Reasons of a cancelled transaction that may be gone a moment later.
# https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html
_PASSING = {"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"}


class ConditionFailed(Exception):
    """The condition of a single write was false; `item` is what it met, if that was asked for."""

    def __init__(self, item: Mapping[str, Any]) -> None:
        super().__init__()
        self.item = item


class _TransactionCancelled(Exception):
    def __init__(self, reasons: Iterable[Mapping[str, Any]]) -> None:
        super().__init__()
        self.reasons = list(reasons)


@contextmanager
def translated_errors() -> Iterator[None]:
    """Raise DynamoDB's errors as those of the domain."""
    try:
        yield
    except ClientError as exc:
        match exc.response["Error"]["Code"]:
            case "ConditionalCheckFailedException":
                raise ConditionFailed(_item_of(exc.response)) from exc
            case "TransactionCanceledException":
                raise _TransactionCancelled(exc.response["CancellationReasons"]) from exc
        raise ServiceUnavailable("The table did not answer.") from exc
    except BotoCoreError as exc:
        raise ServiceUnavailable("The table did not answer.") from exc


def _item_of(response: Any) -> Mapping[str, Any]:
    """Return the item that a refused write met; botocore's types leave it out."""
    item: Mapping[str, Any] = response.get("Item", {})
    return item


def _connection_key(connection_id: str) -> "Key":
    return {"pk": {"S": _CONNECTION_PREFIX + connection_id}, "sk": {"S": _CONNECTION}}


def _subscription_key(entity_id: str, connection_id: str) -> "Key":
    return {
        "pk": {"S": _ENTITY_PREFIX + entity_id},
        "sk": {"S": _CONNECTION_PREFIX + connection_id},
    }
