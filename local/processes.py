"""Child processes that are ready when they answer, and gone when their block ends.

They end as well when this process is killed before it can end them: see `local.reaper`.
"""

import atexit
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any, cast

from local.aws import HOST
from local.errors import LocalRunError

_STOP_SECONDS = 10.0
_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class _Running:
    """A child process that runs in the background."""

    name: str
    process: subprocess.Popen[Any]
    log: Path


_running: list[_Running] = []


def require_running() -> None:
    """Raise `LocalRunError` if one of those that run in the background has ended."""
    for child in _running:
        if child.process.poll() is not None:
            raise LocalRunError(
                f"The {child.name} has ended ({_end_of(child.process)}); all else is stopped."
                f" The end of {child.log}:\n{_tail(child.log)}"
            )


def require_free_port(port: int, variable: str) -> None:
    """Raise `LocalRunError` unless a server can listen on the port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError) as exc:
            raise LocalRunError(
                f"Port {port} on {HOST} cannot be used ({exc}).\n"
                f"Stop what listens there, or choose another: make local {variable}=<port>"
            ) from exc


@contextmanager
def running(
    name: str,
    command: Sequence[str | Path],
    environment: Mapping[str, str],
    *,
    log: Path,
    ready: Callable[[], bool],
    within_seconds: float,
) -> Iterator[None]:
    """Run a command in the background until the block ends; enter it once `ready()` is true.

    The command gets a process group of its own, so that Ctrl-C reaches only this process, which
    then stops the whole group in order.

    Raises:
        LocalRunError: the command ended or was not ready in time.
    """
    with log.open("wb") as output:
        process = _start(command, environment, output)
    child = _Running(name, process, log)
    try:
        deadline = time.monotonic() + within_seconds
        # Asked in this order: another program may answer on the port that this one found taken.
        while not ready() or process.poll() is not None:
            if process.poll() is not None:
                raise LocalRunError(f"The {name} ended early.\n{_tail(log)}")
            if time.monotonic() > deadline:
                raise LocalRunError(
                    f"The {name} is not ready after {within_seconds:g} s. See {log}"
                )
            time.sleep(_POLL_SECONDS)
        _running.append(child)
        yield
    finally:
        with suppress(ValueError):
            _running.remove(child)
        _stop(process)


def run_to_end(
    name: str, command: Sequence[str | Path], environment: Mapping[str, str], folder: Path
) -> None:
    """Run a command from a folder, and show its output only if it fails.

    Raises:
        LocalRunError: its exit status is not 0.
    """
    with _start(command, environment, subprocess.PIPE, folder) as process:
        try:
            output, _ = process.communicate()
        finally:
            _stop(process)
    if process.returncode != 0:
        raise LocalRunError(f"{name} failed:\n{output.decode(errors='replace')}")


def _start(
    command: Sequence[str | Path],
    environment: Mapping[str, str],
    output: Any,
    folder: Path | None = None,
) -> subprocess.Popen[bytes]:
    reaper = _reaper()
    process = subprocess.Popen(  # noqa: S603 - the commands are this project's own
        command,
        env=environment,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    _tell(reaper, f"+{process.pid}")
    return process


@cache
def _reaper() -> IO[str]:
    """Start the reaper of this process, once, and return where to tell it what is running."""
    # Outside of the terminal's process group, and of this process's, which may be killed whole.
    reaper = subprocess.Popen(  # noqa: S603 - this project's own
        [sys.executable, "-P", Path(__file__).with_name("reaper.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    atexit.register(reaper.communicate)
    return cast(IO[str], reaper.stdin)


def _tell(reaper: IO[str], line: str) -> None:
    # Somebody may have killed it, which is no reason to fail.
    with suppress(BrokenPipeError):
        print(line, file=reaper, flush=True)


def _stop(process: subprocess.Popen[Any]) -> None:
    """Ask the whole group to end; after ten seconds, end it."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(_STOP_SECONDS)
        except ProcessLookupError:
            break
        except subprocess.TimeoutExpired:
            continue
    _tell(_reaper(), f"-{process.pid}")


def _end_of(process: subprocess.Popen[Any]) -> str:
    status = process.returncode
    return f"signal {-status}" if status < 0 else f"exit status {status}"


def _tail(log: Path, lines: int = 20) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
