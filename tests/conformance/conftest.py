"""Run one suite against three targets.

``--target gateway`` (the default): the emulator and local gateways, started here.
``--target emulator``: the emulator's own WebSocket front, to see which cases it fails.
``--target wss://…/probe``: a deployed probe stack on AWS; needs credentials that may call
``execute-api:ManageConnections``.

The environment variable EMULATOR_PYTHON names the interpreter that the emulator is
installed for; its default is ``.local/emulator/bin/python``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from conformance import deploy
from conformance.targets import Target, aws_target

GATEWAY_ONLY = ("option", "log")
CREDENTIALS = {
    "aws_access_key_id": deploy.CREDENTIALS["AWS_ACCESS_KEY_ID"],
    "aws_secret_access_key": deploy.CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--target``."""
    parser.addoption(
        "--target",
        default=os.environ.get("CONFORMANCE_TARGET", "gateway"),
        help="gateway, emulator, or the wss:// URL of the probe stage on AWS",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers here, for runs that start with another configuration."""
    for name, reason in (("option", "needs an option"), ("log", "is about the log or the command")):
        config.addinivalue_line("markers", f"{name}: {reason}; runs against the gateway only")


def target_of(config: pytest.Config) -> str:
    """Return the target; the option is unknown when pytest was started on a parent folder."""
    return str(config.getoption("--target", default="gateway"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out, and list, the cases that only the gateway's options or log make possible."""
    if target_of(config) == "gateway":
        return
    left_out = [item for item in items if any(map(item.get_closest_marker, GATEWAY_ONLY))]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    for item in left_out:
        if reporter:
            reporter.write_line(f"not for this target: {item.nodeid}")


@dataclass(frozen=True)
class Local:
    """Hold what is needed to start gateways."""

    stack: deploy.Stack
    directory: Path
    runtime: str


@pytest.fixture(scope="session")
def local(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Local]:
    """Run the emulator with the probe stack deployed."""
    python = os.environ.get("EMULATOR_PYTHON", str(deploy.ROOT / ".local/emulator/bin/python"))
    if not Path(python).exists():
        pytest.fail(f"no emulator: EMULATOR_PYTHON is {python}")
    # It is started in another folder. Not resolved: an environment's interpreter is a link.
    python = str(Path(python).absolute())
    directory = tmp_path_factory.mktemp("local")
    with deploy.emulator(python, directory) as url:
        stack = deploy.deploy(url, python, directory)
        yield Local(stack, directory, deploy.runtime_of(python))


@pytest.fixture(scope="session")
def session_target(request: pytest.FixtureRequest) -> Target:
    """Give the target of the whole run."""
    name = target_of(request.config)
    if name == "gateway":
        apis = request.getfixturevalue("local").stack.apis
        share = request.getfixturevalue("shared_gateways")
        urls = {api: share(api_id).url for api, api_id in apis.items()}
        target = Target(urls, deploy.REGION, CREDENTIALS)
    elif name == "emulator":
        stack = request.getfixturevalue("local").stack
        front = stack.endpoint_url.replace("http", "ws", 1) + "/_aws/execute-api"
        urls = {api: f"{front}/{api_id}" for api, api_id in stack.apis.items()}
        target = Target(urls, deploy.REGION, CREDENTIALS)
    else:
        target = aws_target(name)
    return target


@pytest.fixture
def target(session_target: Target) -> Iterator[Target]:
    """Give the target, and close the connections that a case leaves open."""
    yield session_target
    session_target.close()


# What changes with each request, or is changed by a case.
NEVER_SHARED = ("--fault-", "--throttle-", "--control-port", "--refresh-seconds")


@pytest.fixture(scope="session")
def shared_gateways(local: Local) -> Iterator[Callable[..., deploy.RunningGateway]]:
    """Give a function that returns the run's gateway with certain options."""
    gateways: dict[tuple[str | None, ...], deploy.RunningGateway] = {}
    with ExitStack() as running:

        def share(api_id: str | None, *options: str) -> deploy.RunningGateway:
            key = (api_id, *options)
            if key not in gateways:
                started = deploy.gateway(local.stack, api_id, local.directory, *options)
                gateways[key] = running.enter_context(started)
            # What it has logged for the cases before is none of this one's business.
            return replace(gateways[key], log_begins=len(gateways[key].log))

        yield share
        for gateway in gateways.values():
            # All at once: each may take a second, and is waited for below.
            gateway.process.terminate()


@pytest.fixture
def with_options(
    local: Local, shared_gateways: Callable[..., deploy.RunningGateway]
) -> Iterator[Callable[..., tuple[Target, deploy.RunningGateway]]]:
    """Give a function that returns a gateway with options of its own, and a target of it.

    Cases with the same options share it, unless one asks for its ``own``.
    """
    with ExitStack() as running:

        def start(
            *options: str, api: str | None = "probe", own: bool = False
        ) -> tuple[Target, deploy.RunningGateway]:
            api_id = local.stack.apis[api] if api else None
            if own or any(option.startswith(NEVER_SHARED) for option in options):
                started = deploy.gateway(local.stack, api_id, local.directory, *options)
                gateway = running.enter_context(started)
            else:
                gateway = shared_gateways(api_id, *options)
            urls = dict.fromkeys(local.stack.apis, gateway.url)
            target = Target(urls, deploy.REGION, CREDENTIALS)
            running.callback(target.close)
            return target, gateway

        yield start
