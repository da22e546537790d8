"""The baseline: posts by boto3 from 32 threads, as the notifier did before it had its engine."""

from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from management_api import Outcome, Request, Result

if TYPE_CHECKING:
    from mypy_boto3_apigatewaymanagementapi import ApiGatewayManagementApiClient

# More threads do not make boto3 faster: from here on one core signs as fast as it can.
_THREADS = 32


class Boto3Poster:
    """`run` of `management_api.ManagementApi`, on boto3 and threads.

    429, 5xx and timeouts are retried by the client, with growing delays and jitter.
    """

    def __init__(self, endpoint: str) -> None:
        """Post through `endpoint`, the API's address with its stage."""
        self._api: ApiGatewayManagementApiClient = boto3.client(
            "apigatewaymanagementapi",
            endpoint_url=endpoint,
            config=Config(
                connect_timeout=1,
                read_timeout=3,
                max_pool_connections=_THREADS,
                retries={"mode": "standard", "total_max_attempts": 4},
            ),
        )
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="post")

    def run(self, requests: Iterable[Request]) -> Iterator[Outcome]:
        """Send each request; at most 64 wait, however many there are."""
        pending: set[Future[Outcome]] = set()
        for request in requests:
            if len(pending) >= 2 * _THREADS:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
            pending.add(self._threads.submit(self._send, request))
        yield from (future.result() for future in wait(pending).done)

    def _send(self, request: Request) -> Outcome:
        try:
            if request.payload is None:
                self._api.delete_connection(ConnectionId=request.connection_id)
            else:
                self._api.post_to_connection(
                    ConnectionId=request.connection_id, Data=request.payload.body
                )
        except self._api.exceptions.GoneException:
            return Outcome(request, Result.GONE)
        except (ClientError, BotoCoreError) as exc:
            return Outcome(request, Result.FAILED, str(exc))
        return Outcome(request, Result.OK)
