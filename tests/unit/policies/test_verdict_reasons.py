"""What a restore test says, word for word, and whom it blames: each sentence only where it is
true.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from policies.causes import Cause
from policies.model import CheckResult, Outcome, Rung, Verdict
from policies.settle import Settled
from policies.verdict import NO_SERVICE_CHECK, Evidence, Judgement, decide, within_one_time

PASSED = CheckResult("web", Outcome.PASSED, "200 OK", kind="http")
FAILED = CheckResult("web", Outcome.FAILED, "500")
UNASKED = CheckResult("agent", Outcome.INCONCLUSIVE, "no agent")
GREEN = Evidence(
    compressed_checksum=True, restored=True, isolation_ok=True, booted=True, checks=(PASSED,)
)
SILENT = Settled(Outcome.INCONCLUSIVE, ("PVE could not tell",), Cause.PLATFORM)
DIED = Settled(Outcome.FAILED, ("the copy went off",), Cause.SERVICE)
LIVED_ON = Settled(Outcome.PASSED, ("it lived on for 30 s",))
UNREAD = "the archive has no checksum and was not verified, so it may hold flipped bits"
NOT_RESTORED, NOT_STARTED = "the archive was not restored", "the copy was not started"
UNASKED_SAID = "check agent could not be asked: no agent"
NO_CHECK = "no health check was asked, so it is booted at most"
NO_SERVICE = (
    f"{NO_SERVICE_CHECK}: {NO_CHECK}: healthy needs a check of the service, such as http, ssh or "
    "ldap"
)
DEAD, UNKNOWN = (
    "the copy showed no sign of life in its time",
    "nothing could tell whether the copy boots",
)


@pytest.mark.parametrize(
    ("changes", "reasons", "cause"),
    [
        ({"checks": ()}, (NO_SERVICE,), None),
        ({"checks": (UNASKED,)}, (UNASKED_SAID,), Cause.NETWORK),
        ({"checks": (UNASKED,), "cause": Cause.PLATFORM}, (UNASKED_SAID,), Cause.PLATFORM),
        ({"checks": (FAILED,)}, ("check web failed: 500",), Cause.SERVICE),
        ({"checks": (FAILED,), "cause": Cause.PLATFORM}, ("check web failed: 500",), Cause.SERVICE),
        ({"booted": False, "checks": ()}, (DEAD, NO_CHECK), Cause.BOOT),
        ({"booted": False, "isolation_ok": False, "checks": ()}, (NOT_STARTED,), None),
        ({"booted": False, "restored": False, "checks": ()}, (NOT_RESTORED,), None),
        ({"booted": None, "checks": ()}, (UNKNOWN, NO_CHECK), None),
        ({"booted": None, "checks": (PASSED,), "isolation_ok": False}, (NOT_STARTED,), None),
        ({"booted": None, "checks": (UNASKED,)}, (UNKNOWN, UNASKED_SAID), Cause.NETWORK),
        ({"isolation_ok": False}, (NOT_STARTED,), None),
        ({"isolation_ok": False, "booted": None, "checks": ()}, (NOT_STARTED,), None),
        ({"restored": False, "booted": None, "checks": ()}, (NOT_RESTORED,), None),
        (
            {"restored": False, "isolation_ok": False, "booted": None, "checks": ()},
            (NOT_RESTORED,),
            None,
        ),
        (
            {"restored": False, "booted": None, "checks": (), "cause": Cause.CAPACITY},
            (NOT_RESTORED,),
            Cause.CAPACITY,
        ),
        ({"missing_disks": ("scsi1",)}, ("disk scsi1 is not in the archive",), Cause.ARCHIVE),
        (
            {"missing_disks": ("scsi1",), "verified_intact": True},
            ("disk scsi1 is not in the archive",),
            Cause.ARCHIVE,
        ),
        ({"verified_intact": False}, ("the archive is not intact",), Cause.ARCHIVE),
        (
            {"verified_intact": False, "checks": (FAILED,)},
            ("the archive is not intact", "check web failed: 500"),
            Cause.ARCHIVE,
        ),
        ({"verified_intact": True, "checks": (FAILED,)}, ("check web failed: 500",), Cause.SERVICE),
        ({"compressed_checksum": False}, (UNREAD,), None),
        ({"compressed_checksum": False, "restored": False, "checks": ()}, (NOT_RESTORED,), None),
        (
            {"compressed_checksum": False, "verified_intact": True, "checks": ()},
            (NO_SERVICE,),
            None,
        ),
        (
            {"compressed_checksum": False, "verified_intact": True, "warnings": ("cancelled",)},
            ("cancelled",),
            None,
        ),
        ({"booted": None, "checks": (PASSED, UNASKED)}, (UNASKED_SAID,), Cause.NETWORK),
        ({"settled": SILENT, "isolation_ok": False, "checks": ()}, (NOT_STARTED,), Cause.PLATFORM),
        ({"settled": SILENT, "checks": (PASSED, UNASKED)}, (UNASKED_SAID,), Cause.NETWORK),
        ({"settled": DIED}, DIED.said, Cause.SERVICE),
        ({"settled": LIVED_ON, "answers": ("doubt",)}, ("doubt",), Cause.NETWORK),
        ({"wrong": ("it was changed",)}, ("it was changed",), Cause.ARCHIVE),
        (
            {"warnings": ("it was cancelled",), "cause": Cause.OURS},
            ("it was cancelled",),
            Cause.OURS,
        ),
        (
            {
                "restored": False,
                "restore_error": "exit code 133",
                "booted": None,
                "checks": (),
                "cause": Cause.ARCHIVE,
            },
            ("the restore failed: exit code 133",),
            Cause.ARCHIVE,
        ),
        (
            {
                "restored": False,
                "restore_error": "no such key",
                "booted": None,
                "checks": (),
                "cause": Cause.CONFIG,
            },
            ("the restore failed: no such key",),
            Cause.CONFIG,
        ),
    ],
)
def test_law_5_every_reason_is_said_where_it_is_true_and_nowhere_else(
    changes: dict[str, Any], reasons: tuple[str, ...], cause: Cause | None
) -> None:
    found = decide(replace(GREEN, **changes))
    assert (found.reasons, found.cause) == (reasons, cause)


@pytest.mark.parametrize(
    ("changes", "rung"),
    [
        ({"restored": False, "verified_intact": True}, Rung.INTACT),
        ({"restore_error": "it failed at the end", "verified_intact": True}, Rung.INTACT),
        ({"restored": False, "restore_error": "it failed", "verified_intact": True}, Rung.INTACT),
        ({"isolation_ok": False}, Rung.RESTORED),
        ({"missing_disks": ("scsi1",)}, Rung.RESTORED),
        ({"wrong": ("it was changed",), "verified_intact": True}, Rung.RECORDED),
    ],
)
def test_law_5_no_rung_is_climbed_past_what_is_missing(changes: dict[str, Any], rung: Rung) -> None:
    assert decide(replace(GREEN, **changes)).rung is rung


def test_law_5_evidence_that_nobody_gave_proves_nothing() -> None:
    found = decide(Evidence())
    assert (found.verdict, found.rung) == (Verdict.INCONCLUSIVE, Rung.RECORDED)
    assert found.reasons == (NOT_RESTORED,)
    # no checksum is known
    assert decide(Evidence(restored=True, booted=True, checks=(PASSED,))).rung is Rung.RECORDED
    unstarted = decide(
        Evidence(restored=True, compressed_checksum=True, booted=True, checks=(PASSED,))
    )
    assert unstarted.rung is Rung.RESTORED  # that it may start is not known


PROVEN = decide(GREEN)
SHORT = decide(replace(GREEN, checks=()))


@pytest.mark.parametrize(
    ("before", "jump", "proven"),
    [
        (PROVEN, 30.0, True),
        (PROVEN, -30.0, True),
        (PROVEN, 30.5, False),
        (PROVEN, -3600.0, False),
        (SHORT, 3600.0, False),
    ],
)
def test_law_5_nothing_is_proven_while_the_clock_was_set(
    before: Judgement, jump: float, proven: bool
) -> None:
    after = within_one_time(before, jump, 30)
    assert (after.verdict is Verdict.PROVEN) is proven
    if proven or before is SHORT:
        assert after == before
    else:
        assert (after.verdict, after.rung, after.cause) == (
            Verdict.INCONCLUSIVE,
            Rung.HEALTHY,
            Cause.TIME,
        )
        assert f"set by {jump:+.0f} s" in after.reasons[0] and after.reasons[1:] == before.reasons


def test_the_report_finds_a_test_that_lacks_a_check_by_the_first_word_of_its_reason() -> None:
    assert SHORT.reasons[0].partition(":")[0] == "no-service-check"
