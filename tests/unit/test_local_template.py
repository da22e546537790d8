"""What the local run changes in the built template, and what it leaves alone."""

import copy
import re
from pathlib import Path

import pytest

from local.template import LEFT_OUT, adapt, run_in_place, times_to_live
from support import template

TAKEN_OUT = LEFT_OUT | {"AWS::ApiGatewayV2::RouteResponse"}
# Those whose metrics the emulator cannot put together.
ALARMS_ON_EXPRESSIONS = {
    *("PostsThrottledAlarm", "RecordsFailedAlarm", "RequestErrorsAlarm", "ThrottlesAlarm"),
}

# Of releases; no function has a role that the template writes.
GRADUAL = {
    "AWS::IAM::Role",
    *("AWS::Lambda::Version", "AWS::Lambda::Alias"),
    *("AWS::CodeDeploy::Application", "AWS::CodeDeploy::DeploymentGroup"),
}


def test_route_responses_are_taken_out_and_returned() -> None:
    adapted, leftovers = adapt(template.written(), "127.0.0.1:3001", {})

    kinds = {resource["Type"] for resource in adapted["Resources"].values()}
    assert "AWS::ApiGatewayV2::RouteResponse" not in kinds
    assert {leftover.type for leftover in leftovers} == {"AWS::ApiGatewayV2::RouteResponse"}
    assert len(leftovers) == 7
    # What they refer to is resolved by outputs.
    values = [output["Value"] for output in adapted["Outputs"].values()]
    assert {"Ref": "WebSocketApiPingRoute"} in values


def test_what_the_emulator_cannot_take_and_nothing_here_reads_is_left_out() -> None:
    adapted, _ = adapt(template.written(), "127.0.0.1:3001", {})

    kinds = {resource["Type"] for resource in template.written()["Resources"].values()}
    left = {resource["Type"] for resource in adapted["Resources"].values()}
    assert kinds - left == TAKEN_OUT | GRADUAL


def test_functions_run_as_they_are_whatever_a_release_would_make_of_them() -> None:
    adapted, _ = adapt(template.written(), "127.0.0.1:3001", {"Release": "r1"})

    kinds = {resource["Type"] for resource in adapted["Resources"].values()}
    assert not kinds & {"AWS::Lambda::Version", "AWS::Lambda::Alias"}
    assert not {kind for kind in kinds if kind.startswith("AWS::CodeDeploy::")}
    source = adapted["Resources"]["NotifierEventSource"]["Properties"]
    assert source["FunctionName"] == {"Ref": "NotifierFunction"}
    assert "Gradual" not in str(adapted["Resources"])


def test_the_public_address_becomes_the_gateway_s() -> None:
    adapted, _ = adapt(template.written(), "127.0.0.1:3001", {})

    variables = adapted["Resources"]["NotifierFunction"]["Properties"]["Environment"]["Variables"]
    assert variables["CONNECTIONS_ENDPOINT"] == {"Fn::Sub": "http://127.0.0.1:3001/${StageName}"}
    _, _, own = adapted["Outputs"]["WebsocketUri"]["Value"]["Fn::If"]
    assert own == {"Fn::Sub": "ws://127.0.0.1:3001/${StageName}"}


def test_event_source_mappings_get_numbers_from_overrides_and_defaults() -> None:
    def concurrency(parameters: dict[str, str]) -> object:
        adapted, _ = adapt(template.written(), "127.0.0.1:3001", parameters)
        return adapted["Resources"]["NotifierEventSource"]["Properties"]["ScalingConfig"]

    assert concurrency({}) == {"MaximumConcurrency": 2}
    assert concurrency({"NotifierMaxConcurrency": "3"}) == {"MaximumConcurrency": 3}


@pytest.mark.parametrize("function", ["NotifierFunction", "DeliverFunction"])
@pytest.mark.parametrize("action", ["SendMessage", "ChangeMessageVisibility", "DeleteMessage"])
def test_what_a_function_may_do_with_a_message_it_may_do_with_a_batch(
    action: str, function: str
) -> None:
    adapted, _ = adapt(template.written(), "127.0.0.1:3001", {})

    (policy,) = adapted["Resources"][function]["Properties"]["Policies"]
    allowed = [
        (action, statement["Resource"])
        for statement in policy["Statement"]
        for action in _listed(statement["Action"])
    ]
    queues = [queue for name, queue in allowed if name == f"sqs:{action}"]
    assert queues
    assert [queue for name, queue in allowed if name == f"sqs:{action}Batch"] == queues


def test_permissions_without_batches_stay_as_they_are() -> None:
    original, (adapted, _) = template.written(), adapt(template.written(), "127.0.0.1:3001", {})

    for function in ("NotifierFunction", "DeliverFunction"):
        (before,) = original["Resources"][function]["Properties"]["Policies"]
        (after,) = adapted["Resources"][function]["Properties"]["Policies"]
        for old, new in zip(before["Statement"], after["Statement"], strict=True):
            added = set(_listed(new["Action"])) - set(_listed(old["Action"]))
            assert all(action.endswith("Batch") for action in added)
            assert _listed(new["Action"])[: len(_listed(old["Action"]))] == _listed(old["Action"])
            assert new | {"Action": None} == old | {"Action": None}


def _listed(actions: str | list[str]) -> list[str]:
    return [actions] if isinstance(actions, str) else actions


def test_tables_whose_items_expire_are_told() -> None:
    assert times_to_live(template.written()) == {
        "ConnectionsTable": {"AttributeName": "ttl", "Enabled": True}
    }
    lasting = {"Type": "AWS::DynamoDB::Table", "Properties": {"BillingMode": "PAY_PER_REQUEST"}}
    assert times_to_live({"Resources": {"Lasting": lasting}}) == {}


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


def test_alarms_on_an_expression_become_alarms_on_a_metric() -> None:
    adapted, _ = adapt(template.written(), "127.0.0.1:3001", {})
    original = template.resources("AWS::CloudWatch::Alarm")

    assert {name for name in original if "Metrics" in original[name]} == ALARMS_ON_EXPRESSIONS
    alarm = adapted["Resources"]["RequestErrorsAlarm"]["Properties"]
    assert "Metrics" not in alarm
    assert (alarm["MetricName"], alarm["Statistic"], alarm["Period"]) == (
        "ServiceErrors",
        "Sum",
        60,
    )
    assert alarm["Threshold"] == original["RequestErrorsAlarm"]["Threshold"]


def test_all_else_stays_as_it_is() -> None:
    original = template.written()
    adapted, _ = adapt(copy.deepcopy(original), "127.0.0.1:3001", {})

    changed = {
        name
        for name, resource in original["Resources"].items()
        if adapted["Resources"].get(name) != resource
        and resource["Type"] not in TAKEN_OUT
        and resource.get("Condition") != "Gradual"
        and name not in ALARMS_ON_EXPRESSIONS
    }
    assert changed == {
        *("NotifierFunction", "NotifierEventSource"),
        *("DeliverFunction", "DeliverEventSource"),
        # The API's address.
        *("AuthenticateFunction", "ExpireFunction"),
    }
    changed = {
        name
        for name, parameter in original["Parameters"].items()
        if adapted["Parameters"][name] != parameter
    }
    assert changed == {"TokenKeysUrl"}
    assert re.fullmatch(
        adapted["Parameters"]["TokenKeysUrl"]["AllowedPattern"], "http://127.0.0.1:3002/jwks"
    )
