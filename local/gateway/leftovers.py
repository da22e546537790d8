"""Make through the API what an emulator's CloudFormation does not take.

It works on any template, parsed from JSON or from YAML in long forms (``Fn::Sub``, not ``!Sub``):
`take_out` returns it without the resources of types that would have the whole template refused,
and `replay` makes them once the stack stands. What their properties refer to is resolved by the
emulator's CloudFormation itself: each reference becomes an output, which stays.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .supplement import INTEGRATION_MEMBERS, Supplement

# To leave out a further type, add it here; and to REPLAYED, if it is to be made afterwards.
LEFT_OUT = (
    "AWS::ApiGatewayV2::Deployment",
    "AWS::ApiGatewayV2::IntegrationResponse",
    "AWS::ApiGatewayV2::Model",
    "AWS::ApiGatewayV2::RouteResponse",
)
OUTPUT_PREFIX = "LeftOut"
# In the text of an Fn::Sub.
_REFERENCE = re.compile(r"\$\{(\w+)\}")

Template = dict[str, Any]


@dataclass(frozen=True)
class Leftover:
    """Hold a resource, or what is lost of one: its properties have names of outputs in them."""

    logical_id: str
    type: str
    properties: Mapping[str, Any]


@dataclass(frozen=True)
class _Output:
    """Stand in a leftover's properties for what is only known when the stack stands."""

    name: str


@dataclass
class _Taker:
    """Collect leftovers, and the outputs that resolve what they refer to."""

    left_out: Mapping[str, Any]
    leftovers: list[Leftover] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)

    def take(self, logical_id: str, resource: Mapping[str, Any], *members: str) -> None:
        """Note a resource, or some of its properties beside the id of its API."""
        properties = resource.get("Properties", {})
        if members:
            properties = {
                name: value for name, value in properties.items() if name in ("ApiId", *members)
            }
        resolved = self._resolved(self._with_names(properties), resource.get("Condition"))
        self.leftovers.append(Leftover(logical_id, resource["Type"], resolved))

    def _resolved(self, node: Any, condition: str | None) -> Any:
        if isinstance(node, list):
            return [self._resolved(each, condition) for each in node]
        if not isinstance(node, dict):
            return node
        if not _is_function(node):
            return {key: self._resolved(value, condition) for key, value in node.items()}
        name = f"{OUTPUT_PREFIX}{len(self.outputs)}"
        self.outputs[name] = {"Value": node} | ({"Condition": condition} if condition else {})
        return _Output(name)

    def without(self, node: Any) -> Any:
        """Return a tree without what refers to resources that were left out."""
        if isinstance(node, list):
            return [self.without(each) for each in node if not self._is_lost(each)]
        if not isinstance(node, dict):
            return node
        named = self._with_names(node) if _is_function(node) else node
        if named != node:
            return named
        return {key: self.without(value) for key, value in node.items() if not self._is_lost(value)}

    def _with_names(self, node: Any) -> Any:
        """Return a tree with the names of models that were left out in the place of their ids."""
        match node:
            case {"Ref": str(name)} if name in self.left_out:
                # Only a model has a name.
                return self.left_out[name]["Properties"].get("Name", "")
            case {"Fn::Sub": str(text)}:
                return {"Fn::Sub": _REFERENCE.sub(self._name_in_text, text)}
            case {"Fn::Sub": [str(text), values]}:
                text = _REFERENCE.sub(self._name_in_text, text)
                return {"Fn::Sub": [text, self._with_names(values)]}
            case dict():
                return {key: self._with_names(value) for key, value in node.items()}
            case list():
                return [self._with_names(each) for each in node]
            case _:
                return node

    def _name_in_text(self, found: re.Match[str]) -> str:
        held = self.left_out.get(found[1], {}).get("Properties", {}).get("Name")
        return held if isinstance(held, str) else found[0]

    def _is_lost(self, node: Any) -> bool:
        match node:
            case {"Ref": str(name)} if name in self.left_out:
                return bool(self.left_out[name]["Type"] != "AWS::ApiGatewayV2::Model")
            case {"Fn::GetAtt": [str(name), *_]} | {"Fn::GetAtt": str(name)}:
                return name.partition(".")[0] in self.left_out
            case _:
                return False


def take_out(
    template: Template, types: Sequence[str] = LEFT_OUT
) -> tuple[Template, list[Leftover]]:
    """Return the template as the emulator takes it, and what is to be made afterwards."""
    resources: Mapping[str, Any] = template["Resources"]
    left_out = {name: each for name, each in resources.items() if each["Type"] in types}
    taker = _Taker(left_out)
    for logical_id, resource in resources.items():
        properties = resource.get("Properties", {})
        if logical_id in left_out:
            if resource["Type"] in REPLAYED:
                taker.take(logical_id, resource)
        elif lost := [name for name in _LOST.get(resource["Type"], ()) if name in properties]:
            taker.take(logical_id, resource, *lost)
    kept = {
        logical_id: _without_dependencies(taker.without(resource), left_out)
        for logical_id, resource in resources.items()
        if logical_id not in left_out
    }
    outputs = {
        name: taker.without(output)
        for name, output in (template.get("Outputs") or {}).items()
        if not taker._is_lost(output.get("Value"))
    }
    outputs |= taker.outputs
    adapted = {**template, "Resources": kept} | ({"Outputs": outputs} if outputs else {})
    return adapted, taker.leftovers


