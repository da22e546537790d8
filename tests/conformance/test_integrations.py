"""Integrations that are no proxies, routes that validate, and halves of two-way routes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from conformance import deploy
from conformance.targets import Client, Target
from conformance.test_log import lines
from conformance.test_replies import check_error


@pytest.fixture
def client(target: Target) -> Client:
    """Give a client of the mapped API."""
    return target.connect("mapped", "mapped", query={"colour": "blue"})


def check_silent(client: Client, message: dict[str, Any]) -> None:
    """Check that a message is answered by nothing, not even an error."""
    client.send(message)
    with pytest.raises(TimeoutError):
        client.receive(timeout=1)


def test_route_response_alone_makes_a_route_answer(client: Client) -> None:
    """A route that has a route response is configured for two-way communication.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-route-response.html
    """
    assert client.ask({"action": "responseAlone", "brief": True})["length"] > 0


def test_response_expression_alone_does_not_make_a_route_answer(client: Client) -> None:
    """assumed: a route response expression without a route response leaves a route silent."""
    check_silent(client, {"action": "expressionAlone", "brief": True})


def test_mock_integration_lets_connect_in(target: Target) -> None:
    """A mock answers with the status of its request template, and nobody is called.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-integrations.html
    """
    client = target.connect("mapped", "mapped", query={"colour": "blue"})
    assert client.ask({"action": "ping"})["pong"] is True


@pytest.mark.parametrize("query", [{}, {"color": "blue"}])
def test_required_parameter_of_connect_is_demanded(target: Target, query: dict[str, str]) -> None:
    """assumed: a required request parameter of $connect that is missing answers 400."""
    assert target.refused("mapped", "mapped", query=query).status_code == 400


def test_mock_answers_by_its_response_template(client: Client) -> None:
    """The response template of the selected integration response makes the frame.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/websocket-api-data-transformations.html
    """
    answer = client.ask({"action": "ping"})
    assert answer["pong"] is True and answer["colour"] == "green"
    assert len(answer["connectionId"]) == 16


def test_template_is_selected_by_an_expression_on_the_message(client: Client) -> None:
    """A template selection expression is evaluated to the key of a template.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/websocket-api-data-transformations.html
    """
    assert client.ask({"action": "ping", "style": "short"}) == {"p": 1}
    assert client.ask({"action": "ping", "style": "unknown"})["pong"] is True


def test_integration_response_is_selected_by_the_status_of_a_mock(client: Client) -> None:
    """The key of an integration response is a pattern between slashes; a mock's status fits it.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-integration-responses.html
    """
    assert client.ask({"action": "ping", "kind": "odd"}) == {"odd": True}


def test_integration_response_needs_a_route_response(client: Client) -> None:
    """In a one-way route nothing comes back, whatever the integration responses.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-integration-responses.html
    """
    check_silent(client, {"action": "onewayPing"})


def test_function_gets_what_the_request_template_makes(client: Client) -> None:
    """A Lambda function that is no proxy gets the template's output, and answers through another.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-mapping-template-reference.html
    """
    message = {
        "action": "transformed",
        "text": 'a "quoted" line\n',
        "list": [1, "zwei"],
        "names": ["ada", "grace"],
    }
    answer = client.ask(message)["answer"]
    assert answer.pop("connectionId")
    assert answer == {
        "routeKey": "transformed",
        "colour": "green",
        "text": message["text"],
        "list": message["list"],
        "second": "zwei",
        "names": message["names"],
    }


def test_error_of_a_function_selects_an_integration_response(client: Client) -> None:
    """The key of an integration response is held against a function's error message.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-integration-responses.html
    """
    answer = client.ask({"action": "transformed", "names": [], "list": [], "fail": "red"})
    assert answer == {"refused": "BadColour: red"}


def test_message_passes_as_it_is_without_a_request_template(client: Client) -> None:
    """Without templates the body is passed through, both ways.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-integration-requests.html
    """
    message = {"action": "passed", "any": ["thing"]}
    assert client.ask(message) == {"received": message}


def test_message_that_is_no_json_does_not_reach_a_function(target: Target, client: Client) -> None:
    """assumed: a function that is no proxy and would get no JSON is an Internal server error."""
    client.send({"action": "transformed", "names": [], "list": {"a": '"'}})
    assert client.receive()["answer"]["list"] == {"a": '"'}
    # Without a list the template leaves a hole where its JSON should be.
    assert client.ask({"action": "transformed"})["message"] == "Internal server error"


@pytest.mark.parametrize(
    "message",
    [
        {"colour": "red"},
        {"model": "number", "number": 7},
        {"model": "other", "colour": "red"},
        {"model": "nested", "inner": {"colour": "red"}},
    ],
)
def test_message_that_fits_its_model_reaches_the_function(
    client: Client, message: dict[str, Any]
) -> None:
    """The model is selected by an expression on the message, and $default takes the rest.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/websocket-api-request-validation.html
    """
    assert client.ask({"action": "validated", "brief": True, **message})["length"] > 0


@pytest.mark.parametrize(
    "message",
    [
        {"action": "validated"},
        {"action": "validated", "colour": "purple"},
        {"action": "validated", "model": "number", "colour": "red"},
        {"action": "validated", "model": "nested", "inner": {"colour": "purple"}},
        {"action": "undefaulted", "model": "other", "number": 7},
    ],
    ids=["missing", "too long", "of another model", "of a model within", "no model fits"],
)
def test_message_that_does_not_fit_is_a_bad_request_body(
    client: Client, message: dict[str, Any]
) -> None:
    """A message that fails validation is answered, and reaches no function.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/websocket-api-request-validation.html
    """
    connection_id = client.ask({"action": "ping"})["connectionId"]
    check_error(client.ask(message), "Bad request body", connection_id)


SERVICES = {
    "sqs": "sqs:path/123456789012/queue",
    "dynamodb": "dynamodb:action/PutItem",
    "states": "states:action/StartExecution",
    "sns": "sns:action/Publish",
}


@pytest.mark.log
def test_service_that_is_not_served_is_said_and_fails(
    local: Any, with_options: Callable[..., Any]
) -> None:
    """own: another service than Lambda is told by name, and answers as one that is not reached."""
    apis = deploy.client("apigatewayv2", local.stack.endpoint_url)
    api_id = local.stack.mapped_api
    routes = []
    try:
        for name, path in SERVICES.items():
            integration = apis.create_integration(
                ApiId=api_id, IntegrationType="AWS", IntegrationMethod="POST",
                IntegrationUri=f"arn:aws:apigateway:us-east-1:{path}",
            )  # fmt: skip
            target_id = f"integrations/{integration['IntegrationId']}"
            routes.append(apis.create_route(ApiId=api_id, RouteKey=name, Target=target_id))
        target, gateway = with_options(api="mapped", own=True)
        client = target.connect("mapped", "mapped", query={"colour": "blue"})
        for name in SERVICES:
            told = f"an integration with {name} is not served here"
            assert lines(gateway, f"route {name}: {told}")
            assert client.ask({"action": name})["message"] == "Internal server error"
            assert lines(gateway, f"route {name} connection=.*{told}")
    finally:
        for route in routes:
            apis.delete_route(ApiId=api_id, RouteId=route["RouteId"])
