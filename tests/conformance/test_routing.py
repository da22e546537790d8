"""The route of a message."""

from __future__ import annotations

import pytest

from conformance.targets import Target


def route_of(answer: dict[str, dict[str, dict[str, str]]]) -> str:
    """Return the route key that an echoed event came by."""
    return answer["event"]["requestContext"]["routeKey"]


def test_message_goes_to_the_route_its_action_names(target: Target) -> None:
    """The route selection expression picks the route whose key is its value.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/websocket-api-develop-routes.html
    """
    client = target.connect()
    assert route_of(client.ask({"action": "echo"})) == "echo"
    assert route_of(client.ask({"action": "slow"})) == "slow"


def test_expression_may_be_nested_and_have_several_variables(target: Target) -> None:
    """An expression may hold several variables, in braces, and text between them.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-selection-expressions.html
    """
    client = target.connect("open", "plain")
    assert route_of(client.ask({"target": {"name": "join"}, "version": "2"})) == "join-v2"
    assert route_of(client.ask({"target": {"name": "join"}, "version": "3"})) == "$default"


@pytest.mark.parametrize(
    "text", ["not json", "", "[1]", '"text"', "{}", '{"target": "join", "version": "2"}'],
    ids=["not JSON", "empty", "array", "string", "no member", "not nested"],
)  # fmt: skip
def test_what_the_expression_cannot_read_goes_to_default(target: Target, text: str) -> None:
    """$default takes what is not JSON, and what the expression cannot be evaluated on.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/websocket-api-develop-routes.html
    """
    client = target.connect("open", "plain")
    answer = client.ask(text)
    assert route_of(answer) == "$default"
    assert answer["event"]["body"] == text


@pytest.mark.parametrize("text", ['{"action": "nowhere"}', "not json", "{}"])
def test_no_route_and_no_default_is_forbidden(target: Target, text: str) -> None:
    """Without a route and a $default the client gets an error, and stays connected.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-selection-expressions.html
    """
    client = target.connect()
    connection_id = client.id
    answer = client.ask(text)
    assert answer["message"] == "Forbidden"
    assert answer["connectionId"] == connection_id
    assert answer["requestId"]
    assert set(answer) == {"message", "connectionId", "requestId"}
    assert route_of(client.ask({"action": "echo"})) == "echo"


def test_connect_and_disconnect_without_a_route_do_not_fall_to_default(target: Target) -> None:
    """$connect and $disconnect are optional; $default is for messages.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-route-keys-connect-disconnect.html
    """
    client = target.connect("open", "plain")
    context = client.ask("hello")["event"]["requestContext"]
    client.ws.close()
    # A later connection's whole life is time enough for an event that would be wrong.
    other = target.connect()
    other.ws.close()
    target.event(other.caller, "DISCONNECT")
    # The function records under the connection's id whatever is not a message.
    assert target.events(context["connectionId"]) == []


@pytest.mark.parametrize("key", ["$connect", "$disconnect"])
def test_client_cannot_name_the_gateways_own_routes(target: Target, key: str) -> None:
    """assumed: a message whose expression yields $connect or $disconnect has no such route."""
    client = target.connect()
    assert client.ask({"action": key})["message"] == "Forbidden"
