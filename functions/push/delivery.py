"""Delivery: an event's frame on its way to the subscribers of its topic.

A walk posts the frame to the subscribers in a range of connection ids, in their order. Up to
`subscribers_per_delivery` subscribers are one walk; of more, ranges are handed to the couriers.
What fails in passing is not tried again on the spot: such stragglers are handed to the delivery
queue, and whoever cannot be reached for about five minutes is closed, so that the client knows,
comes back and recovers.
"""

import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from itertools import pairwise
from logging import DEBUG
from math import inf
from typing import Protocol

from management_api import Outcome, Payload, Result
from push.access import Access
from push.adapters.table import LAST, Table
from push.closing import ShuttingOut, Window, Windows, close, farewell, may_be_opening
from push.errors import EventRejected, ServiceUnavailable
from push.events import Event, Kick, published_at_ms
from push.jobs import Job, Jobs, Letter
from push.observability import count, identify, logger, measure
from push.side_by_side import SideBySide, side_by_side
from push.subscriptions import forget
from push.topics import NOWHERE, USER, Cursor, Log, Topic

# What is kept free at the end of an invocation, to hand on what is left, in seconds.
RESERVE_SECONDS = 8.0
# Ranges that are handed on between two notes.
RANGES_PER_PLAN = 10
# Posts of one walk at a time. So many may come twice if the function dies; and a note that names
# them stays below a KB, which is one write unit.
POSTS_IN_FLIGHT = 40
# A note is due after so many posts, or seconds.
POSTS_PER_NOTE = 200
SECONDS_PER_NOTE = 1.0
# When stragglers are tried again, in seconds after they were handed on: about five minutes in all.
STRAGGLER_DELAYS = (1, 2, 4, 8, 16, 32, 64, 64, 64, 64)
# When what there was no time for goes on.
_REST_DELAY_SECONDS = 1

# With its cursor it gets what it missed.
_SLOW_CLIENT = farewell("SlowClient", reconnect=True)


class Letters(Protocol):
    """The delivery queue."""

    def send(self, letters: Sequence[Letter], delay_seconds: int = 0) -> None:
        """Send letters; raise `ServiceUnavailable` if not all were taken."""


class DeadLetters(Protocol):
    """Takes what cannot be delivered, with the reason."""

    def send(self, body: str, rejection: EventRejected) -> None: ...


