"""What a route hands its requests to, one module for each kind behind one interface.

=================  ==================================================================
``lambda_proxy``   the function gets the event and answers with a status and a body
``mock``           nobody is asked: a template of the request says the status
``aws_service``    a function gets what a template makes of the request
``unreachable``    everything else, which is not served here
=================  ==================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from ..api import Stage
    from ..lambdas import Lambdas


@dataclass(frozen=True)
class Call:
    """Hold one request to an integration; ``two_way`` says whether somebody waits for a body."""

    event: Mapping[str, Any]
    stage: Stage
    timeout_ms: int
    two_way: bool = False


@dataclass(frozen=True)
class Answer:
    """Hold what an integration answered; header names are in lower case."""

    status: int
    body: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


class Integration(Protocol):
    """Be asked by a route. Implementations compare by value, so that a redeploy is noticed."""

    async def answer(self, call: Call, lambdas: Lambdas) -> Answer:
        """Return the answer.

        Raises:
            ..errors.IntegrationError: There is none.
        """
        ...
