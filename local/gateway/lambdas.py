"""Invoke functions through the Lambda API.

The requests are signed with botocore and sent with aiohttp rather than through
boto3, whose blocking client would need a thread for each function that is running:
a slow function may hold its call for 29 s, and any number of messages may be under way.
"""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import aiohttp
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from yarl import URL

from . import refusals
from .api import Route, Stage
from .refusals import Refusal


class InvocationError(Exception):
    """Say that a function gave no usable answer. Base of the ways to fail::

    InvocationError
    ├── FunctionRaisedError   it ran and failed
    ├── FunctionTimeoutError  it took longer than the integration may
    ├── NotInvokedError       the Lambda API refused, or could not be reached
    └── BadAnswerError        it answered what a proxy integration may not
    """

    refusal: Refusal = refusals.FAILED


class FunctionRaisedError(InvocationError):
    """Carry the function's ``errorType`` and ``errorMessage``, which clients never see."""

    def __init__(self, error_type: str, error_message: str) -> None:
        super().__init__(error_type)
        self.error_message = error_message


class FunctionTimeoutError(InvocationError):
    """Say that the integration timeout passed."""

    refusal = refusals.TIMED_OUT


class NotInvokedError(InvocationError):
    """Say that the function did not run."""


class BadAnswerError(InvocationError):
    """Say what is wrong with the answer."""


@dataclass(frozen=True)
class Answer:
    """Hold what a function answered; header names are in lower case."""

    status: int
    body: str | None
    headers: dict[str, str]


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

    async def invoke(self, function: str, event: dict[str, Any], timeout_ms: int) -> Any:
        """Return the function's result, parsed from JSON.

        ``timeout_ms`` begins when the function is called, after the wait for its turn.

        Raises:
            InvocationError: There is none; see its subclasses.
        """
        async with self._turn(function):
            return await self._call(function, event, timeout_ms)

    def _turn(self, function: str) -> AbstractAsyncContextManager[None]:
        if not self._concurrent_calls:
            return nullcontext()
        # Semaphores serve those who wait in their order, and pass over who no longer does.
        return self._turns.setdefault(function, asyncio.Semaphore(self._concurrent_calls))

    async def _call(self, function: str, event: dict[str, Any], timeout_ms: int) -> Any:
        url = f"{self._endpoint_url}/2015-03-31/functions/{quote(function, safe='')}/invocations"
        body = json.dumps(event).encode()
        request = AWSRequest("POST", url, headers={"Content-Type": "application/json"}, data=body)
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
                str(details.get("errorType", "unknown")), str(details.get("errorMessage", ""))
            )
        return result

    async def integrate(
        self, route: Route, stage: Stage, event: dict[str, Any], timeout_ms: int
    ) -> Answer:
        """Return what a route's function answered, in ``timeout_ms`` or its own shorter time.

        Raises:
            InvocationError: It failed, or its answer is not a proxy integration's.
        """
        if route.function is None:
            raise NotInvokedError("the route has no Lambda proxy integration")
        result = await self.invoke(
            stage.resolve(route.function), event, min(route.timeout_ms, timeout_ms)
        )
        status = result.get("statusCode") if isinstance(result, dict) else None
        if not isinstance(status, int | str) or not re.fullmatch("[1-5][0-9]{2}", str(status)):
            raise BadAnswerError("no statusCode")
        body = result.get("body")
        if body is not None and not isinstance(body, str):
            raise BadAnswerError("the body is not a string")
        headers = {
            name.lower(): str(values[0])
            for name, values in (result.get("multiValueHeaders") or {}).items()
            if values
        }
        headers |= {
            name.lower(): str(value) for name, value in (result.get("headers") or {}).items()
        }
        return Answer(int(status), body, headers)

    async def close(self) -> None:
        """Close the connections to the Lambda API."""
        await self._http.close()
