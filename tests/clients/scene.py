"""What a scenario is played with: the service, the client, and what comes out in the end."""

import asyncio
import time
from dataclasses import asdict, dataclass, replace
from types import TracebackType
from typing import Self

import pytest

from clients.client import Client, Command
from clients.service import Service
from clients.tokens import Tokens
from clients.topics import USER, Frame, about, id_of, is_cursor
from clients.waiting import Changes

_PATIENCE_SECONDS = 20.0
# As specified, what is waited for may take two replies and the longest delay.
_MORE_PATIENCE_SECONDS = 40.0
_SHOWN_LINES = 60
_SHOWN_CHARACTERS = 300


@dataclass(frozen=True)
class Times:
    """How long a client waits for what, in seconds, as docs/clients.md says."""

    connect: float = 10.0
    reply: float = 5.0
    ping: float = 480.0
    pong: float = 5.0
    rotate: tuple[float, float] = (6300.0, 6900.0)
    min_delay: float = 0.5
    max_delay: float = 20.0
    stable: float = 5.0
    hold: float = 2.0

    def options(self) -> Frame:
        """Return what CLIENT_OPTIONS holds."""
        names = {
            "connect": "connectTimeoutMs",
            "reply": "replyTimeoutMs",
            "ping": "pingIntervalMs",
            "pong": "pongTimeoutMs",
            "rotate": "rotateAfterMs",
            "min_delay": "minReconnectDelayMs",
            "max_delay": "maxReconnectDelayMs",
            "stable": "stableAfterMs",
            "hold": "holdMs",
        }
        return {names[name]: _milliseconds(value) for name, value in asdict(self).items()}


# A scenario makes short what it waits for. All else is long, so that it does not happen on a busy
# machine where it must not.
PATIENT = Times(connect=30.0, reply=30.0, pong=30.0, min_delay=0.03, max_delay=0.3, hold=300.0)


