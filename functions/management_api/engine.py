"""ManagementApi: many requests under way at once, in one thread.

`run` is a generator, and so is the loop behind it: it sends as many requests as connections and
rate allow, waits until some of them are answered, hands out the outcomes, and sends the next.
Nothing runs while its caller handles outcomes or Lambda freezes the environment.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from selectors import EVENT_READ, DefaultSelector, SelectorKey
from typing import NamedTuple

import botocore.session
from botocore.exceptions import BotoCoreError, NoCredentialsError, NoRegionError

from management_api.connection import Connection, ConnectionLost
from management_api.endpoint import Endpoint, tls_context
from management_api.outcome import Outcome, Result, verdict
from management_api.pool import Pool
from management_api.rate import Rate
from management_api.request import Request
from management_api.response import Response
from management_api.signer import Signer
from management_api.waker import Waker

# To open a connection costs as much as some 20 requests. With few handshakes at a time, a run of
# some hundred requests is through on the first connections before it has opened one for each.
_MAX_OPENING = 16


class ManagementApi:
    """The `@connections` of one API, with own connections, signatures and rate.

    It does not retry: whoever asked for a request knows better when, and whether at all. The one
    exception is a kept connection that turns out to be closed before a request was wholly sent:
    the server cannot have acted on it, so it is sent once more on a new connection. A connection
    that is lost later is a failed request, because a frame may have reached its client.

    An engine is for one thread, `wake` excepted. Its connections and its rate are shared by all
    its runs.
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
        """Send to `endpoint`, the API's address with its stage.

        Region and credentials are those of the botocore session; `now` dates the signatures. All
        that can be prepared is prepared here, save connections.

        Raises:
            ValueError: the endpoint is no http(s) address, or a number is not positive.
            NoRegionError, NoCredentialsError: the session lacks them.
            BotoCoreError: there are no credentials to be had.
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
        self._waker = Waker()

    def run(self, requests: Iterable[Request | None]) -> Iterator[Outcome]:
        """Send each request once; yield one outcome for each, in any order, as answers come in.

        At most as many requests are taken as there are connections, and outcomes not yet yielded.
        `None` says that there is none at the moment. The run goes on with those under way, and
        asks again when it has yielded outcomes, and after each `wake`: also after one that came
        while it asked. It ends when the iterable has ended and all requests have an outcome.

        If the iterable raises, requests under way are brought to their end first. Closing the
        generator early drops those requests, and their outcome stays unknown.
        """
        run = _Run(self, iter(requests))
        try:
            yield from run.outcomes()
        finally:
            run.close()

    def wake(self) -> None:
        """Make a run that got a `None` ask once more. Any thread may call this."""
        self._waker.wake()

    def close(self) -> None:
        """Close the connections that are kept; the engine cannot be used any more."""
        self._pool.close()
        self._waker.close()


class _Sent(NamedTuple):
    """A request under way; times are those of the run's `_Stopwatch` and of `Rate`."""

    request: Request
    data: bytes
    at: float
    counted_at: float
    on_kept_connection: bool


class _Stopwatch:
    """The time that a run had to itself.

    While the caller handles outcomes or looks for the next request, nobody waits for a server,
    and no timeout may run.
    """

    def __init__(self) -> None:
        self._left_out_seconds = 0.0

    def seconds(self) -> float:
        return time.monotonic() - self._left_out_seconds

    def leave_out_since(self, start: float) -> None:
        """Leave out the time since `time.monotonic()` was `start`."""
        self._left_out_seconds += time.monotonic() - start


