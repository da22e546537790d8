"""Invoke functions through the Lambda API.

The requests are signed with botocore and sent with aiohttp rather than through
boto3, whose blocking client would need a thread for each function that is running:
a slow function may hold its call for 29 s, and any number of messages may be under way.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any
from urllib.parse import quote

import aiohttp
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from yarl import URL

from .errors import BadAnswerError, FunctionRaisedError, FunctionTimeoutError, NotInvokedError


class Lambdas:
    """Invoke functions, each up to ``concurrent_calls`` times at once; 0 sets no bound.

    An emulator starts a process for each call of a function that is under way. Without a
    bound, a burst of calls starts so many that none of them answers in time.

    Create it inside a running loop.
    """

    def __init__(
        self,
        endpoint_url: str,
        region: str,
        credentials: Credentials,
        concurrent_calls: int = 0,
    ) -> None:
        self._concurrent_calls = concurrent_calls
        self._turns: dict[str, asyncio.Semaphore] = {}
        self._endpoint_url = endpoint_url.rstrip("/")
        self._region = region
        self._credentials = credentials
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None)
        )

    async def invoke(
        self,
        function: str,
        event: Mapping[str, Any],
        timeout_ms: int,
        *,
        asynchronous: bool = False,
    ) -> Any:
        """Return the function's result, parsed from JSON; None if nobody waits for it.

        ``timeout_ms`` begins when the function is called, after the wait for its turn.

        Raises:
            IntegrationError: There is none; see its subclasses.
        """
        async with self._turn(function):
            return await self._call(function, event, timeout_ms, asynchronous)

    def _turn(self, function: str) -> AbstractAsyncContextManager[None]:
        if not self._concurrent_calls:
            return nullcontext()
        # Semaphores serve those who wait in their order, and pass over who no longer does.
        return self._turns.setdefault(function, asyncio.Semaphore(self._concurrent_calls))

    async def _call(
        self, function: str, event: Mapping[str, Any], timeout_ms: int, asynchronous: bool
    ) -> Any:
        url = f"{self._endpoint_url}/2015-03-31/functions/{quote(function, safe='')}/invocations"
        body = json.dumps(event).encode()
        headers = {"Content-Type": "application/json"}
        if asynchronous:
            headers["X-Amz-Invocation-Type"] = "Event"
        request = AWSRequest("POST", url, headers=headers, data=body)
        SigV4Auth(self._credentials.get_frozen_credentials(), "lambda", self._region).add_auth(
            request
        )
        try:
            async with (
                asyncio.timeout(timeout_ms / 1000),
                self._http.post(
                    URL(url, encoded=True), data=body, headers=dict(request.headers)
                ) as response,
            ):
                payload = await response.read()
        except TimeoutError as error:
            raise FunctionTimeoutError(f"no answer in {timeout_ms} ms") from error
        except aiohttp.ClientError as error:
            raise NotInvokedError(str(error)) from error
        if response.status >= 300:
            raise NotInvokedError(f"the Lambda API answered {response.status}")
        try:
            result = json.loads(payload or b"null")
        except ValueError as error:
            raise BadAnswerError("not JSON") from error
        if "X-Amz-Function-Error" in response.headers:
            details = result if isinstance(result, dict) else {}
            raise FunctionRaisedError(
                str(details.get("errorType", "unknown")),
                str(details.get("errorMessage", "")),
                result,
            )
        return result

    async def close(self) -> None:
        """Close the connections to the Lambda API."""
        await self._http.close()
