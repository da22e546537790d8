"""The official tools, which run on Node."""

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

NODE = Path(__file__).with_name("node")


class Change(NamedTuple):
    """A difference between two contracts.

    Attributes:
        path: a JSON pointer.
        breaks: whether a client of the one may not get on with the other.
    """

    action: str
    path: str
    breaks: bool


def are_installed() -> bool:
    return bool(shutil.which("node")) and (NODE / "node_modules/.done").exists()


def check(text: str) -> str:
    """Return what the official parser has to say about a contract; nothing if it is in order."""
    return _run("check", text, check=False).stdout


def compare(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """Return what has changed between two contracts."""
    found = json.loads(_run("compare", json.dumps([before, after])).stdout)
    return [Change(each["action"], each["path"], each["breaks"]) for each in found]


def render(contract: Mapping[str, Any]) -> str:
    """Return a contract as one HTML page that needs no network."""
    return _run("render", json.dumps(contract)).stdout


def _run(script: str, text: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603
        ["node", f"{script}.mjs"],  # noqa: S607
        cwd=NODE,
        input=text,
        capture_output=True,
        text=True,
        check=check,
    )
