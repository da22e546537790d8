"""Tokens for a client, and the command that hands them out."""

import base64
import json
import shlex
import tempfile
import time
from pathlib import Path

# Without a token there, it fails.
_SCRIPT = 'printf "%s\\n" "$2" >>"$1/reasons"; exec cat "$1/token"'


def jwt(*, age: float, left: float, **claims: object) -> str:
    """Return a token that nobody can verify, of an age, and with so many seconds left."""
    now = time.time()
    parts: list[object] = [{"alg": "none"}, {"iat": now - age, "exp": now + left} | claims, "none"]
    return ".".join(
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts
    )


def fresh(name: str = "") -> str:
    """Return a token whose time to be renewed is far."""
    return jwt(age=0, left=3600, name=name)


def due(left: float = 60) -> str:
    """Return a token whose time to be renewed has come: a second after connecting."""
    return jwt(age=left * 10, left=left)


class Tokens:
    """What the command hands out, until it is something else.

    Attributes:
        command: what CLIENT_TOKEN_COMMAND holds.
    """

    def __init__(self, token: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="tokens-")
        self.command = shlex.join(["sh", "-c", _SCRIPT, "sh", self._folder.name])
        self.give(token)

    def give(self, token: str) -> str:
        """Hand out a token from now on, and return it."""
        self._path("next").write_text(token)
        self._path("next").replace(self._path("token"))
        return token

    def fail(self) -> None:
        """Hand out nothing."""
        self._path("token").unlink()

    @property
    def reasons(self) -> list[str]:
        """What the command was told, each time."""
        path = self._path("reasons")
        return path.read_text().splitlines() if path.exists() else []

    def remove(self) -> None:
        self._folder.cleanup()

    def _path(self, name: str) -> Path:
        return Path(self._folder.name) / name
