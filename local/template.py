"""What the built template needs before the emulator can deploy it.

The template is written for AWS. Nine things differ here. All but what is made through an API once
the stack stands are done to a copy of what `sam build` made:

- the emulator's CloudFormation refuses a template that holds a type it does not know. What it
  refuses is taken out, and made through the API: local/gateway/leftovers.py, which any template
  can be put through. What nothing here would read is only taken out (`LEFT_OUT`);
- nor does it know CodeDeploy. Functions run as they are: what is gradual is left out, and so are
  versions, which would go on with code that was edited since;
- it has no alarms on an expression of several metrics. They become alarms on the first of these;
- it makes tables that keep what has expired. That is switched on through the API, too;
- it hands on the value of a `Number` parameter as a string, over which its queue pollers stumble:
  in event source mappings the number itself takes the reference's place;
- it knows permissions of their own for batches of SQS, such as `sqs:SendMessageBatch`, which on
  AWS are those of the single action;
- it unpacks a function's package, 40 MB in 2,700 files, for each of its workers, and starts one
  for each concurrent call: what it deploys is empty, and the code is run where `sam build` put it;
- the public name of the API does not resolve, so it becomes the local gateway's address;
- an issuer on this machine publishes its keys without TLS, which no parameter allows.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from local.gateway import leftovers
from local.gateway.leftovers import Leftover, take_out

_PUBLIC_ADDRESS = re.compile(
    r"(?P<scheme>https|wss)://\$\{\w+\}\.execute-api\.\$\{AWS::Region\}\.\$\{AWS::URLSuffix\}"
)
# Types that the emulator refuses and that nothing here would read.
LEFT_OUT = frozenset(
    {
        "AWS::EventSchemas::Registry",
        "AWS::EventSchemas::Schema",
        "AWS::Logs::QueryDefinition",
    }
)
_LOCAL_SCHEME = {"https": "http", "wss": "ws"}
# What SQS also does by the batch.
_WITH_BATCHES = ("sqs:SendMessage", "sqs:ChangeMessageVisibility", "sqs:DeleteMessage")


def code_folder(template: Mapping[str, Any]) -> str:
    """Return the folder of code of all functions, beside what `sam build` made of the template."""
    (code,) = {
        resource["Properties"]["CodeUri"]
        for resource in template["Resources"].values()
        if resource["Type"] == "AWS::Serverless::Function"
    }
    return str(code)


def run_in_place(template: dict[str, Any], built: Path, empty: Path) -> dict[str, Any]:
    """Return the template with an empty package for all functions, and their code on the path.

    Args:
        template: what `sam build` made, parsed, with one folder of code for all functions.
        built: the folder in which it made it.
        empty: a folder to deploy instead of the code.
    """
    resources = template["Resources"]
    functions = {
        logical_id: resource
        for logical_id, resource in resources.items()
        if resource["Type"] == "AWS::Serverless::Function"
    }
    code = code_folder(template)
    emptied = {
        logical_id: function | {"Properties": function["Properties"] | {"CodeUri": str(empty)}}
        for logical_id, function in functions.items()
    }
    defaults = template["Globals"]["Function"]
    variables = defaults["Environment"]["Variables"] | {"PYTHONPATH": str(built / code)}
    shared = defaults | {"Environment": {"Variables": variables}}
    return template | {
        "Resources": resources | emptied,
        "Globals": template["Globals"] | {"Function": shared},
    }


def adapt(
    template: dict[str, Any], gateway_address: str, parameters: Mapping[str, str]
) -> tuple[dict[str, Any], list[Leftover]]:
    """Return the template for the emulator, and what is to be made when the stack stands.

    Args:
        template: what `sam build` made, parsed.
        gateway_address: host and port of the local gateway.
        parameters: values of the template's parameters, where not its defaults.
    """
    numbers = {
        name: int(parameters.get(name, parameter["Default"]))
        for name, parameter in template["Parameters"].items()
        if parameter["Type"] == "Number"
    }
    resources = {}
    at_once = _at_once(
        {
            name: resource
            for name, resource in template["Resources"].items()
            if resource.get("Condition") != "Gradual"
        }
    )
    for logical_id, resource in at_once.items():
        properties = resource.get("Properties", {})
        match resource["Type"]:
            case "AWS::CloudWatch::Alarm" if "Metrics" in properties:
                resources[logical_id] = resource | {"Properties": _on_one_metric(properties)}
            case "AWS::Lambda::EventSourceMapping":
                resources[logical_id] = resource | {
                    "Properties": _with_numbers(properties, numbers)
                }
            case "AWS::Serverless::Function":
                resources[logical_id] = resource | {"Properties": _with_batches(properties)}
            case _:
                resources[logical_id] = resource
    adapted = {
        **template,
        "Parameters": {
            name: _without_tls(parameter) for name, parameter in template["Parameters"].items()
        },
        "Resources": resources,
    }
    local = _with_local_address(adapted, gateway_address)
    return take_out(local, (*leftovers.LEFT_OUT, *LEFT_OUT))


def times_to_live(template: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the specification of each table whose items expire, by the table's logical id."""
    return {
        logical_id: resource["Properties"]["TimeToLiveSpecification"]
        for logical_id, resource in template["Resources"].items()
        if resource["Type"] == "AWS::DynamoDB::Table"
        and "TimeToLiveSpecification" in resource["Properties"]
    }


