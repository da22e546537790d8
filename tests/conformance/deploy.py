"""Start the emulator, deploy the probe stack to it, and start gateways before it."""

from __future__ import annotations

import io
import json
import os
import platform
import re
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

from local.gateway import certificates
from local.gateway.leftovers import replay, take_out

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
    mapped_api: str

    @property
    def apis(self) -> dict[str, str]:
        """Return the ids by the names that the cases use."""
        return {"probe": self.probe_api, "plain": self.plain_api, "mapped": self.mapped_api}


@dataclass
class RunningGateway:
    """Hold a gateway process; ``url`` is its address without a stage."""

    process: subprocess.Popen[bytes]
    url: str
    log_path: Path
    greeting_path: Path
    log_begins: int = 0

    @property
    def greeting(self) -> str:
        """Return what it has printed."""
        return self.greeting_path.read_text()

    @property
    def root(self) -> str:
        """Return its address without the id of an API, which is there if it serves several."""
        return "/".join(self.url.split("/")[:3])

    @property
    def log(self) -> str:
        """Return everything it has logged until now, or since a case began that shares it."""
        return self.log_path.read_text()[self.log_begins :]


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
        # Functions inherit it, and call https://{domainName}/{stage}.
        "AWS_CA_BUNDLE": str(certificates.ensure(directory / "tls").bundle),
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


def runtime_of(python: str) -> str:
    """Return the runtime of functions that an emulator under this interpreter runs."""
    return subprocess.run(
        [python, "-c", "import sys; print('python%d.%d' % sys.version_info[:2])"],
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip


def deploy(endpoint_url: str, python: str, directory: Path) -> Stack:
    """Deploy the probe stack to the emulator and return what was deployed."""
    s3 = client("s3", endpoint_url)
    s3.create_bucket(Bucket=STACK)
    s3.put_object(Bucket=STACK, Key="probe.zip", Body=_zipped(HERE / "probe"))
    template = yaml.safe_load((HERE / "template.yaml").read_text())
    template["Globals"]["Function"]["CodeUri"] = {"Bucket": STACK, "Key": "probe.zip"}
    template, leftovers = take_out(template)
    cloudformation = client("cloudformation", endpoint_url)
    cloudformation.create_stack(
        StackName=STACK,
        TemplateBody=json.dumps(template),
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
        Parameters=[
            {"ParameterKey": "Runtime", "ParameterValue": runtime_of(python)},
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
    supplement = replay(leftovers, STACK, lambda service: client(service, endpoint_url))
    supplement.write(directory / "supplement.json")
    return Stack(endpoint_url, physical["ProbeApi"], physical["PlainApi"], physical["MappedApi"])


@contextmanager
def gateway(
    stack: Stack, api_id: str | None, directory: Path, *options: str
) -> Iterator[RunningGateway]:
    """Run a gateway for one API, or for those that options choose; yield it once it is ready."""
    name = f"gateway-{time.time_ns()}"
    log_path, greeting_path = directory / f"{name}.log", directory / f"{name}.out"
    command = [
        sys.executable, "-m", "local.gateway", "--endpoint-url", stack.endpoint_url,
        *(("--api-id", api_id) if api_id else ()),
        "--port", "0", "--tls-folder", str(directory / "tls"),
        "--supplement", str(directory / "supplement.json"), *options,
    ]  # fmt: skip
    with log_path.open("w") as log, greeting_path.open("w") as greeting:
        process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **CREDENTIALS}, stdout=greeting, stderr=log
        )
    running = RunningGateway(process, "", log_path, greeting_path)
    try:
        deadline = time.monotonic() + 20
        while not (found := re.search(r"(wss?://\S+) .*\n", running.greeting)):
            assert process.poll() is None, f"the gateway did not start: {running.log}"
            assert time.monotonic() < deadline, f"the gateway is not ready: {running.log}"
            # Nothing to await: it says so when it is.
            time.sleep(0.02)
        running.url = found[1]
        yield running
    finally:
        _stop(process)


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
