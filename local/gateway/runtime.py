"""Hold what the parts of a running gateway share."""

from __future__ import annotations

from dataclasses import dataclass, field

from .addressing import Served
from .connection import GatewayConnection
from .faults import Faults
from .lambdas import Lambdas
from .options import Options
from .throttle import Throttle


@dataclass
class Runtime:
    """Hold the APIs as they were last read, the open connections by id, and the services."""

    options: Options
    served: Served
    lambdas: Lambdas
    throttle: Throttle
    faults: Faults
    connections: dict[str, GatewayConnection] = field(default_factory=dict)
