"""The ledger in DynamoDB: who may work on a job, and what a second try leaves out."""

from collections.abc import Callable
from typing import Any

import pytest

from push.adapters.ledger import WINDOW_SECONDS, JobLedger
from push.errors import ServiceUnavailable

Rows = Callable[[], list[dict[str, Any]]]


class Clock:
    now = 1_795_484_900.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(dynamodb: Any, clock: Clock) -> JobLedger:
    return JobLedger(dynamodb, "connections", seconds_left=lambda: 60.0, clock=clock)


class Killed(BaseException):
    """The process is gone."""


def test_a_job_that_is_done_is_done_for_its_copies(ledger: JobLedger) -> None:
    with ledger.claim("1", "job") as claim:
        assert claim is not None
        assert (claim.done, claim.cursor) == (frozenset(), "")
        claim.complete()

    with ledger.claim("1", "job") as copy:
        assert copy is None


@pytest.mark.parametrize(("event_id", "job"), [("2", "job"), ("1", "other")])
def test_another_job_is_another_job(ledger: JobLedger, event_id: str, job: str) -> None:
    with ledger.claim("1", "job") as claim:
        assert claim is not None
        claim.complete()

    with ledger.claim(event_id, job) as other:
        assert other is not None


def test_a_job_is_in_one_pair_of_hands(ledger: JobLedger) -> None:
    with ledger.claim("1", "job") as claim:
        assert claim is not None
        with pytest.raises(ServiceUnavailable), ledger.claim("1", "job"):
            pass
        claim.complete()


def test_a_failed_try_leaves_what_it_has_done_to_the_next(ledger: JobLedger) -> None:
    with pytest.raises(ZeroDivisionError), ledger.claim("1", "job") as claim:
        assert claim is not None
        claim.note_done("a=")
        claim.note_done("b=")
        claim.note_cursor("c=")
        raise ZeroDivisionError

    with ledger.claim("1", "job") as second:
        assert second is not None
        assert second.done == {"a=", "b="}
        assert second.cursor == "c="


def test_what_a_dead_invocation_had_written_is_left_out_once_its_lease_is_past(
    ledger: JobLedger, dynamodb: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Killed), monkeypatch.context() as patch, ledger.claim("1", "job") as claim:
        assert claim is not None
        claim.note_done("a=")
        clock.now += 1.0
        claim.note_done("b=")
        claim.note_done("c=")
        patch.setattr(dynamodb, "update_item", _dead)
        raise Killed

    with pytest.raises(ServiceUnavailable), ledger.claim("1", "job"):
        pass
    clock.now += 63
    with ledger.claim("1", "job") as second:
        assert second is not None
        assert second.done == {"a=", "b="}


def _dead(**_: Any) -> None:
    raise Killed


def test_notes_are_written_every_second_and_not_for_every_connection(
    ledger: JobLedger, dynamodb: Any, clock: Clock
) -> None:
    calls = []
    dynamodb.meta.events.register(
        "provide-client-params.dynamodb.UpdateItem", lambda params, **_: calls.append(params)
    )
    with ledger.claim("1", "job") as claim:
        assert claim is not None
        for number in range(100):
            claim.note_done(str(number))
        assert len(calls) == 1
        clock.now += 1
        claim.note_done("last")
        assert len(calls) == 2
        claim.complete()

    assert len(calls) == 3


def test_a_finished_job_keeps_no_connection_ids(
    ledger: JobLedger, rows: Rows, clock: Clock
) -> None:
    with ledger.claim("1", "job") as claim:
        assert claim is not None
        clock.now += 2
        claim.note_done("a=")
        claim.complete()

    (row,) = rows()
    assert row.keys() == {"pk", "sk", "state", "ttl"}
    assert int(row["ttl"]) == int(clock.now - 2) + WINDOW_SECONDS


def test_a_job_that_expired_is_new_even_if_its_row_is_still_there(
    ledger: JobLedger, clock: Clock
) -> None:
    with ledger.claim("1", "job") as claim:
        assert claim is not None
        claim.complete()
    clock.now += WINDOW_SECONDS + 1

    with ledger.claim("1", "job") as again:
        assert again is not None


def test_a_table_that_does_not_answer_is_service_unavailable(
    ledger: JobLedger, dynamodb: Any
) -> None:
    dynamodb.delete_table(TableName="connections")

    with pytest.raises(ServiceUnavailable), ledger.claim("1", "job"):
        pass


def test_an_error_of_the_block_is_raised_on_even_if_the_job_cannot_be_released(
    ledger: JobLedger, dynamodb: Any
) -> None:
    with pytest.raises(ZeroDivisionError), ledger.claim("1", "job"):
        dynamodb.delete_table(TableName="connections")
        raise ZeroDivisionError
