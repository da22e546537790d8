"""Follow the runbooks: run what their pages say to try on the local stack, and see what they say.

A block of commands that is followed by a block of text is run until it shows that text, where `…`
stands for anything.
"""

import asyncio
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from integration.conftest import deployment
from integration.harness import DEADLINE_SECONDS, Application, eventually
from integration.runbooks import NOTHING_RINGS, PAGES, SET_UP, SHOWN_BY_HAND, TRIED, blocks
from local import stack

# What is to be done with tokens, with those of nobody, and what cannot be done here.
WITH_TOKENS = ["authorize-errors", "expire-errors", "expire-stopped"]
NOTHING_TO_RUN = {"api-errors"}
WITHOUT_TOKENS = sorted(
    {path.stem for path in PAGES.glob("*.md")} - {"README", *WITH_TOKENS} - NOTHING_TO_RUN
)
# The entity of events/entity-updated.json.
ENTITY_ID = "myTestEntityId"


class Shell:
    """A shell as the runbooks set it up, for one stack."""

    def __init__(self, application: Application) -> None:
        self._environment = application.environment() | {
            "PATH": f"{stack.ROOT}/.venv/bin:{os.environ['PATH']}",
            # What the commands need is there, as far as a test can tell.
            "MAKEFLAGS": "-o .venv/local.done --no-print-directory",
        }
        # The first block is the way to the local stack, which is another one here.
        _, (self._prelude, _) = blocks("README", SET_UP)

    def run(self, commands: str) -> str:
        """Run commands; return what they print. Fail the test if the last one fails."""
        # A page that is wrong must not wait for an answer.
        result = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self._prelude + commands],
            cwd=stack.ROOT,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
            check=False,
        )
        assert result.returncode == 0, f"{commands}{result.stdout}{result.stderr}"
        return result.stdout + result.stderr

    async def shows(self, commands: str, lines: list[str]) -> None:
        """Run commands until they show all lines."""
        printed = ""

        def shown() -> bool:
            nonlocal printed
            printed = self.run(commands)
            return all(re.search(pattern(line), printed, re.MULTILINE) for line in lines)

        try:
            await eventually(shown, "the page's words")
        except AssertionError as exc:
            raise AssertionError(f"{commands}shows\n{printed}and not\n{lines}") from exc


def pattern(line: str) -> str:
    return "^" + ".*".join(map(re.escape, re.split(r"\s*…\s*", line)))


async def follow(page: str, application: Application, section: str) -> None:
    shell = Shell(application)
    for commands, lines in blocks(page, section):
        if lines:
            await shell.shows(commands, lines)
        else:
            await asyncio.to_thread(shell.run, commands)


@pytest.mark.parametrize("page", WITHOUT_TOKENS)
async def test_a_runbook_does_what_it_says(application: Application, page: str) -> None:
    throttled = page == "posts-throttled"
    if throttled:
        application.start_gateway("--fault-429", "0.5", "--fault-seed", "1")
    try:
        async with application.client() if page in WATCHED else nullcontext() as client:
            if client:
                await client.subscribe(ENTITY_ID)
            await follow(page, application, TRIED)
    finally:
        if throttled:
            application.start_gateway()


# Those that are about frames, and need somebody who gets them.
WATCHED = {"delivery-latency", "posts-throttled"}


async def test_what_no_alarm_tells_can_be_looked_at(application: Application) -> None:
    await follow("README", application, NOTHING_RINGS)


async def test_an_alarm_s_way_can_be_tried(application: Application) -> None:
    await follow("README", application, SHOWN_BY_HAND)


@pytest.fixture(scope="module")
def without_keys(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    """The application with tokens, for whose keys nobody answers."""
    parameters = {
        "Authentication": "JWT",
        # Those of the token in events/authorize.json.
        "TokenIssuer": "https://issuer.example",
        "TokenAudience": "notifications",
        "TokenKeysUrl": "http://127.0.0.1:9/jwks",
    }
    with deployment(built, tmp_path_factory.mktemp("without-keys"), parameters) as application:
        yield application


@pytest.mark.parametrize("page", WITH_TOKENS)
async def test_a_runbook_of_tokens_does_what_it_says(without_keys: Application, page: str) -> None:
    await follow(page, without_keys, TRIED)


@pytest.mark.parametrize("page", sorted(NOTHING_TO_RUN))
def test_what_cannot_be_tried_says_so(page: str) -> None:
    assert blocks(page, TRIED) == []
