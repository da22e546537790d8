"""The options of the gateway: each is a field below, with its default, unit and reason."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .certificates import default_folder


def between(low: float, high: float, kind: type[int] | type[float] = float) -> Callable[[str], Any]:
    """Return a parser of numbers from ``low`` to ``high``."""

    def parse_number(text: str) -> Any:
        value = kind(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text} is not between {low} and {high}")
        return value

    parse_number.__name__ = "number"
    return parse_number


SHARE = between(0, 1)
SECONDS = between(0.001, 1e9)
WHERE = "where"
LIMITS = "limits (the defaults are API Gateway's)"
FAULTS = "faults (shares are 0 to 1; the six kinds of answer exclude each other)"


def option(group: str, default: Any, text: str, **settings: Any) -> Any:
    """Declare a field as an option of the same name."""
    return field(metadata={"group": group, "default": default, "help": text, **settings})


@dataclass(frozen=True)
class Options:
    """Hold every option of the gateway."""

    endpoint_url: str | None = option(
        WHERE,
        os.environ.get("AWS_ENDPOINT_URL"),
        "URL of the emulator; taken from AWS_ENDPOINT_URL when set",
    )
    aws: bool = option(
        WHERE, False, "serve an API of AWS itself, and invoke its functions", action="store_true"
    )
    region: str = option(
        WHERE,
        os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1",
        "region; taken from AWS_REGION or AWS_DEFAULT_REGION when set",
    )
    api_id: Sequence[str] | None = option(
        WHERE, None, "id of an API to serve; may be given several times", action="append"
    )
    api_name: Sequence[str] | None = option(
        WHERE, None, "name of an API to serve, found anew when it is made anew", action="append"
    )
    stack: Sequence[str] | None = option(
        WHERE, None, "stack whose APIs to serve, found anew after a redeploy", action="append"
    )
    all: bool = option(WHERE, False, "serve all WebSocket APIs there are", action="store_true")
    supplement: str | None = option(
        WHERE, None, "file that deploy wrote, with what the endpoint's APIs cannot hold"
    )
    host: str = option(WHERE, "127.0.0.1", "address to listen on")
    port: int = option(
        WHERE, 3001, "port to listen on; 0 takes a free one", type=between(0, 65535, int)
    )
    domain_name: str | None = option(
        WHERE, None, "domainName of events; by default the Host that the client used, with its port"
    )
    tls_folder: str = option(
        WHERE, str(default_folder()), "folder of the certificate that is made for this machine"
    )
    tls_cert: str | None = option(WHERE, None, "PEM certificate chain to use instead of that")
    tls_key: str | None = option(WHERE, None, "PEM private key, when it is not in --tls-cert")
    control_port: int | None = option(
        WHERE,
        None,
        "port on 127.0.0.1 to change faults and end connections by; 0 takes a free one;"
        " without it nobody can",
        type=between(0, 65535, int),
    )
    refresh_seconds: float = option(
        WHERE,
        5.0,
        "seconds between readings of the API, so that a redeploy goes live; 0: on SIGHUP only",
        type=between(0, 1e9),
    )
    concurrent_calls: int = option(
        WHERE,
        8,
        "calls of one function at once, since an emulator starts a process for each;"
        " further calls wait for their turn; 0: no bound",
        type=between(0, 10**6, int),
    )
    allow_unsigned: bool = option(
        WHERE,
        False,
        "let @connections requests in without a Signature Version 4 header",
        action="store_true",
    )
    hide_function_errors: bool = option(
        WHERE,
        False,
        "do not log what functions say when they fail; what the client sent is left out of it"
        " in any case",
        action="store_true",
    )
    log_level: str = option(
        WHERE, "INFO", "least level that is logged", choices=["DEBUG", "INFO", "WARNING"]
    )

    idle_timeout_seconds: float = option(
        LIMITS, 600.0, "seconds without a message either way until the close", type=SECONDS
    )
    max_lifetime_seconds: float = option(
        LIMITS, 7200.0, "seconds until a connection is closed whatever it does", type=SECONDS
    )
    integration_timeout_ms: int = option(
        LIMITS,
        29_000,
        "milliseconds a function may take; an integration's own shorter timeout holds",
        type=between(50, 29_000, int),
    )
    head_timeout_seconds: float = option(
        LIMITS, 5.0, "seconds a request's head, or a TLS handshake, may take", type=SECONDS
    )
    body_timeout_seconds: float = option(
        LIMITS, 10.0, "seconds a body may take from the end of its head on", type=SECONDS
    )
    client_buffer_bytes: int = option(
        LIMITS,
        131_072,
        "bytes kept for a client that does not read before posts to it answer 429;"
        " API Gateway does not publish its own",
        type=between(1, 2**30, int),
    )
    throttle_rate: float | None = option(
        LIMITS,
        None,
        "requests per second for each stage in place of its ThrottlingRateLimit;"
        " a stage without one has 10000",
        type=between(0, 1e9),
    )
    throttle_burst: int | None = option(
        LIMITS,
        None,
        "requests at once for each stage in place of its ThrottlingBurstLimit;"
        " a stage without one has 5000",
        type=between(0, 10**9, int),
    )

    fault_lose_disconnect: float = option(
        FAULTS, 0.0, "share of $disconnect events lost", type=SHARE
    )
    fault_latency_ms: float = option(
        FAULTS, 0.0, "milliseconds added to each @connections request", type=between(0, 1e9)
    )
    fault_429: float = option(
        FAULTS, 0.0, "share of @connections requests answered 429 without effect", type=SHARE
    )
    fault_5xx: float = option(
        FAULTS, 0.0, "share of @connections requests answered 500 or 503 without effect", type=SHARE
    )
    fault_410: float = option(
        FAULTS, 0.0, "share of @connections requests answered 410 all the same", type=SHARE
    )
    fault_reset: float = option(
        FAULTS, 0.0, "share of @connections requests ended by a TCP reset, no effect", type=SHARE
    )
    fault_stall: float = option(
        FAULTS, 0.0, "share of @connections requests held, then served", type=SHARE
    )
    fault_duplicate: float = option(
        FAULTS, 0.0, "share of posts whose frame goes out twice", type=SHARE
    )
    fault_stall_seconds: float = option(FAULTS, 30.0, "seconds a request is held", type=SECONDS)
    fault_seed: int | None = option(
        FAULTS, None, "seed; the same order of requests then meets the same faults", type=int
    )
