"""A stand-in for API Gateway's @connections API."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from push.delivery import Outcome, Result


@dataclass
class FakePoster:
    """A poster that remembers what it delivered, and fails as told."""

    results: dict[str, Result] = field(default_factory=dict)
    delivered: list[tuple[str, bytes]] = field(default_factory=list)

    def post(self, payload: bytes, connection_ids: Iterable[str]) -> Iterator[Outcome]:
        for connection_id in connection_ids:
            result = self.results.get(connection_id, Result.DELIVERED)
            if result is Result.DELIVERED:
                self.delivered.append((connection_id, payload))
            yield Outcome(connection_id, result, "told so")
