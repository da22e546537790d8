"""The stack on the emulator: built and deployed by the real SAM CLI."""

import json
import platform
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from botocore.exceptions import BotoCoreError, ClientError

from local import samconfig, template
from local.aws import HOST, REGION, LocalAws
from local.errors import LocalRunError
from local.gateway import certificates
from local.gateway.leftovers import is_output_of_leftovers, replay
from local.processes import run_to_end, running

ROOT = Path(__file__).parent.parent
# What a running `make local` says of itself.
FOLDER = ROOT / ".local"
OUTPUTS = FOLDER / "outputs.json"
# By default SAM looks beside the template that it is given.
CONFIGURATION = ("--config-file", samconfig.SAMCONFIG, "--config-env", "local")
STACK_NAME = "websocket-notifications"
# What the name of a folder with the emulator's files begins with.
EMULATOR_FILES = "emulator-files-"
# Of one function at once. The emulator starts a process of 50 MB for each, and a small machine is
# busy with that for longer than they save.
CONCURRENT_CALLS = 4
# Where the gateway's certificate is kept, below the folder of the run.
TLS = "tls"


@dataclass(frozen=True, slots=True)
class Tools:
    """The programs of the local run."""

    sam: Path = ROOT / ".local/sam/bin/sam"
    emulator_python: Path = ROOT / ".local/emulator/bin/python"


@contextmanager
def emulator(aws: LocalAws, tools: Tools, folder: Path, **settings: str) -> Iterator[None]:
    """Run the emulator, on loopback, while the block lasts; its files stay below `folder`.

    Args:
        settings: further environment variables of the emulator.
    """
    certificate = certificates.ensure(folder / TLS)
    with TemporaryDirectory(dir=folder, prefix=EMULATOR_FILES) as scratch:
        environment = aws.environment() | {
            "BIND_HOST": HOST,
            "GATEWAY_PORT": str(aws.port),
            "MINISTACK_HOST": HOST,
            "IOT_MTLS_ENABLED": "0",
            # Functions get the permissions of their roles, so that a missing one shows here.
            "AUTH": "true",
            "TMPDIR": scratch,
            "STATE_DIR": scratch,
            # Functions inherit them, so that they may call https://{domainName}/{stage}.
            "AWS_CA_BUNDLE": str(certificate.bundle.absolute()),
            "NODE_EXTRA_CA_CERTS": str(certificate.authority.absolute()),
            **settings,
        }
        with running(
            "emulator",
            # Without the script's folder on the path, where `token` is not Python's own.
            [tools.emulator_python, "-P", ROOT / "local/emulator.py"],
            environment,
            log=folder / "emulator.log",
            ready=lambda: _answers(f"{aws.endpoint_url}/_ministack/health"),
            within_seconds=60,
        ):
            yield


@contextmanager
def gateway(aws: LocalAws, port: int, api_id: str, folder: Path, *options: str) -> Iterator[None]:
    """Run the local API Gateway in front of the emulator while the block lasts."""
    with running(
        "gateway",
        [
            *(sys.executable, "-m", "local.gateway", "--host", HOST, "--port", str(port)),
            *("--endpoint-url", aws.endpoint_url, "--region", REGION, "--api-id", api_id),
            *("--concurrent-calls", str(CONCURRENT_CALLS)),
            *("--tls-folder", folder / TLS),
            *options,
        ],
        aws.environment() | {"PYTHONPATH": str(ROOT)},
        log=folder / "gateway.log",
        ready=lambda: _accepts(port),
        within_seconds=30,
    ):
        yield


