"""Start a client as `docs/clients.md` says, and read what it prints."""

import asyncio
import json
import os
import signal
from asyncio.subprocess import PIPE, Process
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from clients.topics import Frame, id_of
from clients.waiting import Changes

ROOT = Path(__file__).parents[2]
# The page's.
GONE_WITHIN_SECONDS = 5.0
# A frame has 120 KB at most, and escapes make more of it.
_LONGEST_LINE = 2**21
_EVENTS = ("Entity Updated", "User Push Notification")


@dataclass(frozen=True)
class Command:
    """A client under test.

    Attributes:
        name: what it is called in the names of scenarios.
        argv: how it is started.
        environment: over this process's own.
        missing: why it cannot be run here; empty if it can.
        is_least: it does what "The least" says, and no more.
        as_specified: it does not read CLIENT_OPTIONS.
        sees_status: it knows with which status a handshake was refused; None if nobody has said.
        tells_states: it says on standard error what becomes of its connection; None if nobody has
            said that it does: then what it says has to be right.
        takes_tokens: it reads CLIENT_TOKEN_COMMAND; None if nobody has said that it does: then
            what it does with tokens has to be right.
    """

    name: str
    argv: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)
    missing: str = ""
    is_least: bool = False
    as_specified: bool = False
    sees_status: bool | None = None
    tells_states: bool | None = None
    takes_tokens: bool | None = None


class Client:
    """A running client.

    Attributes:
        events: what it handed on, in its order.
        told: the JSON objects of its standard error.
        complaints: what it should not have printed.
        status: what it left with; None while it runs.
    """

    def __init__(self, process: Process, changes: Changes) -> None:
        self.events: list[Frame] = []
        self.told: list[Frame] = []
        self.other_lines: list[str] = []
        self.complaints: list[str] = []
        self.status: int | None = None
        self._process = process
        self._changes = changes
        self._life = asyncio.create_task(self._live())

    @classmethod
    async def start(
        cls,
        command: Command,
        arguments: list[str],
        options: Frame | None,
        token_command: str | None,
        changes: Changes,
    ) -> Self:
        """Start a command; without `options` it does as the page says."""
        environment = {**os.environ, **command.environment}
        for name in ("CLIENT_OPTIONS", "CLIENT_TOKEN_COMMAND"):
            environment.pop(name, None)
        if options is not None:
            environment["CLIENT_OPTIONS"] = json.dumps(options)
        if token_command is not None:
            environment["CLIENT_TOKEN_COMMAND"] = token_command
        process = await asyncio.create_subprocess_exec(
            *command.argv,
            *arguments,
            cwd=ROOT,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            limit=_LONGEST_LINE,
        )
        return cls(process, changes)

    def of(self, entity_id: str) -> list[Frame]:
        """Return what it handed on of an entity."""
        return [event for event in self.events if id_of(event) == entity_id]

    def told_of(self, name: str) -> list[Frame]:
        """Return what it told by a name: `gap`, `error`; for `state`, the whole objects."""
        found = [each for each in self.told if name in each]
        return found if name == "state" else [each[name] for each in found]

    async def ends(self) -> int:
        """Wait until it has left by itself, and return its status."""
        await self._changes.until(lambda: self.status is not None, "the client leaves")
        assert self.status is not None
        # It may; what else is waited for may still come.
        self._changes.over = ""
        return self.status

    async def terminate(self) -> None:
        """Ask it to leave, and wait until it has.

        Raises:
            AssertionError: It did not, in the time that the page gives it.
        """
        if self.status is None:
            self._process.send_signal(signal.SIGTERM)
            _, pending = await asyncio.wait([self._life], timeout=GONE_WITHIN_SECONDS)
            assert not pending, f"is not gone {GONE_WITHIN_SECONDS} s after SIGTERM"

    async def kill(self) -> None:
        """Be sure that it is gone."""
        if self._process.returncode is None:
            self._process.kill()
        await self._life

    async def _live(self) -> None:
        await asyncio.gather(self._read_events(), self._read_told())
        self.status = await self._process.wait()
        self._changes.over = f"the client has left with {self.status}"
        self._changes.happened()

    async def _read_events(self) -> None:
        assert self._process.stdout
        async for line in self._process.stdout:
            event = _parsed(line)
            if event is None or event.get("type") not in _EVENTS:
                self.complaints.append(line.decode(errors="replace"))
            else:
                self.events.append(event)
            self._changes.happened()

    async def _read_told(self) -> None:
        assert self._process.stderr
        async for line in self._process.stderr:
            told = _parsed(line)
            if told is None:
                self.other_lines.append(line.decode(errors="replace"))
            else:
                self.told.append(told)
            self._changes.happened()


def _parsed(line: bytes) -> Frame | None:
    try:
        parsed = json.loads(line)
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict) else None
