"""Read the command line: without a subcommand, or to deploy a stack."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from .options import FAULTS, LIMITS, WHERE, Options

PROGRAM = "local-gateway"

DESCRIPTION = """
Serve WebSocket APIs as API Gateway does: ws://HOST:PORT/{stage} for clients, and
http://HOST:PORT/{stage}/@connections/{id} for the back end; TLS on the same port. The APIs are
read from apigatewayv2 and their functions are invoked through the Lambda API, both at
--endpoint-url. One API is at the root; of several each is at /{id}/{stage} or /{name}/{stage}, and
at {id}.execute-api.localhost. SIGHUP reads the APIs again; SIGINT and SIGTERM stop.
To deploy a stack to an emulator first: local-gateway deploy --help.
"""

DEPLOY_DESCRIPTION = """
Deploy a SAM or CloudFormation template to an emulator, with what its CloudFormation does not take
(deployments, models, integration responses, route responses) made afterwards through the API.
"""


@dataclass(frozen=True)
class DeployOptions:
    """Hold the options of a deployment."""

    template: Path
    stack_name: str
    endpoint_url: str
    region: str
    gateway_address: str
    parameters: dict[str, str]


def parse(arguments: Sequence[str]) -> Options | DeployOptions:
    """Return the options; print usage and exit with status 2 when they are wrong."""
    if arguments and arguments[0] == "deploy":
        return _parse_deployment(arguments[1:])
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description=DESCRIPTION,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    groups = {name: parser.add_argument_group(name) for name in (WHERE, LIMITS, FAULTS)}
    for item in fields(Options):
        settings = dict(item.metadata)
        groups[settings.pop("group")].add_argument("--" + item.name.replace("_", "-"), **settings)
    options = Options(**vars(parser.parse_args(arguments)))
    if problem := _problem(options):
        parser.error(problem)
    return options


def _problem(options: Options) -> str | None:
    shares = (options.fault_429, options.fault_5xx, options.fault_410, options.fault_reset)
    if sum(shares) + options.fault_stall + options.fault_duplicate > 1:
        return "the shares of --fault-429, -5xx, -410, -reset, -stall, -duplicate exceed 1"
    if options.tls_key and not options.tls_cert:
        return "--tls-key needs --tls-cert"
    return _problem_of_endpoint(options.endpoint_url, options.aws)


def _problem_of_endpoint(endpoint_url: str | None, aws: bool = False) -> str | None:
    if endpoint_url and aws:
        return "--aws means no --endpoint-url, and no AWS_ENDPOINT_URL"
    if not endpoint_url and not aws:
        return "--endpoint-url or AWS_ENDPOINT_URL must name the emulator; --aws means AWS itself"
    if endpoint_url and not re.match(r"https?://[^/:]", endpoint_url):
        return f"--endpoint-url takes a URL such as http://127.0.0.1:4566, not {endpoint_url}"
    return None


def _parse_deployment(arguments: Sequence[str]) -> DeployOptions:
    shared = {item.name: item.metadata for item in fields(Options)}
    parser = argparse.ArgumentParser(
        prog=f"{PROGRAM} deploy",
        description=DEPLOY_DESCRIPTION,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("template", type=Path, help="template.yaml, or what sam build made of it")
    parser.add_argument("--stack-name", help="name of the stack; by default that of the folder")
    for name in ("endpoint_url", "region"):
        settings = {key: value for key, value in shared[name].items() if key != "group"}
        parser.add_argument("--" + name.replace("_", "-"), **settings)
    parser.add_argument(
        "--gateway-address", default="127.0.0.1:3001", metavar="HOST:PORT",
        help="where the gateway will be, for functions that are told the address of their API",
    )  # fmt: skip
    parser.add_argument(
        "--parameter", action="append", default=[], metavar="NAME=VALUE", dest="parameters",
        help="value of a parameter of the template; may be given several times",
    )  # fmt: skip
    found = parser.parse_args(arguments)
    if problem := _problem_of_endpoint(found.endpoint_url):
        parser.error(problem)
    if wrong := [each for each in found.parameters if "=" not in each]:
        parser.error(f"--parameter takes NAME=VALUE, not {wrong[0]}")
    folder = found.template.resolve().parent.name
    return DeployOptions(
        template=found.template,
        stack_name=found.stack_name or "".join(c if c.isalnum() else "-" for c in folder),
        endpoint_url=found.endpoint_url,
        region=found.region,
        gateway_address=found.gateway_address,
        parameters=dict(each.split("=", 1) for each in found.parameters),
    )
