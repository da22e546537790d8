"""What is an event that can be delivered, and what frame it makes."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from push.errors import EventRejected
from push.notification import Notification
from push.protocol import MAX_MESSAGE_BYTES
from support import events

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def test_the_article_s_event_makes_the_article_s_frame() -> None:
    notification = Notification.parse(events.load("notifier")["Records"][0]["body"])

    assert notification.entity_id == "myTestEntityId"
    assert notification.event_id == "7bf73129-1428-4cd3-a780-95db273d1602"
    assert json.loads(notification.frame) == {
        "type": "Entity Updated",
        "entityId": "myTestEntityId",
        "message": "Hello world",
        "id": "7bf73129-1428-4cd3-a780-95db273d1602",
        "time": "2026-11-24T01:46:41Z",
    }


@given(message=json_values, data=json_values)
def test_message_and_data_arrive_as_they_were_sent(message: Any, data: Any) -> None:
    text = json.dumps(events.entity_updated(entityId="e", message=message, data=data))

    frame = json.loads(Notification.parse(text).frame)

    assert (frame["message"], frame["data"]) == (message, data)


@pytest.mark.parametrize("falsy", ["", 0, False, None, [], {}])
def test_a_falsy_message_is_a_message(falsy: object) -> None:
    text = json.dumps(events.entity_updated(entityId="e", message=falsy))

    assert json.loads(Notification.parse(text).frame)["message"] == falsy


def test_what_is_not_there_is_not_in_the_frame() -> None:
    frame = json.loads(Notification.parse(json.dumps(events.entity_updated(entityId="e"))).frame)

    assert frame.keys() == {"type", "entityId", "id", "time"}


def test_fields_that_are_not_of_the_protocol_stay_out_of_the_frame() -> None:
    event = events.entity_updated(entityId="e", secret="s", type="x", id="y")

    frame = json.loads(Notification.parse(json.dumps(event)).frame)

    assert frame["type"] == "Entity Updated"
    assert frame["id"] == "1"
    assert "secret" not in frame


def changed(**fields: object) -> dict[str, Any]:
    return events.entity_updated(entityId="e") | fields


@pytest.mark.parametrize(
    ("event", "code"),
    [
        ("", "InvalidJson"),
        ("not JSON", "InvalidJson"),
        ('{"detail":NaN}', "InvalidJson"),
        ("[" * 100_000, "InvalidJson"),
        ([], "InvalidEvent"),
        (None, "InvalidEvent"),
        ({}, "UnknownDetailType"),
        (changed(**{"detail-type": "Something Else"}), "UnknownDetailType"),
        (changed(id=None), "InvalidEvent"),
        (changed(id=""), "InvalidEvent"),
        (changed(time=5), "InvalidEvent"),
        (changed(detail=None), "InvalidEvent"),
        (changed(detail="text"), "InvalidEvent"),
        (changed(detail=[]), "InvalidEvent"),
        (events.entity_updated(), "InvalidEntityId"),
        (events.entity_updated(entityId=""), "InvalidEntityId"),
        (events.entity_updated(entityId=None), "InvalidEntityId"),
        (events.entity_updated(entityId=5), "InvalidEntityId"),
        (events.entity_updated(entityId=["e"]), "InvalidEntityId"),
        (events.entity_updated(entityId="x" * 257), "InvalidEntityId"),
        (events.entity_updated(entityId="e", data="x" * MAX_MESSAGE_BYTES), "FrameTooLarge"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_an_event_that_cannot_be_delivered_is_rejected_with_its_reason(
    event: object, code: str
) -> None:
    with pytest.raises(EventRejected) as caught:
        Notification.parse(event if isinstance(event, str) else json.dumps(event))

    assert caught.value.code == code
    assert str(caught.value)


def test_a_frame_may_be_as_large_as_api_gateway_takes() -> None:
    empty = Notification.parse(json.dumps(events.entity_updated(entityId="e", data="")))
    room = MAX_MESSAGE_BYTES - len(empty.frame)

    full = Notification.parse(json.dumps(events.entity_updated(entityId="e", data="x" * room)))

    assert len(full.frame) == MAX_MESSAGE_BYTES


@given(st.text())
def test_no_text_crashes_the_parser(text: str) -> None:
    with pytest.raises(EventRejected):
        Notification.parse(text)
