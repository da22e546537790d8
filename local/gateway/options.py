"""Read the command line."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """Hold every option; units are in the names, shares are 0 to 1."""

    endpoint_url: str | None
    region: str
    api_id: str | None
    host: str
    port: int
    tls_cert: str | None
    tls_key: str | None
    refresh_seconds: float
    allow_unsigned: bool
    idle_timeout_seconds: float
    max_lifetime_seconds: float
    integration_timeout_ms: int
    client_buffer_bytes: int
    throttle_rate: float | None
    throttle_burst: int | None
    fault_lose_disconnect: float
    fault_latency_ms: float
    fault_429: float
    fault_5xx: float
    fault_410: float
    fault_reset: float
    fault_stall: float
    fault_stall_seconds: float
    fault_seed: int | None
    log_level: str


def share(text: str) -> float:
    """Parse a share between 0 and 1."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def positive(text: str) -> float:
    """Parse a number greater than zero."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a finite number above 0")
    return value


def not_negative(text: str) -> float:
    """Parse a number of zero or more."""
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a finite number of 0 or more")
    return value


def parse(arguments: list[str] | None = None) -> Options:
    """Return the options; print usage and exit with status 2 when they are wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m local.gateway",
        description="Serve one WebSocket API as API Gateway does: ws://HOST:PORT/{stage} for"
        " clients and http://HOST:PORT/{stage}/@connections/{id} for the back end."
        " The API is read from apigatewayv2 and its functions are invoked through the Lambda"
        " API, both at --endpoint-url. SIGHUP reads the API again; SIGINT and SIGTERM stop.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    where = parser.add_argument_group("where")
    where.add_argument(
        "--endpoint-url",
        default=os.environ.get("AWS_ENDPOINT_URL"),
        help="URL of the emulator; without it (and without AWS_ENDPOINT_URL) AWS itself",
    )
    where.add_argument(
        "--region",
        default=os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1",
        help="region; taken from AWS_REGION or AWS_DEFAULT_REGION when set",
    )
    where.add_argument(
        "--api-id", help="id of the API; may be left out when there is one WebSocket API"
    )
    where.add_argument("--host", default="127.0.0.1", help="address to listen on")
    where.add_argument(
        "--port", type=int, default=3001, help="port to listen on; 0 takes a free one"
    )
    where.add_argument("--tls-cert", help="PEM certificate chain; with it the port speaks TLS")
    where.add_argument("--tls-key", help="PEM private key, when it is not in the --tls-cert file")
    where.add_argument(
        "--refresh-seconds",
        type=not_negative,
        default=5.0,
        help="seconds between readings of the API, so that a redeploy goes live; 0: on SIGHUP only",
    )
    where.add_argument(
        "--allow-unsigned",
        action="store_true",
        help="let @connections requests in without a Signature Version 4 header",
    )
    where.add_argument(
        "--log-level", choices=["DEBUG", "INFO", "WARNING"], default="INFO", help="least level"
    )

    limits = parser.add_argument_group("limits (the defaults are API Gateway's)")
    limits.add_argument(
        "--idle-timeout-seconds",
        type=positive,
        default=600.0,
        help="seconds without a message either way before a connection is closed",
    )
    limits.add_argument(
        "--max-lifetime-seconds",
        type=positive,
        default=7200.0,
        help="seconds after which a connection is closed whatever it does",
    )
    limits.add_argument(
        "--integration-timeout-ms",
        type=int,
        choices=range(50, 29001),
        metavar="50..29000",
        default=29000,
        help="milliseconds a function may take; an integration's own shorter timeout holds",
    )
    limits.add_argument(
        "--client-buffer-bytes",
        type=int,
        default=131072,
        help="bytes kept for a client that does not read before posts to it answer 429;"
        " API Gateway does not publish its own",
    )
    limits.add_argument(
        "--throttle-rate",
        type=not_negative,
        help="requests per second for each stage, in place of the stage's own"
        " ThrottlingRateLimit; a stage without one has 10000",
    )
    limits.add_argument(
        "--throttle-burst",
        type=int,
        help="requests at once for each stage, in place of the stage's own"
        " ThrottlingBurstLimit; a stage without one has 5000",
    )

    faults = parser.add_argument_group(
        "faults (shares are 0 to 1; the five answers exclude each other)"
    )
    faults.add_argument(
        "--fault-lose-disconnect", type=share, default=0.0, help="share of $disconnect events lost"
    )
    faults.add_argument(
        "--fault-latency-ms",
        type=not_negative,
        default=0.0,
        help="milliseconds added to each @connections request",
    )
    for name, effect in (
        ("429", "answered 429 without effect"),
        ("5xx", "answered 500 or 503 without effect"),
        ("410", "answered 410 although the connection is there"),
        ("reset", "ended by a TCP reset without effect"),
        ("stall", "held for --fault-stall-seconds, then served"),
    ):
        faults.add_argument(
            f"--fault-{name}",
            type=share,
            default=0.0,
            help=f"share of @connections requests {effect}",
        )
    faults.add_argument(
        "--fault-stall-seconds", type=not_negative, default=30.0, help="seconds a stall lasts"
    )
    faults.add_argument(
        "--fault-seed",
        type=int,
        help="seed that makes the same order of requests meet the same faults",
    )

    options = Options(**vars(parser.parse_args(arguments)))
    if (
        options.fault_429
        + options.fault_5xx
        + options.fault_410
        + options.fault_reset
        + options.fault_stall
        > 1
    ):
        parser.error(
            "the shares of --fault-429, -5xx, -410, -reset and -stall add up to more than 1"
        )
    if options.tls_key and not options.tls_cert:
        parser.error("--tls-key needs --tls-cert")
    if not 0 <= options.port <= 65535:
        parser.error("--port is not between 0 and 65535")
    if options.client_buffer_bytes < 1:
        parser.error("--client-buffer-bytes is not above 0")
    if options.throttle_burst is not None and options.throttle_burst < 0:
        parser.error("--throttle-burst is below 0")
    return options
