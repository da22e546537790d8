"""`make smoke`: see whether a stack does what it promises."""

import asyncio
import os
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from local import lines
from local.aws import LocalAws
from local.issuer import Issuer
from local.stack import STACK_NAME
from operations.deployed import local_outputs, parser
from operations.smoke import checks, report
from operations.smoke.client import connected
from operations.smoke.outcome import Skipped
from operations.smoke.report import Report
from operations.smoke.scene import Scene
from operations.smoke.stack import NoStackError, Stack
from operations.smoke.tokens import Given, OfLocalIssuer, OfSecret, Tokens

_CONFIG = Config(connect_timeout=5, read_timeout=20, retries={"total_max_attempts": 3})


def main(arguments: Sequence[str]) -> int:
    """Return 0 if all that could be looked at is well, 1 if not, 2 if nothing could."""
    parsed = parser("make smoke", __doc__)
    parsed.add_argument(
        "--skip", action="append", default=[], help="leave out checks that hold a word (SKIP)"
    )
    options = parsed.parse_args(arguments)
    given = os.environ.get("TOKEN", "")
    try:
        issuer = None
        if options.local:
            known = local_outputs()
            own = Issuer.own(int(known["PageUrl"].rpartition(":")[2]))
            issuer = own if Issuer.of_outputs(known) == own else None
            stack = Stack(STACK_NAME, LocalAws.of_outputs(known).client)
            aws = lines.aws(known)
        else:
            aws = "aws"
            stack = Stack(options.stack_name, _client)
        tokens = _tokens(stack, given, issuer)
    except FileNotFoundError as exc:
        print(exc, file=sys.stderr)
        return 2
    except (NoStackError, BotoCoreError, ClientError, OSError, ValueError, Skipped) as exc:
        print(f"Nothing to look at: {exc}", file=sys.stderr)
        return 2
    print(f"{stack.name}, {stack.outputs['WebsocketUri']}\n", flush=True)
    scene = Scene(stack, connected, tokens)
    reported = Report(_log_of(stack, aws))
    try:
        return 0 if asyncio.run(look(scene, reported, skip=options.skip)) else 1
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 1


async def look(
    scene: Scene,
    reported: Report,
    wanted: Sequence[report.Check] = checks.CHECKS,
    skip: Sequence[str] = (),
) -> bool:
    """Run checks, print how each ended, and clean up; return whether all is well."""
    began = time.monotonic()
    try:
        async for result in report.run(wanted, scene, skip):
            print(*reported.lines(result), sep="\n", flush=True)
    finally:
        left = await scene.clean()
    print()
    if scene.measured:
        print(checks.measures(scene.measured))
    if left:
        print(left)
    print(reported.last_line(time.monotonic() - began))
    return reported.is_good


def _client(service: str) -> Any:
    return boto3.client(service, config=_CONFIG)  # type: ignore[call-overload]


def _tokens(stack: Stack, given: str, issuer: Issuer | None) -> Tokens | None:
    """Return where tokens come from; raise `Skipped` or `ValueError` if nowhere."""
    if not stack.asks_for_tokens:
        return None
    if given:
        return Given(given, stack.parameters["TenantClaim"])
    if issuer is not None:
        return OfLocalIssuer(issuer)
    if stack.parameters["TokenKeysUrl"]:
        raise ValueError(
            f"{stack.name} takes the tokens of {stack.parameters['TokenIssuer']}:"
            " give one that allows smoke/** as TOKEN=..."
        )
    return OfSecret(stack.secret(), stack.parameters)


def _log_of(stack: Stack, aws: str) -> Callable[[str], str]:
    """Return what says how to read a log group, with the `aws` command of the stack."""

    def command(log_group: str) -> str:
        try:
            return f"{aws} logs tail {shlex.quote(stack.resource(log_group))} --since 10m"
        except (BotoCoreError, ClientError, Skipped, KeyError):
            return f"the log of {log_group}"

    return command


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
