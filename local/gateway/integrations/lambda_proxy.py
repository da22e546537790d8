"""``AWS_PROXY``: the function gets the event whole, and answers for itself."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import BadAnswerError
from . import Answer, Call

if TYPE_CHECKING:
    from ..lambdas import Lambdas


@dataclass(frozen=True)
class LambdaProxy:
    """Ask a function; ``timeout_ms`` is the integration's own."""

    function: str
    timeout_ms: int

    async def answer(self, call: Call, lambdas: Lambdas) -> Answer:
        """Return what the function answered."""
        result = await lambdas.invoke(
            call.stage.resolve(self.function), call.event, min(self.timeout_ms, call.timeout_ms)
        )
        return read_answer(result)


def read_answer(result: Any) -> Answer:
    """Return a proxy integration's answer.

    Raises:
        BadAnswerError: The result is not one.
    """
    status = result.get("statusCode") if isinstance(result, dict) else None
    if not isinstance(status, int | str) or not re.fullmatch("[1-5][0-9]{2}", str(status)):
        raise BadAnswerError("no statusCode")
    body = result.get("body")
    if body is not None and not isinstance(body, str):
        raise BadAnswerError("the body is not a string")
    several = result.get("multiValueHeaders") or {}
    headers = {name.lower(): str(values[0]) for name, values in several.items() if values}
    headers |= {name.lower(): str(value) for name, value in (result.get("headers") or {}).items()}
    return Answer(int(status), body, headers)
