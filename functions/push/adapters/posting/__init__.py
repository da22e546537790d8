"""The posting engine: one payload to many connections, from one thread, at little CPU.

Read it in this order:

    engine.py      PostingEngine, and the loop that keeps many posts under way
    signer.py      the signed request of one post
    connection.py  one keep-alive connection that never blocks
    response.py    what came back, as HTTP
    verdict.py     what that means for the recipient
    rate.py        how many posts a second
    pool.py        the connections kept between posts
    endpoint.py    where to: host, port, stage, and TLS

Why it is not boto3: docs/adr/0004-own-posting-engine.md.
"""

from push.adapters.posting.engine import PostingEngine

__all__ = ["PostingEngine"]
