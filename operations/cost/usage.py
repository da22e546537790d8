"""What a load uses: units of the table, bytes of logs, milliseconds of functions.

Units are those that tests/unit/test_cost_usage.py counts while the functions' own code runs; bytes
are those of their own lines. What was not measured is called an assumption here, and in
docs/cost.md.
"""

from dataclasses import dataclass
from math import ceil, exp, expm1

from operations.cost.load import DAYS_PER_MONTH, SECONDS_PER_MONTH, Load
from operations.cost.stack import Stack

KB = 1024
GB = 1024**3
# What is billed in steps.
MESSAGE_BYTES = 32 * KB
CHUNK_BYTES = 64 * KB

# Items of the table, with connection and entity ids as long as those of API Gateway and of UUIDs.
_CONNECTION_BYTES = 139
_TOPIC_BYTES = 43
_SUBSCRIPTION_BYTES = 191
# Beside the frame.
_LOGGED_BYTES = 117
_HEAD_BYTES = 130
# Storage is billed with an overhead for each item.
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
_STORED_BYTES = 100
# What push.delivery does: a note after so many posts, a plan of so many ranges.
_POSTS_PER_NOTE = 200
_RANGES_PER_PLAN = 10

# Posts are at an instance's share of PostsPerSecond: 8,000 for two notifiers and two couriers.
_MS_PER_POST = 0.5

# Lambda's own lines of an invocation, START, END and REPORT with its trace: as they are known.
_PLATFORM_LINES, _PLATFORM_BYTES = 3, 380
# What CloudWatch adds to a line.
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/cloudwatch_limits_cwl.html
_LINE_BYTES = 26
_ACCESS_LINE_BYTES = 500
# What a debug line of a post has.
DEBUG_BYTES = 556
# An answer without events, for each topic of a reply, and a ping with its answer.
_REPLY_BYTES = 100


@dataclass(frozen=True, slots=True)
class Units:
    """Units of the table."""

    writes: float = 0
    reads: float = 0

    def __add__(self, other: "Units") -> "Units":
        return Units(self.writes + other.writes, self.reads + other.reads)

    def times(self, number: float) -> "Units":
        return Units(self.writes * number, self.reads * number)


@dataclass(frozen=True, slots=True)
class Log:
    """Lines of an invocation: those of the functions' logger, and those of metrics."""

    told: int = 0
    told_bytes: float = 0
    metrics: int = 1
    metrics_bytes: float = 0

    def bytes(self, level: str) -> float:
        """Return what CloudWatch takes of an invocation, Lambda's own lines included."""
        lines, size = _PLATFORM_LINES + self.metrics, _PLATFORM_BYTES + self.metrics_bytes
        if level in ("DEBUG", "INFO"):
            lines, size = lines + self.told, size + self.told_bytes
        return size + _LINE_BYTES * lines


@dataclass(frozen=True, slots=True)
class Work:
    """Invocations of a function in a month.

    Attributes:
        ms: of one, on average.
    """

    function: str
    invocations: float
    ms: float
    log_bytes: float


def connection_units(topics: int) -> int:
    """Return the units of a write of a connection's item, which names its topics."""
    return ceil((_CONNECTION_BYTES + _TOPIC_BYTES * topics) / KB)


def connect(tokens: bool) -> Units:
    """Open a connection; with a token of a user who has others."""
    return Units(5, 3) if tokens else Units(1, 0)


def subscribe(topics: int, missed: float, frame: int, tokens: bool) -> Units:
    """Subscribe to topics in one request, and recover what was missed of them altogether.

    A transaction costs two units for one.
    """
    writes = 2 * topics + 2 * connection_units(topics)
    reads = topics + (1 if tokens else 0) + _recovered(topics, missed, frame)
    return Units(writes, reads)


def _recovered(topics: int, missed: float, frame: int) -> float:
    if not missed:
        return 0
    # The topics that have anything; of less than one event, the part of the times.
    some = min(topics, missed)
    return some * ceil(max(1, missed / some) * (frame + _LOGGED_BYTES) / (4 * KB))


def disconnect(topics: int, tokens: bool) -> Units:
    """Forget a connection; a user is one topic more."""
    topics += tokens
    return Units(topics + connection_units(topics), 0)


def ping(topics: int) -> Units:
    return Units(0, ceil((_CONNECTION_BYTES + _TOPIC_BYTES * topics) / (4 * KB)))


