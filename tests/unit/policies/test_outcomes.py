"""What came of an operation and of a night, how loud it is said, and when a night was good."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from policies import outcomes
from policies.bookkeeping import Bookkeeping, StepError
from policies.model import Operation, OperationState
from policies.outcomes import Facts, JobRunVerdict, Level, NightFacts

DONE, FAILED, OPEN = OperationState.DONE, OperationState.FAILED, OperationState.OPEN
AT = 1_773_086_400


def operation(
    kind: str, vmid: int | None = 108, state: OperationState = DONE, book: Bookkeeping | None = None
) -> Operation:
    finished = None if state is OPEN else AT + 95
    kept = book or Bookkeeping()
    return Operation(
        f"01{kind}{vmid}", kind, vmid, state, "settle", {}, AT, AT + 95, finished, book=kept
    )


Piece = tuple[Operation, Facts]


def piece(kind: str, vmid: int | None = 108, state: OperationState = DONE, **facts: Any) -> Piece:
    """An operation, and what its kind knows of it."""
    return operation(kind, vmid, state), Facts(**facts)


def night(
    pieces: dict[str, Piece], state: OperationState = DONE, error: str | None = None, **known: Any
) -> outcomes.JobRunOutcome:
    vmids = tuple(one.subject for name, (one, _) in pieces.items() if name.startswith("backup#"))
    usual: dict[str, Any] = {"job": "nightly", "at": AT, "vmids": vmids}
    facts = NightFacts(**(usual | known), names={one.id: name for name, (one, _) in pieces.items()})
    return outcomes.of_job_run(
        replace(operation("night", None, state), error=error), facts, pieces.values()
    )


GOOD = {
    "backup#101": piece("backup", 101),
    "backup#102": piece("backup", 102),
    "prune": piece("prune", None),
}


# --- one operation --------------------------------------------------------------------------------


def test_an_outcome_names_what_a_reader_of_the_log_looks_for() -> None:
    found = outcomes.of(operation("backup"), Facts("clovis", "UPID:clovis:1"))
    assert outcomes.said(found) == {
        "operation": "01backup108",
        "kind": "backup",
        "vmid": 108,
        "node": "clovis",
        "upid": "UPID:clovis:1",
        "state": "done",
        "seconds": 95,
        "ended": AT + 95,
    }


def test_an_outcome_has_the_node_the_task_and_the_verdict_that_its_kind_knows() -> None:
    found = outcomes.of(*piece("restore-test", node="lge-pve02", upid="UPID:x", verdict="proven"))
    assert (found.node, found.upid, found.verdict, found.level) == (
        "lge-pve02",
        "UPID:x",
        "proven",
        Level.INFO,
    )
    bare = outcomes.of(*piece("restore-test"))
    assert (bare.node, bare.upid, bare.verdict) == (None, None, None)


@pytest.mark.parametrize(
    ("found", "level"),
    [
        (piece("backup"), Level.INFO),
        (piece("backup", state=FAILED), Level.ERROR),
        (piece("backup", state=OperationState.CANCELLED), Level.WARNING),
        (piece("backup", frozen=True), Level.WARNING),
        (piece("restore-test", verdict="failed"), Level.ERROR),
        (piece("restore-test", verdict="inconclusive"), Level.WARNING),
        (piece("restore-test", verdict="skipped"), Level.WARNING),
        (piece("restore-test", verdict="simulated"), Level.INFO),
        (piece("prune", None, FAILED), Level.ERROR),
    ],
)
def test_what_did_not_come_about_is_an_error_and_what_must_be_looked_at_a_warning(
    found: Piece, level: Level
) -> None:
    assert outcomes.of(*found).level is level


def test_a_test_that_proved_nothing_says_why_though_it_did_not_fail() -> None:
    stopped = Bookkeeping(error=StepError("boot", "it does not start"))
    found = outcomes.of(operation("restore-test", book=stopped), Facts(verdict="inconclusive"))
    assert found.error == "it does not start"


def test_what_became_of_things_is_told_and_kept_by_these_words() -> None:
    assert [one.value for one in Level] == ["info", "warning", "error"]
    assert [one.value for one in JobRunVerdict] == ["good", "simulated", "degraded", "failed"]


def test_an_operation_ended_when_it_says_so_and_its_own_error_comes_first() -> None:
    failed = Bookkeeping(error=StepError("dump", "of a step"))
    whole = replace(operation("backup", book=failed), updated=AT + 500, error="of the operation")
    found = outcomes.of(whole, Facts())
    assert (found.ended, found.seconds, found.error) == (AT + 95, 95, "of the operation")
    old = outcomes.of(replace(whole, finished=None), Facts())
    assert (old.ended, old.seconds) == (AT + 500, 500)


def test_a_clock_that_was_set_back_makes_nothing_last_less_than_no_time() -> None:
    assert outcomes.of(replace(operation("backup"), finished=AT - 60), Facts()).seconds == 0
    back = outcomes.of_job_run(
        replace(operation("night", None), finished=AT - 60), NightFacts("nightly", AT), ()
    )
    assert back.seconds == 0


def test_a_guest_left_frozen_is_in_the_line_and_one_that_was_not_is_not() -> None:
    frozen = outcomes.of(*piece("backup", frozen=True))
    assert outcomes.said(frozen)["frozen"] is True
    plain = outcomes.Outcome("01", "backup", 108, None, None, DONE, None, 1, AT)
    assert plain.level is Level.INFO and "frozen" not in outcomes.said(plain)


# --- a night --------------------------------------------------------------------------------------


def test_a_night_in_which_all_came_about_is_good() -> None:
    found = night(GOOD | {"prove#101": piece("restore-test", 101, verdict="proven")})
    assert (found.verdict, found.good, found.level) == (JobRunVerdict.GOOD, True, Level.INFO)
    assert (found.expected, found.ok, found.failed, found.missing, found.tests, found.proven) == (
        2,
        2,
        0,
        0,
        1,
        1,
    )


def test_law_5_a_night_of_modelled_guests_is_simulated_and_never_good() -> None:
    assert (
        night(GOOD | {"prove#101": piece("restore-test", 101, verdict="simulated")}).verdict
        is JobRunVerdict.SIMULATED
    )


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"backup#102": piece("backup", 102, FAILED)}, "1 of 2 guests have no good backup (102)"),
        ({"backup#102": piece("backup", 102, OPEN)}, "1 of 2 guests have no good backup (102)"),
        (
            {"backup#102": piece("backup", 102, frozen=True)},
            "1 of 2 guests have no good backup (102)",
        ),
        ({"prune": piece("prune", None, FAILED)}, "retention: failed"),
        ({"prune": piece("prune", None, partial=True)}, "retention: partial"),
        (
            {"prove#101": piece("restore-test", 101, verdict="inconclusive")},
            "1 of 1 restore tests proved nothing",
        ),
        (
            {"prove#101": piece("restore-test", 101, FAILED, verdict="proven")},
            "1 of 1 restore tests proved nothing",
        ),
    ],
)
def test_a_night_in_which_something_did_not_is_degraded_and_says_what(
    changed: dict[str, Piece], words: str
) -> None:
    found = night(GOOD | changed)
    assert (found.verdict, found.good, found.level) == (
        JobRunVerdict.DEGRADED,
        False,
        Level.WARNING,
    )
    assert found.reason == f"the last night of job nightly: {words}"


def test_a_guest_that_was_expected_and_for_which_nothing_was_opened_is_missing() -> None:
    found = night(GOOD, vmids=(101, 102, 103))
    assert (found.expected, found.ok, found.missing, found.failed_guests) == (3, 2, 1, (103,))
    assert not found.good


def test_a_night_without_one_good_backup_has_failed_though_its_operation_is_done() -> None:
    found = night({f"backup#{vmid}": piece("backup", vmid, FAILED) for vmid in (101, 102)})
    assert (found.state, found.verdict, found.level) == (DONE, JobRunVerdict.FAILED, Level.ERROR)
    assert (found.ok, found.failed, found.retention) == (0, 2, "none")


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (FAILED, "failed"),
        (OperationState.CANCELLED, "was cancelled"),
        (OperationState.MISSED, "was missed"),
    ],
)
def test_a_night_that_did_not_come_to_its_end_has_failed(state: OperationState, words: str) -> None:
    found = night({}, state, error="nobody answers", vmids=None)
    assert (found.verdict, found.expected) == (JobRunVerdict.FAILED, None)
    assert found.reason == f"the last night of job nightly {words}: nobody answers"


def test_many_guests_are_counted_and_only_the_first_are_named() -> None:
    found = night({f"backup#{vmid}": piece("backup", vmid, FAILED) for vmid in range(100, 111)})
    assert found.reason.endswith(
        "11 of 11 guests have no good backup (100, 101, 102, 103, 104, ...)"
    )


def test_five_guests_are_named_and_nothing_says_that_there_are_more() -> None:
    found = night({f"backup#{vmid}": piece("backup", vmid, FAILED) for vmid in range(100, 105)})
    assert found.reason.endswith("5 of 5 guests have no good backup (100, 101, 102, 103, 104)")


def test_a_nights_line_names_the_guests_without_a_good_backup() -> None:
    found = night(
        GOOD
        | {"backup#102": piece("backup", 102, FAILED), "backup#103": piece("backup", 103, FAILED)}
    )
    told = outcomes.said(found)
    assert (told["failed_guests"], told["job"], told["verdict"], told["seconds"]) == (
        "102,103",
        "nightly",
        "degraded",
        95,
    )
    assert "failed_guests" not in outcomes.said(night(GOOD))


def test_every_test_of_a_night_counts_also_one_that_was_tried_again_or_drawn_by_lot() -> None:
    called = {101: "prove", 102: "again", 103: "sample"}
    tests = {
        f"{name}#{vmid}": piece("restore-test", vmid, verdict="proven")
        for vmid, name in called.items()
    }
    assert (night(GOOD | tests).tests, night(GOOD | tests).proven) == (3, 3)


def test_a_backup_that_failed_and_one_that_did_not_end_are_two_that_are_not_good() -> None:
    found = night(
        GOOD
        | {"backup#103": piece("backup", 103, FAILED), "backup#104": piece("backup", 104, OPEN)}
    )
    assert (found.ok, found.failed, found.missing, found.verdict) == (
        2,
        1,
        1,
        JobRunVerdict.DEGRADED,
    )


def test_a_night_was_due_when_it_says_so_and_ended_when_it_was_last_heard_of_if_nothing_else_is_known() -> (
    None
):
    assert night(GOOD, at=AT - 60).at == AT - 60
    known = NightFacts("nightly", AT)
    bare = outcomes.of_job_run(
        replace(operation("night", None), updated=AT + 500, finished=None), known, ()
    )
    assert (bare.at, bare.job, bare.ended, bare.seconds) == (AT, "nightly", AT + 500, 500)
    assert (
        outcomes.of_job_run(replace(operation("night", None), updated=AT + 500), known, ()).ended
        == AT + 95
    )


def test_a_night_that_backed_nobody_up_is_not_good() -> None:
    found = night({}, vmids=())
    assert found.verdict is JobRunVerdict.FAILED
    assert "no guest was to be backed up" in found.reason


def test_a_test_that_could_not_be_decided_and_was_made_good_the_same_night_does_not_degrade_it() -> (
    None
):
    again = replace(operation("restore-test", 101), id="01again101"), Facts(verdict="proven")
    found = night(
        GOOD | {"prove#101": piece("restore-test", 101, verdict="inconclusive"), "again#101": again}
    )
    assert found.good, found.reason


# --- a night's copies -----------------------------------------------------------------------------


COPIED = {
    "copy#101#lge": piece("copy", 101, node="clovis"),
    "copy#102#lge": piece("copy", 102, node="clovis"),
}


def test_a_night_whose_copies_were_all_made_is_good_and_counts_them() -> None:
    found = night(GOOD | COPIED)
    assert (found.verdict, found.copies, found.not_copied) == (JobRunVerdict.GOOD, 2, 0)
    told = outcomes.said(found)
    assert (told["copies"], told["not_copied"]) == (2, 0)
    assert "copies" not in found.reason


@pytest.mark.parametrize("state", [FAILED, OPEN, OperationState.CANCELLED])
def test_a_night_with_a_copy_that_was_not_made_is_degraded_and_says_so(
    state: OperationState,
) -> None:
    found = night(GOOD | COPIED | {"copy#102#lge": piece("copy", 102, state)})
    assert (found.verdict, found.good, found.level) == (
        JobRunVerdict.DEGRADED,
        False,
        Level.WARNING,
    )
    assert (found.ok, found.failed, found.copies, found.not_copied) == (2, 0, 2, 1)
    assert found.reason == "the last night of job nightly: 1 of 2 copies were not made"
    assert outcomes.said(found)["not_copied"] == 1


def test_the_copies_of_one_guest_to_two_targets_are_two() -> None:
    other = replace(operation("copy", 101, FAILED), id="01copy101usb"), Facts()
    found = night(GOOD | COPIED | {"copy#101#usb": other})
    assert (found.copies, found.not_copied) == (3, 1)


def test_a_copy_that_was_not_made_is_told_beside_what_else_was_amiss() -> None:
    bad = {
        "prune": piece("prune", None, FAILED),
        "copy#101#lge": piece("copy", 101, FAILED),
        "prove#101": piece("restore-test", 101, verdict="failed"),
    }
    assert night(GOOD | bad).reason == (
        "the last night of job nightly: retention: failed; 1 of 1 copies were not made; "
        "1 of 1 restore tests proved nothing"
    )


def test_law_5_a_night_of_modelled_guests_is_not_made_good_by_its_copies() -> None:
    modelled = {"prove#101": piece("restore-test", 101, verdict="simulated")}
    assert night(GOOD | COPIED | modelled).verdict is JobRunVerdict.SIMULATED


def test_a_night_without_copies_says_no_word_of_them() -> None:
    found = night(GOOD)
    assert (found.copies, found.not_copied) == (0, 0)
    assert not {"copies", "not_copied"} & set(outcomes.said(found))
    worse = night(GOOD | {"prune": piece("prune", None, FAILED)})
    assert "cop" not in worse.reason


def test_a_copy_by_itself_is_told_with_the_node_that_has_its_archive() -> None:
    found = outcomes.of(*piece("copy", 101, node="clovis"))
    assert (found.kind, found.vmid, found.node, found.level) == ("copy", 101, "clovis", Level.INFO)
    assert outcomes.of(*piece("copy", 101, FAILED)).level is Level.ERROR


# --- a night's readings ---------------------------------------------------------------------------


READ = {
    "recheck#clovis#a": piece("recheck", 101, node="clovis"),
    "recheck#clovis#b": piece("recheck", 102, node="clovis"),
}


def test_a_night_whose_readings_were_good_is_good_and_counts_them() -> None:
    found = night(GOOD | READ)
    assert (found.verdict, found.reread, found.not_good) == (JobRunVerdict.GOOD, 2, 0)
    told = outcomes.said(found)
    assert (told["reread"], told["not_good"]) == (2, 0)


def test_a_night_that_found_an_archive_damaged_is_degraded_and_says_so() -> None:
    found = night(GOOD | READ | {"recheck#clovis#b": piece("recheck", 102, FAILED)})
    assert (found.verdict, found.reread, found.not_good) == (JobRunVerdict.DEGRADED, 2, 1)
    assert found.reason == (
        "the last night of job nightly: 1 of 2 archives and copies that were read anew are "
        "damaged or could not be read"
    )


def test_a_night_counts_the_copies_that_it_read_anew_among_its_readings() -> None:
    copies = {"copy-recheck#usb#a": piece("copy-recheck", 101, FAILED)}
    found = night(GOOD | READ | copies)
    assert (found.verdict, found.reread, found.not_good) == (JobRunVerdict.DEGRADED, 3, 1)
    assert found.copies == 0


def test_a_night_that_read_nothing_says_no_word_of_it() -> None:
    assert not {"reread", "not_good"} & set(outcomes.said(night(GOOD)))
