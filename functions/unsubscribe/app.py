"""`unsubscribe`: stop the events of entities; a success also if it was not subscribed."""

from push import wiring
from push.connection import Connection
from push.observability import count
from push.protocol import Reply, Request
from push.routes import message_route

subscriptions = wiring.at_initialization(wiring.subscriptions)


@message_route
def lambda_handler(connection: Connection, request: Request) -> Reply:
    topics = request.topics() if request.is_about_several else [request.topic]
    subscriptions().unsubscribe(connection.connection_id, topics)
    count("SubscriptionsRemoved", len(topics))
    if request.is_about_several:
        return Reply.of({"type": "Unsubscribed", "entityIds": [topic.id for topic in topics]})
    return Reply.of({"type": "Unsubscribed", "entityId": topics[0].id})
