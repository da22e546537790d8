"""End what a program has left running that was killed before it could do so itself.

`python reaper.py` reads lines from its standard input, `+17` for a process group that was started
and `-17` for one that has ended, until nobody holds the other end any more: that is when the
program has ended, however it did. What is still there then gets SIGTERM, and two seconds later
SIGKILL. Pipes close by themselves on every system, and no process can outlive the news of it.
"""

import os
import signal
import sys
import time

_GRACE_SECONDS = 2.0
_POLL_SECONDS = 0.05


def main() -> None:
    # Whatever ends the program by way of its terminal is not meant for this one.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        change = groups.add if line.startswith("+") else groups.discard
        change(int(line[1:]))
    end(groups)


def end(groups: set[int]) -> None:
    """End process groups, with some time to do it themselves."""
    deadline = time.monotonic() + _GRACE_SECONDS
    left = {group for group in groups if _send(group, signal.SIGTERM)}
    while left and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
        left = {group for group in left if _send(group, 0)}
    for group in left:
        _send(group, signal.SIGKILL)


def _send(group: int, number: int) -> bool:
    """Send a signal to a group, or none for 0; tell whether the group is there."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


if __name__ == "__main__":
    main()
