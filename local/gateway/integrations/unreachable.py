"""Everything that is not served here: HTTP, and services of AWS other than Lambda."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import UnreachableError
from . import Answer, Call

if TYPE_CHECKING:
    from ..lambdas import Lambdas


@dataclass(frozen=True)
class Unreachable:
    """Fail as an integration does whose back end cannot be reached; ``what`` names it."""

    what: str

    async def answer(self, call: Call, lambdas: Lambdas) -> Answer:
        """Raise: there is no answer."""
        raise UnreachableError(f"{self.what} is not served here")
