"""Events that can never be delivered: each is set aside with its reason, and nothing else suffers.

A dead letter that says why was set aside at the first try: one that failed too often says nothing.
"""

import json
from collections.abc import Callable
from typing import Any

import pytest

from integration.harness import Application, Poison, envelope, unique

Body = Callable[[str], str]

# So that a reply that brings a frame fits into the 128 KB that API Gateway takes.
LARGEST_FRAME_BYTES = 120 * 1024
# The size of a frame is what it has with the longest cursor.
LONGEST_CURSOR = f"{'f' * 12}-{'9' * 15}"


@pytest.mark.parametrize(
    ("detail", "code"),
    [
        pytest.param({}, "InvalidEntityId", id="no entity id"),
        pytest.param({"entityId": ""}, "InvalidEntityId", id="empty entity id"),
        pytest.param({"entityId": 42}, "InvalidEntityId", id="number as entity id"),
        pytest.param({"entityId": {"id": "a"}}, "InvalidEntityId", id="object as entity id"),
        pytest.param({"entityId": "e" * 257}, "InvalidEntityId", id="entity id too long"),
        pytest.param(
            {"entityId": "e", "data": "d" * LARGEST_FRAME_BYTES}, "FrameTooLarge", id="frame"
        ),
    ],
)
async def test_a_poison_event_from_the_bus_ends_in_the_dead_letter_queue_with_its_reason(
    application: Application, detail: dict[str, Any], code: str
) -> None:
    marker = unique("poison")
    event_id = application.put_event({**detail, "message": marker}, is_poison=True)

    letter = await application.dead_letter(marker)

    assert letter["errorCode"] == code
    assert letter["reason"]
    event = json.loads(letter["body"])
    assert event["id"] == event_id
    assert event["detail"] == {**detail, "message": marker}
    await application.settled()


# EventBridge would not send these, but whoever may write to the queue can.
POISON_BODIES: list[Any] = [
    pytest.param(lambda marker: f"not JSON: {marker}", "InvalidJson", id="not JSON"),
    pytest.param(lambda marker: f'["{marker}"]', "InvalidEvent", id="array"),
    pytest.param(
        lambda marker: json.dumps(envelope(entityId=marker) | {"detail": marker}),
        "InvalidEvent",
        id="text as detail",
    ),
    pytest.param(
        lambda marker: json.dumps(envelope(entityId=marker) | {"detail-type": "Entity Deleted"}),
        "UnknownDetailType",
        id="unknown detail-type",
    ),
    pytest.param(
        lambda marker: json.dumps(envelope(entityId=marker) | {"id": None}),
        "InvalidEvent",
        id="no id",
    ),
    pytest.param(
        lambda marker: json.dumps(envelope(entityId=marker) | {"time": 7}),
        "InvalidEvent",
        id="number as time",
    ),
    pytest.param(
        lambda marker: json.dumps(envelope(marker=marker)), "InvalidEntityId", id="no entity id"
    ),
    pytest.param(
        lambda marker: json.dumps(envelope(entityId=marker, data="d" * LARGEST_FRAME_BYTES)),
        "FrameTooLarge",
        id="frame too large",
    ),
]


@pytest.mark.parametrize(("body", "code"), POISON_BODIES)
async def test_poison_in_the_queue_is_set_aside_unchanged_and_its_neighbours_are_delivered_once(
    application: Application, body: Body, code: str
) -> None:
    entity_id, marker = unique("entity"), unique("poison")
    poison = body(marker)
    neighbours = [envelope(entityId=entity_id, message=number) for number in range(4)]
    before, after = map(json.dumps, neighbours[:2]), map(json.dumps, neighbours[2:])
    async with application.client() as client:
        await client.subscribe(entity_id)
        application.enqueue(*before, Poison(poison), *after)
        letter = await application.dead_letter(marker)
        await application.settled()

        frames = await client.arrived()

    assert letter["body"] == poison
    assert letter["errorCode"] == code
    assert letter["reason"]
    assert sorted(frame["message"] for frame in frames) == [0, 1, 2, 3]
    assert {frame["id"] for frame in frames} == {event["id"] for event in neighbours}


async def test_a_batch_of_poison_alone_is_set_aside_whole(application: Application) -> None:
    marker = unique("poison")
    bodies = [Poison(f"{marker} {number}") for number in range(10)]
    application.enqueue(*bodies)
    await application.settled()

    letters = application.dead_letters(marker)

    assert sorted(letter["body"] for letter in letters) == sorted(bodies)


@pytest.mark.parametrize("bytes_more", [0, 1], ids=["as large as may be", "a byte larger"])
async def test_a_frame_may_have_120_kb_and_not_a_byte_more(
    application: Application, bytes_more: int
) -> None:
    entity_id = unique("entity")
    event = envelope(entityId=entity_id, message="")
    empty = {"type": "Entity Updated", **event["detail"], "id": event["id"]}
    empty |= {"time": event["time"], "cursor": LONGEST_CURSOR}
    size = len(json.dumps(empty, separators=(",", ":")))
    event["detail"]["message"] = "m" * (LARGEST_FRAME_BYTES - size + bytes_more)
    async with application.client() as client:
        (before,) = await client.subscribe(entity_id)
        application.enqueue(json.dumps(event))
        await application.settled()

        frames = await client.arrived()
        recovered = await client.request("subscribe", entityId=entity_id, since=before)

    if bytes_more:
        assert frames == recovered["events"] == []
        assert (await application.dead_letter(entity_id))["errorCode"] == "FrameTooLarge"
    else:
        assert [frame["message"] for frame in frames] == [event["detail"]["message"]]
        # The reply with it fits as well.
        assert recovered["events"] == frames


async def test_an_event_of_another_detail_type_does_not_reach_the_notifier(
    application: Application,
) -> None:
    entity_id, marker = unique("entity"), unique("other")
    async with application.client() as client:
        await client.subscribe(entity_id)
        application.put_entry(
            {
                "Source": "my.application",
                "DetailType": "Entity Deleted",
                "Detail": json.dumps({"entityId": entity_id, "message": marker}),
            },
            is_poison=True,
        )
        application.publish(entity_id, message="what counts")
        await application.settled()

        assert [frame["message"] for frame in await client.arrived()] == ["what counts"]
    assert application.dead_letters(marker) == []


async def test_an_event_that_nobody_subscribed_to_is_done_and_leaves_nothing(
    application: Application,
) -> None:
    entity_id = unique("entity")
    event_id = application.publish(entity_id)
    await application.settled()

    assert application.dead_letters(entity_id) == []
    assert application.rows(pk=f"ENTITY#{entity_id}") == []
    assert application.jobs(event_id) == []
