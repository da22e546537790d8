"""The events that functions receive."""

from __future__ import annotations

import re
import time
from typing import Any

from conformance.targets import Target

CONTEXT = {
    "routeKey", "eventType", "extendedRequestId", "requestTime", "messageDirection", "stage",
    "connectedAt", "requestTimeEpoch", "identity", "requestId", "domainName", "connectionId",
    "apiId", "authorizer",
}  # fmt: skip


def check_context(context: dict[str, Any], route_key: str, event_type: str) -> None:
    """Check what every event has in common."""
    assert context["routeKey"] == route_key
    assert context["eventType"] == event_type
    assert context["messageDirection"] == "IN"
    assert context["stage"] == "probe"
    assert re.fullmatch(r"[\w-]{15}=", context["connectionId"], re.ASCII)
    assert re.fullmatch(r"[\w-]{15}=", context["requestId"], re.ASCII)
    assert context["extendedRequestId"] == context["requestId"]
    parsed = time.strptime(context["requestTime"], "%d/%b/%Y:%H:%M:%S +0000")
    assert re.match(r"\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000$", context["requestTime"])
    # Within a minute of this machine's clock, in milliseconds.
    assert abs(context["requestTimeEpoch"] - time.time() * 1000) < 60_000
    assert abs(context["connectedAt"] - time.time() * 1000) < 60_000
    assert context["connectedAt"] <= context["requestTimeEpoch"]
    assert parsed.tm_year >= 2024
    assert set(context["identity"]) == {"sourceIp", "userAgent"}
    assert context["apiId"] and context["domainName"]


def test_connect_event(target: Target) -> None:
    """$connect has headers, query string and their multi-value forms, and no body.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-lambda-auth.html
    """
    headers = [("X-Probe", "one"), ("X-Probe", "two")]
    client = target.connect(query={"colour": "blue"}, additional_headers=headers)
    event = target.event(client.caller, "CONNECT")
    check_context(event["requestContext"], "$connect", "CONNECT")
    assert set(event["requestContext"]) == CONTEXT
    assert event["isBase64Encoded"] is False
    assert "body" not in event
    assert event["queryStringParameters"]["colour"] == "blue"
    assert event["multiValueQueryStringParameters"]["colour"] == ["blue"]
    names = {name.lower(): name for name in event["headers"]}
    for name in ("host", "sec-websocket-key", "sec-websocket-version", "x-forwarded-for",
                 "x-forwarded-port", "x-forwarded-proto", "x-amzn-trace-id"):  # fmt: skip
        assert event["multiValueHeaders"][names[name]] == [event["headers"][names[name]]]
    assert event["multiValueHeaders"][names["x-probe"]] == ["one", "two"]
    assert event["headers"][names["x-probe"]] == "two"


def test_headers_of_the_upgrade_are_the_authorizers_alone(target: Target) -> None:
    """Connection and Upgrade are in the authorizer's event, and not in that of $connect.

    https://github.com/localstack/localstack/issues/7191
    """
    client = target.connect()
    connect = target.event(client.caller, "CONNECT")
    authorize = next(event for event in target.events(client.caller) if "type" in event)
    upgrade = {"connection", "upgrade"}
    for name in ("headers", "multiValueHeaders"):
        assert not upgrade & {header.lower() for header in connect[name]}
        assert upgrade <= {header.lower() for header in authorize[name]}


def test_latency_of_the_authorizer_is_on_events(target: Target) -> None:
    """Beside its context, events have the milliseconds that the authorizer took, as a number.

    https://github.com/CodeGenieApp/serverless-express/issues/551
    """
    client = target.connect()
    for event in (client.ask({"action": "echo"})["event"], target.event(client.caller, "CONNECT")):
        latency = event["requestContext"]["authorizer"]["integrationLatency"]
        assert isinstance(latency, int) and 0 <= latency < 30_000


def test_stage_variables_are_on_events(target: Target) -> None:
    """The stage's variables are handed to a proxy integration.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html
    """
    client = target.connect()
    assert client.ask({"action": "echo"})["event"]["stageVariables"] == {"colour": "green"}
    assert target.event(client.caller, "CONNECT")["stageVariables"] == {"colour": "green"}


def test_authorizer_event(target: Target) -> None:
    """A REQUEST authorizer gets its type, a methodArn that ends with $connect, and the request.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-lambda-auth.html
    """
    client = target.connect()
    events = target.events(client.caller)
    event = next(event for event in events if event.get("type") == "REQUEST")
    context = event["requestContext"]
    check_context(context | {"authorizer": {}}, "$connect", "CONNECT")
    assert re.fullmatch(
        rf"arn:aws[\w-]*:execute-api:[\w-]+:\d{{12}}:{context['apiId']}/probe/\$connect",
        event["methodArn"],
    )
    assert event["queryStringParameters"] == {"token": "allow", "caller": client.caller}
    assert event["multiValueQueryStringParameters"]["token"] == ["allow"]
    assert event["stageVariables"] == {"colour": "green"}
    assert set(event["headers"]) == set(event["multiValueHeaders"])


def test_message_event(target: Target) -> None:
    """A message has a messageId and the frame's text as body, and no headers.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-mapping-template-reference.html
    """
    client = target.connect()
    text = '{"action": "echo", "odd":  "größe ✓"}'
    event = client.ask(text)["event"]
    check_context(event["requestContext"], "echo", "MESSAGE")
    assert set(event["requestContext"]) == CONTEXT | {"messageId"}
    assert event["body"] == text
    assert event["isBase64Encoded"] is False
    assert not {"headers", "multiValueHeaders", "queryStringParameters"} & set(event)


def test_ids_and_times_of_a_connection(target: Target) -> None:
    """connectionId and connectedAt stay; requestId and messageId are new for each message.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-mapping-template-reference.html
    """
    client = target.connect()
    first, second = (client.ask({"action": "echo"})["event"]["requestContext"] for _ in range(2))
    connect = target.event(client.caller, "CONNECT")["requestContext"]
    for name in ("connectionId", "connectedAt", "identity", "domainName", "apiId"):
        assert first[name] == second[name] == connect[name]
    assert len({connect["requestId"], first["requestId"], second["requestId"]}) == 3
    assert first["messageId"] != second["messageId"]


def test_disconnect_event(target: Target) -> None:
    """$disconnect adds a status code and a reason, and has no body.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-route-keys-connect-disconnect.html
    """
    client = target.connect()
    client.ws.close(1000, "done")
    event = target.event(client.caller, "DISCONNECT")
    check_context(event["requestContext"], "$disconnect", "DISCONNECT")
    extra = {"disconnectStatusCode", "disconnectReason"}
    assert set(event["requestContext"]) == CONTEXT | extra
    assert "body" not in event and event["isBase64Encoded"] is False
    assert {name.lower() for name in event["headers"]} >= {"host", "x-forwarded-for"}
