"""What the alarms and the dashboard watch: namespace, name and dimensions of each metric."""

import json
import re
from typing import Any

from support import template

FUNCTION, QUEUE = "FunctionName", "QueueName"
# The dimensions of the project's own metrics.
OWN = {"service": "AWS::StackName"}

# Namespace, name, and dimensions, whose values are names of the template.
Watched = tuple[str, str, dict[str, str]]


def alarm_metrics(alarm: dict[str, Any]) -> list[Watched]:
    """Return the metrics of an alarm, also those that are there in some case only."""
    if "Metrics" not in alarm:
        return [_watched(alarm)]
    queries = [query.get("Fn::If", ["", query])[1] for query in alarm["Metrics"]]
    return [_watched(query["MetricStat"]["Metric"]) for query in queries if "MetricStat" in query]


def _watched(metric: dict[str, Any]) -> Watched:
    dimensions = {each["Name"]: _name(each["Value"]) for each in metric["Dimensions"]}
    return metric["Namespace"], metric["MetricName"], dimensions


def _name(value: Any) -> str:
    match value:
        case {"Ref": str(name)} | {"Fn::GetAtt": [str(name), _]}:
            return name
        case _:
            raise AssertionError(value)


def widgets(*, with_tokens: bool = True) -> list[dict[str, Any]]:
    """Return the widgets of the dashboard; names of the template stand for what they become."""
    (dashboard,) = template.resources("AWS::CloudWatch::Dashboard").values()
    text, variables = dashboard["DashboardBody"]["Fn::Sub"]
    condition, tokens, otherwise = variables["TokenWidgets"]["Fn::If"]
    assert (condition, otherwise) == ("WithTokens", "")
    body = json.loads(
        text.replace("${TokenWidgets}", tokens["Fn::Sub"] if with_tokens else "").replace(
            # A number, and none in quotes.
            '"value": ${LatencyObjectiveMilliseconds}',
            '"value": 5000',
        )
    )
    found: list[dict[str, Any]] = body["widgets"]
    return found


def widget_metrics(widget: dict[str, Any]) -> list[Watched]:
    """Return the metrics of a widget, without expressions."""
    rows = widget["properties"].get("metrics", [])
    return [_row(row) for row in rows if isinstance(row[0], str)]


def _row(row: list[Any]) -> Watched:
    namespace, name, *rest = (cell for cell in row if isinstance(cell, str))
    dimensions = dict(zip(rest[::2], map(_substituted, rest[1::2]), strict=True))
    return namespace, name, dimensions


def _substituted(text: str) -> str:
    match = re.fullmatch(r"\$\{([\w:]+)(\.\w+)?\}", text)
    assert match, f"{text} names no resource"
    return match[1]
