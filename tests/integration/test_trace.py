"""`make trace` against the local stack, and what the functions' logs hold."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from integration.harness import Application, Poison, envelope, unique
from local.stack import STACK_NAME
from operations import deployed, trace

Told = Callable[..., list[str]]
CLIENTS = 8


@pytest.fixture
def throttled_application(application: Application) -> Iterator[Application]:
    """The application, behind a gateway that answers some posts with 429: always the same ones."""
    application.start_gateway("--fault-429", "0.4", "--fault-seed", "1")
    yield application
    application.start_gateway()


@pytest.fixture
def told(
    application: Application,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Told:
    """Run the command, and return what it prints."""
    outputs = tmp_path / "outputs.json"
    outputs.write_text(json.dumps(application.outputs))
    monkeypatch.setattr(deployed, "OUTPUTS", outputs)

    def run(*arguments: str) -> list[str]:
        capsys.readouterr()
        assert trace.main(["--local", *arguments]) == 0
        return capsys.readouterr().out.splitlines()

    return run


def value(line: str, name: str) -> Any:
    match = re.search(rf" {name}=(\S+)", line)
    return match and match[1]


async def test_an_event_s_way_is_told_from_its_publisher_to_each_frame(
    throttled_application: Application, told: Told
) -> None:
    application = throttled_application
    entity_id = unique("entity")
    application.add_gone_subscribers(entity_id, 1)
    (gone_id,) = application.subscribers(entity_id)
    async with application.clients(CLIENTS, entity_id) as clients:
        ids = set(application.subscribers(entity_id)) - {gone_id}
        application.publish(entity_id)
        frames = [await client.next_frame() for client in clients]
        await application.settled()

        (event_id,) = {frame["id"] for frame in frames}
        lines = told("--event", event_id)
        cursor = frames[0]["cursor"]

    times = [line[:12] for line in lines]
    assert times == sorted(times)
    numbered, *rest = lines
    assert "event numbered" in numbered
    assert (value(numbered, "source"), value(numbered, "cursor")) == ("my.application", cursor)
    walked = [line for line in rest if "delivery walked" in line]
    handed_on = [line for line in rest if "stragglers handed on" in line]
    (forgotten,) = [line for line in rest if "connections forgotten" in line]
    assert sorted([*walked, *handed_on, forgotten]) == sorted(rest)
    assert json.loads(value(forgotten, "connections")) == [gone_id]
    # Each letter for stragglers has one walk of its own, with the number of its try.
    assert handed_on
    jobs = [json.loads(value(line, "jobs"))[0] for line in handed_on]
    assert sorted(value(line, "job") for line in walked) == sorted(["whole", *jobs])
    assert {value(line, "attempt") for line in walked[1:]} == {
        value(line, "attempt") for line in handed_on
    }
    assert sum(int(value(line, "delivered") or 0) for line in walked) == len(ids) == CLIENTS
    assert all("finished=true" in line for line in walked)


async def test_what_a_connection_saw_is_told(application: Application, told: Told) -> None:
    entity_id = unique("entity")
    async with application.client() as client:
        await client.subscribe(entity_id)
        connection_id = application.connection_id(entity_id)
        event_id = application.publish(entity_id)
        assert (await client.next_frame())["id"] == event_id
        await client.request("unsubscribe", entityId=entity_id)
        application.publish(entity_id)
        await application.settled()

    lines = told("--connection", connection_id)

    assert [line[40:61].strip() for line in lines[:4]] == [
        "connection opened",
        "subscribed",
        "frame sent",
        "unsubscribed",
    ]
    assert value(lines[2], "event_id") == event_id


async def test_who_is_slow_and_who_sends_poison_is_told(
    application: Application, told: Told
) -> None:
    source = unique("source")
    application.enqueue(Poison(json.dumps(envelope(entityId=5) | {"source": source})))
    await application.settled()

    (row,) = [line for line in told("--poison") if source in line]
    assert row.split()[1:3] == ["InvalidEntityId", "1"]
    assert told("--slow")
    assert told("--event", unique("event")) == [
        "Nothing about it in the logs of the last 60 minutes."
    ]


async def test_lines_about_an_event_name_it_and_no_line_holds_what_somebody_wrote(
    application: Application,
) -> None:
    marker = unique("secret")
    async with application.client() as client:
        await client.subscribe(marker)
        event_id = application.publish(marker, message=marker, data={marker: marker})
        await client.next_frame()
        await client.request(marker)
        await client.request("subscribe", entityId=marker + "\x00")
        await client.request("history", entityId=marker, since=marker)
        await client.socket.close(4000, marker)
    application.enqueue(Poison(marker), Poison(json.dumps(envelope(entityId=[marker]))))
    application.send("DeliveryQueueUrl", json.dumps({"eventId": event_id, "topic": marker}))
    await application.settled()

    texts = {name: list(messages(application, name)) for name in log_groups(application)}

    assert not [text for some in texts.values() for text in some if marker in text]
    lines = [
        line
        for name in ("NotifierLogGroup", "DeliverLogGroup")
        for text in texts[name]
        if text.startswith('{"level"') and (line := json.loads(text))
    ]
    assert event_id in {line.get("event_id") for line in lines}
    # What is no event, or no letter, may have no id.
    nameless = [line for line in lines if "event_id" not in line]
    assert {line["message"] for line in nameless} <= {"message rejected"}
    assert all("message_id" in line for line in lines)


def log_groups(application: Application) -> dict[str, str]:
    stack = deployed.Deployed(STACK_NAME, application.service)
    return stack.resources("AWS::Logs::LogGroup")


def messages(application: Application, logical_id: str) -> Iterator[str]:
    pages = application.service("logs").get_paginator("filter_log_events")
    for page in pages.paginate(logGroupName=log_groups(application)[logical_id]):
        for event in page["events"]:
            yield event["message"]
