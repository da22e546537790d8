"""A client's connection, as API Gateway describes it in every event."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

from aws_lambda_powertools.utilities.data_classes import APIGatewayWebSocketEvent

# API Gateway closes every connection after two hours; DynamoDB may delete a row late, never early.
# https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html
MAX_LIFETIME = timedelta(hours=2)
SLACK = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Connection:
    """One open WebSocket; `connected_at` is in UTC, to the millisecond."""

    connection_id: str
    ip_address: str
    connected_at: datetime

    @classmethod
    def of(cls, event: APIGatewayWebSocketEvent) -> Self:
        context = event.request_context
        return cls(
            connection_id=context.connection_id,
            ip_address=context.identity.source_ip,
            connected_at=datetime.fromtimestamp(context.connected_at / 1000, UTC),
        )

    @property
    def ttl_seconds(self) -> int:
        """When every row of the connection expires, in seconds since the epoch.

        DynamoDB's TTL reads seconds; a value in milliseconds would never expire.
        """
        return int((self.connected_at + MAX_LIFETIME + SLACK).timestamp())


def iso_8601(moment: datetime) -> str:
    """Return a moment as `2026-11-24T01:46:00.123Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
