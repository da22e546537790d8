"""Shape the events that functions receive, and the frames the gateway itself sends.

The fields follow the examples in the developer guide and events published from real
stages; docs/local-gateway.md names the source of each.
"""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from .api import Api, Stage

Pairs = tuple[tuple[str, str], ...]


def new_id() -> str:
    """Return an id of API Gateway's form: 11 bytes, so 15 characters and one ``=``."""
    return base64.urlsafe_b64encode(os.urandom(11)).decode()


@dataclass(frozen=True)
class Handshake:
    """Hold what a client sent to connect."""

    host: str
    headers: Pairs
    query: Pairs
    source_ip: str
    user_agent: str
    offered_subprotocols: tuple[str, ...]

    def parameter(self, name: str) -> str | None:
        """Return ``header.NAME`` or ``querystring.NAME`` of the request, None if it has none.

        Anything else, such as ``context.…``, is filled by the gateway itself, and always there.
        """
        kind, _, name = name.partition(".")
        match kind:
            case "header":
                return {key.lower(): value for key, value in self.headers}.get(name.lower())
            case "querystring":
                return dict(self.query).get(name)
            case _:
                return "present"


@dataclass
class Session:
    """Hold what the gateway knows of one connection. Times are seconds since the epoch.

    ``api`` is the API as it was when the client connected.
    """

    api: Api
    stage: Stage
    handshake: Handshake
    domain_name: str
    id: str = field(default_factory=new_id)
    connected_at: float = field(default_factory=time.time)
    last_active_at: float = field(default_factory=time.time)
    authorizer: Mapping[str, Any] | None = None


def connect(session: Session, request_id: str) -> dict[str, Any]:
    """Return the ``$connect`` event."""
    return {
        **_request(session.handshake, without=("connection", "upgrade")),
        **_tail(session, _context(session, "$connect", "CONNECT", request_id)),
    }


def authorize(session: Session, request_id: str, method_arn: str) -> dict[str, Any]:
    """Return the event of a REQUEST authorizer; its maps are there even when empty."""
    return {
        "type": "REQUEST",
        "methodArn": method_arn,
        "queryStringParameters": {},
        "multiValueQueryStringParameters": {},
        **_request(session.handshake),
        "stageVariables": dict(session.stage.variables),
        "requestContext": _context(session, "$connect", "CONNECT", request_id),
    }


def message(session: Session, route_key: str, request_id: str, body: str) -> dict[str, Any]:
    """Return the event of a message; unlike ``$connect`` it has no headers."""
    context = _context(session, route_key, "MESSAGE", request_id) | {"messageId": new_id()}
    tail = _tail(session, context)
    return {"requestContext": tail.pop("requestContext"), "body": body, **tail}


def disconnect(session: Session, request_id: str, code: int, reason: str) -> dict[str, Any]:
    """Return the ``$disconnect`` event."""
    # The client is gone, so these headers are the gateway's: empty but for the host.
    headers = {
        "Host": session.handshake.host,
        "x-api-key": "",
        "X-Forwarded-For": "",
        "x-restapi": "",
    }
    context = _context(session, "$disconnect", "DISCONNECT", request_id) | {
        "disconnectStatusCode": code,
        "disconnectReason": reason,
    }
    return {
        "headers": headers,
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        **_tail(session, context),
    }


def error(text: str, session: Session, request_id: str) -> str:
    """Return the JSON of an error that the gateway answers itself."""
    return json.dumps({"message": text, "connectionId": session.id, "requestId": request_id})


def iso_time(seconds: float) -> str:
    """Format a time as @connections does, in UTC with milliseconds."""
    return (
        datetime.fromtimestamp(seconds, UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )


def _request(handshake: Handshake, without: tuple[str, ...] = ()) -> dict[str, Any]:
    # The authorizer's event has the headers of the upgrade, that of $connect has not:
    # https://github.com/localstack/localstack/issues/7191
    headers = tuple(pair for pair in handshake.headers if pair[0].lower() not in without)
    request: dict[str, Any] = {"headers": dict(headers), "multiValueHeaders": _grouped(headers)}
    if handshake.query:
        request["queryStringParameters"] = dict(handshake.query)
        request["multiValueQueryStringParameters"] = _grouped(handshake.query)
    return request


def _tail(session: Session, context: dict[str, Any]) -> dict[str, Any]:
    variables = session.stage.variables
    return {
        **({"stageVariables": dict(variables)} if variables else {}),
        "requestContext": context,
        "isBase64Encoded": False,
    }


def _context(session: Session, route_key: str, event_type: str, request_id: str) -> dict[str, Any]:
    now = time.time()
    identity = {"sourceIp": session.handshake.source_ip}
    if session.handshake.user_agent:
        identity["userAgent"] = session.handshake.user_agent
    context: dict[str, Any] = {
        "routeKey": route_key,
        "eventType": event_type,
        "extendedRequestId": request_id,
        "requestTime": time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(now)),
        "messageDirection": "IN",
        "stage": session.stage.name,
        "connectedAt": int(session.connected_at * 1000),
        "requestTimeEpoch": int(now * 1000),
        "identity": identity,
        "requestId": request_id,
        "domainName": session.domain_name,
        "connectionId": session.id,
        "apiId": session.api.id,
    }
    if session.authorizer is not None:
        context["authorizer"] = dict(session.authorizer)
    return context


def _grouped(pairs: Pairs) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for name, value in pairs:
        grouped.setdefault(name, []).append(value)
    return grouped