class Scene:
    """The service and a client, for one scenario.

    At the end the client is asked to leave, and must: within its time, having handed on what was
    expected and nothing else, and having done nothing that the service minds.
    """

    def __init__(
        self,
        command: Command,
        *,
        rotate: tuple[float, float] | None = None,
        **times: float,
    ) -> None:
        """Prepare a scenario; `times` are those that it makes short."""
        self.command = command
        self.tokens: Tokens | None = None
        self.times = Times()
        if not command.as_specified:
            self.times = replace(PATIENT, rotate=rotate or PATIENT.rotate, **times)
        more = _MORE_PATIENCE_SECONDS if command.as_specified else 0.0
        self.changes = Changes(_PATIENCE_SECONDS + more)
        self.service = Service(self.changes, min_delay=self.times.min_delay, ping=self.times.ping)
        self._client: Client | None = None
        self._url = ""
        self._expected: dict[str, list[Frame]] = {}
        self._gaps: list[Frame] = []

    async def __aenter__(self) -> Self:
        self._url = await self.service.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                await self._finish()
        except BaseException as exc:
            error = exc
            raise
        finally:
            if self._client:
                await self._client.kill()
            await self.service.stop()
            if self.tokens:
                self.tokens.remove()
            if error is not None:
                error.add_note(self._story())

    @property
    def client(self) -> Client:
        assert self._client, "the client was started"
        return self._client

    def hands_out(self, token: str) -> Tokens:
        """Have the client find tokens, this one first."""
        self.tokens = Tokens(token)
        return self.tokens

    async def follow(self, *entity_ids: str, since: str | None = None, user: bool = False) -> None:
        """Start the client; with `user`, it is to follow what is pushed to its user, too."""
        names, more = entity_ids, ["--since", since] if since else []
        if user:
            entity_ids, more = (*entity_ids, USER), [*more, "--user"]
        self.service.entity_ids = list(entity_ids)
        self._expected |= {entity_id: [] for entity_id in entity_ids}
        if since and is_cursor(since):
            for entity_id in entity_ids:
                self.service.position_of(entity_id).begins(since)
        options = None if self.command.as_specified else self.times.options()
        self._client = await Client.start(
            self.command,
            [self._url, *names, *more],
            options,
            self.tokens.command if self.tokens else None,
            self.changes,
        )
        if self.tokens:
            await self._take_tokens()

    async def _take_tokens(self) -> None:
        """See that the client has brought a token; one that nobody knows may never do."""
        await self.service.attempted(1)
        if self.command.takes_tokens is None and self.service.tokens == [None]:
            pytest.skip("this client reads no CLIENT_TOKEN_COMMAND")

    async def hands_on(self, *frames: Frame) -> None:
        """Wait until the client has handed on these frames after those of before."""
        for frame in frames:
            self._expected[id_of(frame)].append(frame)
        await self.changes.until(
            lambda: all(
                len(self.client.of(entity_id)) >= len(expected)
                for entity_id, expected in self._expected.items()
            ),
            f"{len(frames)} more events are handed on",
        )
        self._compare()

    async def tells_gap(self, entity_id: str, start: str, end: str) -> None:
        """Wait until the client has told a gap."""
        self._gaps.append(about(entity_id) | {"from": start, "to": end})
        await self.changes.until(
            lambda: len(self.client.told_of("gap")) >= len(self._gaps), "a gap is told"
        )
        assert self.client.told_of("gap") == self._gaps

    async def tells_error(self, entity_id: str, code: str) -> None:
        """Wait until the client has told that a subscription is refused."""
        wanted = about(entity_id) | {"code": code}
        await self.changes.until(
            lambda: any(wanted.items() <= each.items() for each in self.client.told_of("error")),
            f"the error {wanted} is told",
        )

    async def tells(self, state: str, count: int = 1, **fields: object) -> list[Frame]:
        """Wait until a state was told so often, if this client tells states, and return all of it.

        A client that nobody knows has told `connecting` before it can be asked about anything.
        """
        if not self.command.tells_states and not self.client.told_of("state"):
            return []
        wanted = {"state": state, **fields}

        def told() -> list[Frame]:
            return [each for each in self.client.told_of("state") if wanted.items() <= each.items()]

        await self.changes.until(lambda: len(told()) >= count, f"{count} times {wanted} is told")
        return told()

    async def ends(self, *codes: str) -> None:
        """Wait until the client has left by itself, with one of these codes."""
        assert await self.client.ends() != 0, "what ends by itself has failed"
        if self.command.tells_states or self.client.told_of("state"):
            last = self.client.told_of("state")[-1]
            assert (last["state"], last["willRetry"]) == ("closed", False), last
            assert last["code"] in codes, last

    async def passes(self, seconds: float) -> None:
        """Let time pass: only where what is tested is that nothing happens in it."""
        await asyncio.sleep(seconds)

    async def _finish(self) -> None:
        if self._client:
            began = time.monotonic()
            await self._client.terminate()
            self.service.note(f"the client has left after {time.monotonic() - began:.3f} s")
            self._compare()
            assert not self._client.complaints, "standard output holds events alone"
            assert self._client.told_of("gap") == self._gaps
        assert not self.service.violations, self.service.violations

    def _compare(self) -> None:
        """Compare what was handed on with what should have been, order included."""
        for entity_id, expected in self._expected.items():
            handed_on = self.client.of(entity_id)
            assert [each.get("cursor") for each in handed_on] == [
                each["cursor"] for each in expected
            ], "each once, in order"
            assert handed_on == expected, "frames are passed on as they came"
        assert len(self.client.events) == sum(map(len, self._expected.values()))

    def _story(self) -> str:
        seen = self.service.transcript
        left_out = ["..."] if len(seen) > 2 * _SHOWN_LINES else []
        lines = ["", "What the service saw:", *seen[:_SHOWN_LINES], *left_out]
        lines += seen[_SHOWN_LINES:][-_SHOWN_LINES:]
        if self._client:
            lines += ["What the client told:", *map(str, self._client.told[-_SHOWN_LINES:])]
            lines += self._client.other_lines[-_SHOWN_LINES:]
            lines += ["What else it printed:", *self._client.complaints[:5]]
        return "\n".join(line[:_SHOWN_CHARACTERS] for line in lines)


def _milliseconds(value: float | tuple[float, float]) -> float | list[float]:
    if isinstance(value, tuple):
        return [round(each * 1000) for each in value]
    return round(value * 1000)
