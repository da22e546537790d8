"""Negotiation of the WebSocket subprotocol."""

from collections.abc import Container

SUBPROTOCOL = "websocket"


def negotiate(offered: Container[str]) -> str | None:
    """Return the subprotocol to answer with; None if the client did not offer it.

    A client that offers subprotocols and gets none back closes the connection (browsers, node's
    ws), and one that gets a subprotocol it did not offer must close it (RFC 6455, section 4.1).
    """
    return SUBPROTOCOL if SUBPROTOCOL in offered else None
