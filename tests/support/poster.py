"""A stand-in for API Gateway's @connections API."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from push.posting import Outcome, Result


@dataclass
class FakePoster:
    """A poster that remembers what it delivered, and fails as told.

    `results` holds, per connection, what its next posts come to; past them, they succeed. `before`
    runs before each post.
    """

    results: dict[str, list[Result]] = field(default_factory=dict)
    delivered: list[tuple[str, bytes]] = field(default_factory=list)
    before: Callable[[], None] = lambda: None

    def post(self, payload: bytes, connection_ids: Iterable[str]) -> Iterator[Outcome]:
        for connection_id in connection_ids:
            self.before()
            queue = self.results.get(connection_id)
            result = queue.pop(0) if queue else Result.DELIVERED
            if result is Result.DELIVERED:
                self.delivered.append((connection_id, payload))
            yield Outcome(connection_id, result, "told so")

    def always(self, connection_id: str, result: Result) -> None:
        self.results[connection_id] = [result] * 1_000

    def receivers(self) -> list[str]:
        return [connection_id for connection_id, _ in self.delivered]