def event(subscribers: float, frame: int, walk: int = 1_000) -> Units:
    """Give an event its number, and deliver it: notifier and couriers together.

    Up to `walk` subscribers are read and posted to by the notifier. Of more, it reads where to cut,
    and a courier claims each range, reads it, notes and ends.
    """
    ranges, last = cut(subscribers, walk)
    slot = ceil((frame + _LOGGED_BYTES) / KB)
    writes = slot + 3 + _notes(last)
    reads = 1 + max(1, _rows(last))
    if ranges:
        writes += ranges * (2 + _notes(walk)) + 2 * ceil(ranges / _RANGES_PER_PLAN)
        reads += ranges * _rows(walk) + _rows(subscribers)
    return Units(writes, reads)


def cut(subscribers: float, walk: int) -> tuple[int, float]:
    """Return how many ranges go to couriers, and how many subscribers are left to the notifier.

    While more are left than one walk takes, it plans as many ranges as they fill, ten at most.
    """
    ranges, left = 0, subscribers
    while left > walk:
        # Whole plans at once, for events with millions of subscribers.
        plans = max(1, int((left - 1) // (walk * _RANGES_PER_PLAN)))
        planned = min(plans * _RANGES_PER_PLAN, int(left // walk))
        ranges, left = ranges + planned, left - planned * walk
    return ranges, left


def _notes(posts: float) -> int:
    return int(posts // _POSTS_PER_NOTE)


def _rows(subscribers: float) -> int:
    return ceil(subscribers * _SUBSCRIPTION_BYTES / (4 * KB))


def unwatched() -> Units:
    return Units(0, 1)


# Lines, as the functions print them; with `subscribe` for each topic, with posts for each frame.


def log_of_connect() -> Log:
    return Log(1, 442, 1, 245)


def log_of_disconnect() -> Log:
    return Log(1, 491, 1, 315)


def log_of_subscribe(topics: int) -> Log:
    return Log(1, 450 + 55 * topics, 1, 248)


def log_of_ping() -> Log:
    return Log(0, 0, 1, 177)


def log_of_walks(events: float, frames: float, walks: float) -> Log:
    """Return the lines of an invocation that numbers events, walks, and posts frames.

    Each frame has two latencies; a hundred are in a line.
    """
    lines = max(1, ceil(frames / 100))
    return Log(
        told=round(events + walks),
        told_bytes=533 * events + 684 * walks,
        metrics=lines,
        metrics_bytes=500 + 300 * (lines - 1) + 8 * frames,
    )


def pings(load: Load) -> float:
    """Return the pings of a month.

    A client pings when so many seconds have passed since the last frame or ping. Where frames come
    at random, r a second, that is r / (exp(r * seconds) - 1) a second; without frames, one a span.
    """
    if not load.connections:
        return 0
    rate = load.frames / load.connections / SECONDS_PER_MONTH
    # The other form is not exact for what is nearly nothing, and overflows for much.
    expected = rate * load.ping
    each = 1 / load.ping if expected < 1e-9 else rate * exp(-expected) / -expm1(-expected)
    return load.connections * SECONDS_PER_MONTH * each


def work(load: Load) -> list[Work]:
    """Return what functions do in a month.

    Milliseconds are what a request to the table (4 ms) and a post (10 ms) are assumed to take on
    AWS, and what processor time was measured, times 3.5 for the functions with 512 MB, which have
    that part of a core. Cold starts are left out.
    """
    topics, level = load.topics, load.log
    taken = [
        Work("connect", load.handshakes, 9, log_of_connect().bytes(level)),
        Work(
            "subscribe", load.handshakes, 14 + 3.3 * topics, log_of_subscribe(topics).bytes(level)
        ),
        Work("disconnect", load.handshakes, 12 + 0.7 * topics, log_of_disconnect().bytes(level)),
        Work("ping", pings(load), 10, log_of_ping().bytes(level)),
    ]
    if load.tokens:
        told = Log(0, 0, 0, 0).bytes(level)
        taken += [
            Work("authorize", load.handshakes, 15, told),
            Work("expire", SECONDS_PER_MONTH / 60, 15, told),
        ]
    return taken + _posting(load)


def _posting(load: Load) -> list[Work]:
    ranges, last = cut(load.subscribers, load.walk)
    batch = load.batch
    watched = batch * (1 - load.unwatched / 100)
    debug = DEBUG_BYTES + _LINE_BYTES if load.log == "DEBUG" else 0
    # An event that nobody watches has a line too, and no walk.
    log = log_of_walks(batch, watched * last, watched)
    notifier = Work(
        "notifier",
        load.events / batch,
        40 + 1.7 * batch + _MS_PER_POST * watched * last,
        log.bytes(load.log) + debug * watched * last,
    )
    if not ranges:
        return [notifier]
    courier = Work(
        "deliver",
        load.watched * ranges,
        40 + _MS_PER_POST * load.walk,
        log_of_walks(0, load.walk, 1).bytes(load.log) + debug * load.walk,
    )
    return [notifier, courier]


def units(load: Load) -> Units:
    """Return the table's units of a month."""
    opened = (
        connect(load.tokens)
        + subscribe(load.topics, load.missed, load.frame, load.tokens)
        + disconnect(load.topics, load.tokens)
    )
    total = (
        opened.times(load.handshakes)
        + ping(load.topics).times(pings(load))
        + event(load.subscribers, load.frame, load.walk).times(load.watched)
        + unwatched().times(load.events - load.watched)
    )
    return total + Units(0, SECONDS_PER_MONTH / 60 if load.tokens else 0)


def stored_gb(load: Load) -> float:
    """Return what the table holds: connections, subscriptions, heads and history."""
    connections = load.connections * (
        _CONNECTION_BYTES
        + _STORED_BYTES
        + load.topics * (_TOPIC_BYTES + _SUBSCRIPTION_BYTES + _HEAD_BYTES + 2 * _STORED_BYTES)
    )
    kept = load.watched * min(1, load.history / DAYS_PER_MONTH)
    return (connections + kept * (load.frame + _LOGGED_BYTES + _STORED_BYTES)) / GB


def messages(load: Load) -> dict[str, float]:
    """Return API Gateway's messages, each in steps of 32 KB: a reply is one like a post."""
    steps = ceil(load.frame / MESSAGE_BYTES)
    reply = load.topics * _REPLY_BYTES + load.missed * load.frame
    return {
        "frames": load.frames * steps,
        "subscribe, and replies": load.handshakes * (1 + ceil(reply / MESSAGE_BYTES)),
        "pings, and pongs": 2 * pings(load),
    }


def queue_requests(load: Load, polled: int) -> dict[str, float]:
    """Return the requests to SQS, in steps of 64 KB.

    Lambda keeps five receives of 20 s open on a queue that has nothing: 15 a minute. That they go
    on beside the others is a bound from above.
    """
    ranges, _ = cut(load.subscribers, load.walk)
    # Batches are billed by their bytes as a whole.
    receives = ceil(load.batch * (load.frame + KB) / CHUNK_BYTES)
    events = load.events * ceil((load.frame + KB) / CHUNK_BYTES)
    return {
        "events": events + load.events / load.batch * (receives + 1),
        "ranges": load.watched * (ceil(ranges / _RANGES_PER_PLAN) + 2 * ranges),
        "waiting": polled * 15 * SECONDS_PER_MONTH / 60,
    }


def traces(load: Load) -> float:
    """Return the traces of a month: of each function, the first in a second, and 5 % of the rest.

    The rule's first one a second is shared, so this is a bound from above.
    """
    total = 0.0
    for each in work(load):
        once = min(each.invocations, SECONDS_PER_MONTH)
        total += once + 0.05 * (each.invocations - once)
    return total


def logged_gb(load: Load) -> float:
    """Return what is logged in a month, access logs included."""
    total = sum(each.invocations * each.log_bytes for each in work(load))
    if load.access_logs:
        # Handshakes, ends, and what clients send.
        lines = load.handshakes * 3 + pings(load)
        total += lines * (_ACCESS_LINE_BYTES + _LINE_BYTES)
    return total / GB


def sent_gb(load: Load) -> float:
    """Return what goes to clients; framing and TLS are left out."""
    answers = load.handshakes * (load.topics * _REPLY_BYTES + load.missed * load.frame)
    return (load.frames * load.frame + answers + pings(load) * _REPLY_BYTES) / GB


def gb_seconds(each: Work, stack: Stack) -> float:
    return each.invocations * each.ms / 1000 * stack.memory_gb[each.function]
