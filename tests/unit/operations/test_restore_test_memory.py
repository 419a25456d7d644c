"""What the version before remembered of a restore test and of a copy is read as what it was; what
is written is read back.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupsvc.catalog.rows import plain
from backupsvc.inventory.listing import as_dict
from backupsvc.operations.memories import ScratchPlace
from backupsvc.operations.restore_test import memory as restore_test
from backupsvc.operations.restore_test import proving
from backupsvc.operations.restore_test.memory import (
    Isolation,
    Judged,
    ReadBytes,
    RestoreTestMemory,
    Whose,
)
from backupsvc.operations.scratch_cleanup import memory as reap
from backupsvc.operations.scratch_cleanup.memory import CopyMemory, ReapMemory
from policies import stillness
from policies.bookkeeping import Bookkeeping, StepError, TaskRecord
from policies.causes import Blame, Cause
from policies.error_kinds import ErrorKind
from policies.lineage import Identity
from policies.model import CheckResult, Operation, OperationState, Outcome, Rung, Verdict
from policies.moments import Moment
from policies.moved import Moved
from policies.settle import Settled
from policies.silence import Finding, Silence
from policies.silence import Verdict as Found
from tests.fakes.made import CONFIG, archive

ARCHIVE = archive(108, 1)

# As the version before this form wrote it, step by step; the bookkeeping is out of it (migration
# 0009).
COPY: dict[str, Any] = {
    "scratch": {"vmid": 9000, "node": "clovis", "storage": "local-lvm"},
    "where": "lge-pve02",
    "moved": {"from": "clovis", "to": "lge-pve02", "at": 1_773_086_500},
    "lost": "lge-pve02",
    "found": True,
    "stopped": True,
    "destroyed": True,
    "volumes": ["local-lvm:vm-9000-disk-0"],
    "places": [["clovis", "local-lvm"], ["lge-pve02", "local-lvm"]],
    "leftover": {"free": [["clovis", "local-lvm:vm-9000-disk-0"]]},
}
TEST: dict[str, Any] = COPY | {
    "version": 0,
    "at": "2026-03-08",
    "volid": ARCHIVE.volid,
    # nothing was told of suspicions then
    "archive": {key: value for key, value in as_dict(ARCHIVE).items() if key != "suspicious"},
    "simulated": False,
    "config": CONFIG,
    "identity": {
        "archive": {
            "uuid": "u",
            "born": 7,
            "vmgenid": None,
            "name": "Debian-Server",
            "disks": ["scsi0"],
        },
        "guest": None,
        "source": None,
    },
    "wrong": ["it was changed"],
    "blame": {"cause": "archive", "text": "Decoding error", "damaged": True},
    "cleared": [9003],
    "clearing": "01REAP",
    "not_cleared": True,
    "bridge": None,
    "network": "isolated",
    "planned": {"net0": "virtio,bridge=vmbr9"},
    "overrides": {"net0": "virtio,bridge=vmbr9"},
    "read": {
        "node": "clovis",
        "checksummed": True,
        "compared": False,
        "sha256": "ab" * 32,
        "size": 7,
    },
    "unread": "no SSH",
    "waited": 2.5,
    "stripping": ["onboot: 1 removed"],
    "isolation": {"stripped": ["net0: bridge vmbr0 became vmbr9"], "asserted": ["holds: its NICs"]},
    "missing_disks": ["scsi1"],
    "agent": True,
    "macs": ["BC:24:11:00:00:08"],
    "silence": {
        "address": "10.0.0.8",
        "ports": [22, 80],
        "since": 1.5,
        "before": {"verdict": "silent", "words": "nobody answers", "mac": None, "holds": True},
        "last": True,
        "while": {
            "verdict": "unknown",
            "words": "somebody else",
            "mac": "BC:24:11:00:00:99",
            "holds": False,
        },
        "after": {"verdict": "silent", "words": "nobody answers", "mac": None, "holds": True},
    },
    "forwarding": "none",
    "machine": {
        "last": {
            "at": 5.0,
            "state": "running",
            "reads": {"scsi0": {"times": 3, "bytes": 1536}},
            "pid": 7,
        },
        "state_since": 1.0,
        "rounds": 2,
    },
    "booted": True,
    "heard": True,
    "life": "network",
    "checks": {
        "ssh": {
            "name": "ssh",
            "outcome": "passed",
            "detail": "d",
            "seconds": 0.1,
            "kind": "ssh",
            "asked": 2,
        }
    },
    "identified": True,
    "stranger": "the agent tells of BC:24:11:00:00:09",
    "rto": 31.5,
    "settling": 1,
    "settled": {
        "seconds": 30,
        "outcome": "inconclusive",
        "said": ["no answer"],
        "cause": "platform",
    },
    "wanted_rung": "booted",
    "proof": {
        "verdict": "inconclusive",
        "rung": "restored",
        "reasons": ["because"],
        "rto": None,
        "cause": "network",
    },
}
WHERE = CopyMemory(
    scratch=ScratchPlace(9000, "clovis", "local-lvm"),
    where="lge-pve02",
    moved=Moved("clovis", "lge-pve02", 1_773_086_500),
    lost="lge-pve02",
    found=True,
    stopped=True,
    destroyed=True,
    volumes=("local-lvm:vm-9000-disk-0",),
    places=(("clovis", "local-lvm"), ("lge-pve02", "local-lvm")),
    leftover=(("clovis", "local-lvm:vm-9000-disk-0"),),
)
SHARED = {one.name: getattr(WHERE, one.name) for one in fields(WHERE)}
EXPECTED = RestoreTestMemory(
    **SHARED,
    at="2026-03-08",
    volid=ARCHIVE.volid,
    archive=ARCHIVE,
    config=CONFIG,
    identity=Whose(Identity("u", 7, None, "Debian-Server", ("scsi0",))),
    wrong=("it was changed",),
    blame=Blame(Cause.ARCHIVE, "Decoding error", damaged=True),
    cleared=(9003,),
    clearing="01REAP",
    not_cleared=True,
    network="isolated",
    planned={"net0": "virtio,bridge=vmbr9"},
    overrides={"net0": "virtio,bridge=vmbr9"},
    read=ReadBytes("clovis", checksummed=True, compared=False, sha256="ab" * 32, size=7),
    unread="no SSH",
    waited=2.5,
    stripping=("onboot: 1 removed",),
    isolation=Isolation(("net0: bridge vmbr0 became vmbr9",), ("holds: its NICs",)),
    missing_disks=("scsi1",),
    agent=True,
    macs=("BC:24:11:00:00:08",),
    listens=True,
    silence=Silence(
        "10.0.0.8",
        (22, 80),
        1.5,
        Finding(Found.SILENT, "nobody answers"),
        last=True,
        during=Finding(Found.UNKNOWN, "somebody else", "BC:24:11:00:00:99"),
        after=Finding(Found.SILENT, "nobody answers"),
    ),
    forwarding="none",
    machine=stillness.Seen(
        stillness.Look(5.0, "running", {"scsi0": stillness.Reads(3, 1536)}, 7), 1.0, 2
    ),
    booted=True,
    heard=True,
    life="network",
    checks={"ssh": CheckResult("ssh", Outcome.PASSED, "d", 0.1, "ssh")},
    times_asked={"ssh": 2},
    identified=True,
    stranger="the agent tells of BC:24:11:00:00:09",
    rto=31.5,
    settling=1,
    settled=Settled(Outcome.INCONCLUSIVE, ("no answer",), Cause.PLATFORM),
    settle_seconds=30,
    wanted_rung=Rung.BOOTED,
    proof=Judged(Verdict.INCONCLUSIVE, Rung.RESTORED, ("because",), None, Cause.NETWORK),
)


def test_a_restore_test_of_the_version_before_is_read_as_what_it_was() -> None:
    assert restore_test.FORM.read(TEST) == EXPECTED
    assert set(TEST) - {"version"} <= {one.name for one in fields(RestoreTestMemory)}, (
        "nothing of it is left unread"
    )


def test_what_is_written_down_is_read_back_whole() -> None:
    assert restore_test.FORM.read(plain(restore_test.FORM.write(EXPECTED))) == EXPECTED
    assert restore_test.FORM.write(RestoreTestMemory()) == {"version": 1}


@pytest.mark.parametrize("silence", [None, "not begun"])
def test_law_5_a_test_that_found_nobody_to_listen_to_does_not_begin_to_listen_in_the_middle(
    silence: str | None,
) -> None:
    """It looked once, before the start, whether its checks speak to the network."""
    kept = {"version": 0} | ({"silence": None} if silence is None else {})
    assert restore_test.FORM.read(kept).listens is (False if silence is None else None)


def test_the_answer_of_the_command_has_the_words_that_it_had() -> None:
    error = StepError("check", "m", "h", ErrorKind.SSH_REFUSED, 4)
    book = Bookkeeping(seconds={"restore": 2.0}, error=error)
    told = proving.outcome(
        Operation(
            "01TEST", "restore-test", 108, OperationState.DONE, "judge", TEST, 1, 2, 3, book=book
        )
    )
    assert told == {
        "operation": "01TEST",
        "vmid": 108,
        "archive": as_dict(ARCHIVE),
        "scratch": {"vmid": 9000, "node": "clovis"},
        "verdict": "inconclusive",
        "rung": "restored",
        "reasons": ["because"],
        "cause": "network",
        "stages": [{"name": "restore", "seconds": 2.0}],
        "checks": [{"name": "ssh", "outcome": "passed", "detail": "d", "seconds": 0.1}],
        "settle": TEST["settled"],
        "isolation": TEST["isolation"] | {"silence": TEST["silence"]},
        "rto_seconds": None,
        "error": {"step": "check", "message": "m", "hint": "h", "exit_code": 4},
    }
    assert [*told["isolation"]["silence"]] == [*TEST["silence"]]
    nothing = proving.outcome(
        Operation("01TEST", "restore-test", 108, OperationState.FAILED, "judge", {}, 1, 2, 3)
    )
    assert (nothing["archive"], nothing["scratch"]) == (None, {"vmid": None, "node": None})
    assert (nothing["verdict"], nothing["rung"], nothing["reasons"]) == (
        "inconclusive",
        "recorded",
        [],
    )
    assert (nothing["settle"], nothing["isolation"]) == (None, {"stripped": [], "asserted": []})


@pytest.mark.parametrize(
    ("known", "made_by"),
    [
        ({}, None),
        ({"restore_intent": 5}, TaskRecord(Moment(5.0, 0.0, "another boot"))),
        (
            {"restore_intent": 5, "restore_intent_ticks": [3.0, "b"], "restore_upid": "UPID:x"},
            TaskRecord(Moment(5.0, 3.0, "b"), "UPID:x"),
        ),
        ({"restore_upid": "UPID:x"}, TaskRecord(None, "UPID:x")),
    ],
    ids=["none", "an intent", "both", "a UPID"],
)
def test_law_1_what_a_reap_of_the_version_before_was_opened_with_names_the_restore(
    known: dict[str, Any], made_by: TaskRecord | None
) -> None:
    kept = {"version": 0, "copy_of": "01TEST", "orphan": True} | COPY | known
    assert reap.FORM.read(kept) == ReapMemory(
        **(SHARED | {"copy_of": "01TEST", "orphan": True}), made_by=made_by
    )


def test_law_1_a_copy_whose_volumes_were_all_removed_is_known_as_that_and_not_looked_at_for_the_first_time() -> (
    None
):
    assert reap.FORM.read({"version": 0, "leftover": {"done": True}}).leftover == ()
    assert reap.FORM.read(plain(reap.FORM.write(ReapMemory(leftover=())))).leftover == ()
    assert reap.FORM.read({"version": 0}).leftover is None


@given(booted=st.sampled_from([None, True, False]), planned=st.sampled_from([None, {}, {"a": "b"}]))
def test_what_is_not_known_is_told_from_what_is_known_to_be_nothing(
    booted: bool | None, planned: dict[str, str] | None
) -> None:
    memory = RestoreTestMemory(booted=booted, planned=planned)
    assert restore_test.FORM.read(plain(restore_test.FORM.write(memory))) == memory
