"""The bill of `make cost`: against one that was worked out by hand, and what is said of it."""

import ast
import operator
import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import fields, replace
from math import exp
from typing import Any

import pytest

from benchmarks import prices as of_benchmarks
from operations.cost import document, picture, usage
from operations.cost.__main__ import main
from operations.cost.bill import Bill, bill
from operations.cost.levers import LARGE, LARGE_LEVERS, LEVERS
from operations.cost.load import Load, Unusable, parsed
from operations.cost.others import appsync, hotsock
from operations.cost.prices import Price, prices
from operations.cost.stack import Stack, stack
from support import template

TEXT = document.PATH.read_text()
BY_HAND = Load(
    connections=1_000,
    events=1_000_000,
    subscribers=5,
    reconnects=12,
    topics=1,
    frame=500,
    dashboard=True,
)
GIVEN = Stack(
    memory_gb={
        "connect": 0.5, "subscribe": 0.5, "disconnect": 0.5, "ping": 0.5, "notifier": 1769 / 1024,
    },
    alarm_metrics=10, alarm_metrics_with_tokens=13, dashboards=1, metrics=20, polled=2,
)  # fmt: skip
# Lines of the bill, by the document's.
LINES = {
    "frames": [("API Gateway", "frames")],
    "subscribe, and replies": [("API Gateway", "subscribe, and replies")],
    "pings, and pongs": [("API Gateway", "pings, and pongs")],
    "connection minutes": [("API Gateway", "connections")],
    "Lambda, requests": [("Lambda", "requests")],
    "Lambda, routes of 0.5 GB": [
        ("Lambda", each) for each in ("connect", "subscribe", "disconnect", "ping")
    ],
    "Lambda, notifier": [("Lambda", "notifier")],
    "DynamoDB, writes": [("DynamoDB", "writes")],
    "DynamoDB, reads": [("DynamoDB", "reads")],
    "DynamoDB, storage": [("DynamoDB", "storage")],
    "SQS": [("SQS", each) for each in ("events", "ranges", "waiting")],
    "EventBridge": [("EventBridge", "events")],
    "logs": [("CloudWatch", "logs")],
    "logs kept": [("CloudWatch", "logs kept")],
    "metrics, alarms, dashboard": [
        ("CloudWatch", each) for each in ("metrics", "alarms", "dashboard")
    ],
    "X-Ray": [("X-Ray", "traces, at most")],
    "transfer": [("Data transfer", "to clients")],
}
_OPERATIONS: dict[type, Any] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
}  # fmt: skip


def worked_out(text: str) -> float:
    """Work out sums and products of numbers."""

    def value(node: ast.AST) -> float:
        match node:
            case ast.Expression(body=body):
                return value(body)
            case ast.Constant(value=int() | float() as number):
                return float(number)
            case ast.BinOp(left=left, op=op, right=right):
                worth: float = _OPERATIONS[type(op)](value(left), value(right))
                return worth
        raise AssertionError(text)

    return value(ast.parse(text.replace("\N{MULTIPLICATION SIGN}", "*"), mode="eval"))


def dollars(of: Bill) -> Counter[tuple[str, str]]:
    found: Counter[tuple[str, str]] = Counter()
    for item in of.items:
        found[item.service, item.what] += item.dollars  # type: ignore[assignment]
    return found


def test_the_bill_is_that_which_was_worked_out_by_hand() -> None:
    part = TEXT.partition("## By hand")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.+?) \| (.+?) \| ([\d.]+) \|$", part, re.MULTILINE)
    calculated = dollars(bill(BY_HAND, parts=GIVEN))

    assert [row[0] for row in rows] == list(LINES)
    assert {line for lines in LINES.values() for line in lines} == set(calculated)
    for name, text, stated in rows:
        by_hand = worked_out(text)
        assert f"{by_hand:.2f}" == stated, name
        # By hand, numbers are rounded on the way.
        total = sum(calculated[line] for line in LINES[name])
        assert total == pytest.approx(by_hand, rel=0.002), name


def test_the_pings_by_hand() -> None:
    assert f"{1 / 525.6 / (exp(480 / 525.6) - 1):.7f}" in TEXT
    assert usage.pings(BY_HAND) == pytest.approx(3_350_400, rel=0.0002)


def test_who_hears_nothing_pings_at_each_end_of_the_time() -> None:
    quiet = Load(connections=100, events=0, subscribers=0, ping=60)

    assert usage.pings(quiet) == pytest.approx(100 * 730 * 60)
    almost = replace(quiet, events=1, subscribers=1)
    assert usage.pings(almost) == pytest.approx(100 * 730 * 60, rel=0.001)


def test_who_hears_something_all_the_time_does_not_ping() -> None:
    busy = Load(connections=10, events=1e9, subscribers=10)

    assert usage.pings(busy) == pytest.approx(0, abs=1e-6)


