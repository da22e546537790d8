"""What people ask of the logs, as queries of CloudWatch Logs Insights.

The template saves them in the account (a test holds the two equal), and `make trace` asks them: of
a stack on AWS by Insights itself, of the local one by `operations.insights`.
"""

from dataclasses import dataclass

# The functions on an event's way, and those that a connection meets; logical ids of log groups.
EVENT_LOGS = ("NotifierLogGroup", "DeliverLogGroup")
CONNECTION_LOGS = (
    "AuthorizeLogGroup",
    "ConnectLogGroup",
    "DisconnectLogGroup",
    "SubscribeLogGroup",
    "HistoryLogGroup",
    "UnsubscribeLogGroup",
    "SubscriptionsLogGroup",
    "PingLogGroup",
    "AuthenticateLogGroup",
    "ExpireLogGroup",
    "DefaultLogGroup",
    "AccessLogGroup",
)


@dataclass(frozen=True, slots=True)
class Question:
    """A question.

    Attributes:
        title: under which the query is saved.
        log_groups: where the answer is.
        query: with words in capitals for what the one who asks has to fill in.
    """

    title: str
    log_groups: tuple[str, ...]
    query: str

    def about(self, **values: str) -> str:
        """Return the query with values in the place of the words.

        Raises:
            ValueError: a value could end the text that it stands in.
        """
        query = self.query
        for word, value in values.items():
            if not value.isprintable() or any(mark in value for mark in "'\"\\`"):
                raise ValueError(f"{value!r} is no id.")
            query = query.replace(word, value)
        return query


EVENT = Question(
    "What happened to an event",
    EVENT_LOGS,
    """\
fields @timestamp, message, source, cursor, job, attempt, delivered, failed, gone, code, @message
| filter event_id = 'EVENT_ID'
| sort @timestamp asc
| limit 10000
""",
)

CONNECTION = Question(
    "What a connection saw",
    EVENT_LOGS + CONNECTION_LOGS,
    """\
fields @timestamp, message, event_id, topic, job, attempt, code, reason, @message
| filter @message like 'CONNECTION_ID'
| sort @timestamp asc
| limit 10000
""",
)

WALKS = Question(
    "What was sent to the subscribers of a topic",
    EVENT_LOGS,
    """\
fields @timestamp, event_id, cursor, walked_after, walked_upto, delivered, failed, gone, @message
| filter message = 'delivery walked' and topic = 'TOPIC_DIGEST'
| sort @timestamp asc
| limit 10000
""",
)

SLOW = Question(
    "Who is slow",
    EVENT_LOGS,
    """\
fields jsonParse(@message) as line
| filter message = 'stragglers handed on'
| unnest line.connections into connection
| stats count(*) as tries, max(attempt) as most_tries_for_one_event by connection
| sort tries desc
| limit 100
""",
)

POISON = Question(
    "Which publisher sends poison",
    EVENT_LOGS,
    """\
fields source, code, event_id
| filter message = 'message rejected'
| stats count(*) as messages, max(@timestamp) as last, max(event_id) as one_of_them by source, code
| sort messages desc
| limit 100
""",
)

LATENCY = Question(
    "How long frames take, by minute",
    EVENT_LOGS,
    """\
fields jsonParse(@message) as line
| filter @message like 'DeliveryLatencyFromQueue'
| unnest line.DeliveryLatencyFromQueue into latency
| stats count(*) as frames, pct(latency, 50) as p50, pct(latency, 99) as p99 by bin(1m)
| limit 10000
""",
)

# By the logical ids of the template.
QUESTIONS = {
    "EventQuery": EVENT,
    "ConnectionQuery": CONNECTION,
    "TopicQuery": WALKS,
    "SlowQuery": SLOW,
    "PoisonQuery": POISON,
    "LatencyQuery": LATENCY,
}
