"""Subscriptions and notifications over WebSockets: what all functions share.

The conversation with a client:

    routes.py           what every route does around its handler
    protocol.py         a frame as a request, and the replies
    subscriptions.py    subscribe, recover, unsubscribe, forget
    messages.py         every frame and event, as models: the contract is made of them
    connection.py       who sent it
    subprotocol.py      what the handshake answers

Where tokens are asked for (`identity` verifies them):

    presented.py        the token of a handshake
    access.py, grants.py  what a connection may hear
    renewal.py          another token for a connection that is open
    closing.py          kicks, ends of tokens, and how connections are closed

An event on its way, from its queue to the wire:

    batches.py          a batch of messages, handled side by side
    events.py           an EventBridge event, and the frame it becomes
    topics.py           what can be subscribed to, and its log: an event gets its number
    jobs.py             who is at work on what, and letters, the messages of the delivery queue
    delivery.py         ranges of large topics, walks over subscribers, stragglers

What both stand on:

    adapters/table.py   all that talks to DynamoDB
    adapters/queues.py  all that talks to SQS
    wiring.py           makes the parts, and puts them together
    settings.py, errors.py, observability.py, json_text.py, side_by_side.py, backoff.py

Arrows run one way: a route's `app.py`, then these, then the adapters. No route imports another, and
only the adapters and the wiring know botocore. Posts go through `management_api`, a package of its
own.
"""