def replay(
    leftovers: Sequence[Leftover], stack_name: str, client: Callable[[str], Any]
) -> Supplement:
    """Make what was taken out, and return what the emulator's API has no room for.

    Args:
        client: makes a client of a service of the emulator.

    Raises:
        botocore.exceptions.BotoCoreError, ClientError: The emulator failed.
    """
    cloudformation, apis = client("cloudformation"), client("apigatewayv2")
    stack = cloudformation.describe_stacks(StackName=stack_name)["Stacks"][0]
    outputs = {each["OutputKey"]: each["OutputValue"] for each in stack.get("Outputs", [])}
    rows = cloudformation.describe_stack_resources(StackName=stack_name)["StackResources"]
    physical = {each["LogicalResourceId"]: each["PhysicalResourceId"] for each in rows}
    supplement = Supplement()
    for leftover in leftovers:
        try:
            properties = _with_outputs(leftover.properties, outputs)
        except KeyError:
            # Its condition does not hold.
            continue
        REPLAYED[leftover.type](apis, properties, physical.get(leftover.logical_id, ""), supplement)
    return supplement


def is_output_of_leftovers(name: str) -> bool:
    """Tell whether an output of the stack is one that `take_out` added."""
    return name.removeprefix(OUTPUT_PREFIX).isdecimal() and name.startswith(OUTPUT_PREFIX)


def _is_function(node: Mapping[str, Any]) -> bool:
    return len(node) == 1 and all(key == "Ref" or key.startswith("Fn::") for key in node)


def _with_outputs(node: Any, outputs: Mapping[str, str]) -> Any:
    match node:
        case _Output():
            return outputs[node.name]
        case dict():
            return {key: _with_outputs(value, outputs) for key, value in node.items()}
        case list():
            return [_with_outputs(value, outputs) for value in node]
        case _:
            return node


def _without_dependencies(resource: Any, left_out: Mapping[str, Any]) -> Any:
    named = resource.get("DependsOn")
    if named is None:
        return resource
    kept = [name for name in ([named] if isinstance(named, str) else named) if name not in left_out]
    rest = {key: value for key, value in resource.items() if key != "DependsOn"}
    return rest | ({"DependsOn": kept} if kept else {})


# Members that the emulator's CloudFormation drops, or keeps in a form that its API does not show.
_LOST = {
    "AWS::ApiGatewayV2::Integration": INTEGRATION_MEMBERS,
    "AWS::ApiGatewayV2::Route": ("RequestParameters",),
    "AWS::ApiGatewayV2::Stage": ("DefaultRouteSettings", "RouteSettings"),
}


def _route_response(apis: Any, properties: dict[str, Any], _: str, supplement: Supplement) -> None:
    where = {"ApiId": properties["ApiId"], "RouteId": _route_id(properties["RouteId"])}
    key = properties["RouteResponseKey"]
    held = apis.get_route_responses(**where)["Items"]
    if not any(each["RouteResponseKey"] == key for each in held):
        apis.create_route_response(**where, RouteResponseKey=key)


def _integration_response(
    apis: Any, properties: dict[str, Any], _: str, supplement: Supplement
) -> None:
    where = {name: properties[name] for name in ("ApiId", "IntegrationId")}
    for each in apis.get_integration_responses(**where)["Items"]:
        if each["IntegrationResponseKey"] == properties["IntegrationResponseKey"]:
            apis.delete_integration_response(
                **where, IntegrationResponseId=each["IntegrationResponseId"]
            )
    apis.create_integration_response(**properties)


def _model(apis: Any, properties: dict[str, Any], _: str, supplement: Supplement) -> None:
    schema = properties["Schema"]
    schema = json.loads(schema) if isinstance(schema, str) else schema
    supplement.of_apis.setdefault(properties["ApiId"], {})[properties["Name"]] = schema


def _route(apis: Any, properties: dict[str, Any], physical_id: str, supplement: Supplement) -> None:
    apis.update_route(**properties, RouteId=_route_id(physical_id))


def _stage(apis: Any, properties: dict[str, Any], physical_id: str, supplement: Supplement) -> None:
    apis.update_stage(**properties, StageName=physical_id)


def _route_id(physical_id: str) -> str:
    # The emulator's has the API in front, API Gateway's has not.
    return physical_id.rpartition("/")[2]


def _integration(
    apis: Any, properties: dict[str, Any], physical_id: str, supplement: Supplement
) -> None:
    members = {name: value for name, value in properties.items() if name != "ApiId"}
    supplement.of_integrations[physical_id] = members


REPLAYED: dict[str, Callable[[Any, dict[str, Any], str, Supplement], None]] = {
    "AWS::ApiGatewayV2::Integration": _integration,
    "AWS::ApiGatewayV2::IntegrationResponse": _integration_response,
    "AWS::ApiGatewayV2::Model": _model,
    "AWS::ApiGatewayV2::Route": _route,
    "AWS::ApiGatewayV2::RouteResponse": _route_response,
    "AWS::ApiGatewayV2::Stage": _stage,
}
