"""The ledger: which jobs of an event are done, and which connections of an interrupted one.

    job  pk JOB#<eventId>#<job>  sk JOB   state, lease, done, cursor, ttl

SQS and EventBridge deliver at least once, and an invocation may end anywhere. A job is claimed by a
conditional write with a lease as long as the invocation may run. Copies of a job that is done are
ignored for a day. A job whose invocation died is taken over when its lease is past, without the
connections that it had noted: they are noted every second, so a death repeats no more than the
posts of the last one.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from push.adapters.table import ConditionFailed, translated_errors
from push.errors import ServiceUnavailable
from push.observability import logger

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

# EventBridge tries to hand over an event for a day.
WINDOW_SECONDS = 24 * 3600
_NOTE_SECONDS = 1.0
# A lease outlives its invocation by this, for clocks that differ.
_LEASE_SLACK_SECONDS = 2.0

_DONE, _CLAIMED, _RELEASED = "DONE", "CLAIMED", "RELEASED"


class JobLedger:
    """A `push.delivery.Ledger` in the table."""

    def __init__(
        self,
        dynamodb: "DynamoDBClient",
        table_name: str,
        *,
        seconds_left: Callable[[], float],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._dynamodb = dynamodb
        self._table = table_name
        self._seconds_left = seconds_left
        self._clock = clock

    @contextmanager
    def claim(self, event_id: str, job: str) -> Iterator["JobClaim | None"]:
        """Take a job for the time of the block; enter with None if it is done already.

        A block that raises releases the job, with what it has noted.

        Raises:
            ServiceUnavailable: another invocation is at work on it, or the table did not answer.
        """
        claim = self._take({"pk": {"S": f"JOB#{event_id}#{job}"}, "sk": {"S": "JOB"}})
        if claim is None:
            yield None
            return
        try:
            yield claim
        except BaseException:
            claim.release()
            raise

    def _take(self, key: Any) -> "JobClaim | None":
        now = self._clock()
        lease = now + self._seconds_left() + _LEASE_SLACK_SECONDS
        try:
            with translated_errors():
                previous = self._dynamodb.update_item(
                    TableName=self._table,
                    Key=key,
                    UpdateExpression="SET #state = :claimed, lease = :lease, #ttl = :ttl",
                    ConditionExpression=(
                        "attribute_not_exists(pk) OR #state = :released"
                        " OR (#state = :claimed AND lease < :now) OR #ttl < :now"
                    ),
                    ExpressionAttributeNames={"#state": "state", "#ttl": "ttl"},
                    ExpressionAttributeValues={
                        ":claimed": {"S": _CLAIMED},
                        ":released": {"S": _RELEASED},
                        ":now": {"N": str(int(now))},
                        ":lease": {"N": str(int(lease))},
                        ":ttl": {"N": str(int(now + WINDOW_SECONDS))},
                    },
                    ReturnValues="ALL_OLD",
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                ).get("Attributes", {})
        except ConditionFailed as refused:
            if refused.item.get("state", {}).get("S") == _DONE:
                return None
            raise ServiceUnavailable("Another invocation is at work on this job.") from refused
        return JobClaim(self._dynamodb, self._table, key, previous, self._clock)


class JobClaim:
    """A `push.delivery.Claim` in the table."""

    def __init__(
        self,
        dynamodb: "DynamoDBClient",
        table_name: str,
        key: Any,
        previous: Any,
        clock: Callable[[], float],
    ) -> None:
        self._dynamodb = dynamodb
        self._table = table_name
        self._key = key
        self._clock = clock
        self._done = frozenset(previous.get("done", {}).get("SS", ()))
        self._cursor = str(previous.get("cursor", {}).get("S", ""))
        self._unwritten: set[str] = set()
        self._written_at = clock()
        self._completed = False

    @property
    def done(self) -> frozenset[str]:
        return self._done

    @property
    def cursor(self) -> str:
        return self._cursor

    def note_done(self, connection_id: str) -> None:
        """Note a connection; it is written within a second, with the others of that second."""
        self._unwritten.add(connection_id)
        if self._clock() - self._written_at >= _NOTE_SECONDS:
            self._flush()

    def note_cursor(self, cursor: str) -> None:
        self._update("SET #cursor = :cursor", {"#cursor": "cursor"}, {":cursor": {"S": cursor}})

    def complete(self) -> None:
        """Note that the job is done; what it had noted on the way is of no more use."""
        self._update(
            "SET #state = :done REMOVE #done, #cursor, lease",
            {"#state": "state", "#done": "done", "#cursor": "cursor"},
            {":done": {"S": _DONE}},
        )
        self._completed = True

    def release(self) -> None:
        """Give the job back, with what is done of it.

        If even that fails, the job is free when its lease is past.
        """
        if self._completed:
            return
        try:
            self._flush()
            self._update("SET #state = :free", {"#state": "state"}, {":free": {"S": _RELEASED}})
        except ServiceUnavailable:
            logger.exception("job not released")

    def _flush(self) -> None:
        if self._unwritten:
            ids = sorted(self._unwritten)
            self._update("ADD #done :ids", {"#done": "done"}, {":ids": {"SS": ids}})
            self._unwritten.clear()
        self._written_at = self._clock()

    def _update(self, expression: str, names: dict[str, str], values: dict[str, Any]) -> None:
        with translated_errors():
            self._dynamodb.update_item(
                TableName=self._table,
                Key=self._key,
                UpdateExpression=expression,
                ExpressionAttributeNames=names,
                ExpressionAttributeValues=values,
            )
