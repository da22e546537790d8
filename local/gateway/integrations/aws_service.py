"""``AWS`` with a Lambda function: the function gets what a template makes of the request."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import BadAnswerError, FunctionRaisedError
from . import Answer, Call
from .mapping import DataMapping

if TYPE_CHECKING:
    from ..lambdas import Lambdas


@dataclass(frozen=True)
class AwsService:
    """Invoke a function; ``asynchronous`` is its invocation type ``Event``."""

    function: str
    timeout_ms: int
    mapping: DataMapping
    asynchronous: bool = False

    async def answer(self, call: Call, lambdas: Lambdas) -> Answer:
        """Return what the integration response makes of the function's result."""
        requested = self.mapping.request(call)
        try:
            event = json.loads(requested) if requested else {}
        except (ValueError, RecursionError) as error:
            raise BadAnswerError("the request is not JSON, which a function needs") from error
        timeout_ms = min(self.timeout_ms, call.timeout_ms)
        function = call.stage.resolve(self.function)
        failed = ""
        try:
            result = await lambdas.invoke(
                function, event, timeout_ms, asynchronous=self.asynchronous
            )
        except FunctionRaisedError as error:
            if not self._catches(error.error_message):
                raise
            # An integration response for errors was chosen: this is an answer like others.
            result, failed = error.details, error.error_message
        body = "" if self.asynchronous else json.dumps(result, ensure_ascii=False)
        response: dict[str, Any] = {"statuscode": "200", "body": result}
        return Answer(200, self.mapping.response(call, failed, body, response))

    def _catches(self, error_message: str) -> bool:
        return any(each.matches(error_message) for each in self.mapping.responses)