@contextmanager
def page(
    aws: LocalAws,
    port: int,
    outputs: Mapping[str, str],
    control_port: int,
    folder: Path,
    issuer_folder: Path | None = None,
) -> Iterator[dict[str, str]]:
    """Run the server of the page while the block lasts; yield the outputs with its address.

    Args:
        issuer_folder: of the key of the own issuer, whose tokens it mints for the page.
    """
    outputs = {**outputs, "PageUrl": f"http://{HOST}:{port}"}
    known = folder / "page.json"
    write_outputs(outputs, known)
    with running(
        "page",
        [
            *(sys.executable, "-m", "local.page", "--port", str(port), "--outputs", known),
            *("--control-url", f"http://{HOST}:{control_port}"),
            *(("--issuer-folder", issuer_folder) if issuer_folder else ()),
        ],
        aws.environment() | {"PYTHONPATH": str(ROOT)},
        log=folder / "page.log",
        ready=lambda: _accepts(port),
        within_seconds=30,
    ):
        yield outputs


def build(aws: LocalAws, tools: Tools, folder: Path) -> Path:
    """Run `sam build` for this machine's interpreter and processor; return the built template."""
    folder = folder.absolute()
    target = folder / "build"
    run_to_end(
        "sam build",
        [
            *(tools.sam.absolute(), "build", *CONFIGURATION),
            *("--template-file", ROOT / "template.yaml"),
            *("--build-dir", target, "--cache-dir", folder / "cache"),
            *("--parameter-overrides", *_overrides(host_parameters())),
        ],
        aws.environment(),
        # SAM keeps dependencies below its working folder, and throws those of other builds away.
        folder,
    )
    return target / "template.yaml"


def package(built: Path) -> Path:
    """Return the folder that the functions of a built template run from."""
    return built.parent / template.code_folder(yaml.safe_load(built.read_text()))


def deploy(
    aws: LocalAws,
    tools: Tools,
    built: Path,
    gateway_address: str,
    parameters: Mapping[str, str] | None = None,
    environment: str = "local",
) -> dict[str, str]:
    """Run `sam deploy` on the emulator, finish what it cannot do, and return the outputs.

    Args:
        environment: of samconfig.toml. Those of one emulator live side by side.
    """
    chosen = samconfig.read(environment)
    overrides = {**chosen.parameters, **host_parameters(), **(parameters or {})}
    empty = built.with_name("empty")
    empty.mkdir(exist_ok=True)
    # SAM does not upload a folder without a file.
    (empty / "empty").touch()
    in_place = template.run_in_place(yaml.safe_load(built.read_text()), built.parent, empty)
    adapted, leftovers = template.adapt(in_place, gateway_address, overrides)
    local_template = adapted_to(aws, built, chosen.stack_name)
    local_template.write_text(yaml.safe_dump(adapted, sort_keys=False))
    run_to_end(
        "sam deploy",
        samconfig.deploy_command(tools.sam, chosen, overrides, "--template-file", local_template),
        aws.environment(),
        ROOT,
    )
    physical_ids = _physical_ids(aws, chosen.stack_name)
    replay(leftovers, chosen.stack_name, aws.client)
    _let_items_expire(aws, template.times_to_live(adapted), physical_ids)
    return _outputs(aws, chosen.stack_name)


def adapted_to(aws: LocalAws, built: Path, stack_name: str) -> Path:
    """Return where the template for a stack of an emulator is, beside what `sam build` made.

    Processes that share the build deploy at the same time, each with addresses of its own.
    """
    return built.with_name(f"template-{stack_name}-{aws.port}.yaml")


