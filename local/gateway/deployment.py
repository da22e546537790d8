"""Deploy a template of anybody's to an emulator, so that the gateway can serve its APIs."""

from __future__ import annotations

import hashlib
import io
import json
import re
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, WaiterError
from botocore.session import get_session

from .command import DeployOptions
from .leftovers import Template, is_output_of_leftovers, replay, take_out

BUCKET = "local-gateway-packages"
CAPABILITIES = ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"]
# Of a deployment; the emulator takes seconds.
MAX_SECONDS = 300

# Where a resource has the path of a file or folder that CloudFormation gets from S3.
_PATHS = {
    "AWS::Serverless::Function": "CodeUri",
    "AWS::Lambda::Function": "Code",
    "AWS::Serverless::LayerVersion": "ContentUri",
    "AWS::Lambda::LayerVersion": "Content",
}
# What CloudFormation calls the two halves of an address in S3.
_ADDRESS = {
    "CodeUri": ("Bucket", "Key"),
    "ContentUri": ("Bucket", "Key"),
    "Code": ("S3Bucket", "S3Key"),
    "Content": ("S3Bucket", "S3Key"),
}
_PUBLIC_ADDRESS = re.compile(
    r"(?P<scheme>https|wss)://(?P<api>\$\{\w+\})\.execute-api\."
    r"\$\{AWS::Region\}\.(?:\$\{AWS::URLSuffix\}|amazonaws\.com)"
)
_LOCAL_SCHEME = {"https": "http", "wss": "ws"}


class CannotDeployError(Exception):
    """Say in one line why there is no stack."""


class _Loader(yaml.SafeLoader):
    """Read the short forms of CloudFormation's functions (``!Sub``) as the long ones."""


