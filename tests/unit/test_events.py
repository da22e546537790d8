"""What is an event that can be delivered, and what frame it makes."""

import json
from contextlib import suppress
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.claims import MAX_TENANT_LENGTH, MAX_USER_LENGTH
from push.errors import EventRejected
from push.events import MAX_FRAME_BYTES, Event, Kick, parse, published_at_ms
from push.json_text import encode, members
from push.protocol import MAX_MESSAGE_BYTES, Answer, Reply, Wanted
from push.topics import LONGEST_CURSOR, Cursor, LoggedEvent, Recovery, Topic
from support import events
from support.contract import contract

CURSOR = Cursor("5f0c2a9be41d", 7)

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def parsed(**detail: object) -> Event:
    return events.parsed(events.encoded(events.entity_updated("1", **detail)))


def frame(event: Event, cursor: Cursor = CURSOR) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(event.frame(cursor))
    return content


def changed(**fields: object) -> str:
    return events.encoded(events.entity_updated(entityId="e") | fields)


def with_detail(text: str) -> str:
    """Return an event whose detail is a text of its own."""
    return events.encoded(events.entity_updated() | {"detail": "?"}).replace('"?"', text)


def test_the_event_in_the_events_makes_its_frame() -> None:
    event = events.parsed(events.load("notifier")["Records"][0]["body"])

    assert event.topic == Topic.entity("myTestEntityId")
    assert event.id == "7bf73129-1428-4cd3-a780-95db273d1602"
    assert frame(event) == {
        "type": "Entity Updated",
        "entityId": "myTestEntityId",
        "message": "Hello world",
        "id": "7bf73129-1428-4cd3-a780-95db273d1602",
        "time": "2026-11-24T01:46:41Z",
        "cursor": "5f0c2a9be41d-7",
    }


@given(message=json_values, data=json_values)
def test_message_and_data_arrive_as_they_were_sent(message: Any, data: Any) -> None:
    content = frame(parsed(entityId="e", message=message, data=data))

    assert (content["message"], content["data"]) == (message, data)


@pytest.mark.parametrize("falsy", ["", 0, False, None, [], {}])
@pytest.mark.parametrize("name", ["message", "data"])
def test_what_is_falsy_is_there_all_the_same(name: str, falsy: object) -> None:
    assert frame(parsed(entityId="e", **{name: falsy}))[name] == falsy


def test_what_is_not_there_is_not_in_the_frame() -> None:
    assert frame(parsed(entityId="e")).keys() == {"type", "entityId", "id", "time", "cursor"}


def test_fields_that_are_not_of_the_protocol_stay_out_of_the_frame() -> None:
    content = frame(parsed(entityId="e", secret="s", type="x", id="y", cursor="z", time="t"))

    assert (content["type"], content["id"]) == ("Entity Updated", "1")
    assert (content["cursor"], content["time"]) == ("5f0c2a9be41d-7", "2026-11-24T01:46:41Z")
    assert "secret" not in content


@pytest.mark.parametrize(
    "data",
    [
        "123456789012345678901234567890",
        "0.12345678901234567890123456789",
        "1.10",
        "1E5",
        "-0",
        '{"b":1,"a":2}',
        '{"a":1,"a":2}',
        '{"10":1,"9":2}',
        "[1,   2]",
        '"\\u00e9\\/"',
        '"\\ud83d\\ude00"',
        '"\\ud800"',
        '"\ufffe"',
    ],
)
@pytest.mark.parametrize("name", ["message", "data"])
def test_every_digit_and_every_key_is_passed_on_as_it_was_written(name: str, data: str) -> None:
    event = events.parsed(with_detail(f'{{"entityId":"e","{name}":{data}}}'))

    assert members(event.frame(CURSOR))[name] == data


def test_of_a_message_that_comes_twice_the_last_is_passed_on() -> None:
    event = events.parsed(with_detail('{"message":1,"entityId":"x","entityId":"e","message":2}'))

    assert event.topic == Topic.entity("e")
    assert members(event.frame(CURSOR))["message"] == "2"


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=256))
def test_an_entity_id_is_in_the_topic_as_in_the_frame(entity_id: str) -> None:
    event = parsed(entityId=entity_id)

    assert event.topic.id == frame(event)["entityId"] == entity_id