class Functions:
    """The functions of the deployed stack."""

    def __init__(self, aws: LocalAws) -> None:
        self._aws = aws
        self._lambda = aws.client("lambda")
        self._names = list(_physical_ids(aws, STACK_NAME, "AWS::Lambda::Function").values())

    def described(self, package: Path) -> dict[str, Any]:
        """Return what is needed to run one elsewhere: see `local.invoke`.

        Args:
            package: the folder that they run from.
        """
        configurations = [
            self._lambda.get_function_configuration(FunctionName=name) for name in self._names
        ]
        # The interpreter finds what it needs by the package's folder.
        own = ("PYTHONPATH",)
        return {
            "package": str(package),
            "environment": {
                name: value
                for name, value in self._aws.environment().items()
                if name.startswith("AWS_") or name == "NO_PROXY"
            }
            | {"AWS_REGION": REGION},
            "functions": {
                each["Handler"].partition(".")[0]: {
                    "name": each["FunctionName"],
                    "arn": each["FunctionArn"],
                    "handler": each["Handler"],
                    "memory": each["MemorySize"],
                    "timeout": each["Timeout"],
                    "logGroup": each["LoggingConfig"]["LogGroup"],
                    "variables": {
                        "AWS_LAMBDA_FUNCTION_NAME": each["FunctionName"],
                        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(each["MemorySize"]),
                    }
                    | {
                        name: value
                        for name, value in each["Environment"]["Variables"].items()
                        if name not in own
                    },
                }
                for each in configurations
            },
        }

    def restart(self) -> None:
        """Have the emulator end their workers, so that the next call loads the code anew.

        Raises:
            LocalRunError: the emulator refuses it.
        """
        try:
            # All at once: each waits for the calls that are under way.
            with ThreadPoolExecutor(len(self._names)) as pool:
                list(pool.map(self._restart_one, self._names))
        except (BotoCoreError, ClientError) as exc:
            raise LocalRunError(str(exc)) from exc

    def _restart_one(self, name: str) -> None:
        environment = self._lambda.get_function_configuration(FunctionName=name)["Environment"]
        variables = environment["Variables"] | {"RELOADED": str(time.time())}
        self._lambda.update_function_configuration(
            FunctionName=name, Environment={"Variables": variables}
        )


def host_parameters() -> dict[str, str]:
    """Return the template's parameters for this machine.

    The emulator runs functions on the host's interpreter and processor, while the template's
    defaults are the best for AWS.
    """
    arm = platform.machine() in ("arm64", "aarch64")
    return {
        "FunctionRuntime": f"python{sys.version_info.major}.{sys.version_info.minor}",
        "FunctionArchitecture": "arm64" if arm else "x86_64",
    }


def _overrides(parameters: Mapping[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in parameters.items()]


def _physical_ids(aws: LocalAws, stack_name: str, kind: str | None = None) -> dict[str, str]:
    """Return what a stack's resources, all or those of one type, are called, by logical id."""
    cloudformation = aws.client("cloudformation")
    resources = cloudformation.describe_stack_resources(StackName=stack_name)["StackResources"]
    return {
        row["LogicalResourceId"]: row["PhysicalResourceId"]
        for row in resources
        if kind in (None, row["ResourceType"])
    }


def _let_items_expire(
    aws: LocalAws, times_to_live: Mapping[str, Any], physical_ids: Mapping[str, str]
) -> None:
    """Have the emulator delete expired items, once a minute; on AWS it may take days."""
    dynamodb = aws.client("dynamodb")
    for table, specification in times_to_live.items():
        dynamodb.update_time_to_live(
            TableName=physical_ids[table], TimeToLiveSpecification=specification
        )


def _outputs(aws: LocalAws, stack_name: str) -> dict[str, str]:
    stack = aws.client("cloudformation").describe_stacks(StackName=stack_name)["Stacks"][0]
    outputs = {
        row["OutputKey"]: row["OutputValue"]
        for row in stack["Outputs"]
        if not is_output_of_leftovers(row["OutputKey"])
    }
    return outputs | {"AwsEndpointUrl": aws.endpoint_url, "StackName": stack_name}


def write_outputs(outputs: Mapping[str, str], path: Path) -> None:
    """Write the outputs as JSON."""
    path.write_text(json.dumps(outputs, indent=2) + "\n")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as response:  # noqa: S310 - a loopback address
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def _accepts(port: int) -> bool:
    try:
        with socket.create_connection((HOST, port), timeout=1):
            return True
    except OSError:
        return False
