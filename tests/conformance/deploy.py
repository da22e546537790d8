"""Start the emulator, deploy the probe stack to it, and start gateways before it."""

from __future__ import annotations

import io
import json
import os
import platform
import re
import select
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from botocore.session import get_session

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
REGION = "us-east-1"
STACK = "conformance"

# The emulator takes any; the gateway and the SDKs want some.
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_REGION": REGION,
    "AWS_DEFAULT_REGION": REGION,
}


@dataclass(frozen=True)
class Stack:
    """Hold where the emulator is and which APIs were deployed to it."""

    endpoint_url: str
    probe_api: str
    plain_api: str


@dataclass
class RunningGateway:
    """Hold a gateway process; ``url`` is its address without a stage."""

    process: subprocess.Popen[str]
    url: str
    log_path: Path

    @property
    def log(self) -> str:
        """Return everything it has logged until now."""
        return self.log_path.read_text()


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def client(service: str, endpoint_url: str) -> Any:
    """Return an SDK client of the emulator, independent of the caller's AWS profile."""
    return get_session().create_client(
        service,
        REGION,
        endpoint_url=endpoint_url,
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
    )


@contextmanager
def emulator(python: str, directory: Path) -> Iterator[str]:
    """Run the emulator under the interpreter ``python`` and yield its URL."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {
        **os.environ,
        **CREDENTIALS,
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "IOT_MTLS_ENABLED": "0",
    }
    environment.pop("AWS_ENDPOINT_URL", None)
    with (directory / "emulator.log").open("w") as log:
        process = subprocess.Popen(
            [python, "-m", "ministack"], cwd=directory, env=environment, stdout=log, stderr=log
        )
    try:
        _await_http(process, url, directory / "emulator.log")
        yield url
    finally:
        _stop(process)


def deploy(endpoint_url: str, python: str) -> Stack:
    """Deploy the probe stack to the emulator and return what was deployed."""
    version = subprocess.run(
        [python, "-c", "import sys; print('python%d.%d' % sys.version_info[:2])"],
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    s3 = client("s3", endpoint_url)
    s3.create_bucket(Bucket=STACK)
    s3.put_object(Bucket=STACK, Key="probe.zip", Body=_zipped(HERE / "probe"))
    template = yaml.safe_load((HERE / "template.yaml").read_text())
    template["Globals"]["Function"]["CodeUri"] = {"Bucket": STACK, "Key": "probe.zip"}
    resources = template["Resources"]
    responses = {
        name: resources.pop(name)
        for name in list(resources)
        if resources[name]["Type"] == "AWS::ApiGatewayV2::RouteResponse"
    }
    cloudformation = client("cloudformation", endpoint_url)
    cloudformation.create_stack(
        StackName=STACK,
        TemplateBody=json.dumps(template),
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
        Parameters=[
            {"ParameterKey": "Runtime", "ParameterValue": version},
            {
                "ParameterKey": "Architecture",
                "ParameterValue": "arm64"
                if platform.machine() in ("arm64", "aarch64")
                else "x86_64",
            },
        ],
    )
    cloudformation.get_waiter("stack_create_complete").wait(
        StackName=STACK, WaiterConfig={"Delay": 1, "MaxAttempts": 60}
    )
    physical = {
        resource["LogicalResourceId"]: resource["PhysicalResourceId"]
        for resource in cloudformation.describe_stack_resources(StackName=STACK)["StackResources"]
    }
    apis = client("apigatewayv2", endpoint_url)
    for response in responses.values():
        properties = response["Properties"]
        apis.create_route_response(
            ApiId=physical[properties["ApiId"]["Ref"]],
            # The emulator's physical id of a route has its API in front.
            RouteId=physical[properties["RouteId"]["Ref"]].rpartition("/")[2],
            RouteResponseKey=properties["RouteResponseKey"],
        )
    for stage in resources.values():
        if stage["Type"] == "AWS::ApiGatewayV2::Stage":
            # The emulator's CloudFormation leaves the limits out; its API keeps them.
            properties = stage["Properties"]
            apis.update_stage(
                ApiId=physical[properties["ApiId"]["Ref"]],
                StageName=properties["StageName"],
                DefaultRouteSettings=properties["DefaultRouteSettings"],
                RouteSettings=properties.get("RouteSettings", {}),
            )
    return Stack(endpoint_url, physical["ProbeApi"], physical["PlainApi"])


@contextmanager
def gateway(stack: Stack, api_id: str, directory: Path, *options: str) -> Iterator[RunningGateway]:
    """Run a gateway for one API and yield it once it is ready."""
    log_path = directory / f"gateway-{time.time_ns()}.log"
    command = [
        sys.executable, "-m", "local.gateway", "--endpoint-url", stack.endpoint_url,
        "--api-id", api_id, "--port", "0", *options,
    ]  # fmt: skip
    with log_path.open("w") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **CREDENTIALS},
            stdout=subprocess.PIPE, stderr=log, text=True,
        )  # fmt: skip
    assert process.stdout
    try:
        select.select([process.stdout], [], [], 20)
        line = process.stdout.readline() if process.poll() is None else ""
        found = re.search(r"(wss?://\S+)", line)
        assert found, f"the gateway did not start: {line}{log_path.read_text()}"
        yield RunningGateway(process, found[1], log_path)
    finally:
        _stop(process)
        process.stdout.close()


def _zipped(folder: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in sorted(folder.glob("*.py")):
            archive.write(path, path.name)
    return buffer.getvalue()


def _await_http(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert process.poll() is None, f"the emulator ended: {log.read_text()}"
        try:
            urllib.request.urlopen(url, timeout=1).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            # Nothing to await: the port opens when it opens.
            time.sleep(0.05)
        else:
            return
    raise TimeoutError(f"the emulator does not answer at {url}: {log.read_text()}")


def _stop(process: subprocess.Popen[Any]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