# Loads.


def test_the_example_is_what_is_priced_when_nothing_is_said(capsys: Any) -> None:
    main([])
    text = capsys.readouterr().out

    assert document.money(bill(Load()).dollars) in text
    assert text.startswith("10,000 connections; 10,000,000 events a month, of 600 bytes")


def test_variables_can_be_written_as_people_write_numbers() -> None:
    given = {"connections": "20_000", "events": "1e6", "subscribers": "2.5", "tokens": "1"}

    load = parsed(given)

    assert (load.connections, load.events, load.subscribers) == (20_000, 1e6, 2.5)
    assert load.tokens is True
    assert load.topics == Load().topics


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"events": "many"}, "EVENTS is a number, and not 'many'."),
        ({"events": ""}, "EVENTS is a number, and not ''."),
        ({"events": "nan"}, "EVENTS is from 0 to"),
        ({"events": "inf"}, "EVENTS is from 0 to"),
        ({"connections": "-1"}, "CONNECTIONS is from 0 to 100,000,000, and not -1."),
        ({"reconnects": "3"}, "RECONNECTS is from 12 .* after two hours."),
        ({"subscribers": "1e5"}, r"SUBSCRIBERS \(100,000\) cannot be more than CONNECTIONS"),
        ({"topics": "2.5"}, "TOPICS is a whole number, and not '2.5'."),
        ({"topics": "nan"}, "TOPICS is a whole number"),
        ({"frame": "1e400"}, "FRAME is a whole number"),
        ({"frame": "200000"}, "FRAME is from 1 to 120,000"),
        ({"log": "loud"}, "LOG is one of DEBUG, INFO, WARN, ERROR, and not 'loud'."),
        ({"tokens": "yes"}, "TOKENS is 1 or 0, and not 'yes'."),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(given: dict[str, str], says: str) -> None:
    with pytest.raises(Unusable, match=says):
        parsed(given)


def test_a_refusal_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^make cost: PING is from 1 to 599, and not 900\.$"):
        main(["--ping", "900"])
    assert not capsys.readouterr().out


def test_each_variable_is_handed_on_by_make_and_explained() -> None:
    makefile = (template.PATH.parent / "Makefile").read_text()
    for each in fields(Load):
        name = each.name.upper()
        assert f'--{each.name.replace("_", "-")} "$${name}"' in makefile
        assert re.search(rf"`{name}`", TEXT), name


def test_a_load_of_nothing_costs_what_stands_there() -> None:
    made = bill(Load(connections=0, events=0, subscribers=0), parts=GIVEN)

    paid = {line: cost for line, cost in dollars(made).items() if cost}
    assert paid.keys() == {
        ("SQS", "waiting"),
        *(("CloudWatch", each) for each in ("metrics", "alarms")),
    }
    assert made.per_million_frames is None


@pytest.mark.parametrize(
    ("change", "service", "what"),
    [
        ({"tokens": True}, "Secrets Manager", "secret"),
        ({"tokens": True}, "Lambda", "authorize"),
        ({"recovery": True}, "DynamoDB", "recovery"),
        ({"subscribers": 5_000}, "Lambda", "deliver"),
    ],
)
def test_what_is_only_paid_by_who_has_it(change: dict[str, Any], service: str, what: str) -> None:
    assert (service, what) not in dollars(bill(Load()))
    assert dollars(bill(replace(Load(), **change)))[service, what] > 0


def test_large_frames_are_paid_in_steps() -> None:
    def frames(size: int) -> tuple[float, float]:
        load = replace(BY_HAND, frame=size)
        return dollars(bill(load))["API Gateway", "frames"], dollars(appsync(load))[
            "AppSync", "frames"
        ]

    assert frames(5 * 1024) == pytest.approx((5, 5))
    assert frames(5 * 1024 + 1) == pytest.approx((5, 10))
    assert frames(32 * 1024) == pytest.approx((5, 35))
    assert frames(32 * 1024 + 1) == pytest.approx((10, 35))


# Prices.


def test_tiers_are_paid_one_after_another() -> None:
    price = Price("", ((10, 1.0), (30, 0.5), (float("inf"), 0.1)), "list", "", "", "")

    assert [price.of(number) for number in (0, 4, 10, 20, 30, 50)] == [0, 4, 10, 15, 20, 22]


def test_each_price_says_from_where_and_when() -> None:
    for price in prices():
        assert price.origin in ("list", "secondary")
        assert re.fullmatch(r"2026-\d\d-\d\d", price.read), price
        assert price.source
        assert price.url.startswith("https://")


def test_benchmarks_have_the_same_prices() -> None:
    assert of_benchmarks.LAMBDA_GB_SECOND["arm64"] == 0.0000133334
    services = of_benchmarks.ServicePrices()
    assert services.api_gateway == prices()["websocket_message"].of(1e6) == pytest.approx(1)


