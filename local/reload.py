"""An edit of the functions goes live while everything runs: sockets, table and queues stay.

The emulator runs the code where `sam build` put it. An edited file is copied there, and then the
functions' configuration is changed, upon which the emulator ends their workers and the next call
starts one with the new code. Calls that are under way get three seconds to end (local/emulator.py);
what takes longer, and what comes from a queue, is cut off, and queues bring it again.
"""

import os
import re
import shutil
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from local.errors import LocalRunError

Stamp = tuple[int, int]
Seen = Mapping[Path, Stamp]

REQUIREMENTS = Path("requirements.txt")
# Files that are told of by name at once.
_NAMED = 5
# What editors, tools and Python itself keep beside the code: hidden files, backups, and the number
# that vim writes to see whether it can.
_BESIDE_CODE = re.compile(r"\..*|.*~|.*\.(swp|swo|tmp|bak|orig|rej)|#.*#|4913|__pycache__")


class Reload:
    """Look for edits, and take them over.

    Args:
        source: the folder that is edited.
        package: the folder that the functions run from: the source, and what it depends on.
        templates: files that only a restart takes over.
        restart: ends the functions' workers.
        say, warn: tell the developer something good or bad.
    """

    def __init__(
        self,
        source: Path,
        package: Path,
        templates: tuple[Path, ...],
        restart: Callable[[], None],
        say: Callable[[str], None],
        warn: Callable[[str], None],
    ) -> None:
        self._source = source
        self._package = package
        self._restart = restart
        self._say = say
        self._warn = warn
        # As they were taken over, and as they were seen last.
        self._applied: Seen = {}
        self._seen: Seen = {}
        self._known: set[Path] = set()
        self._started_with = {
            path: path.read_bytes() for path in (source / REQUIREMENTS, *templates)
        }
        self._rest = dict(self._started_with)

    def look(self) -> None:
        """Take over what has changed since the last look but one: an editor may still be writing.

        Code with a syntax error is told of, and the old code stays until the next edit.
        """
        seen, before = self._stamps(), self._seen
        self._seen = seen
        self._known |= seen.keys()
        if seen == before != self._applied:
            # Gone since it was seen: there is a next time.
            with suppress(FileNotFoundError):
                self._take_over(seen)
        self._look_at_the_rest()

    def _take_over(self, seen: Seen) -> None:
        started = time.monotonic()
        changed = [path for path in seen if self._differs(path)]
        removed = [path for path in self._known - seen.keys() if (self._package / path).exists()]
        errors = [error for path in changed if (error := self._error_of(path))]
        # Also if something is wrong, so that it is told of once.
        self._applied = seen
        if errors:
            self._warn("\n".join([*errors, "Not reloaded: the old code stays."]))
        if errors or not (changed or removed):
            return
        for path in changed:
            self._copy(path)
        for path in removed:
            (self._package / path).unlink()
        try:
            self._restart()
        except LocalRunError as exc:
            self._warn(f"Not reloaded: {exc}")
            return
        first, *more = sorted([*changed, *removed])
        # As many as a checkout of another branch brings are no line to read.
        names = [str(first), *(map(str, more) if len(more) < _NAMED else [f"{len(more)} more"])]
        self._say(f"Reloaded {', '.join(names)} ({time.monotonic() - started:.2f} s)")

    def _look_at_the_rest(self) -> None:
        for path, content in self._rest.items():
            try:
                now = path.read_bytes()
            except OSError:
                now = b""
            if now != content:
                self._rest[path] = now
                if now == self._started_with[path]:
                    continue
                self._warn(f"{path.name} has changed: stop make local and start it anew for that.")

    def _stamps(self) -> Seen:
        stamps = {}
        # Unlike rglob, it passes over a folder that vanishes meanwhile, as in a checkout.
        for folder, folders, files in os.walk(self._source):
            folders[:] = [name for name in folders if not _is_passed_over(name)]
            for name in files:
                path = Path(folder, name)
                relative = path.relative_to(self._source)
                if _is_passed_over(name) or relative == REQUIREMENTS:
                    continue
                with suppress(OSError):
                    status = path.stat()
                    stamps[relative] = (status.st_mtime_ns, status.st_size)
        return stamps

    def _differs(self, path: Path) -> bool:
        deployed = self._package / path
        return not deployed.exists() or deployed.read_bytes() != (self._source / path).read_bytes()

    def _error_of(self, path: Path) -> str:
        """Return what is wrong with the syntax of a file; "" if nothing is."""
        if path.suffix != ".py":
            return ""
        shown = f"{self._source.name}/{path}"
        try:
            compile((self._source / path).read_bytes(), shown, "exec", dont_inherit=True)
        except (SyntaxError, ValueError) as exc:
            told = "".join(traceback.format_exception_only(exc)).rstrip()
            # Not all of them say where.
            return told if shown in told else f'  File "{shown}"\n{told}'
        return ""

    def _copy(self, path: Path) -> None:
        target = self._package / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self._source / path, target)
        # Compiled code is told from outdated one by second and size: two edits may share both.
        for compiled in (target.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
            compiled.unlink(missing_ok=True)


def _is_passed_over(name: str) -> bool:
    return _BESIDE_CODE.fullmatch(name) is not None
