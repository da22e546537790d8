"""The alternative that was not chosen: the same requests and responses over asyncio protocols.

It is bare, with neither rate nor timeouts, and so rather flattered by a comparison.
"""

import asyncio
import ssl
from collections.abc import Iterable, Iterator

import botocore.session
from botocore.exceptions import NoCredentialsError

from push.adapters.posting.endpoint import Endpoint, tls_context
from push.adapters.posting.response import parse
from push.adapters.posting.signer import PostRequests, Signer
from push.adapters.posting.verdict import outcome_of
from push.posting import Outcome, Result


class AsyncioPoster:
    """A `push.posting.Poster` that keeps its event loop and connections between posts."""

    def __init__(self, endpoint: str, connections: int = 256) -> None:
        session = botocore.session.get_session()
        credentials = session.get_credentials()
        if credentials is None:
            raise NoCredentialsError
        self._endpoint = Endpoint.parse(endpoint)
        self._context: ssl.SSLContext | None = None
        if self._endpoint.scheme == "https":
            self._context = tls_context(session)
        region = session.get_config_variable("region")
        self._signer = Signer(self._endpoint, region, credentials)
        self._loop = asyncio.new_event_loop()
        self._lanes = [_Lane() for _ in range(connections)]

    def post(self, payload: bytes, connection_ids: Iterable[str]) -> Iterator[Outcome]:
        fan_out = _FanOut(PostRequests(self._signer, payload), iter(connection_ids), self._loop)
        self._loop.create_task(self._start(fan_out))
        while not fan_out.finished:
            # Runs until a response calls `stop`.
            self._loop.run_forever()
            done, fan_out.done = fan_out.done, []
            yield from done

    async def _start(self, fan_out: "_FanOut") -> None:
        endpoint = self._endpoint
        for lane in self._lanes:
            if lane.transport is None or lane.transport.is_closing():
                await self._loop.create_connection(
                    lambda lane=lane: lane, endpoint.host, endpoint.port, ssl=self._context
                )
            lane.next_post(fan_out)
        fan_out.started = True
        self._loop.stop()


class _FanOut:
    def __init__(
        self, requests: PostRequests, ids: Iterator[str], loop: asyncio.AbstractEventLoop
    ) -> None:
        self.requests = requests
        self.ids = ids
        self.loop = loop
        self.done: list[Outcome] = []
        self.under_way = 0
        self.started = False

    @property
    def finished(self) -> bool:
        return self.started and not self.under_way and not self.done


class _Lane(asyncio.Protocol):
    """One connection: each response makes it send the next request."""

    transport: asyncio.Transport | None = None
    _fan_out: _FanOut
    _connection_id = ""
    _received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            self.transport = transport

    def next_post(self, fan_out: _FanOut) -> None:
        self._fan_out = fan_out
        self._connection_id = next(fan_out.ids, "")
        if self._connection_id and self.transport:
            fan_out.under_way += 1
            self.transport.write(fan_out.requests.to(self._connection_id))

    def data_received(self, data: bytes) -> None:
        self._received += data
        if response := parse(self._received):
            self._received = b""
            self._finish(outcome_of(self._connection_id, response))
            self.next_post(self._fan_out)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._connection_id:
            self._finish(Outcome(self._connection_id, Result.FAILED, str(exc)))

    def _finish(self, outcome: Outcome) -> None:
        self._connection_id = ""
        self._fan_out.under_way -= 1
        self._fan_out.done.append(outcome)
        self._fan_out.loop.stop()
