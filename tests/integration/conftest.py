"""The application, built and deployed once for all integration tests, on ports of its own."""

import asyncio
import compileall
import fcntl
import inspect
import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO
from uuid import uuid4

import pytest

from integration.harness import Application, eventually, free_port, unique
from local import stack
from local.aws import HOST, LocalAws

# Kept between runs, so that `sam build` finds what it built before.
_BUILD_FOLDER = stack.ROOT / ".local/test"

# Few enough that the subscribers of a test are more than one delivery holds.
_PARAMETERS = {"SubscribersPerDelivery": "20", "Dashboard": "true"}

# Every wait has a deadline of its own; this one is for what forgot to have one.
_LONGEST_TEST_SECONDS = 300


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run tests that are coroutines, each in a loop of its own, and not for ever."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    arguments = {name: pyfuncitem.funcargs[name] for name in names}
    asyncio.run(asyncio.wait_for(pyfuncitem.obj(**arguments), _LONGEST_TEST_SECONDS))
    return True


@pytest.fixture(scope="session")
def built() -> Iterator[Path]:
    """The template as `sam build` made it; the functions run on what is beside it.

    The processes of one run share what the first of them built.
    """
    _BUILD_FOLDER.mkdir(parents=True, exist_ok=True)
    this_run = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(uuid4()))
    with (_BUILD_FOLDER / "users").open("w") as users:
        while not _build(this_run, users):
            time.sleep(1)
        yield _BUILD_FOLDER / "build/template.yaml"


def _build(this_run: str, users: TextIO) -> bool:
    """Build unless this run has; False while another run needs what it built.

    Holds `users`, shared, from then on.
    """
    marker = _BUILD_FOLDER / "built-by"
    with (_BUILD_FOLDER / "builder").open("w") as builder:
        fcntl.flock(builder, fcntl.LOCK_EX)
        if not marker.exists() or marker.read_text() != this_run:
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            template = stack.build(LocalAws(free_port()), stack.Tools(), _BUILD_FOLDER)
            # Half of what a worker needs to start is the compiler, and a burst starts dozens.
            compileall.compile_dir(template.parent, quiet=2, workers=0)
            marker.write_text(this_run)
        fcntl.flock(users, fcntl.LOCK_SH)
    return True


@pytest.fixture(scope="session")
def deployed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    """The application, deployed for all tests."""
    with deployment(built, tmp_path_factory.mktemp("application"), _PARAMETERS) as application:
        asyncio.run(warm_up(application))
        yield application


@contextmanager
def deployment(built: Path, folder: Path, parameters: Mapping[str, str]) -> Iterator[Application]:
    """Deploy the application as `make local` does, on an emulator of its own."""
    aws, ws_port = LocalAws(free_port()), free_port()
    # Unlike Ctrl-C, a terminate signal, such as a cancelled CI job gets, would end pytest at once
    # and leave the emulator behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    tools = stack.Tools()
    with stack.emulator(aws, tools, folder):
        outputs = stack.deploy(aws, tools, built, f"{HOST}:{ws_port}", parameters)
        application = Application(aws, ws_port, outputs, folder)
        try:
            application.start_gateway()
            yield application
        finally:
            application.stop_gateway()


@pytest.fixture
def application(deployed: Application) -> Iterator[Application]:
    """The application, with nothing in its queues that an earlier test left there."""
    yield deployed
    if deployed.queued():
        deployed.empty_queue()


@pytest.fixture
def application_losing_disconnects(application: Application) -> Iterator[Application]:
    """The application, behind a gateway that never tells it that a connection has ended."""
    application.start_gateway("--fault-lose-disconnect", "1")
    yield application
    application.start_gateway()


async def warm_up(application: Application) -> None:
    """Call every function once, so that no test pays for their start, nor races it."""
    entity_id = unique("warm-up")
    async with application.client() as client:
        (cursor,) = await client.subscribe(entity_id)
        application.publish(entity_id)
        await client.requests(
            [
                {"action": "history", "entityId": entity_id, "since": cursor},
                {"action": "unsubscribe", "entityId": unique("warm-up")},
                {"action": "subscriptions"},
                {"action": "ping"},
                {"action": "unknown"},
            ]
        )
        await client.next_frame()
    await eventually(lambda: application.subscribers(entity_id) == [], "the client is disconnected")