def _long_form(loader: _Loader, tag: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        assert isinstance(node, yaml.MappingNode)
        value = loader.construct_mapping(node, deep=True)
    if tag == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {tag if tag in ("Ref", "Condition") else f"Fn::{tag}": value}


_Loader.add_multi_constructor("!", _long_form)
# CloudFormation's version, 2010-09-09, is a text and no date.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def deploy(options: DeployOptions) -> None:
    """Create or update the stack, and print how to serve its APIs.

    Raises:
        CannotDeployError: The template is none, or the emulator refused it.
    """
    # It takes the connections of a whole deployment, one after another.
    config = Config(connect_timeout=3, read_timeout=60, retries={"total_max_attempts": 2})

    def client(service: str) -> Any:
        return get_session().create_client(
            service, options.region, endpoint_url=options.endpoint_url, config=config
        )

    try:
        template = without_bootstrap(read(options.template))
        local = with_local_addresses(with_text_variables(template), options.gateway_address)
        adapted, leftovers = take_out(_packaged(local, options.template.parent, client("s3")))
        _put_stack(client("cloudformation"), options, adapted)
        supplement = replay(leftovers, options.stack_name, client)
    except (BotoCoreError, ClientError, OSError) as error:
        raise CannotDeployError(str(error)) from error
    outputs = client("cloudformation").describe_stacks(StackName=options.stack_name)["Stacks"][0]
    for each in outputs.get("Outputs", []):
        if not is_output_of_leftovers(each["OutputKey"]):
            sys.stdout.write(f"{each['OutputKey']}: {each['OutputValue']}\n")
    serve = f"local-gateway --endpoint-url {options.endpoint_url} --stack {options.stack_name}"
    if supplement:
        path = Path(".local-gateway") / f"{options.stack_name}.json"
        supplement.write(path)
        serve += f" --supplement {path}"
    sys.stdout.write(f"deployed {options.stack_name}; now: {serve}\n")


def read(path: Path) -> Template:
    """Return a template with all functions in their long form.

    Raises:
        CannotDeployError: The file is no template.
    """
    try:
        template = _Loader(path.read_text()).get_single_data()
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CannotDeployError(f"{path} is not YAML: {error}") from error
    if not isinstance(template, dict) or not isinstance(template.get("Resources"), dict):
        raise CannotDeployError(f"{path} is no template: it has no Resources")
    for name, resource in template["Resources"].items():
        if not isinstance(resource, dict) or not isinstance(resource.get("Type"), str):
            raise CannotDeployError(f"{path} is no template: {name} has no Type")
    return template


def without_bootstrap(template: Template) -> Template:
    """Return a template of CDK without its demand that the account was bootstrapped.

    https://docs.aws.amazon.com/cdk/v2/guide/bootstrapping-env.html
    """
    lacking = {"Rules": "CheckBootstrapVersion", "Parameters": "BootstrapVersion"}
    if not all(name in (template.get(section) or {}) for section, name in lacking.items()):
        return template
    kept = {
        section: {key: value for key, value in template[section].items() if key != name}
        for section, name in lacking.items()
    }
    return {**template, **kept}


def with_text_variables(node: Any) -> Any:
    """Return a tree with the variables of functions as text, which CloudFormation makes of them.

    The emulator starts no function that has a number among them.
    """
    match node:
        case {"Variables": dict(variables)}:
            texts = {name: _text(value) for name, value in variables.items()}
            return {**node, "Variables": texts}
        case dict():
            return {key: with_text_variables(value) for key, value in node.items()}
        case list():
            return [with_text_variables(value) for value in node]
        case _:
            return node


def _text(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value


def with_local_addresses(node: Any, gateway_address: str) -> Any:
    """Return a tree with the gateway's address in the place of an API's public one.

    ``https://${Api}.execute-api.${AWS::Region}.amazonaws.com`` becomes ``http://ADDRESS/${Api}``.
    """

    def local(text: str) -> str:
        return _PUBLIC_ADDRESS.sub(
            lambda found: f"{_LOCAL_SCHEME[found['scheme']]}://{gateway_address}/{found['api']}",
            text,
        )

    match node:
        case {"Fn::Join": ["", [*parts]]} if (joined := _as_sub(parts)) and local(joined) != joined:
            return {"Fn::Sub": local(joined)}
        case {"Fn::Sub": str(text)}:
            return {"Fn::Sub": local(text)}
        case {"Fn::Sub": [str(text), values]}:
            return {"Fn::Sub": [local(text), values]}
        case dict():
            return {
                key: with_local_addresses(value, gateway_address) for key, value in node.items()
            }
        case list():
            return [with_local_addresses(value, gateway_address) for value in node]
        case _:
            return node


def _as_sub(parts: list[Any]) -> str | None:
    """Return what ``Fn::Join`` makes of texts and references as the text of an ``Fn::Sub``."""
    texts = []
    for part in parts:
        match part:
            case str():
                texts.append(part)
            case {"Ref": str(name)}:
                texts.append(f"${{{name}}}")
            case _:
                return None
    return "".join(texts)


def _packaged(template: Template, folder: Path, s3: Any) -> Template:
    """Return the template with the code of its functions and layers in S3."""
    resources = {
        name: _with_uploads(resource, _PATHS.get(resource["Type"]), folder, s3)
        for name, resource in template["Resources"].items()
    }
    packaged = {**template, "Resources": resources}
    of_functions = (template.get("Globals") or {}).get("Function")
    if of_functions:
        held = _with_uploads({"Properties": of_functions}, "CodeUri", folder, s3)["Properties"]
        packaged["Globals"] = {**template["Globals"], "Function": held}
    return packaged


def _with_uploads(resource: Any, member: str | None, folder: Path, s3: Any) -> Any:
    code = (resource.get("Properties") or {}).get(member)
    path = _path_of(code, folder)
    if member is None or path is None:
        return resource
    package = _zipped(path)
    # Named by its content, so that an unchanged function is not updated.
    key = f"{hashlib.sha256(package).hexdigest()}.zip"
    s3.create_bucket(Bucket=BUCKET)
    s3.put_object(Bucket=BUCKET, Key=key, Body=package)
    bucket_name, key_name = _ADDRESS[member]
    address = {bucket_name: BUCKET, key_name: key}
    return {**resource, "Properties": {**resource["Properties"], member: address}}


def _path_of(code: Any, folder: Path) -> Path | None:
    """Return where on this machine code is: at its path, or beside the template.

    CDK and the Serverless Framework leave it there, and name the object that their own upload
    would make of it: ``HASH.zip`` for ``cdk.out/asset.HASH``, or the file's own name.
    """
    match code:
        case str():
            return None if code.startswith("s3://") else folder / code
        case {"S3Key": str(key)}:
            name = Path(key).name
            beside = (folder / each for each in (name, f"asset.{name}", f"asset.{Path(key).stem}"))
            return next((each for each in beside if each.exists()), None)
        case _:
            return None


def _zipped(path: Path) -> bytes:
    if path.is_file() and path.suffix in (".zip", ".jar"):
        return path.read_bytes()
    if not path.exists():
        raise CannotDeployError(f"there is no {path}")
    files = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
    root = path.parent if path.is_file() else path
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for each in files:
            if "__pycache__" not in each.parts:
                # One time for all, so that the same files give the same package.
                entry = zipfile.ZipInfo(each.relative_to(root).as_posix())
                entry.external_attr = (0o755 if each.stat().st_mode & 0o100 else 0o644) << 16
                archive.writestr(entry, each.read_bytes(), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _put_stack(cloudformation: Any, options: DeployOptions, template: Template) -> None:
    name = options.stack_name
    arguments = {
        "StackName": name,
        "TemplateBody": json.dumps(template),
        "Capabilities": CAPABILITIES,
        "Parameters": [
            {"ParameterKey": key, "ParameterValue": value}
            for key, value in options.parameters.items()
        ],
    }
    if _status(cloudformation, name) in (None, "DELETE_COMPLETE"):
        operation, waiter = cloudformation.create_stack, "stack_create_complete"
    else:
        operation, waiter = cloudformation.update_stack, "stack_update_complete"
    try:
        operation(**arguments)
        cloudformation.get_waiter(waiter).wait(
            StackName=name, WaiterConfig={"Delay": 1, "MaxAttempts": MAX_SECONDS}
        )
    except WaiterError as error:
        raise CannotDeployError(f"{name}: {_why(cloudformation, name) or error}") from error
    except ClientError as error:
        if "No updates are to be performed" not in str(error):
            raise


def _status(cloudformation: Any, name: str) -> str | None:
    try:
        stacks = cloudformation.describe_stacks(StackName=name)["Stacks"]
    except ClientError:
        return None
    return str(stacks[0]["StackStatus"]) if stacks else None


def _why(cloudformation: Any, name: str) -> str:
    events: list[Mapping[str, str]] = cloudformation.describe_stack_events(StackName=name)[
        "StackEvents"
    ]
    failed = [each for each in events if each["ResourceStatus"].endswith("FAILED")]
    return "; ".join(
        f"{each['LogicalResourceId']}: {each.get('ResourceStatusReason', 'no reason')}"
        for each in reversed(failed)
    )
