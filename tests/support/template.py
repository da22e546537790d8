"""The template: as written, and as SAM expands it for CloudFormation."""

from functools import cache
from pathlib import Path
from typing import Any

import boto3
import yaml
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator

PATH = Path(__file__).parents[2] / "template.yaml"

# What SAM looks up in IAM when it expands a template.
_MANAGED_POLICIES = {
    name: f"arn:aws:iam::aws:policy/{path}{name}"
    for name, path in {
        "AWSLambdaBasicExecutionRole": "service-role/",
        "AWSXrayWriteOnlyAccess": "",
    }.items()
}


class _Loader(yaml.SafeLoader):
    """Reads `!Ref x` as `{"Ref": "x"}`, and likewise every other short form."""


def _intrinsic(loader: yaml.Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        raise TypeError(f"!{suffix} of a mapping is not used in this template")
    if suffix == "GetAtt":
        value = value.split(".", 1)
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _intrinsic)


@cache
def _text(path: Path) -> str:
    return path.read_text()


def written(path: Path = PATH) -> dict[str, Any]:
    """Return a template as it is written, with long forms of the intrinsic functions."""
    template: dict[str, Any] = yaml.load(_text(path), _Loader)  # noqa: S506 - a SafeLoader
    return template


@cache
def _expanded() -> dict[str, Any]:
    template = written()
    # `sam deploy` expands a template whose code is already uploaded.
    template["Globals"]["Function"]["CodeUri"] = "s3://bucket/key"
    defaults = {name: spec["Default"] for name, spec in template["Parameters"].items()}
    session = boto3.Session(region_name="us-east-1")
    translator = Translator(_MANAGED_POLICIES, Parser(), boto_session=session)
    expanded: dict[str, Any] = translator.translate(template, defaults)
    return expanded


def kinds() -> set[str]:
    """Return the CloudFormation types of all resources that there may be."""
    return {resource["Type"] for resource in _expanded()["Resources"].values()}


def deployed(**parameters: str) -> dict[str, Any]:
    """Return the resources that CloudFormation makes with some parameters, by logical id.

    Conditions are decided, and what they choose stands in their place.
    """
    template = _expanded()
    values = {name: str(spec["Default"]) for name, spec in template["Parameters"].items()}
    decide = _Decider(values | parameters, template["Conditions"])
    resources: dict[str, Any] = decide.chosen(
        {
            logical_id: resource
            for logical_id, resource in template["Resources"].items()
            if "Condition" not in resource or decide.holds({"Condition": resource["Condition"]})
        }
    )
    return resources


class _Decider:
    """Decides conditions as CloudFormation does."""

    def __init__(self, values: dict[str, str], conditions: dict[str, Any]) -> None:
        self._values = values
        self._conditions = conditions

    def holds(self, condition: Any) -> bool:
        match condition:
            case {"Condition": str(name)}:
                return self.holds(self._conditions[name])
            case {"Fn::Equals": [one, other]}:
                return self._value(one) == self._value(other)
            case {"Fn::Not": [negated]}:
                return not self.holds(negated)
            case {"Fn::And": [*conditions]}:
                return all(map(self.holds, conditions))
            case {"Fn::Or": [*conditions]}:
                return any(map(self.holds, conditions))
        raise AssertionError(condition)

    def chosen(self, node: Any) -> Any:
        """Return a tree without `Fn::If`, and without what then has no value."""
        match node:
            case {"Fn::If": [name, one, other]}:
                return self.chosen(one if self.holds({"Condition": name}) else other)
            case dict():
                copied = {key: self.chosen(value) for key, value in node.items()}
                return {key: value for key, value in copied.items() if value != _NO_VALUE}
            case list():
                return [value for value in map(self.chosen, node) if value != _NO_VALUE]
            case _:
                return node

    def _value(self, node: Any) -> str:
        match node:
            case {"Ref": str(name)}:
                return self._values[name]
            case _:
                return str(node)


_NO_VALUE = {"Ref": "AWS::NoValue"}


def resources(kind: str) -> dict[str, dict[str, Any]]:
    """Return the properties of all expanded resources of a CloudFormation type, by logical id."""
    return {
        logical_id: resource.get("Properties", {})
        for logical_id, resource in _expanded()["Resources"].items()
        if resource["Type"] == kind
    }


def resource_names() -> set[str]:
    """Return the logical ids of all expanded resources."""
    return set(_expanded()["Resources"])
