"""The poster: many posts under way at once, in one thread.

`post` is a generator, and so is the loop behind it: it sends as many posts as connections and
rate allow, waits until some of them are answered, hands out the outcomes, and sends the next.
Nothing runs while its caller handles outcomes or Lambda freezes the environment.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from selectors import DefaultSelector
from typing import NamedTuple

import botocore.session
from botocore.exceptions import BotoCoreError, NoCredentialsError, NoRegionError

from push.adapters.posting.connection import Connection, ConnectionLost
from push.adapters.posting.endpoint import Endpoint, tls_context
from push.adapters.posting.pool import Pool
from push.adapters.posting.rate import Rate
from push.adapters.posting.response import Response
from push.adapters.posting.signer import PostRequests, Signer
from push.adapters.posting.verdict import outcome_of
from push.posting import Outcome, Result

# To open a connection costs as much as some 20 posts. With few handshakes at a time, a fan-out of
# some hundred ids is through on the first connections before it has opened one for each id.
_MAX_OPENING = 16


class PostingEngine:
    """A `push.posting.Poster` with own connections, signatures and rate.

    It does not retry: whoever asked for the post knows better when, and whether at all. The one
    exception is a kept connection that turns out to be closed before a request was wholly sent:
    the server cannot have acted on it, so it is sent once more on a new connection. A connection
    that is lost later is a failed post, because its frame may have reached the client.

    An engine is for one thread. Its connections and its rate are shared by all its fan-outs.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        rate_per_second: float | None = None,
        timeout_seconds: float = 3.0,
        max_connections: int = 256,
        session: botocore.session.Session | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Post through `endpoint`, the API's address with its stage.

        Region and credentials are those of the botocore session; `now` dates the signatures.

        Raises:
            ValueError: the endpoint is no http(s) address, or a number is not positive.
            NoRegionError, NoCredentialsError: the session lacks them.
        """
        if timeout_seconds <= 0 or max_connections <= 0:
            raise ValueError("timeout and number of connections must be more than 0")
        session = session or botocore.session.get_session()
        if not (region := session.get_config_variable("region")):
            raise NoRegionError
        if not (credentials := session.get_credentials()):
            raise NoCredentialsError
        address = Endpoint.parse(endpoint)
        context = tls_context(session) if address.scheme == "https" else None
        self._signer = Signer(address, region, credentials, now=now)
        self._pool = Pool(address, context, max_connections)
        self._rate = Rate(rate_per_second)
        self._timeout_seconds = timeout_seconds
        self._max_connections = max_connections

    def post(self, payload: bytes, connection_ids: Iterable[str]) -> Iterator[Outcome]:
        """Post `payload` to each id; yield one outcome per id, as the answers come in.

        At most as many ids are taken as there are connections, and outcomes not yet yielded. If
        the iterable of ids raises, posts under way are brought to their end first. Closing the
        generator early drops those posts, and their outcome stays unknown.
        """
        requests = PostRequests(self._signer, payload)
        fan_out = _FanOut(
            iter(connection_ids),
            requests,
            self._pool,
            self._rate,
            self._timeout_seconds,
            self._max_connections,
        )
        try:
            yield from fan_out.outcomes()
        finally:
            fan_out.close()

    def close(self) -> None:
        """Close the connections that are kept."""
        self._pool.close()


class _Post(NamedTuple):
    """A post under way; times are those of the fan-out's `_Stopwatch` and of `Rate`."""

    connection_id: str
    request: bytes
    deadline: float
    sent_at: float
    on_kept_connection: bool


class _Stopwatch:
    """The time that a fan-out had to itself.

    While the caller handles outcomes or looks for the next id, nobody waits for a server, and no
    timeout may run.
    """

    def __init__(self) -> None:
        self._left_out_seconds = 0.0

    def seconds(self) -> float:
        return time.monotonic() - self._left_out_seconds

    def leave_out_since(self, start: float) -> None:
        """Leave out the time since `time.monotonic()` was `start`."""
        self._left_out_seconds += time.monotonic() - start


