"""The plan of a recovery is what ``what-if`` says, guest by guest, with how each comes back and what only
a person can do.
"""

from __future__ import annotations

from dataclasses import replace

from policies.model import GuestType
from policies.needs import Needs
from policies.recover.plan import Planned, Way, plan
from policies.what_if.decide import GuestAfter, WhatIf
from policies.what_if.loss import Loss, QuorumAfter
from policies.what_if.sources import Kind, Source
from tests.unit.policies.what_if.sites import NEEDS, asked, of, replica, site, with_guests
from tests.unit.policies.what_if.test_sources import OUTSIDE, copy
from tests.unit.report.langeo import NOW, archive, guest, policy

QUORUM = QuorumAfter(2, 1, 2, False, "1 of 2 votes are left")
ONE = archive(108, NOW - 3600, "lge-pve02")
SOURCE = Source(Kind.ARCHIVE, ONE.ctime, "lge-pve02", archive=ONE)
AFTER = GuestAfter(
    108, "Debian-Server", "critical", "clovis", SOURCE, 3600, "lge-pve02", None, True
)

NONE: dict[int, tuple[str, ...]] = {}


def what_if(*guests: GuestAfter) -> WhatIf:
    return WhatIf(Loss(frozenset({"clovis"})), QUORUM, guests, 0.0, 0.0, (), ("critical",))


def planned(
    *guests: GuestAfter, ha: str | None = None, to: dict[int, tuple[str, ...]] | None = NONE
) -> tuple[Planned, ...]:
    there = [replace(guest(one.vmid), ha_state=ha) for one in guests]
    return plan(what_if(*guests), policy(), there, "clovis", to)


def test_each_guest_has_the_archive_the_place_and_the_time_that_what_if_says() -> None:
    found = asked(site())
    mine = plan(found, policy(), [guest(one.vmid) for one in found.guests], "clovis", {})
    assert [one.vmid for one in mine] == [one.vmid for one in found.guests]
    one, said = mine[0], of(found, mine[0].vmid)
    assert said.source and said.source.archive
    assert (one.way, one.volid, one.at) == (
        Way.RESTORE,
        said.source.archive.volid,
        said.source.archive.ctime,
    )
    assert (one.target, one.seconds, one.proven) == ("lge-pve02", said.rto, True)
    assert one.urgent and one.tier == "critical" and one.reasons == said.notes
    assert {other.urgent for other in mine if other.tier != "critical"} == {False}


def test_what_cannot_come_back_is_told_so() -> None:
    (lost,) = planned(replace(AFTER, source=None, target=None, recoverable=False, reasons=("why",)))
    assert (lost.way, lost.source, lost.at, lost.reasons) == (Way.LOST, "", None, ("why",))
    (full,) = planned(replace(AFTER, recoverable=False))
    assert full.way is Way.NO_PLACE
    (nowhere,) = planned(replace(AFTER, target=None))
    assert nowhere.way is Way.NO_PLACE
    (perhaps,) = planned(replace(AFTER, recoverable=None))
    assert perhaps.way is Way.RESTORE


def test_ha_moves_what_it_manages_and_has_the_disks_of() -> None:
    shared = replace(AFTER, source=replace(SOURCE, kind=Kind.SHARED, archive=None))
    (mine,) = planned(shared, ha="started")
    assert (mine.way, mine.managed, mine.commands) == (Way.HA, True, ())
    # an archive HA does not restore
    (restored,) = planned(AFTER, ha="started")
    assert restored.way is Way.RESTORE and restored.managed
    for state in (None, "ignored", "disabled"):
        (by_hand,) = planned(shared, ha=state)
        assert by_hand.way is Way.BY_HAND and not by_hand.managed


def test_disks_that_are_there_come_back_by_two_commands() -> None:
    found = asked(with_guests(site(), archives=(), copies=()), replicas=[replica("lge-pve02", NOW)])
    (one,) = (one for one in plan(found, policy(), [guest(108)], "clovis", {}) if one.vmid == 108)
    assert one.way is Way.BY_HAND and one.source == "replica, replica on lge-pve02"
    assert one.commands == (
        "mv /etc/pve/nodes/clovis/qemu-server/108.conf /etc/pve/nodes/lge-pve02/qemu-server/",
        "qm start 108",
    )


def test_a_copy_outside_comes_back_by_the_commands_of_the_runbook() -> None:
    outside = replace(SOURCE, kind=Kind.COPY, copy=copy(ONE))
    found = plan(
        what_if(replace(AFTER, source=outside)), policy(copies=(OUTSIDE,)), [], "clovis", {}
    )
    assert found[0].way is Way.BY_HAND and found[0].type is GuestType.QEMU
    assert any("sha256sum -c" in line for line in found[0].commands)
    assert found[0].commands[-1].strip().startswith("qmrestore ")


def test_what_starts_before_a_guest_of_its_tier_comes_before_it() -> None:
    first, second = replace(AFTER, vmid=100, order=1), replace(AFTER, vmid=101, order=2)
    last, other = replace(AFTER, vmid=102), replace(AFTER, vmid=103, tier="standard", order=0)
    found = {one.vmid: one.after for one in planned(first, second, last, other)}
    assert found == {100: (), 101: (100,), 102: (100, 101), 103: ()}
    # the start order is that of the guest's configuration
    assert of(asked(with_guests(site(), needs=replace(NEEDS, order=7)))).order == 7
    assert of(asked(with_guests(site(), needs=None))).order is None
    assert Needs().order is None