def test_the_longest_ids_are_taken() -> None:
    longest = "\U0001f600" * 256

    event = events.parsed(events.encoded(events.entity_updated(longest, entityId=longest)))

    assert (event.id, event.topic.id) == (longest, longest)


@pytest.mark.parametrize(
    ("event", "code"),
    [
        ("", "InvalidJson"),
        ("not JSON", "InvalidJson"),
        ('{"detail":NaN}', "InvalidJson"),
        ("[" * 100_000, "InvalidJson"),
        ('{"detail":"\ud800"}', "InvalidJson"),
        (with_detail('{"entityId":"e","data":1e999}'), "InvalidJson"),
        (with_detail('{"entityId":"e","data":' + "9" * 5_000 + "}"), "InvalidJson"),
        (with_detail('{"entityId":"e","data":' + "[" * 100_000 + "}"), "InvalidJson"),
        ("[]", "InvalidEvent"),
        ("null", "InvalidEvent"),
        ("{}", "UnknownDetailType"),
        (changed(**{"detail-type": "Something Else"}), "UnknownDetailType"),
        (changed(**{"detail-type": None}), "UnknownDetailType"),
        (changed(id=None), "InvalidEvent"),
        (changed(id=""), "InvalidEvent"),
        (changed(id="x" * 257), "InvalidEvent"),
        (changed(id="\ud800"), "InvalidEvent"),
        (changed(time=5), "InvalidEvent"),
        (changed(time="\udfff"), "InvalidEvent"),
        (changed(detail=None), "InvalidEvent"),
        (changed(detail="text"), "InvalidEvent"),
        (changed(detail=[]), "InvalidEvent"),
        (changed(detail={}), "InvalidEntityId"),
        (changed(detail={"entityId": ""}), "InvalidEntityId"),
        (changed(detail={"entityId": None}), "InvalidEntityId"),
        (changed(detail={"entityId": 5}), "InvalidEntityId"),
        (changed(detail={"entityId": ["e"]}), "InvalidEntityId"),
        (changed(detail={"entityId": "x" * 257}), "InvalidEntityId"),
        (changed(detail={"entityId": "\ud800"}), "InvalidEntityId"),
        (changed(detail={"entityId": "a\x00"}), "InvalidEntityId"),
        (changed(detail={"entityId": "e", "data": "x" * MAX_FRAME_BYTES}), "FrameTooLarge"),
        # In bytes: these are 70,000 characters.
        (with_detail(encode({"entityId": "e", "data": "\u00e9" * 70_000})), "FrameTooLarge"),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_an_event_that_cannot_be_delivered_is_rejected_with_its_reason(
    event: str, code: str
) -> None:
    with pytest.raises(EventRejected) as caught:
        events.parsed(event)

    assert caught.value.code == code
    assert str(caught.value)


@given(st.text())
def test_no_text_crashes_the_parser(text: str) -> None:
    with pytest.raises(EventRejected):
        events.parsed(text)


def largest() -> Event:
    """Return an event whose frame has as much as a frame may have, with the longest cursor."""
    empty = parsed(entityId="e", data="")
    room = MAX_FRAME_BYTES - len(empty.frame(LONGEST_CURSOR).encode())
    return parsed(entityId="e", data="x" * room)


def test_a_frame_has_at_most_120_kb_with_the_longest_cursor() -> None:
    event = largest()

    assert MAX_FRAME_BYTES == 120 * 1024
    assert len(event.frame(LONGEST_CURSOR).encode()) == MAX_FRAME_BYTES
    data = frame(event)["data"]
    with pytest.raises(EventRejected, match="122881 bytes"):
        parsed(entityId="e", data=f"{data}x")


def test_what_is_escaped_in_the_event_counts_as_it_is_passed_on() -> None:
    """An escape has six bytes for the two of its character."""
    text = json.dumps({"entityId": "e", "data": "\u00e9" * 30_000})

    with pytest.raises(EventRejected, match="bytes"):
        events.parsed(with_detail(text))
    assert events.parsed(with_detail(encode(json.loads(text))))


@pytest.mark.parametrize("type_", ["Subscribed", "History"])
def test_the_largest_frame_fits_into_a_reply(type_: Literal["Subscribed", "History"]) -> None:
    """With the longest id and the longest `requestId` beside it, escapes and all."""
    logged = LoggedEvent(LONGEST_CURSOR, largest().frame(LONGEST_CURSOR))
    wanted = Wanted(Topic.entity("\U0001f600" * 256), CURSOR)
    recovery = Recovery(LONGEST_CURSOR, recovered=True, events=(logged,), more=True)

    reply = Reply.about(type_, Answer(wanted, recovery)).encode("\U0001f600" * 127 + "\ud800")

    assert json.loads(reply)["events"][0]["entityId"] == "e"
    assert len(reply.encode()) <= MAX_MESSAGE_BYTES


# To a user.


def written(detail_type: str, **detail: object) -> str:
    event = events.entity_updated("1", **detail) | {"detail-type": detail_type}
    return events.encoded(event)


def pushed(**detail: object) -> Event:
    return events.parsed(written("Send User Push Notification", **detail))


def test_an_event_for_a_user_makes_its_frame() -> None:
    event = pushed(userId="alice", message="Hello", callback="/orders/17", data={"n": 1})

    assert event.topic == Topic.user("alice")
    assert frame(event) == {
        "type": "User Push Notification",
        "message": "Hello",
        "callback": "/orders/17",
        "data": {"n": 1},
        "id": "1",
        "time": "2026-11-24T01:46:41Z",
        "cursor": "5f0c2a9be41d-7",
    }


def test_an_event_for_a_user_may_be_a_signal_alone() -> None:
    """And its frame does not name whom it is for: who hears it knows. See docs/adr/0014."""
    content = frame(pushed(userId="alice", entityId="e", type="x", tenant="acme"))

    assert content.keys() == {"type", "id", "time", "cursor"}
    assert content["type"] == "User Push Notification"
    assert contract().service_problem(content) is None


@given(message=json_values, callback=json_values, data=json_values)
def test_what_is_for_a_user_arrives_as_it_was_sent(message: Any, callback: Any, data: Any) -> None:
    content = frame(pushed(userId="a", message=message, callback=callback, data=data))

    assert (content["message"], content["callback"], content["data"]) == (message, callback, data)


@pytest.mark.parametrize("name", ["message", "callback", "data"])
@pytest.mark.parametrize("text", ["1.10", "123456789012345678901234567890", '{"b":1,"a":2}', '""'])
def test_what_is_for_a_user_is_passed_on_as_it_was_written(name: str, text: str) -> None:
    event = written("Send User Push Notification", userId="a", **{name: "?"})

    assert members(events.parsed(event.replace('"?"', text)).frame(CURSOR))[name] == text


def test_an_entity_s_event_has_no_callback() -> None:
    assert "callback" not in frame(parsed(entityId="e", callback="/x"))


# To put a user out.


def kick(**detail: object) -> Kick:
    made = parse(written("Disconnect User", **detail))
    assert isinstance(made, Kick)
    return made


def test_a_user_can_be_put_out_without_more_words() -> None:
    assert kick(userId="alice") == Kick("1", Topic.user("alice"), None, None)
    assert kick(userId="alice", reason=None, revokeIssuedBefore=None) == kick(userId="alice")


def test_a_reason_is_handed_on() -> None:
    assert kick(userId="alice", reason="lost phone").reason == "lost phone"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (0, 0),
        (1_795_484_801, 1_795_484_801),
        (1_795_484_801.5, 1_795_484_801.5),
        ("2026-11-24T01:46:41Z", 1_795_484_801),
        ("2026-11-24T02:46:41+01:00", 1_795_484_801),
        ("2026-11-24T01:46:41.500Z", 1_795_484_801.5),
        ("20261124T014641Z", 1_795_484_801),
    ],
)
def test_a_revocation_is_in_seconds_or_as_iso_8601_with_its_zone(
    value: object, seconds: float
) -> None:
    assert kick(userId="alice", revokeIssuedBefore=value).revoke_issued_before == seconds


