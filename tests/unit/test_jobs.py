"""The ledger: who may work at a job, and where whoever resumes it goes on."""

from collections.abc import Callable
from typing import Any

import pytest

from push.adapters.table import Table
from push.errors import Busy, Finished, ServiceUnavailable, Superseded
from push.jobs import JOB_SECONDS, Job, Jobs
from push.topics import Cursor
from support import template
from support.exchange import Clock

Rows = Callable[[], list[dict[str, Any]]]

START = Cursor("5f0c2a9be41d", 6)
SECONDS_LEFT = 25.0


@pytest.fixture
def jobs(table: Table, clock: Clock) -> Jobs:
    return Jobs(table, seconds_left=lambda: SECONDS_LEFT, clock=clock)


def claim(jobs: Jobs, name: str = "1#whole") -> Job:
    return jobs.claim(name, START)


def test_a_new_job_begins_at_the_beginning(jobs: Jobs, clock: Clock, rows: Rows) -> None:
    job = claim(jobs)

    assert (job.start, job.reached, job.open, job.plan) == (START, "", (), ())
    (row,) = rows()
    assert len(row.pop("owner")) == 32
    assert row == {
        "pk": "JOB#1#whole",
        "sk": "JOB",
        "lease": int(clock.now + SECONDS_LEFT) + 2,
        "start": str(START),
        "reached": "",
        "open": [],
        "plan": [],
        "done": False,
        "ttl": int(clock.now) + JOB_SECONDS,
    }


def test_a_range_begins_behind_its_first_boundary(jobs: Jobs) -> None:
    assert jobs.claim("1#(c=,f=]", START, "c=").reached == "c="


def test_the_log_keeps_events_no_shorter_than_their_copies_are_recognized() -> None:
    """Who resumes a job looks for its event there."""
    assert template.written()["Parameters"]["HistorySeconds"]["MinValue"] >= JOB_SECONDS


def test_a_copy_meets_the_lease_of_who_is_at_work(jobs: Jobs, clock: Clock) -> None:
    claim(jobs)

    with pytest.raises(Busy) as busy:
        claim(jobs)

    # Not past before the invocation must have ended.
    assert clock.now + SECONDS_LEFT <= busy.value.until <= clock.now + SECONDS_LEFT + 2


def test_copies_in_one_batch_meet_each_other_too(jobs: Jobs) -> None:
    """The owner is the claim, not the invocation."""
    first = claim(jobs)

    with pytest.raises(Busy):
        claim(jobs)
    first.write(done=True)


def test_a_copy_of_what_is_done_is_finished_also_while_the_lease_lasts(jobs: Jobs) -> None:
    claim(jobs).write(done=True)

    with pytest.raises(Finished):
        claim(jobs)


def test_what_is_done_stays_done_when_its_lease_is_past(jobs: Jobs, clock: Clock) -> None:
    claim(jobs).write(done=True)
    clock.now += 3_600

    with pytest.raises(Finished):
        claim(jobs)


@pytest.mark.parametrize("name", ["2#whole", "1#(,a=]"])
def test_another_job_is_another_job(jobs: Jobs, name: str) -> None:
    claim(jobs).write(done=True)

    claim(jobs, name)


def test_a_job_is_free_when_its_lease_is_past_and_not_a_second_before(
    jobs: Jobs, clock: Clock, rows: Rows
) -> None:
    claim(jobs)
    lease = rows()[0]["lease"]
    clock.now = lease - 0.5
    with pytest.raises(Busy):
        claim(jobs)

    clock.now = lease
    claim(jobs)


def test_who_resumes_a_job_goes_on_where_it_was_left(jobs: Jobs, clock: Clock) -> None:
    dead = claim(jobs)
    dead.write(reached="m=", open=["b=", "k="])
    dead.write(plan=["p=", "s="])
    clock.now += 60

    job = jobs.claim("1#whole", Cursor(START.epoch, 99), "x=")

    assert (job.start, job.reached, job.open, job.plan) == (
        START,
        "m=",
        ("b=", "k="),
        ("p=", "s="),
    )


def test_claims_do_not_prolong_the_life_of_a_job(jobs: Jobs, clock: Clock, rows: Rows) -> None:
    claim(jobs)
    ttl = rows()[0]["ttl"]
    clock.now += 3_600
    claim(jobs)

    assert rows()[0]["ttl"] == ttl


def test_who_has_lost_a_job_writes_nothing_into_it(jobs: Jobs, clock: Clock, rows: Rows) -> None:
    slow = claim(jobs)
    clock.now += 60
    claim(jobs).write(reached="c=")
    before = rows()

    with pytest.raises(Superseded):
        slow.write(reached="a=", done=True)
    assert rows() == before
    assert slow.reached == ""


def test_what_was_written_is_known_to_its_owner(jobs: Jobs) -> None:
    job = claim(jobs)

    job.write(reached="a=", open=["a="], plan=["b="])
    job.write(lease=0)

    assert (job.reached, job.open, job.plan) == ("a=", ("a=",), ("b=",))


def test_a_failure_lets_go_of_the_lease(jobs: Jobs, table: Table) -> None:
    job = claim(jobs)

    with pytest.raises(ServiceUnavailable), job.held():
        job.write(reached="c=")
        raise ServiceUnavailable

    assert claim(jobs).reached == "c="


def test_a_bug_lets_go_of_the_lease_too(jobs: Jobs) -> None:
    with pytest.raises(ZeroDivisionError), claim(jobs).held():
        raise ZeroDivisionError

    claim(jobs)


def test_who_was_superseded_leaves_the_other_s_lease_alone(jobs: Jobs, clock: Clock) -> None:
    slow = claim(jobs)
    clock.now += 60
    claim(jobs)

    with pytest.raises(Superseded), slow.held():
        slow.write(reached="a=")
    with pytest.raises(Busy):
        claim(jobs)


def test_a_success_keeps_the_lease(jobs: Jobs) -> None:
    with claim(jobs).held():
        pass

    with pytest.raises(Busy):
        claim(jobs)


def test_a_claim_whose_answer_was_lost_succeeds(
    dynamodb: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SDK carries the same request out once more."""
    update = dynamodb.update_item

    def twice(**request: Any) -> Any:
        update(**request)
        return update(**request)

    monkeypatch.setattr(dynamodb, "update_item", twice)
    jobs = Jobs(Table(dynamodb, "connections", clock=clock), seconds_left=lambda: 25.0, clock=clock)

    job = claim(jobs)
    job.write(reached="a=")
    job.write(done=True)


def test_a_table_that_does_not_answer_is_service_unavailable(jobs: Jobs, dynamodb: Any) -> None:
    job = claim(jobs)
    dynamodb.delete_table(TableName="connections")

    with pytest.raises(ServiceUnavailable):
        claim(jobs)
    with pytest.raises(ServiceUnavailable):
        job.write(done=True)
    # What failed is raised, not that the lease cannot be let go.
    with pytest.raises(ServiceUnavailable, match="the first"), job.held():
        raise ServiceUnavailable("the first")
