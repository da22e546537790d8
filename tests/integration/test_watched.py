"""What a person watches, against what the functions publish in a run of the local stack."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from integration.harness import Application, envelope, eventually, unique
from local.stack import STACK_NAME
from operations.deployed import Deployed
from support import template
from support.watched import OWN, alarm_metrics, widget_metrics, widgets

NAMESPACE = "WebSocketNotifications"
SHOWN = {
    name
    for widget in widgets()
    for namespace, name, dimensions in widget_metrics(widget)
    if namespace == NAMESPACE and dimensions == OWN
}
RUNG = {
    name
    for alarm in template.resources("AWS::CloudWatch::Alarm").values()
    for namespace, name, _ in alarm_metrics(alarm)
    if namespace == NAMESPACE
}
# What this run does not bring about, and who does.
ELSEWHERE = {
    "ClientsClosed": "takes five minutes: tests/integration/test_slow_clients.py, with less",
    "NotificationsRefused": "API Gateway refuses for good: tests/unit/test_delivery.py",
    "TokensRefused": "needs tokens: tests/integration/test_identity.py",
    "ClientsShutOut": "the same",
}
MILLISECONDS = {"DeliveryLatency", "DeliveryLatencyFromQueue"}


async def a_bit_of_everything(application: Application) -> None:
    """Have clients and events do what is counted."""
    entity_id, gone = unique("watched"), unique("gone")
    application.start_gateway("--fault-429", "0.5", "--fault-seed", "1")
    async with application.clients(8, entity_id) as (client, *_):
        body = json.dumps(envelope(entityId=entity_id))
        application.enqueue(body)
        await eventually(lambda: application.queued() == 0, "the event is delivered")
        application.enqueue(body)
        application.add_gone_subscribers(gone, 2)
        await client.subscribe(gone)
        application.publish(gone)
        application.publish(unique("unwatched"))
        application.put_event({}, is_poison=True)
        await client.request("unknown")
        await client.request("unsubscribe", entityId=gone)
        with application.without_permissions("SubscriptionsFunction"):
            await client.request("subscriptions")
        with application.without_permissions("NotifierFunction"):
            application.publish(entity_id)
            await eventually(
                lambda: "RecordsFailed" in names(application), "the notifier has failed"
            )
        await application.settled()
    application.start_gateway()


def published(application: Application) -> Iterator[dict[str, Any]]:
    """Yield what the functions have published, as CloudWatch reads it from their logs."""
    pages = application.service("logs").get_paginator("filter_log_events")
    stack = Deployed(STACK_NAME, application.service)
    for group in stack.resources("AWS::Logs::LogGroup").values():
        for page in pages.paginate(logGroupName=group, filterPattern="CloudWatchMetrics"):
            yield from (json.loads(event["message"]) for event in page["events"])


def names(application: Application) -> set[str]:
    return {
        metric["Name"]
        for line in published(application)
        for directive in line["_aws"]["CloudWatchMetrics"]
        for metric in directive["Metrics"]
    }


async def test_what_is_watched_is_what_the_functions_publish(application: Application) -> None:
    await a_bit_of_everything(application)
    await eventually(lambda: names(application) >= SHOWN - ELSEWHERE.keys(), "all is published", 30)

    for line in published(application):
        for directive in line["_aws"]["CloudWatchMetrics"]:
            assert directive["Namespace"] == NAMESPACE
            # The dashboard and the alarms name this set of dimensions, and no other.
            assert directive["Dimensions"] == [[*OWN]]
            assert line["service"] == STACK_NAME
            for metric in directive["Metrics"]:
                assert metric["Name"] in SHOWN
                milliseconds = metric["Name"] in MILLISECONDS
                assert metric["Unit"] == ("Milliseconds" if milliseconds else "Count")
    assert names(application) >= RUNG


async def test_the_dashboard_and_the_alarms_name_what_was_made(application: Application) -> None:
    stack = Deployed(STACK_NAME, application.service)
    functions = set(stack.resources("AWS::Lambda::Function").values())
    (dashboard,) = stack.resources("AWS::CloudWatch::Dashboard").values()
    cloudwatch = application.service("cloudwatch")

    text = cloudwatch.get_dashboard(DashboardName=dashboard)["DashboardBody"]
    body = json.loads(text)
    assert "${" not in text
    assert len(body["widgets"]) == len(widgets(with_tokens=False))
    rows = [row for widget in body["widgets"] for row in widget["properties"].get("metrics", [])]
    shown_functions = {row[3] for row in rows if row[0] == "AWS/Lambda"}
    assert shown_functions
    assert shown_functions <= functions
    assert {row[3] for row in rows if row[0] == NAMESPACE} == {STACK_NAME}
    alarms = cloudwatch.describe_alarms(AlarmNamePrefix=f"{STACK_NAME}-")["MetricAlarms"]
    shown = {arn for widget in body["widgets"] for arn in widget["properties"].get("alarms", [])}
    assert {alarm["AlarmArn"] for alarm in alarms} == shown
    for alarm in alarms:
        assert alarm["AlarmDescription"].rpartition("/")[0].endswith("docs/runbooks")
        for dimension in alarm["Dimensions"]:
            if dimension["Name"] == "FunctionName":
                assert dimension["Value"] in functions


@pytest.mark.parametrize("name", ["Invocations", "Errors", "Throttles", "Duration"])
async def test_functions_are_counted_by_their_names(application: Application, name: str) -> None:
    """By CloudWatch itself: this is not published by the code."""
    cloudwatch = application.service("cloudwatch")
    listed = cloudwatch.list_metrics(Namespace="AWS/Lambda", MetricName=name)["Metrics"]

    assert {tuple(each["Name"] for each in metric["Dimensions"]) for metric in listed} == {
        ("FunctionName",)
    }
