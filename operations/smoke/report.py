"""Runs checks, and says plainly how each ended."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from botocore.exceptions import BotoCoreError, ClientError

from operations.smoke.outcome import Failed, Skipped
from operations.smoke.scene import Scene

# Whatever a check waits for has a limit of its own; this one is for what forgot to have one.
LONGEST_SECONDS = 120
_TOKEN = re.compile(r"eyJ[\w-]*\.[\w-]+\.[\w-]*")


@dataclass(frozen=True, slots=True)
class Check:
    """A promise, and how to see whether it is kept.

    Attributes:
        logs: logical ids of the log groups that say more.
        look_at: what else to look at if it fails.
        beside: whether it mostly waits, and may run beside the others.
    """

    run: Callable[[Scene], Awaitable[None]]
    logs: tuple[str, ...] = ()
    look_at: str = ""
    beside: bool = False

    @property
    def sentence(self) -> str:
        return self.run.__name__.replace("_", " ")


class Status(Enum):
    OK = "ok"
    FAILED = "FAILED"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Result:
    """How a check ended, and why if not well."""

    check: Check
    status: Status
    seconds: float = 0.0
    why: str = ""


async def run(
    checks: Sequence[Check], scene: Scene, skip: Sequence[str] = ()
) -> AsyncIterator[Result]:
    """Run checks one after another; those beside them end last.

    The first is the entrance: if it fails, nothing else is tried. Others are left out if their
    sentence holds a word of `skip`.
    """
    entrance, *all_others = checks
    rest = []
    for check in all_others:
        if any(word in check.sentence for word in skip):
            yield Result(check, Status.SKIPPED, why="left out, by SKIP")
        else:
            rest.append(check)
    result = await _run(entrance, scene)
    yield result
    if result.status is not Status.OK:
        for check in rest:
            yield Result(check, Status.SKIPPED, why="no client gets in")
        return
    async with asyncio.TaskGroup() as tasks:
        beside = [tasks.create_task(_run(check, scene)) for check in rest if check.beside]
        for check in rest:
            if not check.beside:
                yield await _run(check, scene)
        for task in beside:
            yield await task


async def _run(check: Check, scene: Scene) -> Result:
    began = time.monotonic()
    status, why = Status.OK, ""
    try:
        async with asyncio.timeout(LONGEST_SECONDS):
            await check.run(scene)
    except Skipped as skipped:
        status, why = Status.SKIPPED, str(skipped)
    except Failed as failed:
        status, why = Status.FAILED, str(failed)
    except TimeoutError:
        status, why = Status.FAILED, f"not done within {LONGEST_SECONDS} s"
    except (BotoCoreError, ClientError) as exc:
        status, why = Status.FAILED, str(exc)
    # A reply without what it must have, and whatever else a broken stack can answer.
    except Exception as exc:
        status, why = Status.FAILED, f"{type(exc).__name__}: {exc}"
    return Result(check, status, time.monotonic() - began, why)


@dataclass(slots=True)
class Report:
    """The text of a run.

    No token is shown, though somebody's answer may hold one.

    Args:
        log_of: what to type to read the log of a log group, by its logical id.
    """

    log_of: Callable[[str], str] = str
    results: list[Result] = field(default_factory=list)

    def lines(self, result: Result) -> list[str]:
        """Add a result, and return its lines."""
        self.results.append(result)
        check, status = result.check, result.status
        if status is Status.SKIPPED:
            return [f"{status.value:7}         {check.sentence} ({self._clean(result.why)})"]
        lines = [f"{status.value:7} {result.seconds:5.1f} s {check.sentence}"]
        if status is Status.FAILED:
            hints = [check.look_at, *map(self.log_of, check.logs)]
            indent = " " * 16
            lines.append(f"{indent}{self._clean(result.why)}")
            lines += [f"{indent}look at: {hint}" for hint in hints if hint]
        return lines

    def last_line(self, seconds: float) -> str:
        counted = ", ".join(f"{self._count(each)} {each.value}" for each in Status)
        return f"{counted}, in {seconds:.0f} s"

    @property
    def is_good(self) -> bool:
        """Whether nothing failed, and something was seen to work."""
        return not self._count(Status.FAILED) and self._count(Status.OK) > 0

    def _count(self, status: Status) -> int:
        return sum(each.status is status for each in self.results)

    def _clean(self, text: str) -> str:
        # One line, whatever an answer holds.
        return " ".join(_TOKEN.sub("<token>", text).split())
