"""The dashboard: valid, laid out, and about metrics that exist, whole.

What the functions really publish in a run is held against it in tests/integration/test_watched.py.
"""

import json
import re
from itertools import combinations, pairwise
from typing import Any

import pytest

from support import template
from support.watched import FUNCTION, OWN, Watched, alarm_metrics, widget_metrics, widgets

ROOT = template.PATH.parent
COLUMNS = 24
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CloudWatch-Dashboard-Body-Structure.html
MOST_METRICS_OF_A_WIDGET = 100
AWS = json.loads((ROOT / "tests/template/aws_metrics.json").read_text())
ALARMS = template.resources("AWS::CloudWatch::Alarm")
FUNCTIONS = template.resources("AWS::Lambda::Function")
WRITTEN = template.written()["Resources"]
WIDGETS = widgets()
GRAPHS = [widget for widget in WIDGETS if widget["type"] == "metric"]
OWN_NAMESPACE = "WebSocketNotifications"
COUNTED = {
    name
    for path in (ROOT / "functions").rglob("*.py")
    for name in re.findall(r'(?:count|measure)\("(\w+)"', path.read_text())
}
# What the code counts and no widget shows, and why. There is none.
LEFT_OUT: dict[str, str] = {}
SHOWN = [watched for widget in GRAPHS for watched in widget_metrics(widget)]
WATCHED: list[Watched] = [
    *SHOWN,
    *(watched for alarm in ALARMS.values() for watched in alarm_metrics(alarm)),
]

# What has to be there, by what it answers.
IMPORTANT = {
    "connections open": ["ConnectionsOpened", "ConnectionSeconds"],
    "events in, frames out": ["EventsReceived", "NotificationsDelivered"],
    "latency": ["DeliveryLatency", "DeliveryLatencyFromQueue"],
    "429 and gone": ["NotificationsThrottled", "NotificationsGone"],
    "stragglers, clients closed": ["NotificationsFailed", "ClientsClosed"],
    "age": ["ApproximateAgeOfOldestMessage"],
    "dead letters": ["ApproximateNumberOfMessagesVisible", "EventsRejected"],
    "spend": [
        *("MessageCount", "ConnectionSeconds", "Duration", "IncomingBytes"),
        *("ConsumedReadCapacityUnits", "ConsumedWriteCapacityUnits"),
        *("NumberOfMessagesSent", "NumberOfMessagesReceived", "NumberOfMessagesDeleted"),
        "NumberOfEmptyReceives",
    ],
}


def title(widget: dict[str, Any]) -> str:
    return str(widget["properties"].get("title", widget["type"]))


@pytest.mark.parametrize("with_tokens", [True, False])
def test_no_widgets_overlap_and_none_sticks_out(with_tokens: bool) -> None:
    placed = widgets(with_tokens=with_tokens)

    for widget in placed:
        assert widget["x"] >= 0
        assert widget["x"] + widget["width"] <= COLUMNS, title(widget)
    for one, other in combinations(placed, 2):
        beside = one["x"] + one["width"] <= other["x"] or other["x"] + other["width"] <= one["x"]
        above = one["y"] + one["height"] <= other["y"] or other["y"] + other["height"] <= one["y"]
        assert beside or above, (title(one), title(other))


@pytest.mark.parametrize("with_tokens", [True, False])
def test_the_rows_are_full_and_follow_each_other(with_tokens: bool) -> None:
    rows: dict[int, list[dict[str, Any]]] = {}
    for widget in widgets(with_tokens=with_tokens):
        rows.setdefault(widget["y"], []).append(widget)

    for row in rows.values():
        assert sum(widget["width"] for widget in row) == COLUMNS
        assert len({widget["height"] for widget in row}) == 1
    ends = [(y, y + row[0]["height"]) for y, row in sorted(rows.items())]
    assert [end for _, end in ends[:-1]] == [start for start, _ in ends[1:]]
    assert all(one[0] < other[0] for one, other in pairwise(ends))


@pytest.mark.parametrize("widget", GRAPHS, ids=title)
def test_a_widget_s_title_asks_what_it_answers(widget: dict[str, Any]) -> None:
    assert "?" in title(widget)
    assert widget["properties"]["region"] == "${AWS::Region}"
    assert 0 < len(widget["properties"]["metrics"]) <= MOST_METRICS_OF_A_WIDGET


@pytest.mark.parametrize("widget", GRAPHS, ids=title)
def test_a_line_has_a_label_and_an_expression_what_it_needs(widget: dict[str, Any]) -> None:
    rows = widget["properties"]["metrics"]
    options = [row[-1] for row in rows]
    ids = {option["id"] for option in options if "id" in option}
    expressions = [option["expression"] for option in options if "expression" in option]

    labels = [option["label"] for option in options if option.get("visible", True)]
    assert all(labels)
    assert len(set(labels)) == len(labels)
    assert set(re.findall(r"[a-z]\w*", " ".join(expressions))) == ids