class Delivery:
    """Delivers events and letters, in one invocation.

    What `notify` and `carry` raise: `Finished`, `Superseded` and `Busy`, when the work is somebody
    else's; `ServiceUnavailable`, when the message shall come back soon. Then it finds the job free.
    """

    def __init__(
        self,
        table: Table,
        log: Log,
        letters: Letters,
        dead_letters: DeadLetters,
        window: Windows,
        *,
        subscribers_per_delivery: int,
        seconds_left: Callable[[], float],
        unresponsive: "Unresponsive",
        log_unwatched: bool = False,
        access: Access | None = None,
        side_by_side: SideBySide = side_by_side,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """Take the services; `window` opens a walk's window.

        `access` where subscriptions end with a token.
        """
        self.clock = clock
        self.wall_clock = wall_clock
        # When subscriptions end that have been read, by topic; None where they do not.
        self._ends: defaultdict[Topic, dict[str, int]] | None = None
        self._access = access
        if access is not None:
            self._ends = defaultdict(dict)
        self.table = table
        self.letters = letters
        self.dead_letters = dead_letters
        self.window = window
        self.unresponsive = unresponsive
        self._log = log
        self._jobs = Jobs(table, seconds_left=seconds_left, clock=wall_clock)
        self._size = subscribers_per_delivery
        self._seconds_left = seconds_left
        self._log_unwatched = log_unwatched
        self._side_by_side = side_by_side

    def notify(
        self,
        event: Event,
        turn: AbstractContextManager[object],
        queued_at_ms: int | None = None,
    ) -> None:
        """Give an event its number, and deliver it; `turn` is held until it has its number.

        An event that finds no head is older than every `Subscribed`: nobody waits for it, and
        nothing is written.

        Args:
            queued_at_ms: when its queue took the event, in milliseconds since the epoch.
        """
        identify(topic=event.topic.digest)
        with turn:
            open_or_read = self._log.open if self._log_unwatched else self.table.head
            if (head := open_or_read(event.topic)) is None:
                count("EventsUnwatched")
                logger.info("event unwatched")
                return
            # The head was read before the claim: so the event is at no number up to it.
            job = self._jobs.claim(f"{event.id}#whole", head.cursor)
            with job.held():
                logged = self._log.append(event, head, job.start)
                if logged is None:
                    job.write(done=True)
                    logger.info("event unwatched")
                    return
        logger.info("event numbered", cursor=str(logged.cursor))
        # Only now the subscribers are read: who subscribed before the head moved is there.
        letter = Letter(event.id, event.topic, logged, "whole", queued_at_ms=queued_at_ms)
        self._deliver(job, letter)

    def kick(self, kick: Kick, kept_seconds: int) -> None:
        """Close every connection of a user, once: a copy of the event finds it done."""
        identify(topic=kick.user.digest)
        job = self._jobs.claim(f"{kick.id}#kick", NOWHERE)
        with job.held():
            out = ShuttingOut(
                self.table,
                self.window,
                clock=self.wall_clock,
                side_by_side=self._side_by_side,
            )
            out.kick(kick, kept_seconds, self._seconds_left)
            job.write(done=True)
        logger.info("user kicked")

    def carry(self, letter: Letter) -> None:
        """Deliver a range, or to stragglers."""
        identify(topic=letter.topic.digest, job=letter.name)
        epoch, seq = letter.event.cursor
        # For a notifier that takes over from here.
        start = Cursor(epoch, seq - 1)
        job = self._jobs.claim(letter.job, start, letter.after)
        self._deliver(job, letter)

    def forget(self, topic: Topic, connection_ids: Sequence[str]) -> list[bool]:
        """Forget connections that are gone; return, for each, whether it was possible.

        A connection is subscribed to its user while it opens, and API Gateway says until it is open
        that it is gone: one that is so new is tried again.
        """

        def attempt(connection_id: str) -> bool:
            try:
                if topic.kind == USER and may_be_opening(
                    self.table, connection_id, self.wall_clock()
                ):
                    return False
                forget(self.table, connection_id, topic)
            except ServiceUnavailable:
                logger.warning("connection not forgotten", connections=[connection_id])
                return False
            return True

        return self._side_by_side(attempt, connection_ids)

    def ends(self, topic: Topic) -> dict[str, int] | None:
        """Return when a topic's subscriptions end, as far as that is read; None if they do not."""
        return None if self._ends is None else self._ends[topic]

    def look_up(self, topic: Topic, connection_ids: Sequence[str]) -> None:
        """Find out when subscriptions end that have not been read, or have ended."""
        if (ends := self.ends(topic)) is not None:
            found = self._side_by_side(lambda each: self._ends_at(each, topic), connection_ids)
            ends |= zip(connection_ids, found, strict=True)

    def _ends_at(self, connection_id: str, topic: Topic) -> int:
        """Return when a subscription ends; 0 if there is none."""
        ends_at = self.table.ends_at(connection_id, topic)
        if self._access and 0 < ends_at <= self.wall_clock():
            # Whoever renewed the token may have died before it wrote this: the item is what counts.
            return self._access.ends_at(self.table.connection(connection_id), topic)
        return ends_at

    def is_out_of_time(self) -> bool:
        """Whether what is left of the invocation is only enough to end in order."""
        return self._seconds_left() < RESERVE_SECONDS

    def _deliver(self, job: Job, letter: Letter) -> None:
        """Bring a claimed job to its end, from wherever an earlier try left it."""
        with job.held(), self.window() as window:
            left = self._hand_on_ranges(job, letter) if letter.may_be_cut else None
            Walk(self, window, job, letter, left).run()

    def _hand_on_ranges(self, job: Job, letter: Letter) -> list[str] | None:
        """Send ranges to couriers until few subscribers are left; return these.

        Returns None if there is no time for it; then the walk hands on the rest.
        """
        while True:
            if not job.plan:
                if self.is_out_of_time():
                    return None
                ids = self._subscribers(letter, job.reached, self._size * RANGES_PER_PLAN + 1)
                if len(ids) <= self._size:
                    return ids
                # Before the first is sent: whoever repeats this sends the same ranges again, under
                # the same names, which hold both boundaries.
                job.write(plan=ids[self._size - 1 :: self._size][:RANGES_PER_PLAN])
            ranges = [letter.range(*ends) for ends in pairwise((job.reached, *job.plan))]
            self.letters.send(ranges)
            logger.info("ranges handed on", jobs=[each.name for each in ranges])
            job.write(reached=job.plan[-1], plan=())

    def _subscribers(self, letter: Letter, after: str, most: int) -> list[str]:
        """Return the first subscribers behind `after`, at most so many."""
        ids: list[str] = []
        more = True
        while more and len(ids) < most:
            page, more = self.table.subscribers(
                letter.topic, after, LAST, most - len(ids), self.ends(letter.topic)
            )
            ids += page
            after = ids[-1] if ids else after
        return ids


class Walk:
    """Posts a frame to the subscribers in (reached, upto], or to some stragglers.

    In the order of their ids; several posts are in flight, and their answers come in any order.
    """

    def __init__(
        self, delivery: Delivery, window: Window, job: Job, letter: Letter, ids: list[str] | None
    ) -> None:
        """Begin where the job was left; `ids` are all who are left, if they have been read."""
        self._delivery = delivery
        self._window = window
        self._job = job
        self._letter = letter
        self._payload = Payload(letter.event.frame.encode())
        # The next to be posted to: those that an earlier try left open, then those that were read.
        self._page = deque([*job.open, *(ids or ())])
        self._read_upto = ids[-1] if ids else job.reached
        self._all_read = ids is not None
        self._reached = job.reached
        # Up to there, and not seen to: in flight, or in one of the lists below.
        self._open = set(job.open)
        self._in_flight = 0
        self._passed_over = False
        self._out_of_time = False
        self._trouble: ServiceUnavailable | None = None
        # To be seen to with the next note.
        self._gone: list[str] = []
        self._failed: dict[str, str] = {}  # and why, for the log
        self._refused: list[Outcome] = []
        self._settled = 0
        self._noted_at = delivery.clock()
        # For the report.
        self._began = job.reached, job.open
        self._finished = False
        self._arrivals: list[float] = []
        self._tally: Counter[str] = Counter()
        # For whoever wants a line for each post; asked once, and not for each of ten thousand.
        self._logs_posts = logger.log_level <= DEBUG

    def run(self) -> None:
        """Walk to the end, or until time is up, or a service fails."""
        try:
            self._delivery.look_up(self._letter.topic, self._job.open)
            self._walk()
        finally:
            self._report()

    def _walk(self) -> None:
        while self._in_flight or self._may_go_on():
            self._post_while_there_is_room()
            if self._passed_over:
                self._hand_on_early()
            # With nothing to be noted, there is no hurry.
            within = self._seconds_to_note() if self._settled else None
            if self._in_flight and (outcome := self._window.answer(within)):
                self._in_flight -= 1
                self._settle(outcome)
            if self._settled and (self._settled >= POSTS_PER_NOTE or self._seconds_to_note() <= 0):
                self._try_to_note()
        done = self._all_read and not self._page
        self._note(done=done)
        self._finished = done
        if self._trouble:
            raise self._trouble
        if self._out_of_time:
            # The same letter goes on, for the same job: whoever takes it resumes there, and if this
            # invocation dies here and its message comes back too, nobody gets two frames.
            self._delivery.letters.send([self._letter], _REST_DELAY_SECONDS)
            self._job.write(lease=0)

    def _may_go_on(self) -> bool:
        """Whether there is more to be posted, and time for it."""
        left = bool(self._page) or not self._all_read
        self._out_of_time = left and (self._out_of_time or self._delivery.is_out_of_time())
        return left and not self._out_of_time and not self._trouble

    def _post_while_there_is_room(self) -> None:
        while (
            self._in_flight < POSTS_IN_FLIGHT
            and self._settled < POSTS_PER_NOTE
            and self._may_go_on()
        ):
            try:
                if self._page:
                    self._post(self._page[0])
                    self._page.popleft()
                else:
                    self._read()
            except ServiceUnavailable as unavailable:
                # What is in flight comes to its end first.
                self._trouble = unavailable

    def _read(self) -> None:
        """Read the next ids: of the letter, or of the topic."""
        if self._letter.ids:
            left = [each for each in self._letter.ids if each > self._read_upto]
            self._delivery.look_up(self._letter.topic, left)
            self._page.extend(left)
            self._all_read = True
            return
        topic = self._letter.topic
        page, more = self._delivery.table.subscribers(
            topic, self._read_upto, self._letter.upto, ends=self._delivery.ends(topic)
        )
        self._page.extend(page)
        self._all_read = not more
        if page:
            self._read_upto = page[-1]

    def _post(self, connection_id: str) -> None:
        has_ended = self._has_ended(connection_id)
        self._reached = max(self._reached, connection_id)
        if has_ended:
            self._open.discard(connection_id)
            self._settled += 1
            self._tally["ended"] += 1
            return
        self._open.add(connection_id)
        if self._delivery.unresponsive.holds(connection_id):
            self._settled += 1
            self._failed[connection_id] = "Unresponsive"
            self._passed_over = True
            return
        self._in_flight += 1
        self._window.post(connection_id, self._payload)

    def _has_ended(self, connection_id: str) -> bool:
        """Whether the token is past its time; looked at as late as can be."""
        topic, now = self._letter.topic, self._delivery.wall_clock()
        ends = self._delivery.ends(topic)
        if ends is None or ends.get(connection_id, inf) > now:
            return False
        # Perhaps it was renewed since the subscribers were read.
        self._delivery.look_up(topic, [connection_id])
        return ends[connection_id] <= now

    def _settle(self, outcome: Outcome) -> None:
        connection_id = outcome.request.connection_id
        self._settled += 1
        if self._logs_posts:
            self._log_post(outcome)
        if outcome.result is Result.OK:
            self._open.remove(connection_id)
            self._arrivals.append(self._delivery.wall_clock())
        elif outcome.result is Result.GONE:
            self._gone.append(connection_id)
        elif outcome.result.may_pass:
            self._failed[connection_id] = outcome.result.value
            self._tally["throttled"] += outcome.result is Result.THROTTLED
            self._delivery.unresponsive.add(connection_id, outcome.seconds)
        else:
            self._refused.append(outcome)

    def _seconds_to_note(self) -> float:
        return self._noted_at + SECONDS_PER_NOTE - self._delivery.clock()

    def _try_to_note(self) -> None:
        """Write a note; one that a service refuses is made up for by the next."""
        try:
            self._note()
        except ServiceUnavailable:
            logger.warning("note not written", job=self._letter.name, exc_info=True)

    def _note(self, *, done: bool = False) -> None:
        """See to those who were not delivered, and only then write how far the walk has come."""
        # Also if it fails: the next is due a second later.
        self._noted_at, self._settled = self._delivery.clock(), 0
        self._forget()
        trouble: ServiceUnavailable | None = None
        try:
            self._hand_on()
            self._set_aside()
        except ServiceUnavailable as unavailable:
            # Who could not be handed on stays open, and nobody else is repeated.
            trouble = unavailable
        self._job.write(
            reached=self._reached, open=sorted(self._open), done=done and trouble is None
        )
        if trouble:
            raise trouble

    def _forget(self) -> None:
        """Forget who is gone; whoever cannot be forgotten is a straggler, and will be met again."""
        gone, self._gone = self._gone, []
        done = []
        for connection_id, forgotten in zip(
            gone, self._delivery.forget(self._letter.topic, gone), strict=True
        ):
            if forgotten:
                self._open.remove(connection_id)
                done.append(connection_id)
            else:
                self._failed[connection_id] = "NotForgotten"
        if done:
            self._tally["gone"] += len(done)
            logger.info("connections forgotten", connections=done)

    def _hand_on(self) -> None:
        """Hand stragglers to the delivery queue; close those that were tried long enough."""
        if not self._failed:
            return
        ids = sorted(self._failed)
        attempt = self._letter.attempt + 1
        if attempt > len(STRAGGLER_DELAYS):
            self._close(ids)
        else:
            letter = self._letter.for_stragglers(ids, attempt)
            delay_seconds = STRAGGLER_DELAYS[attempt - 1]
            self._delivery.letters.send([letter], delay_seconds)
            logger.info(
                "stragglers handed on",
                jobs=[letter.name],
                attempt=attempt,
                delay_seconds=delay_seconds,
                connections=ids,
                reasons=Counter(self._failed.values()),
            )
            self._open.difference_update(ids)
            self._tally["failed"] += len(ids)
        self._failed.clear()

    def _hand_on_early(self) -> None:
        """Hand on who was passed over while the others are in flight: that takes no time then."""
        self._passed_over = False
        if self._letter.attempt < len(STRAGGLER_DELAYS):
            # If it is refused, the next note makes up for it.
            with suppress(ServiceUnavailable):
                self._hand_on()

    def _close(self, ids: list[str]) -> None:
        """Close connections, and then forget them.

        Whoever is forgotten and not closed would wait for ever; so one that cannot even be closed
        is left as it is, with a dead letter that says so.
        """
        outcomes = close(self._delivery.window, ids, _SLOW_CLIENT)
        closed = [
            outcome.request.connection_id
            for outcome in outcomes
            if outcome.result in (Result.OK, Result.GONE)
        ]
        # A row that stays meets 410 with the topic's next event.
        self._delivery.forget(self._letter.topic, closed)
        self._open.difference_update(closed)
        self._refused += [
            outcome for outcome in outcomes if outcome.request.connection_id in self._open
        ]
        count("ClientsClosed", len(closed))
        if closed:
            logger.info("connections closed", reason="SlowClient", connections=closed)

    def _set_aside(self) -> None:
        """Make dead letters of those that API Gateway refuses for good, one for each reason."""
        while self._refused:
            first = self._refused[0]
            alike = [each for each in self._refused if each.result is first.result]
            ids = sorted(each.request.connection_id for each in alike)
            reason = f"{len(ids)} connections, the first: {first.reason}"
            # Once redriven, it has all its tries again.
            letter = self._letter.for_stragglers(ids, attempt=0)
            code = first.result.value
            self._delivery.dead_letters.send(letter.encode(), EventRejected(code, reason))
            logger.error("posts refused", code=code, reason=reason, connections=ids)
            self._refused = [each for each in self._refused if each.result is not first.result]
            self._open.difference_update(ids)
            self._tally["refused"] += len(ids)

    def _log_post(self, outcome: Outcome) -> None:
        logger.debug(
            "post answered",
            connection_id=outcome.request.connection_id,
            job=self._letter.name,
            result=outcome.result.value,
            reason=outcome.reason or None,
            milliseconds=round(outcome.seconds * 1000),
        )

    def _report(self) -> None:
        """Count and log how it went, also of a walk that ends early.

        What is logged says who was posted to: the subscribers in (walked_after, walked_upto], and
        beside them `connections`; all but those that other lines name got the frame.
        """
        letter, tally, (after, left_open) = self._letter, self._tally, self._began
        # Twice, for an event's own time has whole seconds, and may be whatever its publisher says.
        measure("DeliveryLatency", self._since(published_at_ms(letter.event.frame)))
        measure("DeliveryLatencyFromQueue", self._since(letter.queued_at_ms))
        count("NotificationsDelivered", len(self._arrivals))
        count("NotificationsThrottled", tally["throttled"])
        count("NotificationsGone", tally["gone"])
        count("NotificationsFailed", tally["failed"])
        count("NotificationsRefused", tally["refused"])
        logger.info(
            "delivery walked",
            job=letter.name,
            cursor=str(letter.event.cursor),
            attempt=letter.attempt,
            connections=letter.ids or left_open or None,
            walked_after=None if letter.ids else after,
            walked_upto=None if letter.ids else letter.upto if self._finished else self._reached,
            delivered=len(self._arrivals),
            ended=tally["ended"],
            gone=tally["gone"],
            failed=tally["failed"],
            throttled=tally["throttled"],
            refused=tally["refused"],
            finished=self._finished,
        )

    def _since(self, start_ms: int | None) -> list[int]:
        """Return how long each frame took that arrived; where clocks differ, no less than 0 ms."""
        if start_ms is None:
            return []
        return [max(0, int(at * 1000) - start_ms) for at in self._arrivals]


class Unresponsive:
    """Who did not answer a moment ago, and is not waited for again so soon.

    A client that keeps a post waiting for three seconds is left alone for thirty: so it takes no
    more than a tenth of the time of a function, whatever is published. Meanwhile its frames are
    handed on without a try.
    """

    LEAST_SECONDS = 1.0
    TIMES = 10.0
    _MOST = 10_000

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until: dict[str, float] = {}

    def add(self, connection_id: str, waited_seconds: float) -> None:
        if len(self._until) >= self._MOST:
            now = self._clock()
            self._until = {each: until for each, until in self._until.items() if until > now}
        pause = max(self.LEAST_SECONDS, self.TIMES * waited_seconds)
        self._until[connection_id] = self._clock() + pause

    def holds(self, connection_id: str) -> bool:
        until = self._until.get(connection_id)
        return until is not None and until > self._clock()
