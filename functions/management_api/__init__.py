"""API Gateway's `@connections`: many signed requests at once, from one thread, at little CPU.

A request is a post of a payload to one WebSocket connection, or closes it. Read it in this order:

    request.py     what is asked: a payload for a connection, or its end
    outcome.py     what came of it
    engine.py      ManagementApi, and the loop that keeps many requests under way
    signer.py      a request as signed bytes
    connection.py  one keep-alive connection that never blocks
    response.py    what came back, as HTTP
    rate.py        how many requests a second
    pool.py        the connections kept between runs
    endpoint.py    where to: host, port, stage, and TLS
    waker.py       word from another thread to an engine that waits
    exchange.py    many threads, one engine

It imports no other package of this project. Why it is not boto3, and no HTTP library:
docs/adr/0004-own-posting-engine.md and docs/adr/0007-response-reader.md.
"""

from management_api.engine import ManagementApi
from management_api.exchange import Exchange, Window
from management_api.outcome import Outcome, Result
from management_api.request import Payload, Request

__all__ = ["Exchange", "ManagementApi", "Outcome", "Payload", "Request", "Result", "Window"]
