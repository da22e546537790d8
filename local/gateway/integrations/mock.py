"""``MOCK``: the request template says the status, and the response templates the body."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import BadAnswerError
from . import Answer, Call
from .mapping import DataMapping

if TYPE_CHECKING:
    from ..lambdas import Lambdas


@dataclass(frozen=True)
class Mock:
    """Answer without a back end."""

    mapping: DataMapping

    async def answer(self, call: Call, lambdas: Lambdas) -> Answer:
        """Return the status that the request template names, with the response's body."""
        requested = self.mapping.request(call)
        try:
            status = int(json.loads(requested)["statusCode"])
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            raise BadAnswerError("the request template yields no statusCode") from error
        response = {"statuscode": str(status)}
        # Nothing stands behind it: what the request became is what the templates may use.
        return Answer(status, self.mapping.response(call, str(status), requested, response))