@pytest.mark.parametrize(
    "value",
    [
        *("", "now", "1795484801", "2026-11-24", "2026-11-24T01:46:41", "1969-12-31T23:59:59Z"),
        *(True, False, [], {}, [0]),
    ],
    ids=str,
)
def test_a_revocation_at_no_time_is_poison(value: object) -> None:
    """One in milliseconds would refuse every token for ever."""
    with pytest.raises(EventRejected) as caught:
        kick(userId="alice", revokeIssuedBefore=value)

    assert caught.value.code == "InvalidTime"


@pytest.mark.parametrize("reason", ["", 7, True, [], {}, "x" * 257, "a\x00b", "\ud800"], ids=str)
def test_a_reason_that_is_no_short_text_is_poison(reason: object) -> None:
    with pytest.raises(EventRejected) as caught:
        kick(userId="alice", reason=reason)

    assert caught.value.code in ("InvalidReason", "InvalidJson")


@pytest.mark.parametrize("detail_type", ["Send User Push Notification", "Disconnect User"])
@pytest.mark.parametrize("detail", [{}, {"entityId": "alice"}, {"userId": ""}, {"userId": 7}])
def test_what_is_for_nobody_is_poison(detail_type: str, detail: dict[str, object]) -> None:
    with pytest.raises(EventRejected) as caught:
        parse(written(detail_type, **detail))

    assert caught.value.code == "InvalidUserId"


