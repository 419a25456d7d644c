"""What a restore would do is known before anything happens: all of it, and all that keeps it from
being done.
"""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from backupsvc.cli.restore import lines
from backupsvc.errors import (
    BackupsvcError,
    LawRefused,
    NoRoom,
    PvePermissionDenied,
    PveUnreachable,
    Refused,
    UsageError,
)
from backupsvc.operations.backup.memory import BackupMemory
from backupsvc.operations.restore.choice import Wanted
from backupsvc.operations.restore.planning import Plan, Wish, look_ahead
from backupsvc.operations.restore.result import plan_as_dict
from policies.model import Guest, Node, Proof, Rung, SeenStorages, Stage, Storage, Verdict
from policies.pve.guest_config import parse_config
from tests.fakes.made import CONFIG, archive
from tests.unit.operations.cluster import Cluster
from tests.unit.operations.test_choosing import listing
from tests.unit.operations.test_choosing import site as site
from tests.unit.operations.worlds import World

ONE, TWO = archive(108, 1), archive(108, 2)
NETWORKED = f"{CONFIG}\nnet0: virtio=BC:24:11:00:00:08,bridge=vmbr0,tag=20\nvmgenid: 1234\n"
LOST_BRIDGE = NETWORKED.replace("vmbr0", "vmbr7")
SMALL = Storage("local-lvm", "clovis", "lvm", frozenset({"images"}), total=9, available=1)


def stands(site: World, config: str = NETWORKED) -> Cluster:
    """A lost guest with one archive."""
    cluster = listing(site, ONE, held={ONE.volid: config, TWO.volid: config})
    cluster.cluster.version = lambda: SimpleNamespace(simulated=False)
    return cluster


def ahead(site: World, *, gather: bool = True, **asked: Any) -> Plan:
    storage, start = asked.pop("storage", None), asked.pop("start", True)
    return look_ahead(site, 108, Wish(Wanted(**asked), storage, start), gather=gather)


def in_use(site: World, cluster: Cluster) -> None:
    cluster.guests_there = [Guest(108, "Debian-Server", "clovis", status="running")]
    config = parse_config(NETWORKED)
    cluster.guests = SimpleNamespace(config=lambda node, vmid: config)


def no_room(site: World, cluster: Cluster) -> None:
    local = cluster.storage.seen().storages
    cluster.storage.seen = lambda: SeenStorages((*local, SMALL))


def no_right(site: World, cluster: Cluster) -> None:
    cluster.cluster.permissions_at = lambda path: frozenset({"VM.Audit"})


def no_bridge(site: World, cluster: Cluster) -> None:
    cluster.storage.extract_config = lambda node, volid: LOST_BRIDGE


def node_down(site: World, cluster: Cluster) -> None:
    cluster.cluster.nodes = lambda: [Node("clovis", online=True), Node("lge", online=False)]
    cluster.storage.archives = lambda node, storage, vmid=None: [replace(ONE, shared=True)]


def no_quorum(site: World, cluster: Cluster) -> None:
    cluster.cluster.nodes = lambda: [Node("clovis", online=True), Node("lge", online=False)]
    cluster.cluster.status = lambda: SimpleNamespace(quorate=False)


@pytest.mark.parametrize(
    ("breaks", "asked", "error", "said"),
    [
        (in_use, {}, LawRefused, "an existing guest is never overwritten"),
        (no_room, {}, NoRoom, "restoring guest 108 was not begun: storage local-lvm"),
        (no_right, {}, PvePermissionDenied, "lacks VM.Allocate on /vms/108"),
        (no_bridge, {}, Refused, "clovis does not have the bridge of net0 on vmbr7"),
        (node_down, {"node": "lge"}, PveUnreachable, "node lge is offline"),
    ],
)
def test_what_keeps_it_from_being_done_is_a_blocker_ahead_and_raised_by_the_real_one(
    site: World, breaks: Any, asked: dict[str, Any], error: type[BackupsvcError], said: str
) -> None:
    breaks(site, stands(site))
    plan = ahead(site, **asked)
    first = plan.blockers[0]
    assert type(first) is error and said in first.message and first.hint
    assert plan.memory.archive.volid == ONE.volid, "the rest of the plan is there all the same"
    assert f"would be restored on {plan.memory.node}" in lines(plan)[0]
    with pytest.raises(error) as real:
        ahead(site, gather=False, **asked)
    assert (real.value.message, real.value.exit_code) == (first.message, first.exit_code)


def test_a_lost_quorum_is_a_blocker_ahead_and_waited_for_by_the_real_one(site: World) -> None:
    no_quorum(site, stands(site))
    blockers = ahead(site).blockers
    assert [type(one) for one in blockers] == [PveUnreachable, LawRefused]
    assert "(1) best: bring lge back" in blockers[0].hint and "never done" in blockers[0].hint
    real = ahead(site, gather=False)
    assert real.blockers == () and real.without_quorum and real.unconfirmed


