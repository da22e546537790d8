"""Run the gateway until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import resource
import signal
import ssl
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from botocore.config import Config
from botocore.session import get_session

from . import certificates, discretion
from .addressing import Served
from .api import Api
from .certificates import Certificate
from .command import DeployOptions, parse
from .control import Control
from .deployment import CannotDeployError, deploy
from .faults import Faults
from .gateway import Gateway
from .lambdas import Lambdas
from .options import Options
from .reader import ApiNotFoundError, ApiReader, Choice, ReadingError
from .runtime import Runtime
from .throttle import Throttle

log = logging.getLogger(__package__)


# What macOS allows a process at most, unless it was told otherwise (kern.maxfilesperproc).
MAX_DESCRIPTORS = 10_240


class CannotStartError(Exception):
    """Say in one line why there is no gateway."""


async def run(options: Options) -> None:
    """Serve until SIGINT or SIGTERM.

    Raises:
        CannotStartError: The API cannot be read, or the address not listened on.
    """
    session = get_session()
    # Short, so that an endpoint that is down is noticed at once.
    config = Config(connect_timeout=3, read_timeout=10, retries={"total_max_attempts": 2})

    def client(service: str) -> Any:
        return session.create_client(
            service, options.region, endpoint_url=options.endpoint_url, config=config
        )

    choice = Choice(options.api_id or (), options.api_name or (), options.stack or (), options.all)
    try:
        credentials = session.get_credentials()
        if credentials is None:
            raise CannotStartError("no AWS credentials; an emulator takes any AWS_ACCESS_KEY_ID")
        reader = ApiReader(client, choice, options.supplement)
        lambda_url = client("lambda").meta.endpoint_url
        apis = await asyncio.to_thread(reader.read)
        tls = Tls.of(options)
    except (ApiNotFoundError, *ReadingError) as error:
        raise CannotStartError(str(error)) from error

    lambdas = Lambdas(lambda_url, options.region, credentials, options.concurrent_calls)
    throttle = Throttle(options.throttle_rate, options.throttle_burst)
    runtime = Runtime(options, Served(apis), lambdas, throttle, Faults(options))
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
            address = await gateway.start(tls.context)
        _tell_ready(tls, address, apis)
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
            apis = await asyncio.to_thread(reader.read)
        except (ApiNotFoundError, *ReadingError) as error:
            # A stack that is being replaced, or an emulator that restarts: serve what was.
            log.warning("the API cannot be read, the last reading stays: %s", error)
            continue
        for api in apis:
            if api not in runtime.served.apis:
                log.info(
                    "the API has changed: %s (%s), %d routes, %d stages",
                    api.name, api.id, len(api.routes), len(api.stages),
                )  # fmt: skip
        runtime.served.apis = apis


def _name_of(address: str) -> str:
    """Return a host's name or address without its port and brackets."""
    if address.count(":") > 1 and not address.startswith("["):
        return address
    return urlsplit(f"//{address}").hostname or ""


def _tell_ready(tls: Tls, address: str, apis: Sequence[Api]) -> None:
    scheme = "wss" if tls.is_own else "ws"
    for api in apis:
        stages = ", ".join(sorted(api.stages)) or "none yet"
        prefix = f"/{api.id}" if len(apis) > 1 else ""
        print(
            f"gateway ready: {scheme}://{address}{prefix} api={api.id} ({api.name})"
            f" stages: {stages}",
            flush=True,
        )
    if tls.made:
        # In one line, to be copied to where the functions' environment is made.
        print(
            "TLS on the same port; for functions that call https://{domainName}/{stage}:"
            f" AWS_CA_BUNDLE={tls.made.bundle} NODE_EXTRA_CA_CERTS={tls.made.authority}",
            flush=True,
        )


@dataclass(frozen=True)
class Tls:
    """Hold what TLS is spoken with: a certificate of the user, or one that was made, or none."""

    context: ssl.SSLContext | None
    made: Certificate | None = None
    is_own: bool = False

    @classmethod
    def of(cls, options: Options) -> Self:
        """Return what the options ask for.

        Raises:
            CannotStartError: The user's certificate cannot be read, or is none.
        """
        if options.tls_cert:
            try:
                context = certificates.context(options.tls_cert, options.tls_key)
            except OSError as error:
                # It does not say of which file.
                raise CannotStartError(f"--tls-cert {options.tls_cert}: {error}") from error
            return cls(context, is_own=True)
        addresses = (options.host, options.domain_name or "")
        names = [name for name in map(_name_of, addresses) if name]
        try:
            made = certificates.ensure(Path(options.tls_folder), names)
        except OSError as error:
            # Plain connections need none.
            log.warning("no TLS: a certificate cannot be kept in %s: %s", options.tls_folder, error)
            return cls(None)
        return cls(made.context(), made)


def main() -> int:
    """Run the command and return its exit status."""
    options = parse(sys.argv[1:])
    try:
        if isinstance(options, DeployOptions):
            deploy(options)
        else:
            _serve(options)
    except (CannotStartError, CannotDeployError) as error:
        print(f"gateway: {error}", file=sys.stderr)
        return 1
    return 0


def _serve(options: Options) -> None:
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
    _take_descriptors()
    asyncio.run(run(options))


def _take_descriptors() -> None:
    """Take a descriptor for each connection: all that are allowed."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # macOS says "unlimited", and refuses that.
    wanted = MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else hard
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError) as error:
        log.warning("the number of connections stays limited: %s", error)


def command() -> None:
    """Be the console script."""
    sys.exit(main())


if __name__ == "__main__":
    command()
