"""Run the scenarios of docs/clients.md with clients: the two of this project, or any other.

``--client "command"`` runs another one, ``--as-specified`` one that does not read CLIENT_OPTIONS,
``--sees-status`` one that knows with which status a handshake was refused.

Scenarios wait most of the time, so they are played side by side in one event loop, and reported as
pytest comes to them.
"""

import asyncio
import inspect
import shlex
import shutil
import sys
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clients.client import ROOT, Command

# Starting a client takes a processor for a moment, and then next to nothing.
_SIDE_BY_SIDE = 8
_NODE_PACKAGES = ROOT / "client/js/node_modules/ws"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that say which client."""
    parser.addoption("--client", default="", help="the command of another client")
    parser.addoption("--as-specified", action="store_true", help="it reads no CLIENT_OPTIONS")
    parser.addoption("--sees-status", action="store_true", help="it sees statuses of handshakes")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers here, for runs that start with another configuration."""
    for name, reason in (
        ("least", 'also "The least" client passes it'),
        ("minutes", "takes minutes with a client that reads no CLIENT_OPTIONS"),
        ("long", "takes seconds, so it begins first"),
    ):
        config.addinivalue_line("markers", f"{name}: {reason}")
    config.stash[_PLAY] = Play()


def pytest_unconfigure(config: pytest.Config) -> None:
    """End what is still played, as after ``-x``."""
    config.stash[_PLAY].end()


def commands(config: pytest.Config) -> list[Command]:
    """Return the clients of a run; options are unknown when pytest was started on a parent."""
    if other := config.getoption("--client", default=""):
        return [
            Command(
                "other",
                tuple(shlex.split(other)),
                as_specified=config.getoption("--as-specified"),
                sees_status=config.getoption("--sees-status") or None,
            )
        ]
    node = "" if shutil.which("node") else "there is no node"
    packages = "" if _NODE_PACKAGES.exists() else f"there is no {_NODE_PACKAGES.relative_to(ROOT)}"
    return [
        Command(
            "js",
            ("node", "client/js/follow.mjs"),
            missing=node or packages,
            # Browsers do not say, so it does not ask elsewhere either.
            sees_status=False,
            tells_states=True,
            takes_tokens=True,
        ),
        Command(
            "python",
            (sys.executable, "-m", "notifications_client"),
            {"PYTHONPATH": str(ROOT / "client/python")},
            sees_status=True,
            tells_states=True,
            takes_tokens=True,
        ),
        Command("least", (sys.executable, "tests/clients/least.py"), is_least=True),
    ]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Play each scenario with each client that it is for."""
    if "command" not in metafunc.fixturenames:
        return
    marks = {mark.name for mark in metafunc.definition.iter_markers()}
    cases = []
    for command in commands(metafunc.config):
        if command.is_least and "least" not in marks:
            continue
        reason = command.missing
        if command.as_specified and "minutes" in marks:
            reason = "would take minutes"
        skip = [pytest.mark.skip(reason=reason)] if reason else []
        cases.append(pytest.param(replace(command), id=command.name, marks=skip))
    metafunc.parametrize("command", cases)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Play a scenario, and those that will be asked for later beside it."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    pyfuncitem.config.stash[_PLAY].result(pyfuncitem)
    return True


class Play:
    """All scenarios of a run, side by side."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def result(self, item: pytest.Function) -> None:
        """Wait for a scenario; raise what it raised."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._begin(self._loop, item.session.items)
        self._loop.run_until_complete(self._tasks[item.nodeid])

    def end(self) -> None:
        """Give up what nobody waits for any more."""
        if self._loop is None:
            return
        for task in self._tasks.values():
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*self._tasks.values(), return_exceptions=True))
        self._loop.close()

    def _begin(self, loop: asyncio.AbstractEventLoop, items: list[pytest.Item]) -> None:
        room = asyncio.Semaphore(_SIDE_BY_SIDE)

        async def play(scenario: Coroutine[Any, Any, None]) -> None:
            try:
                async with room:
                    await scenario
            finally:
                scenario.close()

        scenarios = [
            item
            for item in items
            if isinstance(item, pytest.Function)
            # All of the run are here, those of other folders too.
            and item.path.is_relative_to(Path(__file__).parent)
            and inspect.iscoroutinefunction(item.obj)
            and not item.get_closest_marker("skip")
        ]
        for item in sorted(scenarios, key=lambda each: not each.get_closest_marker("long")):
            self._tasks[item.nodeid] = loop.create_task(play(item.obj(**item.callspec.params)))


_PLAY = pytest.StashKey[Play]()