def test_all_of_them_are_told_in_the_order_in_which_they_would_be_refused(site: World) -> None:
    cluster = stands(site)
    for breaks in (in_use, no_room, no_right, no_bridge):
        breaks(site, cluster)
    found = plan_as_dict(ahead(site))["blockers"]
    assert [one["exit_code"] for one in found] == [4, 4, 4, 4]
    words = ("never overwritten", "lacks VM.Allocate", "vmbr7", "was not begun: storage")
    assert all(word in one["message"] for word, one in zip(words, found, strict=True))


def test_without_any_archive_there_is_no_plan_and_the_first_reason_is_the_answer(
    site: World,
) -> None:
    cluster = stands(site)
    cluster.listings = [[]]
    with pytest.raises(BackupsvcError, match="the storages list no archive"):
        ahead(site)
    in_use(site, cluster)
    with pytest.raises(LawRefused, match="never overwritten"):
        ahead(site)


def test_a_node_that_cannot_read_the_archive_is_wrong_usage(site: World) -> None:
    stands(site)
    assert isinstance(ahead(site, node="lge").blockers[0], UsageError)


def test_a_guest_whose_bridge_is_missing_is_restored_if_it_is_not_to_be_started(
    site: World,
) -> None:
    stands(site, LOST_BRIDGE)
    plan = ahead(site, start=False)
    assert plan.blockers == () and plan.nics[0].there is False
    assert [one for one in plan.differs if "vmbr7" in one]
    assert [one for one in lines(plan) if "ITS BRIDGE IS MISSING" in one]


def test_a_network_that_cannot_be_read_is_not_known_and_hinders_nobody(site: World) -> None:
    cluster = stands(site, LOST_BRIDGE)

    def silent(node: str) -> set[str]:
        raise PveUnreachable("no answer")

    cluster.cluster.bridge_names = silent
    plan = ahead(site)
    assert plan.blockers == () and plan.nics[0].there is None
    assert [one for one in lines(plan) if "whether its bridge is there is not known" in one]


def test_what_the_token_may_not_list_is_no_missing_medium(site: World) -> None:
    cluster = stands(site, f"{NETWORKED}ide2: local:iso/debian.iso,media=cdrom\n")
    cluster.storage.files = lambda node, storage, kind: frozenset()
    assert [one for one in ahead(site).differs if "medium" in one]
    cluster.cluster.permissions_at = lambda path: frozenset({"Datastore.Read"})
    assert not [one for one in ahead(site).differs if "medium" in one]


def test_the_plan_tells_whose_it_is_how_old_its_data_are_and_what_was_measured(
    site: World,
) -> None:
    stands(site)
    made = site.engine.open("backup", 108, BackupMemory("nightly", "lge"))
    site.catalog.archives.observe([ONE], scope=[], at=1)
    site.catalog.archives.annotate(ONE.node, ONE.volid, config=NETWORKED, operation=made.id)
    now = int(site.clock.now())
    stages = (Stage("restore", 61.0), Stage("boot", 9.0))
    site.catalog.proofs.record(
        Proof("OP", 108, ONE.volid, "clovis", ONE.ctime, Verdict.PROVEN, Rung.HEALTHY, now, now,
              stages=stages, rto=70.5)
    )  # fmt: skip
    plan = ahead(site, storage="tank")
    told = plan_as_dict(plan)
    assert told["expected_seconds"] == 70.0 and told["blockers"] == []
    assert told["target"] == {"vmid": 108, "node": "clovis", "storage": "tank"}
    assert told["lineage"]["uuid"] == "11111111-2222-4333-8444-555555555555"
    assert told["proof"] and (told["proof"]["rung"], told["proof"]["rto_seconds"]) == (
        "healthy",
        70.5,
    )
    assert told["age"] == max(0, now - ONE.ctime)
    assert told["bridges"] == [{"nic": "net0", "bridge": "vmbr0", "there": True}]
    assert told["differs"] == [
        "it was backed up on lge, and comes back on clovis",
        "scsi0 was on storage local-lvm, and comes back on tank",
        "its vmgenid is a new one, by which a guest sees that it was set back",
    ]
    (one,) = told["alternatives"]
    assert one["proven"] and one["chosen"] and one["volid"] == ONE.volid
    assert one["why"] == "proven 0 s ago (rung healthy)"
    shown = "\n".join(lines(plan))
    assert "it takes about 1 min 10 s, as measured in a restore test 0 s ago" in shown
    assert "and it is proven 0 s ago (rung healthy)" in shown
    assert "net0, its bridge is there: virtio=BC:24:11:00:00:08,bridge=vmbr0,tag=20" in shown


def test_what_was_never_measured_is_said_not_to_be(site: World) -> None:
    stands(site)
    plan = ahead(site)
    assert plan_as_dict(plan)["expected_seconds"] is None and plan_as_dict(plan)["proof"] is None
    assert "it takes a time that is not known: no restore of it was measured" in "\n".join(
        lines(plan)
    )