# The stack.


def test_what_stands_there_is_that_of_the_template() -> None:
    resources = template.written()["Resources"].values()
    alarms = [each for each in resources if each["Type"] == "AWS::CloudWatch::Alarm"]
    metrics = [
        len([one for one in each["Properties"].get("Metrics", []) if "MetricStat" in one]) or 1
        for each in alarms
    ]
    found = stack()

    assert found.alarm_metrics_with_tokens == sum(metrics)
    assert found.alarm_metrics == sum(
        number for number, each in zip(metrics, alarms, strict=True) if "Condition" not in each
    )
    # A new condition of an alarm would have to be looked at.
    assert {each.get("Condition") for each in alarms} <= {None, "WithTokens"}
    kinds = Counter(each["Type"] for each in resources)
    assert found.dashboards == kinds["AWS::CloudWatch::Dashboard"]
    assert found.polled == kinds["AWS::Lambda::EventSourceMapping"] == 2
    assert {each.function for each in usage.work(LARGE)} < found.memory_gb.keys()
    assert (found.memory_gb["ping"], found.memory_gb["notifier"]) == (512 / 1024, 1769 / 1024)
    operations = (template.PATH.parent / "docs/operations.md").read_text()
    assert f"these are {found.metrics}\n" in operations


def test_a_load_has_the_parameters_that_a_stack_has_by_itself() -> None:
    parameters = template.written()["Parameters"]
    load = Load()
    chosen = {
        "SubscribersPerDelivery": load.walk,
        "HistorySeconds": load.history * 86_400,
        "LogRetentionInDays": load.retention,
        "LogLevel": load.log,
        "FunctionArchitecture": load.architecture,
        "Authentication": "JWT" if load.tokens else "NONE",
        "PointInTimeRecovery": str(load.recovery).lower(),
        "AccessLogs": str(load.access_logs).lower(),
        "Dashboard": str(load.dashboard).lower(),
    }

    assert chosen == {name: parameters[name]["Default"] for name in chosen}
    assert all(f"`{name}`" in TEXT for name in chosen)


# Elsewhere.


def test_appsync_by_hand() -> None:
    """Five million frames, a million events; a handshake and a subscription a day."""
    opened = 1_000 * 730 / 24
    expected = 5 + 1 + 2 * opened / 1e6 + 43.8 * 0.08 + 1 + 0.2 + 2.5e9 / 2**30 * 0.09

    assert appsync(BY_HAND).dollars == pytest.approx(expected)


def test_hotsock_has_a_licence_past_a_million_messages() -> None:
    small = Load(connections=10, events=1_000, subscribers=10)

    assert dollars(hotsock(small))["Hotsock", "licence"] == 0
    assert dollars(hotsock(BY_HAND))["Hotsock", "licence"] == 99
    for load in (small, BY_HAND, Load(), LARGE):
        assert dollars(hotsock(load))["API Gateway", "frames"] == pytest.approx(
            dollars(bill(load))["API Gateway", "frames"]
        )


# The document.


def test_the_tables_and_the_picture_are_those_that_are_calculated() -> None:
    """`make cost-tables` writes them."""
    assert document.into(TEXT) == TEXT
    assert picture.PATH.read_text() == picture.picture(document.EXAMPLE)


def test_a_document_without_a_place_for_a_table_is_refused() -> None:
    with pytest.raises(ValueError, match="has no place for: levers"):
        document.into(TEXT.replace("<!-- levers -->", ""))


@pytest.mark.parametrize(
    ("load", "levers"), [(Load(), LEVERS), (LARGE, LARGE_LEVERS)], ids=["example", "large"]
)
def test_each_lever_changes_the_bill(load: Load, levers: Any) -> None:
    for says, change in levers:
        changed = bill(replace(load, **change)).dollars
        assert abs(changed - bill(load).dollars) > 0.01, says


def test_the_picture_is_readable_in_light_and_dark() -> None:
    text = picture.picture(document.EXAMPLE)
    svg = ElementTree.fromstring(text)  # noqa: S314 - our own
    named = "{http://www.w3.org/2000/svg}"
    lines = [each for each in svg.iter(f"{named}path") if "line" in each.get("class", "")]

    assert "prefers-color-scheme:dark" in text
    assert len(lines) == 3
    _, _, width, height = map(float, svg.get("viewBox", "").split())
    for line in lines:
        points = [tuple(map(float, each.split())) for each in line.get("d", "M")[1:].split("L")]
        assert all(76 <= x <= width - 150 and 44 < y < height - 58 for x, y in points)
        # More costs more.
        assert [y for _, y in points] == sorted((y for _, y in points), reverse=True)
