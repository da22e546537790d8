"""Run the gateway until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import resource
import signal
import ssl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import get_session

from . import discretion
from .api import ApiNotFoundError, ApiReader
from .control import Control
from .faults import Faults
from .gateway import Gateway
from .lambdas import Lambdas
from .options import Options, parse
from .runtime import Runtime
from .throttle import Throttle

if TYPE_CHECKING:
    from mypy_boto3_apigatewayv2 import ApiGatewayV2Client

log = logging.getLogger(__package__)


class CannotStartError(Exception):
    """Say in one line why there is no gateway."""


async def run(options: Options) -> None:
    """Serve until SIGINT or SIGTERM.

    Raises:
        CannotStartError: The API cannot be read, or the address not listened on.
    """
    session = get_session()
    credentials = session.get_credentials()
    if credentials is None:
        raise CannotStartError("no AWS credentials; an emulator takes any AWS_ACCESS_KEY_ID")
    # Short, so that an endpoint that is down is noticed at once.
    config = Config(connect_timeout=3, read_timeout=10, retries={"total_max_attempts": 2})
    url = options.endpoint_url
    client = session.create_client("apigatewayv2", options.region, endpoint_url=url, config=config)
    reader = ApiReader(cast("ApiGatewayV2Client", client), options.api_id)
    lambda_url = session.create_client("lambda", options.region, endpoint_url=url).meta.endpoint_url
    try:
        api = await asyncio.to_thread(reader.read)
        tls = _tls(options)
    except (ApiNotFoundError, BotoCoreError, ClientError, OSError) as error:
        raise CannotStartError(str(error)) from error

    lambdas = Lambdas(lambda_url, options.region, credentials, options.concurrent_calls)
    throttle = Throttle(options.throttle_rate, options.throttle_burst)
    runtime = Runtime(options, api, lambdas, throttle, Faults(options))
    gateway, control = Gateway(runtime), Control(runtime)
    stop = asyncio.Event()
    reread = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(discretion.tell)
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, reread.set)
    try:
        control_address = None
        if options.control_port is not None:
            # First, so that whoever finds the gateway ready finds this, too.
            with _listening(f"127.0.0.1:{options.control_port}"):
                control_address = await control.start(options.control_port)
        with _listening(f"{options.host}:{options.port}"):
            address = await gateway.start(tls)
        stages = ", ".join(sorted(api.stages)) or "none yet"
        print(f"gateway ready: {address} api={api.id} stages: {stages}", flush=True)
        if control_address:
            print(f"control ready: {control_address}", flush=True)
        refresher = asyncio.create_task(_refresh(runtime, reader, reread))
        await stop.wait()
        refresher.cancel()
        await gateway.stop()
    finally:
        await control.stop()
        await lambdas.close()


@contextmanager
def _listening(address: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CannotStartError(f"cannot listen on {address}: {error.strerror or error}") from error


async def _refresh(runtime: Runtime, reader: ApiReader, reread: asyncio.Event) -> None:
    while True:
        try:
            async with asyncio.timeout(runtime.options.refresh_seconds or None):
                await reread.wait()
        except TimeoutError:
            pass
        reread.clear()
        try:
            api = await asyncio.to_thread(reader.read)
        except (ApiNotFoundError, BotoCoreError, ClientError) as error:
            # A stack that is being replaced, or an emulator that restarts: serve what was.
            log.warning("the API cannot be read, the last reading stays: %s", error)
            continue
        if api != runtime.api:
            log.info("the API has changed: %d routes, %d stages", len(api.routes), len(api.stages))
            runtime.api = api


def _tls(options: Options) -> ssl.SSLContext | None:
    if options.tls_cert is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(options.tls_cert, options.tls_key)
    return context


def main() -> int:
    """Run the command and return its exit status."""
    options = parse()
    logging.basicConfig(
        level=options.log_level, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s"
    )
    for handler in logging.getLogger().handlers:
        handler.addFilter(discretion.LibrariesBrieflyFilter())
    # What cannot be logged is not printed either.
    logging.raiseExceptions = False
    if options.log_level in ("DEBUG", "INFO"):
        # It takes a first request that is no HTTP for too small a matter.
        logging.getLogger("aiohttp.server").setLevel(logging.DEBUG)
    # These two log what clients send, at INFO and below.
    logging.getLogger("websockets").setLevel(logging.WARNING)
    logging.getLogger("botocore").setLevel(logging.WARNING)
    # A line for each request of the readings.
    logging.getLogger("urllib3").setLevel(logging.WARNING)
    # A descriptor for each connection: take all that are allowed.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        asyncio.run(run(options))
    except CannotStartError as error:
        print(f"gateway: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