class _FanOut:
    """The posts of one payload."""

    def __init__(
        self,
        ids: Iterator[str],
        requests: PostRequests,
        pool: Pool,
        rate: Rate,
        timeout_seconds: float,
        max_connections: int,
    ) -> None:
        self._ids = ids
        self._requests = requests
        self._pool = pool
        self._rate = rate
        self._timeout_seconds = timeout_seconds
        self._max_connections = max_connections
        self._watch = _Stopwatch()
        self._selector = DefaultSelector()
        # In the order in which they were sent, which is that of their deadlines too.
        self._under_way: dict[Connection, _Post] = {}
        self._opening: set[Connection] = set()
        self._idle: list[Connection] = []
        self._just_answered: Connection | None = None
        self._done: list[Outcome] = []
        self._rate_delay_seconds = 0.0
        self._no_more_ids = False
        self._error_of_ids: Exception | None = None

    def outcomes(self) -> Iterator[Outcome]:
        while True:
            self._start_posts()
            if self._done:
                done, self._done = self._done, []
                handed_out_at = time.monotonic()
                yield from done
                self._watch.leave_out_since(handed_out_at)
            elif self._under_way or not self._no_more_ids:
                self._wait()
            elif self._error_of_ids:
                raise self._error_of_ids
            else:
                return

    def close(self) -> None:
        """Keep the idle connections; drop those on which a response may still come."""
        for connection in self._idle:
            self._pool.give_back(connection)
        for connection in self._under_way:
            connection.close()
        self._selector.close()

    def _start_posts(self) -> None:
        """Send as many posts as there is room for."""
        self._rate_delay_seconds = 0.0
        while self._has_room() and not self._no_more_ids:
            self._rate_delay_seconds = self._rate.delay_seconds()
            if self._rate_delay_seconds:
                return
            if (connection_id := self._next_id()) is not None:
                self._start(connection_id)

    def _has_room(self) -> bool:
        return (
            len(self._under_way) < self._max_connections
            and (bool(self._idle) or len(self._opening) < _MAX_OPENING)
            # Where posts fail at once, their outcomes must not pile up.
            and len(self._done) < 2 * self._max_connections
        )

    def _next_id(self) -> str | None:
        asked_at = time.monotonic()
        try:
            return next(self._ids)
        except StopIteration:
            self._no_more_ids = True
        except Exception as error:
            self._no_more_ids = True
            self._error_of_ids = error
        finally:
            self._watch.leave_out_since(asked_at)
        return None

    def _start(self, connection_id: str) -> None:
        try:
            request = self._requests.to(connection_id)
        except UnicodeEncodeError:
            self._done.append(Outcome(connection_id, Result.REFUSED, "not a connection id"))
            return
        except BotoCoreError as error:
            self._done.append(Outcome(connection_id, Result.FAILED, f"not signed: {error}"))
            return
        kept = self._kept_connection()
        sent_at = self._rate.spend()
        post = _Post(connection_id, request, self._deadline(), sent_at, kept is not None)
        self._send(post, kept)

    def _deadline(self) -> float:
        return self._watch.seconds() + self._timeout_seconds

    def _kept_connection(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            # One that waited for the rate, or the caller, may have been closed meanwhile.
            if connection is self._just_answered or connection.is_fit():
                return connection
            self._drop(connection)
        if taken := self._pool.take():
            self._selector.register(taken, taken.events, taken)
        return taken

    def _send(self, post: _Post, connection: Connection | None) -> None:
        """Send a post on an idle connection, or on a new one."""
        if connection is None:
            try:
                connection = self._pool.open()
            except ConnectionLost as lost:
                self._fail(post, str(lost))
                return
            self._selector.register(connection, connection.events, connection)
            self._opening.add(connection)
        self._under_way[connection] = post
        watched = connection.events
        connection.send(post.request)
        self._follow(connection, watched)

    def _follow(self, connection: Connection, watched: int) -> None:
        """Watch for what a connection waits for now, unless it is `watched` already."""
        if connection.events != watched:
            self._selector.modify(connection, connection.events, connection)

    def _wait(self) -> None:
        """Wait until a connection can go on, a post is late, or the rate allows the next one."""
        waits = []
        if self._rate_delay_seconds:
            waits.append(self._rate_delay_seconds)
        if oldest := next(iter(self._under_way.values()), None):
            waits.append(oldest.deadline - self._watch.seconds())
        for key, _ in self._selector.select(max(0.0, min(waits, default=0.0))):
            self._go_on(key.data)
            # Not after the whole batch: answers would come in ever larger batches, and server
            # and engine take turns in being idle.
            self._start_posts()
        self._just_answered = None
        self._give_up_late_posts()

    def _go_on(self, connection: Connection) -> None:
        """Let a connection do what it waited for."""
        post = self._under_way.get(connection)
        if post is None:
            if connection in self._idle and not connection.is_fit():
                self._idle.remove(connection)
                self._drop(connection)
            return
        watched = connection.events
        try:
            response = connection.advance()
        except ConnectionLost as lost:
            del self._under_way[connection]
            self._drop(connection)
            if connection.is_opening:
                worth_another = self._pool.avoid(connection.address)
            else:
                worth_another = lost.unsent and post.on_kept_connection
            if worth_another:
                again = post._replace(deadline=self._deadline(), on_kept_connection=False)
                self._send(again, None)
            else:
                self._fail(post, str(lost))
            return
        if response:
            self._settle(connection, post, response)
            return
        if not connection.is_opening:
            self._opening.discard(connection)
        self._follow(connection, watched)

    def _settle(self, connection: Connection, post: _Post, response: Response) -> None:
        del self._under_way[connection]
        if response.reusable:
            self._opening.discard(connection)
            self._idle.append(connection)
            self._just_answered = connection
        else:
            self._drop(connection)
        outcome = outcome_of(post.connection_id, response)
        self._rate.answered(post.sent_at, throttled=outcome.result is Result.THROTTLED)
        self._done.append(outcome)

    def _fail(self, post: _Post, reason: str) -> None:
        self._done.append(Outcome(post.connection_id, Result.FAILED, reason))

    def _give_up_late_posts(self) -> None:
        now = self._watch.seconds()
        while self._under_way:
            connection, post = next(iter(self._under_way.items()))
            if post.deadline > now:
                return
            if response := connection.answer_so_far():
                self._settle(connection, post, response)
                continue
            if connection.is_opening:
                self._pool.avoid(connection.address)
            del self._under_way[connection]
            self._drop(connection)
            self._fail(post, f"no response within {self._timeout_seconds:g} s")

    def _drop(self, connection: Connection) -> None:
        self._opening.discard(connection)
        self._selector.unregister(connection)
        connection.close()
