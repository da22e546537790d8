"""Hold what the parts of a running gateway share."""

from __future__ import annotations

from dataclasses import dataclass, field

from .api import Api
from .connection import GatewayConnection
from .faults import Faults
from .lambdas import Lambdas
from .options import Options
from .throttle import Throttle


@dataclass
class Runtime:
    """Hold the API as it was last read, the open connections by id, and the services."""

    options: Options
    api: Api
    lambdas: Lambdas
    throttle: Throttle
    faults: Faults
    connections: dict[str, GatewayConnection] = field(default_factory=dict)