def test_a_dead_node_tells_no_replica_but_what_is_configured_counts() -> None:
    to: dict[int, tuple[str, ...]] = {108: ("lge-pve02", "pve3")}
    lost = replace(AFTER, source=None, target=None, recoverable=False)
    said = "replica on lge-pve02 or pve3, of which only clovis tells how new it is"
    for one in (AFTER, lost):
        (mine,) = planned(one, ha="started", to=to)
        assert (mine.way, mine.source, mine.volid) == (Way.HA, said, None)
    (by_hand,) = planned(lost, to=to)
    assert (by_hand.way, by_hand.source) == (Way.BY_HAND, said)
    assert by_hand.commands[-1] == "qm start 108"
    (restored,) = planned(AFTER, to=to)
    assert restored.way is Way.RESTORE and restored.reasons[-1].startswith(f"a {said}; to start")
    # where that could not be read, it is said of what HA would move
    (unread,) = planned(AFTER, ha="started", to=None)
    assert unread.way is Way.RESTORE and "could not be read" in unread.reasons[-1]
    assert planned(AFTER, to=None)[0].reasons == ()


def test_a_container_comes_back_by_hand_from_its_archive() -> None:
    there = replace(guest(108), type=GuestType.LXC)
    for storage, end in (("local-lvm", " --storage local-lvm"), (None, "")):
        (one,) = plan(what_if(replace(AFTER, storage=storage)), policy(), [there], "clovis", {})
        assert one.way is Way.BY_HAND and one.commands == (
            "mv /etc/pve/nodes/clovis/lxc/108.conf /root/",
            f"pct restore 108 {ONE.volid}{end}",
            "pct start 108",
        )


def test_the_guests_of_a_storage_that_is_lost_have_homes_that_live() -> None:
    shared = replace(AFTER, source=replace(SOURCE, kind=Kind.SHARED, archive=None))
    there = [replace(guest(108), ha_state="started"), replace(guest(105), ha_state="error")]
    (archived,) = plan(what_if(AFTER), policy(), there, "", NONE)
    # what HA gave up elsewhere has nothing to do with it, and HA looks at no disk
    assert (archived.way, archived.home, archived.managed) == (Way.RESTORE, "clovis", True)
    (by_hand,) = plan(what_if(shared), policy(), there, "", NONE)
    # it may run on at home: started a second time it would ruin its own disks (law 2)
    moved = (
        "# on clovis:",
        "qm stop 108",
        "# on lge-pve02:",
        "mv /etc/pve/nodes/clovis/qemu-server/108.conf /etc/pve/nodes/lge-pve02/qemu-server/",
        "qm start 108",
    )
    assert by_hand.way is Way.BY_HAND
    assert by_hand.commands == ("ha-manager remove vm:108", *moved)
    (unmanaged,) = plan(what_if(shared), policy(), [guest(108)], "", NONE)
    assert unmanaged.commands == moved
    (nowhere,) = plan(what_if(replace(AFTER, node=None)), policy(), [], "", NONE)
    assert nowhere.home == ""


def test_what_is_left_at_home_is_stopped_before_a_container_or_a_copy_comes_back_by_hand() -> None:
    container = replace(guest(108), type=GuestType.LXC, ha_state="started")
    (one,) = plan(what_if(AFTER), policy(), [container], "", NONE)
    assert one.commands == (
        "ha-manager remove ct:108",
        "# on clovis:",
        "pct stop 108",
        "# on lge-pve02:",
        "mv /etc/pve/nodes/clovis/lxc/108.conf /root/",
        f"pct restore 108 {ONE.volid}",
        "pct start 108",
    )
    outside = replace(AFTER, source=replace(SOURCE, kind=Kind.COPY, copy=copy(ONE)))
    (fetched,) = plan(what_if(outside), policy(copies=(OUTSIDE,)), [guest(108)], "", NONE)
    # under a VMID that is taken qmrestore restores nothing
    assert fetched.commands[:4] == (
        "# on clovis:",
        "qm stop 108",
        "# on lge-pve02:",
        "mv /etc/pve/nodes/clovis/qemu-server/108.conf /root/",
    )
    assert fetched.commands[-1].strip().startswith("qmrestore ")


def test_what_ha_moved_and_gave_up_is_in_the_plan_for_a_person() -> None:
    moved = replace(guest(108), node="lge-pve02", ha_state="error", status="stopped")
    other = replace(AFTER, vmid=105, tier="standard")
    mine = plan(what_if(other), policy(), [guest(105), moved], "clovis", {})
    assert [one.vmid for one in mine] == [108, 105], "the most urgent first"
    one = mine[0]
    assert (one.way, one.tier, one.urgent, one.target) == (
        Way.BY_HAND,
        "critical",
        True,
        "lge-pve02",
    )
    assert one.source == "what HA has in state error on lge-pve02" and one.managed
    assert "HA gave it up on lge-pve02: if it was on clovis" in one.reasons[0]
    assert one.commands[0] == "ha-manager set vm:108 --state disabled"
    # it runs, HA has not given it up, it is the lost node's, or it is among the lost already
    for guests, lost in (
        (replace(moved, status="running"), ()),
        (replace(moved, ha_state="started"), ()),
        (replace(moved, node="clovis"), ()),
        (moved, (AFTER,)),
    ):
        found = plan(what_if(*lost), policy(), [guests], "clovis", {})
        assert [one.way for one in found] == [Way.RESTORE] * len(lost)
