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
def _text() -> str:
    return PATH.read_text()


def written(path: Path = PATH) -> dict[str, Any]:
    """Return a template as it is written, with long forms of the intrinsic functions."""
    text = _text() if path == PATH else path.read_text()
    template: dict[str, Any] = yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
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


def resources(kind: str) -> dict[str, dict[str, Any]]:
    """Return the properties of all expanded resources of a CloudFormation type, by logical id."""
    return {
        logical_id: resource.get("Properties", {})
        for logical_id, resource in _expanded()["Resources"].items()
        if resource["Type"] == kind
    }
