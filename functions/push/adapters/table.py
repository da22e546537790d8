"""The DynamoDB table: each method is one request, atomic, and strongly consistent where it reads.

    connection    pk CONNECTION#<connectionId>  sk CONNECTION                 topics, userId, ...
    subscription  pk <topic>                    sk CONNECTION#<connectionId>  until
    head          pk <topic>                    sk HEAD                       epoch, seq
    logged event  pk <topic>                    sk EVENT#<epoch>#<seq>        id, frame
    job           pk JOB#<eventId>#<name>       sk JOB                        owner, lease, ...
    revocation    pk <topic of a user>          sk REVOKED                    issuedBefore
    expiry        pk EXPIRY#<minute>            sk CONNECTION#<connectionId>

In which order they are made is the domain's to say. Every method raises `ServiceUnavailable` when
DynamoDB does not answer, or refuses for longer than a moment; whether a write was carried out is
then not known.
"""

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from identity.claims import Identity
from push.backoff import growing_delays
from push.connection import Connection, iso_8601
from push.errors import ServiceUnavailable
from push.topics import Cursor, Head, LoggedEvent, Topic

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

Key = dict[str, dict[str, str]]

# Before and behind every connection id.
FIRST, LAST = "", "~"

_CONNECTION, _HEAD, _JOB, _REVOKED = "CONNECTION", "HEAD", "JOB", "REVOKED"
_DAY_SECONDS = 86_400
# BatchWriteItem takes 25 requests.
_BATCH_SIZE = 25
# Frames of one connection are handled concurrently, and their writes meet in its item.
_CONTENTION_SECONDS = 5.0
_NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})

# What may be gone a moment later, alone or as the reason of a cancelled transaction. botocore does
# not try conflicts again, and throttled requests only a few times.
# https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html
_PASSING = {
    "ProvisionedThroughputExceeded",
    "RequestLimitExceeded",
    "Throttling",
    "ThrottlingError",
    "TransactionConflict",
    "TransactionInProgress",
}


class ConnectionRow(NamedTuple):
    """What is known of a connection: what it is subscribed to, and whose token it came with."""

    topics: frozenset[Topic]
    identity: Identity | None


class SubscribeRefused(NamedTuple):
    """What a refused subscribe met: the connection as it is; None if it is not known."""

    met: ConnectionRow | None


class JobRow(NamedTuple):
    """A row of the ledger.

    Attributes:
        mine: whether the claim that met it succeeded.
        lease: until when it is held, in seconds since the epoch.
        start: where the log stood before anybody claimed it.
        reached: the last connection that was posted to.
        open: those up to there whose outcome is not known.
        plan: the boundaries of the ranges that are being handed on.
    """

    mine: bool
    lease: int
    start: Cursor
    reached: str
    open: tuple[str, ...]
    plan: tuple[str, ...]
    done: bool


