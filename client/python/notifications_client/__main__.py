"""Follow entities: `python -m notifications_client URL ENTITY... [--since CURSOR|last]`.

Events go to standard output, a frame a line. What else there is to know goes to standard error, as
JSON too: states, gaps and errors.
"""

import argparse
import asyncio
import json
import os
import re
import secrets
import shlex
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from . import (
    ClosedForGood,
    Event,
    Gap,
    NotificationsClient,
    State,
    Subscription,
    SubscriptionRefused,
    Times,
)
from .conversation import subject

# Numbers are printed with the digits that they came with: they are read as strings with this around
# them, which nobody can guess, and lose it and their quotes when they are written.
_MARK = secrets.token_hex(16)
_MARKED = re.compile(f'"{_MARK}([^"]*){_MARK}"')


def _mark(number: str) -> str:
    return f"{_MARK}{number}{_MARK}"


def line_of(frame: Mapping[str, Any]) -> str:
    """Return a frame as it came, in a line."""
    return _MARKED.sub(r"\1", json.dumps(frame, separators=(",", ":"))) + "\n"


class Output:
    """Write to standard output from a thread of its own.

    Whoever reads it slowly holds up what is written, but neither the connection nor the end.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)

    async def write(self, text: str) -> None:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, _write_all, text.encode())


def _write_all(data: bytes) -> None:
    while data:
        data = data[os.write(1, data) :]


def say(what: dict[str, Any]) -> None:
    """Write a line to standard error."""
    with suppress(OSError):
        print(json.dumps(what), file=sys.stderr, flush=True)


def say_state(state: State) -> None:
    said: dict[str, Any] = {"state": state.name}
    if state.code is not None:
        said |= {"code": state.code, "reason": state.reason, "willRetry": state.will_retry}
    if state.delay is not None:
        said["delayMs"] = round(state.delay * 1000)
    say(said)


async def token_of(command: Sequence[str]) -> str:
    """Return what a command prints."""
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        printed, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode:
        raise RuntimeError(f"the token command ended with status {process.returncode}")
    return printed.decode().strip()


def get_token_of(
    command: Sequence[str] | None, environment: Mapping[str, str]
) -> Callable[[str], Awaitable[str]] | None:
    """Return what fetches tokens; raise `ValueError` if CLIENT_TOKEN_COMMAND is no command.

    That of the environment is told why the token is needed, as docs/clients.md says.
    """
    if command:
        return lambda _: token_of(command)
    try:
        telling = shlex.split(environment.get("CLIENT_TOKEN_COMMAND", ""))
    except ValueError as error:
        raise ValueError(f"CLIENT_TOKEN_COMMAND: {error}") from error
    return (lambda why: token_of([*telling, why])) if telling else None


async def print_events(subscription: Subscription, output: Output) -> None:
    """Print what a subscription brings, until it ends; if it is refused, say so."""
    try:
        async for item in subscription.with_gaps():
            match item:
                case Event():
                    await output.write(line_of(item.frame))
                case Gap():
                    gap = {"from": item.after, "to": item.upto}
                    say({"gap": subject(item.entity_id) | gap})
    except SubscriptionRefused as error:
        said = {"code": error.code, "message": error.message}
        say({"error": subject(error.entity_id) | said})


async def follow(
    client: NotificationsClient, entities: Sequence[str], since: str | None, *, user: bool = False
) -> int:
    """Follow entities until a signal, or until nothing can come any more; return the status."""
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        # Windows has no handlers, and ends the program in its own way.
        with suppress(NotImplementedError):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    output = Output()
    async with client:
        subscriptions = [client.subscribe(each, since=since) for each in dict.fromkeys(entities)]
        if user:
            subscriptions.append(client.subscribe_user(since=since))
        printing = asyncio.gather(*(print_events(each, output) for each in subscriptions))
        stopping = asyncio.create_task(stopped.wait())
        either: set[asyncio.Future[Any]] = {printing, stopping}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        for task in (stopping, printing):
            task.cancel()
        try:
            await printing
        except asyncio.CancelledError:
            return 0
        except (ClosedForGood, BrokenPipeError):
            # The one was said with the state; of the other, nobody wants to hear.
            pass
    return 1


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        "python -m notifications_client",
        description="Follow entities and print their events.",
        epilog="In the environment, CLIENT_OPTIONS holds shorter times, and CLIENT_TOKEN_COMMAND "
        "what prints a token and is told why, as docs/clients.md says.",
    )
    made.add_argument("url", metavar="URL", help="ws:// or wss:// address of the service")
    made.add_argument("entities", metavar="ENTITY", nargs="+", help="id of what to follow")
    made.add_argument(
        "--since", metavar="CURSOR|last", help="begin after this event, or with the last one"
    )
    made.add_argument(
        "--user", action="store_true", help="follow what is pushed to the user of the token, too"
    )
    made.add_argument(
        "--token-command",
        metavar="COMMAND",
        type=shlex.split,
        help="prints a token; is run before each attempt to connect, and to renew a JWT",
    )
    return made


def times_of(options: str) -> Times:
    """Read CLIENT_OPTIONS; raise `ValueError` if it holds none."""
    try:
        parsed = json.loads(options)
        if not isinstance(parsed, dict):
            raise ValueError("no JSON object")
        return Times.of_options(parsed)
    except ValueError as error:
        raise ValueError(f"CLIENT_OPTIONS: {error}") from error


def main() -> int:
    """Run the command; return its exit status."""
    arguments = parser().parse_args()
    try:
        times = times_of(os.environ.get("CLIENT_OPTIONS") or "{}")
        client = NotificationsClient(
            arguments.url,
            get_token=get_token_of(arguments.token_command, os.environ),
            on_state=say_state,
            times=times,
            parse_float=_mark,
        )
    except ValueError as error:
        parser().error(str(error))
    return asyncio.run(follow(client, arguments.entities, arguments.since, user=arguments.user))


if __name__ == "__main__":
    # Without waiting for the thread: it may be stuck on somebody who reads no more.
    os._exit(main())
