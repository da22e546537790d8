"""Find the API, and its stage, that a request is for.

One API is at the root, as on AWS. Any of several, and a single one too, is found by its id or
name: as the first label of the ``Host`` (``ID.execute-api.localhost:3001/STAGE``), or in front of
the stage (``127.0.0.1:3001/ID/STAGE``).
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote

from .api import Api, Stage


@dataclass(frozen=True)
class Address:
    """Hold what a request is for.

    ``prefix`` is the part of the path that chose the API, and ``rest`` what follows the stage.
    """

    api: Api
    stage: Stage | None
    prefix: str
    rest: str


class Served:
    """Hold the APIs as they were last read."""

    def __init__(self, apis: tuple[Api, ...]) -> None:
        self.apis = apis

    def current(self, api: Api) -> Api | None:
        """Return what an API has become: by its id, or by its name if it was made anew."""
        return next((each for each in self.apis if each.id == api.id), None) or next(
            (each for each in self.apis if each.name == api.name), None
        )

    def find(self, host: str, path: str) -> Address | None:
        """Return what a request to this host and path (as it was sent) is for, if it can be told.

        A stage that does not exist is None.
        """
        first, _, rest = path.lstrip("/").partition("/")
        if len(self.apis) == 1 and unquote(first) in self.apis[0].stages:
            return _address(self.apis[0], "", path)
        if api := self._named(host.partition(".")[0]):
            return _address(api, "", path)
        if api := self._named(unquote(first)):
            return _address(api, f"/{first}", rest)
        return _address(self.apis[0], "", path) if len(self.apis) == 1 else None

    def _named(self, word: str) -> Api | None:
        by_id = next((each for each in self.apis if each.id == word), None)
        of_name = [each for each in self.apis if each.name == word]
        return by_id or (of_name[0] if len(of_name) == 1 else None)


def _address(api: Api, prefix: str, path: str) -> Address:
    stage, _, rest = path.lstrip("/").partition("/")
    return Address(api, api.stages.get(unquote(stage)), prefix, rest)