def test_every_user_that_a_token_may_name_can_be_written_to() -> None:
    longest = "\U0001f600" * MAX_USER_LENGTH

    assert pushed(userId=longest).topic == Topic.user(longest)
    assert kick(userId=longest).user == Topic.user(longest)


# With tenants.

DETAILS: dict[str, dict[str, object]] = {
    "Entity Updated": {"entityId": "e"},
    "Send User Push Notification": {"userId": "alice"},
    "Disconnect User": {"userId": "alice"},
}


@pytest.mark.parametrize("detail_type", DETAILS)
@pytest.mark.parametrize("tenant", ["acme", "a#b%", "\U0001f600" * MAX_TENANT_LENGTH])
def test_an_event_is_for_the_tenant_that_it_names(detail_type: str, tenant: str) -> None:
    made = parse(written(detail_type, **DETAILS[detail_type], tenant=tenant), with_tenants=True)

    topic = made.user if isinstance(made, Kick) else made.topic
    assert topic.tenant == tenant
    assert isinstance(made, Kick) or "tenant" not in frame(made)


@pytest.mark.parametrize("detail_type", DETAILS)
def test_without_tenants_none_is_looked_at(detail_type: str) -> None:
    made = parse(written(detail_type, **DETAILS[detail_type], tenant=["no", "name"]))

    topic = made.user if isinstance(made, Kick) else made.topic
    assert topic.tenant == ""


@pytest.mark.parametrize("detail_type", DETAILS)
@pytest.mark.parametrize(
    "named",
    [
        *({}, {"tenant": ""}, {"tenant": None}, {"tenant": 7}, {"tenant": "a\x00"}),
        *({"tenant": "x" * (MAX_TENANT_LENGTH + 1)}, {"Tenant": "acme"}, {"tenant": ["acme"]}),
    ],
    ids=str,
)
def test_an_event_for_no_tenant_is_poison(detail_type: str, named: dict[str, object]) -> None:
    with pytest.raises(EventRejected) as caught:
        parse(written(detail_type, **DETAILS[detail_type], **named), with_tenants=True)

    assert caught.value.code == "InvalidTenant"


@given(st.text(), st.booleans())
def test_no_text_crashes_the_parser_of_all_events(text: str, with_tenants: bool) -> None:
    with pytest.raises(EventRejected):
        parse(text, with_tenants=with_tenants)


@given(st.sampled_from(sorted(DETAILS)), st.dictionaries(st.text(), json_values), json_values)
def test_no_detail_crashes_the_parser(detail_type: str, detail: dict[str, Any], value: Any) -> None:
    detail = detail | dict.fromkeys(("userId", "entityId", "reason", "revokeIssuedBefore"), value)
    with suppress(EventRejected):
        parse(written(detail_type, **detail), with_tenants=True)


@pytest.mark.parametrize(
    ("time", "milliseconds"),
    [
        ("2026-11-24T01:46:41Z", 1_795_484_801_000),
        ("2026-11-24T01:46:41.250Z", 1_795_484_801_250),
        ("2026-11-24T02:46:41+01:00", 1_795_484_801_000),
        ("2026-11-24T01:46:41", None),
        ("yesterday", None),
        ('a "quoted" time', None),
        ("9" * 256, None),
    ],
)
def test_when_an_event_was_published_is_read_from_its_frame(
    time: str, milliseconds: int | None
) -> None:
    text = events.encoded(
        events.entity_updated("1", entityId="e", data={"time": "2020-01-01T00:00:00Z"})
        | {"time": time}
    )

    frame = events.parsed(text).frame(Cursor("5f0c2a9be41d", 7))

    assert published_at_ms(frame) == milliseconds
