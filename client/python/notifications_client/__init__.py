"""Real-time notifications over WebSockets, none missed and none twice.

    async with NotificationsClient(url) as client:
        async for event in client.subscribe("order-17"):
            ...

From the outside to the inside:

    client.py           the states, attempts to connect, one connection that replaces another
    subscription.py     what the program iterates over, and the queue behind it
    conversation.py     what is asked on a connection, gathered into few requests
    line.py             one connection: its opening, frames, one request at a time
    feed.py             one entity: which event is next, what waits, what is lost; no I/O
    tokens.py           how long a token lives, and what renews it before its end
    times.py, errors.py

`python -m notifications_client` follows entities from a shell. What all clients have to do is in
docs/clients.md of the service.
"""

from .client import NotificationsClient, State
from .errors import ClosedForGood, NotificationsError, SubscriptionRefused, UnauthorizedError
from .feed import Event, Gap
from .subscription import Subscription
from .times import Times

__all__ = [
    "ClosedForGood",
    "Event",
    "Gap",
    "NotificationsClient",
    "NotificationsError",
    "State",
    "Subscription",
    "SubscriptionRefused",
    "Times",
    "UnauthorizedError",
]
