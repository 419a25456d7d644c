"""What came of an operation and of a night, how loud it is said, and when a night was good."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from policies import outcomes
from policies.model import Operation, OperationState
from policies.outcomes import Level, NightVerdict

DONE, FAILED, OPEN = OperationState.DONE, OperationState.FAILED, OperationState.OPEN
AT = 1_773_086_400


def operation(kind: str, vmid: int | None = 108, state: OperationState = DONE, **data: Any) -> Operation:
    finished = None if state is OPEN else AT + 95
    return Operation(f"01{kind}{vmid}", kind, vmid, state, "settle", data, AT, AT + 95, finished)


def proof(verdict: str) -> dict[str, Any]:
    return {"proof": {"verdict": verdict, "rung": "healthy", "cause": None}}


def night(pieces: dict[str, Operation], state: OperationState = DONE, error: str | None = None, **data: Any) -> outcomes.Night:
    vmids = [piece.subject for name, piece in pieces.items() if name.startswith("backup#")]
    memory = {"job": "nightly", "at": AT, "vmids": vmids, "children": {name: piece.id for name, piece in pieces.items()}} | data
    return outcomes.of_night(replace(operation("night", None, state, **memory), error=error), pieces.values())


GOOD = {"backup#101": operation("backup", 101), "backup#102": operation("backup", 102), "prune": operation("prune", None)}


# --- one operation ------------------------------------------------------------------------------------------------------


def test_an_outcome_names_what_a_reader_of_the_log_looks_for() -> None:
    found = outcomes.of(operation("backup", node="clovis", dump_upid="UPID:clovis:1", archive={"node": "clovis"}))
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


def test_a_restore_tests_node_is_that_of_its_copy() -> None:
    data = {"archive": {"node": "clovis"}, "scratch": {"node": "lge-pve02"}, "restore_upid": "UPID:x"} | proof("proven")
    found = outcomes.of(operation("restore-test", **data))
    assert (found.node, found.upid, found.verdict, found.level) == ("lge-pve02", "UPID:x", "proven", Level.INFO)


@pytest.mark.parametrize(
    ("found", "level"),
    [
        (operation("backup"), Level.INFO),
        (operation("backup", state=FAILED), Level.ERROR),
        (operation("backup", state=OperationState.CANCELLED), Level.WARNING),
        (operation("backup", thaw={"state": "frozen", "at": AT, "why": "the agent says so"}), Level.WARNING),
        (operation("restore-test", **proof("failed")), Level.ERROR),
        (operation("restore-test", **proof("inconclusive")), Level.WARNING),
        (operation("restore-test", **proof("skipped")), Level.WARNING),
        (operation("restore-test", **proof("simulated")), Level.INFO),
        (operation("prune", None, FAILED), Level.ERROR),
    ],
)
def test_what_did_not_come_about_is_an_error_and_what_must_be_looked_at_a_warning(found: Operation, level: Level) -> None:
    assert outcomes.of(found).level is level


def test_a_test_that_proved_nothing_says_why_though_it_did_not_fail() -> None:
    found = outcomes.of(operation("restore-test", error={"message": "it does not start"}, **proof("inconclusive")))
    assert found.error == "it does not start"


# --- a night ------------------------------------------------------------------------------------------------------------


def test_a_night_in_which_all_came_about_is_good() -> None:
    found = night(GOOD | {"prove#101": operation("restore-test", 101, **proof("proven"))})
    assert (found.verdict, found.good, found.level) == (NightVerdict.GOOD, True, Level.INFO)
    assert (found.expected, found.ok, found.failed, found.missing, found.tests, found.proven) == (2, 2, 0, 0, 1, 1)


def test_law_5_a_night_of_modelled_guests_is_simulated_and_never_good() -> None:
    assert night(GOOD | {"prove#101": operation("restore-test", 101, **proof("simulated"))}).verdict is NightVerdict.SIMULATED


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"backup#102": operation("backup", 102, FAILED)}, "1 of 2 guests have no good backup (102)"),
        ({"backup#102": operation("backup", 102, OPEN)}, "1 of 2 guests have no good backup (102)"),
        (
            {"backup#102": operation("backup", 102, thaw={"state": "frozen", "at": AT, "why": "x"})},
            "1 of 2 guests have no good backup (102)",
        ),
        ({"prune": operation("prune", None, FAILED)}, "retention: failed"),
        ({"prune": operation("prune", None, not_listed=["node b is offline"])}, "retention: partial"),
        ({"prove#101": operation("restore-test", 101, **proof("inconclusive"))}, "1 of 1 restore tests proved nothing"),
        ({"prove#101": operation("restore-test", 101, FAILED, **proof("proven"))}, "1 of 1 restore tests proved nothing"),
    ],
)
def test_a_night_in_which_something_did_not_is_degraded_and_says_what(changed: dict[str, Operation], words: str) -> None:
    found = night(GOOD | changed)
    assert (found.verdict, found.good, found.level) == (NightVerdict.DEGRADED, False, Level.WARNING)
    assert found.reason == f"the last night of job nightly: {words}"


def test_a_guest_that_was_expected_and_for_which_nothing_was_opened_is_missing() -> None:
    found = night(GOOD, vmids=[101, 102, 103])
    assert (found.expected, found.ok, found.missing, found.failed_guests) == (3, 2, 1, (103,))
    assert not found.good


def test_a_night_without_one_good_backup_has_failed_though_its_operation_is_done() -> None:
    found = night({name: replace(piece, state=FAILED) for name, piece in GOOD.items() if name != "prune"})
    assert (found.state, found.verdict, found.level) == (DONE, NightVerdict.FAILED, Level.ERROR)
    assert (found.ok, found.failed, found.retention) == (0, 2, "none")


@pytest.mark.parametrize(
    ("state", "words"), [(FAILED, "failed"), (OperationState.CANCELLED, "was cancelled"), (OperationState.MISSED, "was missed")]
)
def test_a_night_that_did_not_come_to_its_end_has_failed(state: OperationState, words: str) -> None:
    found = night({}, state, error="nobody answers", vmids=None)
    assert (found.verdict, found.expected) == (NightVerdict.FAILED, None)
    assert found.reason == f"the last night of job nightly {words}: nobody answers"


def test_many_guests_are_counted_and_only_the_first_are_named() -> None:
    found = night({f"backup#{vmid}": operation("backup", vmid, FAILED) for vmid in range(100, 111)})
    assert found.reason.endswith("11 of 11 guests have no good backup (100, 101, 102, 103, 104, ...)")
