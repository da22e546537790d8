"""What tests look at in the table."""

from push.adapters.table import Table
from push.topics import Topic


def topics_of(table: Table, connection_id: str) -> frozenset[Topic] | None:
    """Return what a connection is subscribed to; None if it is not known."""
    row = table.connection(connection_id)
    return row and row.topics