def _at_once(node: Any) -> Any:
    """Copy a tree with what holds without a release in the place of what depends on one."""
    match node:
        case {"Fn::If": ["Gradual", _, otherwise]}:
            return _at_once(otherwise)
        case dict():
            return {key: _at_once(value) for key, value in node.items()}
        case list():
            return [_at_once(value) for value in node]
        case _:
            return node


def _on_one_metric(alarm: dict[str, Any]) -> dict[str, Any]:
    """Put the first metric of an alarm in the place of its expression."""
    stat = next(query["MetricStat"] for query in alarm["Metrics"] if "MetricStat" in query)
    rest = {name: value for name, value in alarm.items() if name != "Metrics"}
    return {**rest, **stat["Metric"], "Period": stat["Period"], "Statistic": stat["Stat"]}


def _without_tls(parameter: dict[str, Any]) -> dict[str, Any]:
    """Let a parameter that is an address be one without TLS."""
    pattern = parameter.get("AllowedPattern", "").replace("(https://", "(https?://")
    return parameter | {"AllowedPattern": pattern} if pattern else parameter


def _with_numbers(node: Any, numbers: Mapping[str, int]) -> Any:
    """Copy a tree with numbers in the place of references to them."""
    match node:
        case {"Ref": str(name)} if name in numbers:
            return numbers[name]
        case dict():
            return {key: _with_numbers(value, numbers) for key, value in node.items()}
        case _:
            return node


def _with_batches(node: Any) -> Any:
    """Copy a tree in which whatever allows an action of SQS allows batches of it."""
    match node:
        case {"Action": str(action)} if action in _WITH_BATCHES:
            return node | {"Action": [action, f"{action}Batch"]}
        case {"Action": [*actions]}:
            batches = [f"{action}Batch" for action in actions if action in _WITH_BATCHES]
            return node | {"Action": actions + batches}
        case dict():
            return {key: _with_batches(value) for key, value in node.items()}
        case list():
            return [_with_batches(value) for value in node]
        case _:
            return node


def _with_local_address(node: Any, gateway_address: str) -> Any:
    """Copy a tree with the gateway's address in the place of the API's public one."""
    match node:
        case dict():
            return {key: _with_local_address(value, gateway_address) for key, value in node.items()}
        case list():
            return [_with_local_address(value, gateway_address) for value in node]
        case str():
            return _PUBLIC_ADDRESS.sub(
                lambda match: f"{_LOCAL_SCHEME[match['scheme']]}://{gateway_address}", node
            )
        case _:
            return node
