"""What the local run changes in the built template, and what it leaves alone."""

import copy
from pathlib import Path

from local.template import RouteResponse, adapt, run_in_place
from support import template


def test_route_responses_are_taken_out_and_returned() -> None:
    adapted, responses = adapt(template.written(), "127.0.0.1:3001", {})

    kinds = {resource["Type"] for resource in adapted["Resources"].values()}
    assert "AWS::ApiGatewayV2::RouteResponse" not in kinds
    assert RouteResponse("WebSocketApi", "WebSocketApiPingRoute", "$default") in responses
    assert len(responses) == 5


def test_the_public_address_becomes_the_gateway_s() -> None:
    adapted, _ = adapt(template.written(), "127.0.0.1:3001", {})

    variables = adapted["Resources"]["NotifierFunction"]["Properties"]["Environment"]["Variables"]
    assert variables["CONNECTIONS_ENDPOINT"] == {"Fn::Sub": "http://127.0.0.1:3001/${StageName}"}
    assert adapted["Outputs"]["WebsocketUri"]["Value"] == {
        "Fn::Sub": "ws://127.0.0.1:3001/${StageName}"
    }


def test_event_source_mappings_get_numbers_from_overrides_and_defaults() -> None:
    def concurrency(parameters: dict[str, str]) -> object:
        adapted, _ = adapt(template.written(), "127.0.0.1:3001", parameters)
        return adapted["Resources"]["NotifierEventSource"]["Properties"]["ScalingConfig"]

    assert concurrency({}) == {"MaximumConcurrency": 5}
    assert concurrency({"NotifierMaxConcurrency": "3"}) == {"MaximumConcurrency": 3}


def test_whoever_may_send_a_message_may_send_a_batch() -> None:
    adapted, _ = adapt(template.written(), "127.0.0.1:3001", {})

    for function in ("NotifierFunction", "DeliverFunction"):
        (policy,) = adapted["Resources"][function]["Properties"]["Policies"]
        for statement in policy["Statement"]:
            single = "sqs:SendMessage" in statement["Action"]
            assert ("sqs:SendMessageBatch" in statement["Action"]) == single


def test_functions_run_on_the_code_that_was_built() -> None:
    original = template.written()
    for resource in original["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            resource["Properties"]["CodeUri"] = "Shared"

    changed = run_in_place(original, Path("/built"), Path("/empty"))

    for name, resource in changed["Resources"].items():
        if resource["Type"] == "AWS::Serverless::Function":
            assert resource["Properties"]["CodeUri"] == "/empty"
            assert (
                resource["Properties"] | {"CodeUri": "Shared"}
                == (original["Resources"][name]["Properties"])
            )
    variables = changed["Globals"]["Function"]["Environment"]["Variables"]
    assert variables["PYTHONPATH"] == "/built/Shared"
    assert variables["TABLE_NAME"] == {"Ref": "ConnectionsTable"}


def test_all_else_stays_as_it_is() -> None:
    original = template.written()
    adapted, _ = adapt(copy.deepcopy(original), "127.0.0.1:3001", {})

    changed = {
        name
        for name, resource in original["Resources"].items()
        if adapted["Resources"].get(name) != resource
        and resource["Type"] != "AWS::ApiGatewayV2::RouteResponse"
    }
    assert changed == {
        *("NotifierFunction", "NotifierEventSource"),
        *("DeliverFunction", "DeliverEventSource"),
    }
    assert adapted["Parameters"] == original["Parameters"]