class _Run:
    """The requests of one iterable."""

    def __init__(self, api: ManagementApi, requests: Iterator[Request | None]) -> None:
        self._requests = requests
        self._signer = api._signer
        self._pool = api._pool
        self._rate = api._rate
        self._waker = api._waker
        self._timeout_seconds = api._timeout_seconds
        self._max_connections = api._max_connections
        self._watch = _Stopwatch()
        self._selector = DefaultSelector()
        self._selector.register(self._waker, EVENT_READ)
        # In the order in which they were sent, which is that of their timeouts too.
        self._under_way: dict[Connection, _Sent] = {}
        self._opening: set[Connection] = set()
        self._idle: list[Connection] = []
        self._just_answered: Connection | None = None
        self._done: list[Outcome] = []
        self._rate_delay_seconds = 0.0
        self._none_for_now = False
        self._awaits_wake = False
        self._mark: object = None
        self._no_more = False
        self._error: Exception | None = None

    def outcomes(self) -> Iterator[Outcome]:
        while True:
            self._start_requests()
            if self._done:
                done, self._done = self._done, []
                handed_out_at = time.monotonic()
                yield from done
                self._watch.leave_out_since(handed_out_at)
                # What the caller has learned may be what the next request waited for.
                self._none_for_now = False
            elif self._under_way or not self._no_more:
                self._wait()
            elif self._error:
                raise self._error
            else:
                return

    def close(self) -> None:
        """Keep the idle connections; drop those on which a response may still come."""
        for connection in self._idle:
            self._pool.give_back(connection)
        for connection in self._under_way:
            connection.close()
        self._selector.close()

    def _start_requests(self) -> None:
        """Send as many requests as there are, and as there is room for."""
        self._rate_delay_seconds = 0.0
        self._awaits_wake = False
        while self._has_room() and not self._no_more:
            if self._none_for_now and self._waker.mark is self._mark:
                self._awaits_wake = True
                return
            self._rate_delay_seconds = self._rate.delay_seconds()
            if self._rate_delay_seconds:
                return
            if request := self._next():
                self._start(request)

    def _has_room(self) -> bool:
        return (
            len(self._under_way) < self._max_connections
            and (bool(self._idle) or len(self._opening) < _MAX_OPENING)
            # Where requests fail at once, their outcomes must not pile up.
            and len(self._done) < 2 * self._max_connections
        )

    def _next(self) -> Request | None:
        # Before it asks: a wake that comes meanwhile may be about what the answer leaves out.
        self._mark = self._waker.mark
        asked_at = time.monotonic()
        self._none_for_now = False
        request = None
        try:
            request = next(self._requests)
            self._none_for_now = request is None
        except StopIteration:
            self._no_more = True
        except Exception as error:
            self._no_more = True
            self._error = error
        self._watch.leave_out_since(asked_at)
        return request

    def _start(self, request: Request) -> None:
        try:
            data = self._signer.signed(request)
        except UnicodeEncodeError:
            self._done.append(Outcome(request, Result.REFUSED, "not a connection id"))
            return
        except BotoCoreError as error:
            self._done.append(Outcome(request, Result.FAILED, f"not signed: {error}"))
            return
        kept = self._kept_connection()
        counted_at = self._rate.spend()
        sent = _Sent(request, data, self._watch.seconds(), counted_at, kept is not None)
        self._send(sent, kept)

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

    def _send(self, sent: _Sent, connection: Connection | None) -> None:
        """Send a request on an idle connection, or on a new one."""
        if connection is None:
            try:
                connection = self._pool.open()
            except ConnectionLost as lost:
                self._settle(sent, Result.FAILED, str(lost))
                return
            self._selector.register(connection, connection.events, connection)
            self._opening.add(connection)
        self._under_way[connection] = sent
        watched = connection.events
        connection.send(sent.data)
        self._follow(connection, watched)

    def _follow(self, connection: Connection, watched: int) -> None:
        """Watch for what a connection waits for now, unless it is `watched` already."""
        if connection.events != watched:
            self._selector.modify(connection, connection.events, connection)

    def _wait(self) -> None:
        """Wait for a connection, the first timeout, the rate, or a wake."""
        for key, _ in self._select():
            if key.data is None:
                self._waker.drain()
            else:
                self._go_on(key.data)
            # Not after the whole batch: answers would come in ever larger batches, and server
            # and engine take turns in being idle.
            self._start_requests()
        self._just_answered = None
        self._give_up_late_requests()

    def _select(self) -> list[tuple[SelectorKey, int]]:
        waits = []
        if self._rate_delay_seconds:
            waits.append(self._rate_delay_seconds)
        if oldest := next(iter(self._under_way.values()), None):
            waits.append(max(0.0, oldest.at + self._timeout_seconds - self._watch.seconds()))
        seconds = min(waits, default=None)
        if not self._awaits_wake:
            return self._selector.select(seconds)
        with self._waker.asleep(self._mark) as asleep:
            return self._selector.select(seconds if asleep else 0.0)

    def _go_on(self, connection: Connection) -> None:
        """Let a connection do what it waited for."""
        sent = self._under_way.get(connection)
        if sent is None:
            if connection in self._idle and not connection.is_fit():
                self._idle.remove(connection)
                self._drop(connection)
            return
        watched = connection.events
        try:
            response = connection.advance()
        except ConnectionLost as lost:
            self._lose(connection, sent, lost)
            return
        self._follow(connection, watched)
        if response:
            self._answer(connection, sent, response)
        elif not connection.is_opening:
            self._opening.discard(connection)

    def _lose(self, connection: Connection, sent: _Sent, lost: ConnectionLost) -> None:
        del self._under_way[connection]
        self._drop(connection)
        if connection.is_opening:
            worth_another = self._pool.avoid(connection.address)
        else:
            worth_another = lost.unsent and sent.on_kept_connection
        if worth_another:
            again = sent._replace(at=self._watch.seconds(), on_kept_connection=False)
            self._send(again, None)
        else:
            self._settle(sent, Result.FAILED, str(lost))

    def _answer(self, connection: Connection, sent: _Sent, response: Response) -> None:
        del self._under_way[connection]
        if response.reusable:
            self._opening.discard(connection)
            self._idle.append(connection)
            self._just_answered = connection
        else:
            self._drop(connection)
        result, reason = verdict(response)
        self._rate.answered(sent.counted_at, throttled=result is Result.THROTTLED)
        self._settle(sent, result, reason)

    def _settle(self, sent: _Sent, result: Result, reason: str) -> None:
        seconds = self._watch.seconds() - sent.at
        self._done.append(Outcome(sent.request, result, reason, seconds))

    def _give_up_late_requests(self) -> None:
        sent_before = self._watch.seconds() - self._timeout_seconds
        while self._under_way:
            connection, sent = next(iter(self._under_way.items()))
            if sent.at > sent_before:
                return
            if response := connection.answer_so_far():
                self._answer(connection, sent, response)
                continue
            if connection.is_opening:
                self._pool.avoid(connection.address)
            del self._under_way[connection]
            self._drop(connection)
            self._settle(sent, Result.FAILED, f"no response within {self._timeout_seconds:g} s")

    def _drop(self, connection: Connection) -> None:
        self._opening.discard(connection)
        self._selector.unregister(connection)
        connection.close()
