"""The promises hold in every schedule, whatever the services do: see `support.world`.

A seed that breaks one is repeated with SCHEDULES=1 and FIRST_SEED in the environment; a change of
the delivery or the log deserves SCHEDULES=5000.
"""

import os
import random
from collections import Counter
from collections.abc import Iterator

import pytest

from push.observability import logger
from push.topics import Topic
from support import events, world
from support.people import Client
from support.promises import Audit
from support.world import FAULTS, Broken, World

SCHEDULES = int(os.environ.get("SCHEDULES", "150"))
FIRST_SEED = int(os.environ.get("FIRST_SEED", "0"))


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    world.make_small(monkeypatch)
    level = logger.log_level
    logger.setLevel("CRITICAL")
    yield
    logger.setLevel(level)


def build(seed: int, *, skew: bool) -> tuple[World, list[Client]]:
    """Return a world with some clients, some events, and some kinds of fault."""
    rnd = random.Random(seed * 7919)  # noqa: S311 - repeatable, no secret
    storm = rnd.random() < 0.35  # few events on one topic, and much that goes wrong
    crowd = not storm and rnd.random() < 0.3  # a large walk
    faults = frozenset(fault for fault in FAULTS if rnd.random() < (0.75 if storm else 0.55))
    made = World(seed, faults | ({"skew"} if skew else frozenset()))
    made.audit = Audit(made)
    if storm:
        made.rate, made.post_rate = 0.12, 0.5
    topics = [Topic.entity(name) for name in "abc"][: 1 if storm else rnd.randint(1, 3)]
    people = 8 if crowd else rnd.randint(2, 5) if storm else rnd.randint(1, 4)
    clients = [Client(made, topics[:1] if crowd else topics) for _ in range(people)]
    for client in clients:
        made.spawn("client", client.life)
    hot = storm or rnd.random() < 0.5  # all events on one topic
    burst = rnd.choice((None, None, 6, 15, 30))  # all events at about the same time
    for number in range(rnd.randint(1, 2) if storm else rnd.randint(1, 7)):
        topic = topics[0] if hot else rnd.choice([*topics, *topics, Topic.entity("nobody")])
        at = burst or rnd.choice((0, 6, 15, 30, 60, 4_000))
        publish(made, f"{topic.id}{number}", topic, at + rnd.random() * 4)
    return made, clients


def publish(made: World, event_id: str, topic: Topic, at: float) -> None:
    """Put an event; EventBridge may send it twice."""
    body = events.encoded(events.entity_updated(event_id, entityId=topic.id))
    made.send("events", body, at)
    if "copies" in made.faults and made.random.random() < 0.4:
        made.send("events", body, at + made.random.choice((0, 1, 20, 700)))


def play(made: World, clients: list[Client]) -> Counter[str]:
    """Run one schedule to its end, and check all promises."""
    audit: Audit = made.audit
    made.run()
    made.last_call = True
    made.run()
    while lost := [c for c in made.connections.values() if c.vanished and c.open]:
        for connection in lost:  # API Gateway finds them by its idle timeout
            made.hang_up(connection.id)
        made.run()
    audit.check(clients)
    # One more event on each topic, and nothing goes wrong: it finds what is left of the gone.
    made.faults, made.rate, made.hurry = frozenset(), 0, 0.0
    for item in audit.items():
        if item["sk"] == "HEAD":
            publish(made, f"last-{item['pk']}", Topic.of_key(item["pk"]), 0)
    made.run()
    audit.check_clients(clients)
    if audit.orphans():
        raise Broken(f"the next event of a topic forgets who is gone: {audit.orphans()}")
    audit.facts["schedules"] += 1
    audit.facts["steps"] += made.steps
    return audit.facts


@pytest.mark.parametrize("skew", [False, True], ids=["clocks agree", "clocks differ"])
def test_every_promise_holds_in_every_schedule(skew: bool) -> None:
    facts: Counter[str] = Counter()
    for seed in range(FIRST_SEED, FIRST_SEED + SCHEDULES):
        try:
            facts += play(*build(seed, skew=skew))
        except Broken as broken:
            raise AssertionError(f"seed {seed}: {broken}") from broken
    # It has seen what it is about.
    assert facts["schedules"] == SCHEDULES
    assert facts["frames pushed"] or skew
