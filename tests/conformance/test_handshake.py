"""The handshake: stage, authorizer, ``$connect``, subprotocol."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from botocore.exceptions import ClientError
from websockets.typing import Subprotocol

from conformance.targets import Target


def test_stage_is_the_path(target: Target) -> None:
    """The stage is the first part of the path.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-set-up-websocket-deployment.html
    """
    client = target.connect("open", "plain")
    assert client.ask("hello")["event"]["requestContext"]["stage"] == "open"


def test_unknown_stage_is_refused(target: Target) -> None:
    """assumed: a handshake with a stage that does not exist answers 403, as @connections does."""
    assert target.refused("nowhere").status_code == 403


def test_path_below_the_stage_is_refused(target: Target) -> None:
    """assumed: a path longer than the stage answers 403."""
    assert target.refused("probe/more").status_code == 403


@pytest.mark.parametrize("missing", ["token", "caller"])
def test_missing_identity_source_is_refused_without_a_call(target: Target, missing: str) -> None:
    """An identity source that is missing answers 401, and the authorizer is not called.

    https://repost.aws/knowledge-center/api-gateway-401-error-lambda-authorizer
    """
    before = target.connect()
    query = {"caller": before.caller, "token": "allow", missing: ""}
    refusal = target.refused(query=query)
    assert refusal.status_code == 401
    authorizations = [event for event in target.events(before.caller) if "type" in event]
    assert len(authorizations) == 1, "only the connection before asked the authorizer"


def test_denial_is_403(target: Target) -> None:
    """A policy that denies answers 403, and $connect is not called.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-route-keys-connect-disconnect.html
    """
    before = target.connect()
    assert target.refused(query={"caller": before.caller, "token": "deny"}).status_code == 403
    connects = [event for event in target.events(before.caller) if "type" not in event]
    assert len(connects) == 1, "only the connection before reached $connect"


def test_authorizer_that_raises_is_500(target: Target) -> None:
    """An authorizer that fails answers 500, and its message goes nowhere.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/supported-gateway-response-types.html
    """
    refusal = target.refused(query={"token": "raise"})
    assert refusal.status_code == 500
    assert b"secret" not in bytes(refusal.body)


def test_authorizer_that_raises_unauthorized_is_401(target: Target) -> None:
    """An authorizer that fails with the message Unauthorized answers 401.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-lambda-auth.html
    """
    assert target.refused(query={"token": "unauthorized"}).status_code == 401


def test_authorizer_without_a_policy_is_500(target: Target) -> None:
    """An answer that is not a policy is an authorizer configuration error, 500.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/supported-gateway-response-types.html
    """
    assert target.refused(query={"token": "nonsense"}).status_code == 500


def test_authorizer_context_is_on_every_later_event_as_strings(target: Target) -> None:
    """The context is in requestContext.authorizer of the events that follow, as strings.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-mapping-template-reference.html
    """
    client = target.connect()
    expected = {"principalId": "probe", "caller": client.caller, "number": "7", "flag": "true"}
    message = client.ask({"action": "echo"})["event"]
    client.ws.close()
    for event in (
        target.event(client.caller, "CONNECT"),
        message,
        target.event(client.caller, "DISCONNECT"),
    ):
        context = event["requestContext"]["authorizer"]
        assert {name: context.get(name) for name in expected} == expected


@pytest.mark.parametrize("status", [400, 401, 403, 418, 500, 503])
def test_connect_status_is_passed_on(target: Target, status: int) -> None:
    """A status of $connect other than 2xx refuses the handshake with that status.

    https://github.com/dherault/serverless-offline/pull/1301
    """
    assert target.refused(query={"status": str(status)}).status_code == status


@pytest.mark.parametrize("status", [200, 204])
def test_connect_status_2xx_lets_in(target: Target, status: int) -> None:
    """A 2xx status of $connect lets the client in.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-route-keys-connect-disconnect.html
    """
    assert target.connect(query={"status": str(status)}).id


def test_connect_that_raises_is_502(target: Target) -> None:
    """A $connect function that fails answers 502, and its message goes nowhere.

    https://github.com/serverless/serverless-websockets-plugin/issues/13
    """
    refusal = target.refused(query={"raise": "1"})
    assert refusal.status_code == 502
    assert b"secret" not in bytes(refusal.body)


def test_connect_body_is_dropped(target: Target) -> None:
    """A route without a route response passes nothing of the back end's answer on.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-route-response.html
    """
    assert b"of $connect" not in bytes(target.refused(query={"status": "403"}).body)


def test_connection_exists_only_once_connect_has_returned(target: Target) -> None:
    """The upgrade is pending until $connect returns; until then a post finds nobody.

    https://repost.aws/knowledge-center/410-gone-api-gateway
    """
    pending: dict[str, Any] = {}
    caller = f"pending-{time.time_ns()}"

    def connect() -> None:
        pending["client"] = target.connect(query={"caller": caller, "seconds": "2"})

    thread = threading.Thread(target=connect)
    thread.start()
    connection_id = target.event(caller, "CONNECT")["requestContext"]["connectionId"]
    assert not pending, "the handshake must not end before $connect does"
    with pytest.raises(ClientError) as early:
        target.management().post_to_connection(ConnectionId=connection_id, Data=b'"early"')
    assert early.value.response["Error"]["Code"] == "GoneException"
    thread.join()
    target.management().post_to_connection(ConnectionId=connection_id, Data=b'"in time"')
    assert pending["client"].receive() == "in time"


def test_offered_subprotocol_is_echoed(target: Target) -> None:
    """The subprotocol that $connect returns is selected when the client offered it.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/websocket-connect-route-subprotocol.html
    """
    offered = [Subprotocol("other"), Subprotocol("probe.v1")]
    client = target.connect(query={"subprotocol": "probe.v1"}, subprotocols=offered)
    assert client.ws.subprotocol == "probe.v1"


def test_subprotocol_is_not_echoed_unless_connect_returns_it(target: Target) -> None:
    """Without the header in $connect's answer, no subprotocol is selected.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/websocket-connect-route-subprotocol.html
    """
    client = target.connect(subprotocols=[Subprotocol("probe.v1")])
    assert client.ws.response and "Sec-WebSocket-Protocol" not in client.ws.response.headers


def test_subprotocol_that_was_not_offered_is_not_echoed(target: Target) -> None:
    """assumed: a subprotocol that the client did not offer is left out of the answer."""
    client = target.connect(
        query={"subprotocol": "probe.v2"}, subprotocols=[Subprotocol("probe.v1")]
    )
    assert client.ws.response and "Sec-WebSocket-Protocol" not in client.ws.response.headers
    assert client.id


def test_no_extension_is_negotiated(target: Target) -> None:
    """assumed: permessage-deflate is not negotiated, whoever offers it."""
    client = target.connect(compression="deflate")
    assert client.ws.response and "Sec-WebSocket-Extensions" not in client.ws.response.headers
