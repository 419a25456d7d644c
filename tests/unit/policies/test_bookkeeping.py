"""What the engine keeps of an operation, and the time between two moments, whatever was done to the
wall clock.
"""

from __future__ import annotations

import pytest

from policies.bookkeeping import Bookkeeping, StepError, TaskRecord
from policies.moments import Moment

EARLIER = Moment(1000.0, 50.0, "boot")


@pytest.mark.parametrize(
    ("later", "passed", "jumped"),
    [
        (Moment(1010.0, 60.0, "boot"), 10.0, 0.0),
        # the wall clock was set an hour ahead meanwhile
        (Moment(4610.0, 60.0, "boot"), 10.0, 3600.0),
        (Moment(400.0, 60.0, "boot"), 10.0, -610.0),
        # of another machine, or after a restart, only the wall clock tells
        (Moment(1010.0, 5.0, "another boot"), 10.0, 0.0),
        (Moment(400.0, 5.0, "another boot"), 0.0, 0.0),
        # a name of a boot that came twice: its ticks cannot have gone back
        (Moment(1010.0, 40.0, "boot"), 10.0, 0.0),
    ],
)
def test_time_is_told_by_the_clock_that_nobody_sets_where_that_is_the_same(
    later: Moment, passed: float, jumped: float
) -> None:
    assert (EARLIER.until(later), EARLIER.jump_until(later)) == (passed, jumped)


def test_of_what_has_just_been_opened_nothing_is_known() -> None:
    assert Bookkeeping() == Bookkeeping(
        asked=None,
        asked_by="",
        retry_of=None,
        timeout_s=None,
        deadline=None,
        entered={},
        seconds={},
        tasks={},
        tries=0,
        failing_since=None,
        backs=0,
        waits="",
        said="",
        cancelled="",
        error=None,
        cleanup_error=None,
    )
    assert TaskRecord() == TaskRecord(
        intended=None, upid=None, asked=None, told=False, stopped=False
    )


def test_a_task_of_which_nothing_is_known_is_a_record_of_nothing() -> None:
    book = Bookkeeping(tasks={"dump": TaskRecord(upid="UPID:1")})
    assert (book.task("dump").upid, book.upid("dump")) == ("UPID:1", "UPID:1")
    assert (book.task("stop"), book.upid("stop")) == (TaskRecord(), None)


def test_it_is_the_first_failed_step_that_is_asked_for_and_the_cleanups_error_that_counts() -> None:
    failed, left = StepError("dump", "no room"), StepError("settle", "nobody answers")
    assert not Bookkeeping().failed_at("dump") and Bookkeeping().worst is None
    assert Bookkeeping(error=failed).failed_at("locate", "dump") and not Bookkeeping(
        error=failed
    ).failed_at("verify")
    assert Bookkeeping(error=failed).worst == failed
    assert Bookkeeping(error=failed, cleanup_error=left).worst == left
