"""The table and API Gateway in memory, for tests of who is connected."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from push.access import Access
from push.adapters.table import Table
from push.delivery import Delivery, Unresponsive
from push.topics import Log
from support.dynamodb import DynamoDB
from support.exchange import Clock, FakeExchange


class Unused:
    """A queue that nothing is sent to."""

    def send(self, *_: Any) -> None:
        raise AssertionError("nothing is sent")


@dataclass
class Services:
    """What connections are kept in, and reached by.

    Attributes:
        seconds_left: of the invocation.
    """

    clock: Clock
    seconds_left: Callable[[], float] = lambda: 30.0
    dynamodb: DynamoDB = field(default_factory=DynamoDB, init=False)
    table: Table = field(init=False)
    exchange: FakeExchange = field(init=False)

    def __post_init__(self) -> None:
        client: Any = self.dynamodb
        self.table = Table(client, "table", clock=self.clock, sleep=self.clock.sleep)
        self.exchange = FakeExchange(self.clock)

    def delivery(self, access: Access | None = None) -> Delivery:
        """Return what delivers in an invocation that nothing has to be handed on in."""
        return Delivery(
            self.table,
            Log(self.table, clock=self.clock),
            Unused(),
            Unused(),
            self.exchange.window,
            subscribers_per_delivery=1_000,
            seconds_left=self.seconds_left,
            unresponsive=Unresponsive(self.clock),
            access=access,
            side_by_side=lambda call, arguments: [call(each) for each in arguments],
            clock=self.clock,
            wall_clock=self.clock,
        )

    def frames_of(self, connection_id: str) -> list[dict[str, Any]]:
        """Return the frames that a connection got."""
        return [json.loads(frame) for frame in self.exchange.frames(connection_id)]
