"""The alternative that was not chosen: the same requests and responses over asyncio protocols.

It is bare, with neither rate nor timeouts, and so rather flattered by a comparison.
"""

import asyncio
import ssl
from collections.abc import Iterable, Iterator

import botocore.session
from botocore.exceptions import NoCredentialsError

from management_api import Outcome, Request, Result
from management_api.endpoint import Endpoint, tls_context
from management_api.outcome import verdict
from management_api.response import parse
from management_api.signer import Signer


class AsyncioPoster:
    """`run` of `management_api.ManagementApi`; loop and connections are kept between runs."""

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

    def run(self, requests: Iterable[Request]) -> Iterator[Outcome]:
        run = _Run(self._signer, iter(requests), self._loop)
        self._loop.create_task(self._start(run))
        while not run.finished:
            # Runs until a response calls `stop`.
            self._loop.run_forever()
            done, run.done = run.done, []
            yield from done

    async def _start(self, run: "_Run") -> None:
        endpoint = self._endpoint
        for lane in self._lanes:
            if lane.transport is None or lane.transport.is_closing():
                await self._loop.create_connection(
                    lambda lane=lane: lane, endpoint.host, endpoint.port, ssl=self._context
                )
            lane.next_request(run)
        run.started = True
        self._loop.stop()


class _Run:
    def __init__(
        self, signer: Signer, requests: Iterator[Request], loop: asyncio.AbstractEventLoop
    ) -> None:
        self.signer = signer
        self.requests = requests
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
    _run: _Run
    _request: Request | None = None
    _received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            self.transport = transport

    def next_request(self, run: _Run) -> None:
        self._run = run
        self._request = next(run.requests, None)
        if self._request and self.transport:
            run.under_way += 1
            self.transport.write(run.signer.signed(self._request))

    def data_received(self, data: bytes) -> None:
        self._received += data
        if response := parse(self._received):
            self._received = b""
            self._finish(*verdict(response))
            self.next_request(self._run)

    def connection_lost(self, exc: Exception | None) -> None:
        self._finish(Result.FAILED, str(exc))

    def _finish(self, result: Result, reason: str) -> None:
        if self._request:
            self._run.under_way -= 1
            self._run.done.append(Outcome(self._request, result, reason))
            self._run.loop.stop()
            self._request = None
