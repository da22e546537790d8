"""`make invoke`: run one function on an event, against the table and the queues of `make local`.

It runs in this process, on the interpreter, the dependencies and the variables that it has in the
emulator, and on the code as it is in `functions/` now. Only its permissions are missing: it may do
everything. Its result goes to standard output, and what it logs to standard error.

Nothing of `make local`'s own environment is imported: functions run without it.
"""

import argparse
import fcntl
import importlib
import inspect
import json
import os
import pdb
import sys
import time
import traceback
import uuid
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from io import TextIOBase
from pathlib import Path
from types import FrameType
from typing import Any

from local.errors import LocalRunError
from local.log_lines import of_invocation, shown

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / ".local"
SOURCE = ROOT / "functions"
# As long as one sits at the debugger.
_DAY_SECONDS = 86_400

Handler = Callable[[Any, Any], Any]


def main(arguments: Sequence[str]) -> int:
    options = _parse(arguments)
    try:
        running = _running()
        function = _function(running["functions"], options.function)
        event = _event(options.event or ROOT / f"events/{options.function}.json")
    except LocalRunError as exc:
        sys.stderr.write(f"{exc}\n")
        return 1
    os.environ.update(running["environment"] | function["variables"])
    # What is edited before what was built, and nothing of the project beside it.
    sys.path[:] = [str(SOURCE), running["package"], *filter(_is_of_python, sys.path)]
    started = time.monotonic()
    try:
        result = _run(options.function, function, event, debugged=options.debug)
    except Exception as exc:  # whatever the function raises
        sys.stderr.write("".join(_traceback(exc)))
        return 1
    took = f"{options.function} returned after {time.monotonic() - started:.2f} s"
    sys.stderr.write(f"{took}\n")
    sys.stdout.write(f"{json.dumps(result, indent=2)}\n")
    return 0


def _running() -> dict[str, Any]:
    """Return what `make local` tells of its functions.

    Raises:
        LocalRunError: it does not run here, or not yet.
    """
    if not _is_locked(FOLDER / "lock"):
        raise LocalRunError("make local does not run in this folder: start it in another terminal.")
    try:
        told: dict[str, Any] = json.loads((FOLDER / "functions.json").read_text())
    except (OSError, ValueError):
        raise LocalRunError("make local is not ready yet.") from None
    return told


def _is_locked(path: Path) -> bool:
    try:
        with path.open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _function(functions: dict[str, dict[str, Any]], name: str) -> dict[str, Any]:
    if name not in functions:
        if name.isidentifier() and (SOURCE / name / "app.py").exists():
            said = f"This run has no '{name}', which is for tokens: make local AUTH=jwt has it."
        else:
            said = f"There is no function '{name}'." if name else "Which function?"
        names = " ".join(sorted(functions))
        raise LocalRunError(f"{said} make invoke FUNCTION=name, with one of: {names}")
    return functions[name]


def _event(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise LocalRunError(
            f"There is no event in {path}. Another file: make invoke EVENT=path"
        ) from None
    except (OSError, ValueError) as exc:
        raise LocalRunError(f"{path} is no event: {exc}") from exc


def _is_of_python(folder: str) -> bool:
    return bool(folder) and Path(folder) != ROOT


class Context:
    """What Lambda tells a function of an invocation."""

    function_version = "$LATEST"
    log_stream_name = "make invoke"
    identity = None
    client_context = None

    def __init__(self, function: dict[str, Any], seconds: float) -> None:
        self.function_name = function["name"]
        self.invoked_function_arn = function["arn"]
        self.memory_limit_in_mb = function["memory"]
        self.log_group_name = function["logGroup"]
        self.aws_request_id = str(uuid.uuid4())
        self._ends_at = time.monotonic() + seconds

    def get_remaining_time_in_millis(self) -> int:
        return max(0, int((self._ends_at - time.monotonic()) * 1000))


def _run(name: str, function: dict[str, Any], event: Any, *, debugged: bool) -> Any:
    context = Context(function, _DAY_SECONDS if debugged else function["timeout"])
    module, _, attribute = function["handler"].rpartition(".")
    debugger = Debugger()
    sys.breakpointhook = debugger.hook
    with redirect_stdout(Log(name)):
        handler: Handler = getattr(importlib.import_module(module), attribute)
        if debugged:
            return debugger.call(handler, event, context)
        return handler(event, context)


class Debugger(pdb.Pdb):
    """Python's own, at the terminal: it needs nothing to be installed, and no editor set up."""

    def __init__(self) -> None:
        # Not where the function's log goes.
        super().__init__(stdin=sys.stdin, stdout=sys.stderr)
        self.prompt = "(Pdb) "

    def hook(self, *arguments: object, **keywords: object) -> None:
        """Be what `breakpoint()` calls."""
        caller: FrameType | None = sys._getframe(1)
        self.set_trace(caller)

    def call(self, handler: Handler, event: Any, context: Context) -> Any:
        """Call a handler, and stop in its first line: behind the decorators around it."""
        code = inspect.unwrap(handler).__code__
        # The decorators and the head of a function are no lines of its own, but for the first one.
        lines = [line for _, _, line in code.co_lines() if line and line > code.co_firstlineno]
        self.set_break(code.co_filename, min(lines, default=code.co_firstlineno))
        # From where it stops of itself, in the outermost decorator.
        self.cmdqueue.append("continue")
        return self.runcall(handler, event, context)


class Log(TextIOBase):
    """Show what a function prints and logs as `make local` shows it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._rest = ""

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for message in lines:
            for line in of_invocation(int(time.time() * 1000), self._name, [message]):
                sys.stderr.write(f"{shown(line, coloured=_coloured())}\n")
        return len(text)

    def flush(self) -> None:
        sys.stderr.flush()


def _coloured() -> bool:
    return sys.stderr.isatty() and "NO_COLOR" not in os.environ


def _traceback(exc: Exception) -> list[str]:
    """Return a traceback without this file's part of it."""
    frames = exc.__traceback__
    while frames and frames.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next
    return traceback.format_exception(exc.with_traceback(frames))


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make invoke", usage="make invoke FUNCTION=name [EVENT=file] [DEBUG=1]"
    )
    parser.add_argument("--function", default="", help="which one (FUNCTION)")
    parser.add_argument("--event", type=Path, help="another than in events/ (EVENT)")
    parser.add_argument("--debug", action="store_true", help="stop in its first line (DEBUG)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
