"""Law 1: copies that the catalog has forgotten, and which of them are this service's own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import ownership
from policies.model import Scratch
from policies.orphans import Copy, Task, orphans, restored_by

US, THEM = "a" * 32, "b" * 32
SCRATCH = Scratch(9000, 9009)


def copy(vmid: int = 9000, operation: str = "01J", service: str | None = US) -> Copy:
    return Copy(vmid, "clovis", "restore-test-108", True, operation, service)


def test_a_copy_whose_operation_is_open_or_that_is_being_cleaned_up_is_no_orphan() -> None:
    assert orphans([copy()], open_operations={"01J"}, cleaned=(), service=US) == ()
    assert orphans([copy()], open_operations=(), cleaned={9000}, service=US) == ()


def test_law_1_only_a_copy_that_bears_this_services_identity_is_ours() -> None:
    found = orphans(
        [copy(), copy(9001, service=THEM), copy(9002, service=None)],
        open_operations=(),
        cleaned=(),
        service=US,
    )
    assert [orphan.ours for orphan in found] == [True, False, False]
    assert not any(orphan.unconfirmed for orphan in found), "nobody has asked PVE yet"
    assert not any(
        orphan.ours
        for orphan in orphans([copy(service="")], open_operations=(), cleaned=(), service="")
    )


def test_what_a_copy_bears_is_read_line_by_line_whoever_wrote_beside_it() -> None:
    config = {"description": f"{ownership.mark('01J', US)}\nCopy made by a restore test.\n"}
    assert (ownership.operation_of(config), ownership.service_of(config)) == ("01J", US)
    assert ownership.marked(config, "01J")
    assert (
        ownership.operation_of({"description": "see backupsvc-scratch-copy-of-operation-01J"})
        is None
    )
    assert ownership.service_of({"description": ownership.marker("01J")}) is None


@given(
    st.booleans(),
    st.sampled_from([US, THEM, ""]),
    st.sampled_from(["reap", "other", None]),
    st.sampled_from([9000, 108]),
)
def test_law_1_an_heir_needs_range_marker_identity_and_its_own_lease(
    marked: bool, service: str, holder: str | None, vmid: int
) -> None:
    config = {"description": ownership.mark("01J" if marked else "01K", service)}
    refused = ownership.refusal(
        vmid,
        config,
        scratch=SCRATCH,
        operation="01J",
        lease_holder=holder,
        heir=ownership.Heir("reap", US),
    )
    assert (refused is None) == (marked and service == US and holder == "reap" and vmid in SCRATCH)


def test_law_1_a_service_without_an_identity_inherits_nothing() -> None:
    config = {"description": ownership.marker("01J")}
    heir = ownership.Heir("reap", "")
    assert ownership.refusal(
        9000, config, scratch=SCRATCH, operation="01J", lease_holder="reap", heir=heir
    )


TOKEN = "svc@pve!b1"
RESTORED = Task("qmrestore", 100, TOKEN)


@pytest.mark.parametrize(
    ("others", "ours"),
    [
        ([], True),
        ([Task("qmstart", 200, "root@pam")], True),
        ([Task("qmdestroy", 50, TOKEN), Task("qmrestore", 40, "root@pam")], True),
        ([Task("qmdestroy", 200, TOKEN, failed=True)], True),
        ([Task("qmrestore", 200, TOKEN)], True),
        ([Task("qmdestroy", 200, TOKEN)], False),
        ([Task("qmdestroy", 100, TOKEN)], False),
        ([Task("vzdestroy", 200, "root@pam")], False),
        ([Task("qmcreate", 200, "root@pam")], False),
        ([Task("vzcreate", 200, TOKEN)], False),
        ([Task("vzrestore", 200, TOKEN)], False),
        ([Task("qmrestore", 200, "root@pam")], False),
        ([Task("qmrestore", 200, "svc@pve!other")], False),
        ([Task("qmrestore", 100, "root@pam")], False),
    ],
)
def test_law_1_a_guest_is_of_our_restore_if_that_was_the_last_task_to_make_or_remove_one(
    others: list[Task], ours: bool
) -> None:
    assert restored_by(TOKEN, [RESTORED, *others]) is ours
    assert restored_by(TOKEN, [*others, RESTORED]) is ours


def test_law_1_where_pve_remembers_nothing_or_a_failure_nothing_is_ours() -> None:
    assert not restored_by(TOKEN, [])
    assert not restored_by(TOKEN, [Task("qmrestore", 100, TOKEN, failed=True)])
    assert not restored_by("", [RESTORED])


@pytest.mark.parametrize(
    ("other", "ours"),
    [
        (Task("qmdestroy", 100, TOKEN, node="clovis", ticks=6), True),
        (Task("qmdestroy", 100, TOKEN, node="clovis", ticks=8), False),
        (Task("qmrestore", 100, "root@pam", node="clovis", ticks=6), True),
        (Task("qmrestore", 100, "root@pam", node="clovis", ticks=8), False),
        (Task("qmdestroy", 100, TOKEN, node="pepin", ticks=6), False),
        (Task("qmdestroy", 99, TOKEN, node="clovis", ticks=8), True),
    ],
)
def test_law_1_of_two_tasks_in_one_second_the_ticks_of_their_node_say_which_was_last(
    other: Task, ours: bool
) -> None:
    restored = Task("qmrestore", 100, TOKEN, node="clovis", ticks=7)
    assert restored_by(TOKEN, [restored, other]) is ours
    assert restored_by(TOKEN, [other, restored]) is ours
