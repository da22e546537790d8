"""Plays the dialogues of docs/protocol.md, which says what their lines mean.

What differs each time stands there as `<name>`. It is bound when it is met first, and the same from
then on. Entities and users get names of their own, for all tests share one table.
"""

import json
import re
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import uuid4

import pytest
from websockets.exceptions import ConnectionClosed

from integration.harness import Application, Client, eventually
from support.documents import Block, blocks

ANY_TEXT = "…"
_OWN = re.compile(r"\b(order-\d+|alice|bob|news)\b")
_CONNECTS_AS = re.compile(r"connects as (\S+), who may hear (.+?)(?:, for (\d+) seconds)?")
_TOKEN = re.compile(r"<token of (\S+), who may hear (.+?)>")
_NAME = re.compile(r"<([^<>]+)>")
# A name without quotes is a number.
_NUMBER = re.compile(r":(<[^<>\"]+>)")
_FORMS = {"epoch": "[0-9a-f]{12}", "id": "[0-9a-f-]{36}"}

MintToken = Callable[..., str]


def dialogues(*, with_tokens: bool) -> list[Block]:
    """Return the blocks to be played where tokens are asked for, or where they are not."""
    found = blocks("dialogue")
    return [block for block in found if ("connects as " in block.text) is with_tokens]


def meet(template: Any, actual: Any, names: dict[str, str]) -> None:
    """Compare what came with what a dialogue says, and bind the names that are new.

    Raises:
        AssertionError: it differs.
    """
    if isinstance(template, dict):
        assert isinstance(actual, dict) and actual.keys() == template.keys(), (template, actual)
        for key, value in template.items():
            meet(value, actual[key], names)
    elif isinstance(template, list):
        assert isinstance(actual, list) and len(actual) == len(template), (template, actual)
        for value, each in zip(template, actual, strict=True):
            meet(value, each, names)
    elif template == ANY_TEXT:
        assert isinstance(actual, str) and actual, (template, actual)
    elif isinstance(template, str) and template.startswith("#<"):
        assert isinstance(actual, int), (template, actual)
    elif isinstance(template, str) and _NAME.search(template):
        _bind(template, actual, names)
    else:
        assert type(actual) is type(template) and actual == template, (template, actual)


def _bind(template: str, actual: object, names: dict[str, str]) -> None:
    assert isinstance(actual, str), (template, actual)
    parts = _NAME.split(template)
    for at in range(1, len(parts), 2):
        form = _FORMS.get(parts[at].split()[-1], ".+")
        parts[at] = f"({re.escape(names.get(parts[at], '')) or form})"
    parts[::2] = map(re.escape, parts[::2])
    match = re.fullmatch("".join(parts), actual)
    assert match, (template, actual, names)
    names |= dict(zip(_NAME.findall(template), match.groups(), strict=True))
    if template.endswith("time>"):
        assert datetime.fromisoformat(actual).tzinfo, actual


@dataclass
class Dialogue:
    """A dialogue under way.

    Attributes:
        tenant: whose events and tokens they are; empty where there are no tenants.
    """

    application: Application
    mint: MintToken | None = None
    tenant: str = ""
    names: dict[str, str] = field(default_factory=dict)
    _open: AsyncExitStack = field(default_factory=AsyncExitStack)
    _client: Client | None = None
    _ends_at: float = 0

    async def play(self, block: Block) -> None:
        """Play a block; fail with its place, and the line that is not as it says."""
        text = _OWN.sub(rf"\1-{uuid4().hex[:8]}", block.text)
        async with self._open:
            for line in re.sub(r"\n +", " ", text).splitlines():
                try:
                    await self._do(line)
                except Exception as exc:
                    exc.add_note(f"{block}: {line}")
                    raise

    @property
    def client(self) -> Client:
        assert self._client, "nobody is connected"
        return self._client

    async def _do(self, line: str) -> None:
        verb, _, rest = line.partition(" ")
        match verb:
            case "→":
                await self.client.say(_NAME.sub(self._named, _TOKEN.sub(self._token, rest)))
            case "←":
                template = json.loads(_NUMBER.sub(r':"#\1"', rest))
                if template.get("code") == "TokenExpired" and template["type"] == "Disconnect":
                    # Not waiting for the minute, which the emulator counts too.
                    self.application.invoke("ExpireFunction")
                meet(template, await self.client.next_frame(), self.names)
            case "bus":
                # Two that are under way together may overtake each other.
                await self.application.settled()
                self._publish(json.loads(rest))
            case "connects":
                await self.application.settled()
                self._client = await self._open.enter_async_context(
                    self.application.client(token=self._presented(line))
                )
            case "leaves":
                await self.client.socket.close()
                self._client = None
            case _ if line == "is closed":
                with pytest.raises(ConnectionClosed):
                    await self.client.next_frame()
            case _ if line == "the token ends":
                await eventually(lambda: time.time() > self._ends_at, "the token has ended")
            case _:
                raise AssertionError("this is no line of a dialogue")

    def _publish(self, event: dict[str, Any]) -> None:
        assert event.keys() == {"detail-type", "detail"}
        detail = event["detail"] | ({"tenant": self.tenant} if self.tenant else {})
        entry = {
            "Source": "tests",
            "DetailType": event["detail-type"],
            "Detail": json.dumps(detail),
        }
        self.application.put_entry(entry)

    def _presented(self, line: str) -> str:
        """Return the token with which a line connects."""
        if line == "connects":
            return ""
        match = _CONNECTS_AS.fullmatch(line)
        assert match, "this is no line of a dialogue"
        user, patterns, seconds = match.groups()
        self._ends_at = int(time.time()) + int(seconds or 600)
        return self._minted(user, patterns, exp=self._ends_at)

    def _minted(self, user: str, patterns: str, **claims: Any) -> str:
        assert self.mint
        heard = [] if patterns == "nothing" else patterns.split(" and ")
        return self.mint(user, *heard, **claims)

    def _token(self, match: re.Match[str]) -> str:
        return self._minted(match[1], match[2])

    def _named(self, match: re.Match[str]) -> str:
        return self.names[match[1]]