class Table:
    """Reads and writes the table."""

    def __init__(
        self,
        dynamodb: "DynamoDBClient",
        name: str,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._dynamodb = dynamodb
        self._name = name
        self._clock = clock
        self._sleep = sleep

    # Connections and subscriptions.

    def put_connection(self, connection: Connection, identity: Identity | None = None) -> None:
        """Write the connection item, and of one with a user the subscription to that user.

        Once: a try that the SDK gave up may be carried out late, and must not empty the set of
        topics, which comes with the first subscription.
        """
        item = _connection_key(connection.connection_id) | _values(
            connectionId=connection.connection_id,
            ipAddress=connection.ip_address,
            connectedAt=iso_8601(connection.connected_at),
            ttl=connection.ttl_seconds,
        )
        condition = "attribute_not_exists(#pk)"
        put: dict[str, Any] = {
            "Item": item,
            "ConditionExpression": condition,
            "ExpressionAttributeNames": _names(condition),
        }
        with suppress(_ConditionFailed):
            if identity is None:
                self._write("put_item", **put)
                return
            user = Topic.user(identity.user_id, identity.tenant)
            item |= _values(
                userId=identity.user_id,
                tenant=identity.tenant,
                grants=identity.grants,
                issuedAt=identity.issued_at,
                expiresAt=identity.expires_at,
                topics={user.key},
            )
            row = self._row(user, connection, identity)
            self._call(
                "transact_write_items",
                TransactItems=[
                    {"Put": {"TableName": self._name, **put}},
                    {"Put": {"TableName": self._name, "Item": row}},
                ],
            )

    def revoke(self, user: Topic, issued_before: int, ttl: int) -> None:
        """Refuse tokens of a user that were issued before a time; an earlier word may say more."""
        update = self._update(
            "SET #issuedBefore = :issuedBefore, #ttl = :ttl",
            "attribute_not_exists(#pk) OR #issuedBefore < :issuedBefore",
            issuedBefore=issued_before,
            ttl=ttl,
        )
        with suppress(_ConditionFailed):
            self._write("update_item", Key=_revocation_key(user), **update)

    def is_revoked(self, identity: Identity) -> bool:
        user = Topic.user(identity.user_id, identity.tenant)
        item = self._get(_revocation_key(user), "#issuedBefore")
        return bool(item) and identity.issued_at < int(item["issuedBefore"]["N"])

    def renew(self, connection_id: str, old: Identity, new: Identity) -> frozenset[Topic] | None:
        """Put another token in place of an old one; return what the connection is subscribed to.

        None if it has another one, or is not known.
        """
        update = self._update(
            "SET #grants = :grants, #issuedAt = :issuedAt, #expiresAt = :expiresAt",
            "#userId = :userId AND #issuedAt = :oldIssuedAt AND #expiresAt = :oldExpiresAt"
            " AND #grants = :oldGrants",
            userId=old.user_id,
            oldGrants=old.grants,
            oldIssuedAt=old.issued_at,
            oldExpiresAt=old.expires_at,
            grants=new.grants,
            issuedAt=new.issued_at,
            expiresAt=new.expires_at,
        )
        renewed, item = self._change(_connection_key(connection_id), update)
        # Its own: the answer of this same request was lost.
        return _topics(item) if renewed or _connection(item).identity == new else None

    def prolong(self, connection: Connection, topic: Topic, identity: Identity) -> None:
        """Let a subscription live as long as a token, if it is there."""
        update = self._update(
            "SET #until = :until, #ttl = :ttl",
            "attribute_exists(#pk)",
            until=identity.expires_at,
            ttl=min(connection.ttl_seconds, identity.expires_at),
        )
        with suppress(_ConditionFailed):
            self._write("update_item", Key=_row_key(topic, connection.connection_id), **update)

    def note_expiry(self, connection_id: str, expires_at: int) -> None:
        """Note when a connection's token ends, for who looks every minute."""
        item = _expiry_key(expires_at // 60, connection_id) | _values(ttl=expires_at + _DAY_SECONDS)
        self._write("put_item", Item=item)

    def expiring(self, minute: int) -> list[str]:
        """Return the connections whose tokens were to end in a minute, counted from the epoch."""
        ids: list[str] = []
        start: Any = {}
        while True:
            answer = self._query("#pk = :pk", "#sk", pk=_expiry_pk(minute), options=start)
            ids += [item["sk"]["S"].partition("#")[2] for item in answer["Items"]]
            if "LastEvaluatedKey" not in answer:
                return ids
            start = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    def forget_expiring(self, minute: int, connection_ids: Iterable[str]) -> None:
        """Delete notes of when tokens end."""
        self._delete([_expiry_key(minute, connection_id) for connection_id in connection_ids])

    def delete_connection(self, connection_id: str) -> frozenset[Topic]:
        """Delete the connection item; return the topics of its set."""
        answer = self._write(
            "delete_item", Key=_connection_key(connection_id), ReturnValues="ALL_OLD"
        )
        return _topics(answer.get("Attributes", {}))

    def connected_since(self, connection_id: str, seconds: float) -> bool:
        """Whether a connection is known, and was connected after a time since the epoch."""
        item = self._get(_connection_key(connection_id), "#connectedAt")
        moment = iso_8601(datetime.fromtimestamp(seconds, UTC))
        return bool(item) and item["connectedAt"]["S"] > moment

    def connection(self, connection_id: str) -> ConnectionRow | None:
        """Return what is known of a connection; None if it is not."""
        item = self._get(
            _connection_key(connection_id),
            "#topics, #connectionId, #userId, #tenant, #grants, #issuedAt, #expiresAt",
        )
        return _connection(item) if item else None

    def add_subscriptions(
        self,
        connection: Connection,
        topics: Iterable[Topic],
        held: Iterable[Topic],
        room: int,
        identity: Identity | None = None,
    ) -> SubscribeRefused | None:
        """Write subscriptions, and add them to the connection's set, all or nothing.

        Args:
            connection: which must be known.
            topics: at most 99, one item less than a transaction takes.
            held: those of them that its set must hold already.
            room: how many its set may hold so that the others still have room.
            identity: whose token its item must still be of, unchanged.

        Returns:
            what was met instead, if the connection is not so.
        """
        holds: dict[str, Any] = {f"held{number}": topic.key for number, topic in enumerate(held)}
        conditions = ["attribute_exists(#pk)"]
        # `size` of a missing set is false in any comparison.
        conditions += ["(attribute_not_exists(#topics) OR size(#topics) <= :room)"]
        conditions += [f"contains(#topics, :{name})" for name in holds]
        if identity:
            # Two tokens of the same second may allow different things.
            conditions += [f"#{name} = :{name}" for name in ("grants", "issuedAt", "expiresAt")]
            holds |= {
                "grants": identity.grants,
                "issuedAt": identity.issued_at,
                "expiresAt": identity.expires_at,
            }
        update = self._update(
            "ADD #topics :topics",
            " AND ".join(conditions),
            topics={topic.key for topic in topics},
            room=room,
            **holds,
        )
        rows = [self._row(topic, connection, identity) for topic in topics]
        try:
            self._call(
                "transact_write_items",
                TransactItems=[
                    {
                        "Update": {
                            "TableName": self._name,
                            "Key": _connection_key(connection.connection_id),
                            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
                            **update,
                        }
                    },
                    *({"Put": {"TableName": self._name, "Item": row}} for row in rows),
                ],
            )
        except _ConditionFailed as refused:
            return SubscribeRefused(_connection(refused.item) if refused.item else None)
        return None

    def _row(self, topic: Topic, connection: Connection, identity: Identity | None) -> Any:
        """Return a subscription, which ends with the token."""
        ttl = connection.ttl_seconds
        until = {} if identity is None else _values(until=identity.expires_at)
        return (
            _row_key(topic, connection.connection_id)
            | _values(
                entityId=topic.id,
                connectionId=connection.connection_id,
                subscribedAt=iso_8601(datetime.fromtimestamp(self._clock(), UTC)),
                ttl=min(ttl, identity.expires_at) if identity else ttl,
            )
            | until
        )

    def take_topics(self, connection_id: str, topics: Iterable[Topic]) -> None:
        """Take topics from the set of a connection, if that is known.

        Without the condition, the update would make a connection out of nothing.
        """
        update = self._update(
            "DELETE #topics :topics",
            "attribute_exists(#pk)",
            topics={topic.key for topic in topics},
        )
        with suppress(_ConditionFailed):
            self._write("update_item", Key=_connection_key(connection_id), **update)

    def delete_subscriptions(self, connection_id: str, topics: Iterable[Topic]) -> None:
        """Delete the rows of a connection in some topics, as many requests as that takes."""
        self._delete([_row_key(topic, connection_id) for topic in topics])

    def _delete(self, keys: Sequence[Key]) -> None:
        for start in range(0, len(keys), _BATCH_SIZE):
            batch = keys[start : start + _BATCH_SIZE]
            pending: Any = {self._name: [{"DeleteRequest": {"Key": key}} for key in batch]}
            for _ in self._tries():
                answer = self._call("batch_write_item", RequestItems=pending)
                if not (pending := answer.get("UnprocessedItems")):
                    break

    def is_subscribed(self, connection_id: str, topic: Topic) -> bool:
        return bool(self._get(_row_key(topic, connection_id), "#sk"))

    def ends_at(self, connection_id: str, topic: Topic) -> int:
        """Return when a subscription ends with its token, in seconds since the epoch.

        0 if it has ended already, and there is no row, or if it never had one.
        """
        item = self._get(_row_key(topic, connection_id), "#sk, #until")
        return int(item["until"]["N"]) if "until" in item else 0

    def subscribers(
        self,
        topic: Topic,
        after: str,
        upto: str,
        limit: int | None = None,
        ends: dict[str, int] | None = None,
    ) -> tuple[list[str], bool]:
        """Return a page of the subscribers in (after, upto], and whether there may be more.

        In the order of their ids. Only the key is projected: whole items cost the reader five times
        the processor time. `ends` is filled in, if it is given: when subscriptions end with their
        tokens.
        """
        start: Any = {"ExclusiveStartKey": _row_key(topic, after)} if after else {}
        most: Any = {"Limit": limit} if limit else {}
        answer = self._query(
            "#pk = :pk AND #sk BETWEEN :after AND :upto",
            "#sk" if ends is None else "#sk, #until",
            pk=topic.key,
            after=_row_sk(after),
            upto=_row_sk(upto),
            options=most | start,
        )
        ids = [item["sk"]["S"].partition("#")[2] for item in answer["Items"]]
        if ends is not None:
            for connection_id, item in zip(ids, answer["Items"], strict=True):
                # Without: it came before tokens were asked for.
                ends[connection_id] = int(item["until"]["N"]) if "until" in item else 0
        return ids, "LastEvaluatedKey" in answer

    # The log of a topic.

    def head(self, topic: Topic) -> Head | None:
        item = self._get(_head_key(topic), "#epoch, #seq, #ttl")
        return _head(item) if item else None

    def open_head(self, topic: Topic, epoch: str, ttl: int) -> Head:
        """Make a head if there is none, and prolong it: one update, for TTL may come between."""
        update = self._update(
            "SET #epoch = if_not_exists(#epoch, :epoch), #seq = if_not_exists(#seq, :none),"
            " #ttl = :ttl",
            epoch=epoch,
            none=0,
            ttl=ttl,
        )
        _, item = self._change(_head_key(topic), update)
        return _head(item)

    def move_head(self, topic: Topic, at: Cursor) -> Head | None:
        """Move a head by one, if it is still at `at`; return it as it is now, in either case."""
        update = self._update(
            "SET #seq = :next",
            "#epoch = :epoch AND #seq = :seq",
            next=at.seq + 1,
            epoch=at.epoch,
            seq=at.seq,
        )
        _, item = self._change(_head_key(topic), update)
        return _head(item) if item else None

    def fill_slot(self, topic: Topic, event_id: str, event: LoggedEvent, ttl: int) -> bool:
        """Put an event at its number; return False if another event is there already."""
        item = _event_key(topic, event.cursor) | _values(id=event_id, frame=event.frame, ttl=ttl)
        # Itself may be there: the answer of this same request was lost, or an earlier try died.
        condition = self._update("", "attribute_not_exists(#pk) OR #id = :id", id=event_id)
        try:
            self._write("put_item", Item=item, **condition)
        except _ConditionFailed:
            return False
        return True

    def find(self, topic: Topic, event_id: str, after: Cursor, upto: int) -> LoggedEvent | None:
        """Return an event if it is at a number in (after, upto]: a request for each MB of log."""
        start: Any = {}
        while True:
            options = {"FilterExpression": "#id = :id", **start}
            answer = self._page_of_log(topic, after, upto, options, id=event_id)
            for item in answer["Items"]:
                return _logged(item)
            if "LastEvaluatedKey" not in answer:
                return None
            start = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    def logged(self, topic: Topic, after: Cursor, upto: int) -> list[LoggedEvent]:
        """Return the events in (after, upto], in order; of more than a MB the first part."""
        return [_logged(item) for item in self._page_of_log(topic, after, upto)["Items"]]

    def _page_of_log(
        self,
        topic: Topic,
        after: Cursor,
        upto: int,
        options: Mapping[str, Any] = _NO_OPTIONS,
        **values: Any,
    ) -> Any:
        return self._query(
            "#pk = :pk AND #sk BETWEEN :first AND :upto",
            "#sk, #frame",
            pk=topic.key,
            first=_event_sk(after.epoch, after.seq + 1),
            upto=_event_sk(after.epoch, upto),
            options=options,
            **values,
        )

    # Jobs.

    def claim_job(
        self, key: str, owner: str, lease: int, start: Cursor, after: str, ttl: int
    ) -> JobRow:
        """Take a job if it is new, left by somebody whose lease is past, or one's own already.

        One's own: the answer of this same request was lost. A new one begins `after`.
        """
        update = self._update(
            "SET #owner = :owner, #lease = :lease, #start = if_not_exists(#start, :start),"
            " #reached = if_not_exists(#reached, :after), #open = if_not_exists(#open, :empty),"
            " #plan = if_not_exists(#plan, :empty), #done = if_not_exists(#done, :false),"
            " #ttl = if_not_exists(#ttl, :ttl)",
            "attribute_not_exists(#pk) OR #owner = :owner OR (#done = :false AND #lease <= :now)",
            owner=owner,
            lease=lease,
            start=str(start),
            after=after,
            empty=[],
            false=False,
            ttl=ttl,
            now=int(self._clock()),
        )
        mine, item = self._change(_job_key(key), update)
        return _job(item, mine=mine)

    def write_job(self, key: str, owner: str, **changes: Any) -> bool:
        """Write attributes of a job; return False, and write nothing, if another one owns it."""
        update = self._update(
            "SET " + ", ".join(f"#{name} = :{name}" for name in changes),
            "#owner = :owner",
            owner=owner,
            **changes,
        )
        try:
            self._write("update_item", Key=_job_key(key), **update)
        except _ConditionFailed:
            return False
        return True

    # The one place that talks to DynamoDB.

    def _get(self, key: Key, projection: str) -> Mapping[str, Any]:
        item: Mapping[str, Any] = self._call(
            "get_item",
            TableName=self._name,
            Key=key,
            ConsistentRead=True,
            ProjectionExpression=projection,
            ExpressionAttributeNames=_names(projection),
        ).get("Item", {})
        return item

    def _query(
        self,
        condition: str,
        projection: str,
        *,
        options: Mapping[str, Any] = _NO_OPTIONS,
        **values: Any,
    ) -> Any:
        """Return a page: what there is, up to a MB."""
        return self._call(
            "query",
            TableName=self._name,
            ConsistentRead=True,
            KeyConditionExpression=condition,
            ProjectionExpression=projection,
            ExpressionAttributeNames=_names(
                condition, projection, options.get("FilterExpression", "")
            ),
            ExpressionAttributeValues=_named(values),
            **options,
        )

    def _update(self, update: str, condition: str = "", **values: Any) -> dict[str, Any]:
        """Return the parameters of a write's expressions."""
        expressions = {"UpdateExpression": update, "ConditionExpression": condition}
        return {name: text for name, text in expressions.items() if text} | {
            "ExpressionAttributeNames": _names(update, condition),
            "ExpressionAttributeValues": _named(values),
        }

    def _change(self, key: Key, update: Mapping[str, Any]) -> tuple[bool, Mapping[str, Any]]:
        """Update an item; return whether its condition held, and the item as it is now."""
        try:
            answer = self._write(
                "update_item",
                Key=key,
                ReturnValues="ALL_NEW",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
                **update,
            )
        except _ConditionFailed as refused:
            return False, refused.item
        return True, answer["Attributes"]

    def _write(self, operation: str, **parameters: Any) -> Any:
        return self._call(operation, TableName=self._name, **parameters)

    def _call(self, operation: str, **parameters: Any) -> Any:
        """Make a request, and again if it met another one or a throttled partition.

        Raises:
            ServiceUnavailable, _ConditionFailed
        """
        for _ in self._tries():
            try:
                return getattr(self._dynamodb, operation)(**parameters)
            except ClientError as exc:
                response: Any = exc.response
                # Of a transaction, there is one for each of its items.
                reasons = response.get("CancellationReasons") or [response | response["Error"]]
                codes = {reason["Code"].removesuffix("Exception") for reason in reasons}
                if codes & _PASSING:
                    continue
                for reason in reasons:
                    if reason["Code"].startswith("ConditionalCheckFailed"):
                        raise _ConditionFailed(reason.get("Item", {})) from exc
                raise ServiceUnavailable("The table did not answer.") from exc
            except BotoCoreError as exc:
                raise ServiceUnavailable("The table did not answer.") from exc
        raise AssertionError("the tries end with an error")

    def _tries(self) -> Iterator[None]:
        """Yield for each try, after growing pauses; raise `ServiceUnavailable` in the end."""
        deadline = self._clock() + _CONTENTION_SECONDS
        for delay in growing_delays(0.02, 0.5):
            yield
            if self._clock() >= deadline:
                raise ServiceUnavailable("The table is throttled.")
            self._sleep(delay)


class _ConditionFailed(Exception):
    """The condition of a write was false; `item` is what it met, if that was asked for."""

    def __init__(self, item: Mapping[str, Any]) -> None:
        super().__init__()
        self.item = item


# Keys.


def _connection_key(connection_id: str) -> Key:
    return _values(pk=_row_sk(connection_id), sk=_CONNECTION)


def _row_key(topic: Topic, connection_id: str) -> Key:
    return _values(pk=topic.key, sk=_row_sk(connection_id))


def _row_sk(connection_id: str) -> str:
    return f"{_CONNECTION}#{connection_id}"


def _head_key(topic: Topic) -> Key:
    return _values(pk=topic.key, sk=_HEAD)


def _revocation_key(user: Topic) -> Key:
    return _values(pk=user.key, sk=_REVOKED)


def _expiry_pk(minute: int) -> str:
    return f"EXPIRY#{minute}"


def _expiry_key(minute: int, connection_id: str) -> Key:
    return _values(pk=_expiry_pk(minute), sk=_row_sk(connection_id))


def _event_key(topic: Topic, cursor: Cursor) -> Key:
    return _values(pk=topic.key, sk=_event_sk(*cursor))


def _event_sk(epoch: str, seq: int) -> str:
    return f"EVENT#{epoch}#{seq:015}"


def _job_key(name: str) -> Key:
    return _values(pk=f"{_JOB}#{name}", sk=_JOB)


# Items.


def _topics(item: Mapping[str, Any]) -> frozenset[Topic]:
    return frozenset(map(Topic.of_key, item.get("topics", {}).get("SS", ())))


def _connection(item: Mapping[str, Any]) -> ConnectionRow:
    identity = None
    if "userId" in item:
        identity = Identity(
            user_id=item["userId"]["S"],
            tenant=item["tenant"]["S"],
            grants=tuple(each["S"] for each in item["grants"]["L"]),
            issued_at=int(item["issuedAt"]["N"]),
            expires_at=int(item["expiresAt"]["N"]),
        )
    return ConnectionRow(_topics(item), identity)


def _head(item: Mapping[str, Any]) -> Head:
    return Head(Cursor(item["epoch"]["S"], int(item["seq"]["N"])), int(item["ttl"]["N"]))


def _logged(item: Mapping[str, Any]) -> LoggedEvent:
    _, epoch, seq = item["sk"]["S"].split("#")
    return LoggedEvent(Cursor(epoch, int(seq)), item["frame"]["S"])


def _job(item: Mapping[str, Any], *, mine: bool) -> JobRow:
    return JobRow(
        mine=mine,
        lease=int(item["lease"]["N"]),
        start=Cursor.parse(item["start"]["S"]),
        reached=item["reached"]["S"],
        open=tuple(each["S"] for each in item["open"]["L"]),
        plan=tuple(each["S"] for each in item["plan"]["L"]),
        done=item["done"]["BOOL"],
    )


def _names(*expressions: str) -> dict[str, str]:
    """Return the attributes that expressions name: behind a #, for many are reserved words."""
    return {f"#{name}": name for text in expressions for name in re.findall(r"#(\w+)", text)}


def _values(**values: Any) -> dict[str, Any]:
    return {name: _value(value) for name, value in values.items()}


def _named(values: Mapping[str, Any]) -> dict[str, Any]:
    return {f":{name}": _value(value) for name, value in values.items()}


def _value(value: Any) -> dict[str, Any]:
    match value:
        case str():
            return {"S": value}
        case bool():
            return {"BOOL": value}
        case int():
            return {"N": str(value)}
        case set() | frozenset():
            return {"SS": sorted(value)}
        case _:
            return {"L": [{"S": each} for each in value]}
