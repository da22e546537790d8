"""The connections that are kept between runs and between invocations.

A TLS handshake costs as much processor time as some 20 requests, so a warm environment keeps what
it opened. Proxies that the environment names (HTTPS_PROXY) are not used.
"""

import socket
import ssl
import time
from collections import deque

from management_api.connection import Address, Connection, ConnectionLost
from management_api.endpoint import Endpoint

# A frozen environment does not hear that a connection was closed, and a NAT gateway forgets idle
# ones without a word. 60 s is the shortest default among the idle timeouts of AWS's load
# balancers (Application Load Balancer), so what was idle as long is not trusted.
_MAX_IDLE_SECONDS = 55.0
# Endpoints change their addresses; their DNS records live for a minute or so.
_ADDRESSES_SECONDS = 30.0
# A look-up that fails may take seconds, which a run must not spend once for each request.
_NO_ADDRESSES_SECONDS = 1.0


class Pool:
    """Idle connections to one endpoint."""

    def __init__(self, endpoint: Endpoint, context: ssl.SSLContext | None, size: int) -> None:
        """Keep at most `size` connections; `context` is `None` for plain HTTP."""
        self._endpoint = endpoint
        self._context = context
        # The wall clock: the monotonic one may stand still while an environment is frozen.
        self._idle: deque[tuple[Connection, float]] = deque(maxlen=size)
        self._addresses: deque[Address] = deque()
        self._resolved_at = float("-inf")
        self._why_no_addresses = ""

    def take(self) -> Connection | None:
        """Return an idle connection that can be used, the last one used first."""
        while self._idle:
            connection, idle_since = self._idle.pop()
            if abs(time.time() - idle_since) < _MAX_IDLE_SECONDS and connection.is_fit():
                return connection
            connection.close()
        return None

    def give_back(self, connection: Connection) -> None:
        """Keep a connection that has nothing under way."""
        if len(self._idle) == self._idle.maxlen:
            self._idle.popleft()[0].close()
        self._idle.append((connection, time.time()))

    def open(self) -> Connection:
        """Start a new connection, to each of the endpoint's addresses in turn.

        Raises:
            ConnectionLost: there is no address, or none can be reached.
        """
        self._look_up()
        if not self._addresses:
            raise ConnectionLost(self._why_no_addresses, unsent=True)
        while True:
            self._addresses.rotate(-1)
            address = self._addresses[-1]
            try:
                return Connection(address, self._endpoint.host, self._context)
            except ConnectionLost:
                if not self.avoid(address):
                    raise

    def avoid(self, address: Address) -> bool:
        """Leave out an address until the next look-up; return whether there is another one.

        `localhost`, and endpoints with IPv6, have addresses that not every machine can reach.
        """
        if address in self._addresses:
            if len(self._addresses) == 1:
                return False
            self._addresses.remove(address)
        return True

    def close(self) -> None:
        while self._idle:
            self._idle.pop()[0].close()

    def _look_up(self) -> None:
        """Look the addresses up if they are old. This blocks as long as the resolver does."""
        valid_seconds = _ADDRESSES_SECONDS if self._addresses else _NO_ADDRESSES_SECONDS
        if time.monotonic() - self._resolved_at < valid_seconds:
            return
        host, port = self._endpoint.host, self._endpoint.port
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            found = []
            self._why_no_addresses = f"{host} not found: {error.strerror}"
        self._addresses = deque(Address(family, sockaddr) for family, _, _, _, sockaddr in found)
        self._resolved_at = time.monotonic()
