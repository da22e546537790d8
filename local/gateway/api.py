"""What a WebSocket API is made of."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .integrations import Integration

# Account quota of a large Region, for a stage that sets no limit of its own:
# https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html
ACCOUNT_RATE = 10_000.0
ACCOUNT_BURST = 5_000

_STAGE_VARIABLE = re.compile(r"\$\{stageVariables\.(\w+)\}")


@dataclass(frozen=True)
class Limit:
    """Hold a rate in requests per second and a burst in requests."""

    rate: float
    burst: int


@dataclass(frozen=True)
class Authorizer:
    """Hold a REQUEST authorizer: the function to ask and what must be present first."""

    function: str
    identity_sources: tuple[str, ...]


@dataclass(frozen=True)
class Validation:
    """Hold the JSON schemas that a route's messages are held against, by key.

    ``models`` are all of the API, by name: one may refer to another.
    """

    selection: str
    schemas: Mapping[str, Any]
    models: Mapping[str, Any]


@dataclass(frozen=True)
class Route:
    """Hold a route; ``required`` are the request parameters that ``$connect`` may demand."""

    key: str
    integration: Integration
    two_way: bool
    authorizer: Authorizer | None
    validation: Validation | None = None
    required: tuple[str, ...] = ()


@dataclass(frozen=True)
class Stage:
    """Hold a stage; ``limits`` has only the routes with a limit of their own."""

    name: str
    variables: Mapping[str, str]
    limit: Limit
    limits: Mapping[str, Limit]

    def resolve(self, function: str) -> str:
        """Put the stage's variables into a function name or ARN."""
        return _STAGE_VARIABLE.sub(lambda found: self.variables.get(found[1], ""), function)


@dataclass(frozen=True)
class Api:
    """Hold one reading of an API."""

    id: str
    name: str
    selection_expression: str
    routes: Mapping[str, Route]
    stages: Mapping[str, Stage]
