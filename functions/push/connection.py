"""A client's connection, as API Gateway describes it in every event."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from identity.claims import Identity

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

    @property
    def ttl_seconds(self) -> int:
        """When every row of the connection expires, in seconds since the epoch.

        DynamoDB's TTL reads seconds; a value in milliseconds would never expire.
        """
        return int((self.connected_at + MAX_LIFETIME + SLACK).timestamp())


@dataclass(frozen=True, slots=True)
class RouteEvent:
    """What API Gateway says with every event of a route.

    Powertools has a class for this as well; to import it takes a fifth of the cold start of `ping`.
    """

    connection: Connection
    route_key: str
    request_id: str
    requested_at: datetime
    body: str
    subprotocols: tuple[str, ...]
    """Those that the client offers, with `$connect`."""
    disconnect_status_code: int | None
    identity: Identity | None
    """What the authorizer has verified, with `$connect`."""

    @classmethod
    def of(cls, event: dict[str, Any]) -> Self:
        context = event["requestContext"]
        # Clients write the names of headers as they like.
        headers = event.get("multiValueHeaders") or {}
        lines = [
            line
            for name, values in headers.items()
            if name.lower() == "sec-websocket-protocol"
            for line in values
        ]
        return cls(
            connection=Connection(
                connection_id=context["connectionId"],
                ip_address=context["identity"]["sourceIp"],
                connected_at=_time(context["connectedAt"]),
            ),
            route_key=context["routeKey"],
            request_id=context["requestId"],
            requested_at=_time(context["requestTimeEpoch"]),
            body=event.get("body") or "",
            subprotocols=tuple(name.strip() for line in lines for name in line.split(",")),
            disconnect_status_code=context.get("disconnectStatusCode"),
            identity=_identity(context.get("authorizer")),
        )


def authorizer_context(identity: Identity) -> dict[str, str]:
    """Return an identity as what an authorizer may hand on: flat, and texts."""
    return {
        "userId": identity.user_id,
        "tenant": identity.tenant,
        "grants": json.dumps(identity.grants, ensure_ascii=False, separators=(",", ":")),
        "issuedAt": str(identity.issued_at),
        "expiresAt": str(identity.expires_at),
    }


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _identity(context: dict[str, str] | None) -> Identity | None:
    if not context or "userId" not in context:
        return None
    return Identity(
        user_id=context["userId"],
        tenant=context.get("tenant", ""),
        grants=tuple(json.loads(context["grants"])),
        issued_at=int(context["issuedAt"]),
        expires_at=int(context["expiresAt"]),
    )


def iso_8601(moment: datetime) -> str:
    """Return a moment as `2026-11-24T01:46:00.123Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