@pytest.mark.parametrize("watched", WATCHED, ids=lambda watched: f"{watched[0]} {watched[1]}")
def test_a_metric_that_is_watched_exists(watched: Watched) -> None:
    namespace, name, dimensions = watched

    if namespace == OWN_NAMESPACE:
        assert name in COUNTED
        assert dimensions == OWN
    else:
        assert name in AWS[namespace]["metrics"]
        assert sorted(dimensions) in AWS[namespace]["dimensions"]


@pytest.mark.parametrize("watched", WATCHED, ids=lambda watched: f"{watched[0]} {watched[1]}")
def test_what_is_watched_is_there(watched: Watched) -> None:
    kinds = {
        "FunctionName": "AWS::Serverless::Function",
        "QueueName": "AWS::SQS::Queue",
        "TableName": "AWS::DynamoDB::Table",
        "LogGroupName": "AWS::Logs::LogGroup",
        "ApiId": "AWS::Serverless::WebSocketApi",
    }
    for dimension, value in watched[2].items():
        if dimension in kinds:
            assert WRITTEN[value]["Type"] == kinds[dimension]
    assert watched[2].get("Stage", "StageName") == "StageName"


def test_what_is_there_with_tokens_alone_is_shown_with_tokens_alone() -> None:
    """A name that is not there would keep the stack from being made."""
    conditional = {name for name, each in WRITTEN.items() if each.get("Condition") == "WithTokens"}
    always = json.dumps(widgets(with_tokens=False))

    assert not set(re.findall(r"\$\{(\w+)", always)) & conditional
    assert len(WIDGETS) > len(widgets(with_tokens=False))


def test_each_metric_that_the_code_counts_is_shown_or_left_out_for_a_reason() -> None:
    shown = {name for namespace, name, _ in SHOWN if namespace == OWN_NAMESPACE}

    assert shown.isdisjoint(LEFT_OUT)
    assert shown | LEFT_OUT.keys() == COUNTED


@pytest.mark.parametrize("answer", IMPORTANT)
def test_what_is_important_is_shown(answer: str) -> None:
    assert set(IMPORTANT[answer]) <= {name for _, name, _ in SHOWN}


@pytest.mark.parametrize("metric", ["Errors", "Throttles", "Duration"])
def test_every_function_is_shown(metric: str) -> None:
    assert {
        dimensions[FUNCTION] for _, name, dimensions in SHOWN if name == metric
    } == FUNCTIONS.keys()


def test_every_alarm_is_shown() -> None:
    shown = {
        arn
        for widget in WIDGETS
        if widget["type"] == "alarm"
        for arn in widget["properties"]["alarms"]
    }

    assert shown == {f"${{{name}.Arn}}" for name in ALARMS}


def test_the_objective_is_a_line_among_the_latencies() -> None:
    (latency,) = (widget for widget in GRAPHS if title(widget).startswith("How late"))
    text = template.resources("AWS::CloudWatch::Dashboard")["OperationsDashboard"]["DashboardBody"]

    assert "${LatencyObjectiveMilliseconds}" in text["Fn::Sub"][0]
    (line,) = latency["properties"]["annotations"]["horizontal"]
    assert line["value"] == 5000
    assert {row[-1].get("stat") for row in latency["properties"]["metrics"]} == {"p50", "p99"}


def test_memory_is_that_of_the_functions() -> None:
    """The price of a function's second."""
    (widget,) = (widget for widget in GRAPHS if "GB-seconds" in title(widget))
    rows = [row[-1] for row in widget["properties"]["metrics"]]
    names = {
        row[-1]["id"]: row[3].strip("${}")
        for row in widget["properties"]["metrics"]
        if "id" in row[-1]
    }

    for expression in (row["expression"] for row in rows if "expression" in row):
        of = {FUNCTIONS[names[each]]["MemorySize"] for each in re.findall(r"[a-z]\w*", expression)}
        (megabytes,) = re.findall(r"1000 \* (\d+) / 1024", expression)
        assert of == {int(megabytes)}


def test_the_links_lead_to_runbooks() -> None:
    (text,) = (widget for widget in WIDGETS if widget["type"] == "text")
    links = re.findall(r"\]\(\$\{Runbooks\}/([^)]+)\)", text["properties"]["markdown"])

    assert "README.md" in links
    for link in links:
        assert (ROOT / "docs/runbooks" / link).exists()


def test_the_dashboard_is_asked_for() -> None:
    """It is none of those that are free: these may show 50 metrics."""
    assert WRITTEN["OperationsDashboard"]["Condition"] == "HasDashboard"
    assert len({json.dumps(watched) for watched in SHOWN}) > 50
