"""Child processes that are ready when they answer, and gone when their block ends."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from local.aws import HOST
from local.errors import LocalRunError

_STOP_SECONDS = 10.0
_POLL_SECONDS = 0.05


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
        process = subprocess.Popen(  # noqa: S603 - the commands are this project's own
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
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
        yield
    finally:
        _stop(process)


def run_to_end(
    name: str, command: Sequence[str | Path], environment: Mapping[str, str], folder: Path
) -> None:
    """Run a command from a folder, and show its output only if it fails.

    Raises:
        LocalRunError: its exit status is not 0.
    """
    with subprocess.Popen(  # noqa: S603 - the commands are this project's own
        command,
        env=environment,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate()
        except BaseException:
            _stop(process)
            raise
    if process.returncode != 0:
        raise LocalRunError(f"{name} failed:\n{output}")


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


def _tail(log: Path, lines: int = 20) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
