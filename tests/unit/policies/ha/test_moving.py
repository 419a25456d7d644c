"""Whether a guest could really move: every need of it, on every other node, and what is not known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.ha.facts import Group, HaFacts, Replica, Resource, Rule
from policies.ha.places import Place
from policies.model import Node
from tests.unit.policies.ha.sites import (
    BRIDGES,
    NODES,
    configured,
    container,
    guest,
    local,
    of,
    only,
    report,
    site,
    status,
    stored,
)
from tests.unit.report.langeo import DAY, GIB, HOUR, NOW

SYNCED = Replica("108-0", 108, "lge-pve02", last_sync=NOW - 600)


def place(facts: HaFacts, node: str = "lge-pve02", sid: str = "vm:108") -> Place:
    return next(one for one in of(facts, sid).places if one.node == node)


def without_third(facts: HaFacts) -> HaFacts:
    """The same cluster as two nodes."""
    return replace(facts, nodes=facts.nodes[:2])


def replicated(job: Replica = SYNCED, **changes: Any) -> HaFacts:
    """A guest with a local disk and a replication to the second of two nodes."""
    return without_third(local(replicas={"clovis": (job,)}, **changes))


def test_a_guest_whose_needs_are_all_met_elsewhere_can_move_to_each_such_node() -> None:
    found = only(site())
    assert (found.can_move, found.reasons, found.backup_follows) == (True, (), True)
    assert [(one.node, one.fits) for one in found.places] == [("lge-pve02", True), ("third", True)]
    assert found.node == "clovis" and not found.actions and not found.notes


def test_a_local_disk_without_a_replica_keeps_it_where_it_is() -> None:
    found = only(local())
    why = "scsi0 lies on local-lvm of clovis alone: it is neither shared nor replicated there"
    assert found.can_move is False
    assert found.reasons == (f"lge-pve02: {why}", f"third: {why}")
    assert "pvesr create-local-job 108-0 lge-pve02" in found.actions[0]


def test_a_replica_carries_it_and_its_age_is_told() -> None:
    found = only(replicated())
    assert found.can_move is True and found.places[0].replica_age == 600
    assert found.notes == ("on lge-pve02 it would begin with data of 10 min ago",)
    elsewhere = replace(SYNCED, target="third")
    assert only(replicated(elsewhere)).can_move is False
    others = replace(SYNCED, vmid=109)
    assert only(replicated(others)).can_move is False


def test_a_replica_is_as_old_as_its_own_nodes_clock_says() -> None:
    ahead = replace(SYNCED, last_sync=NOW + 3044)
    assert place(replicated(ahead, offsets={"clovis": 3644})).replica_age == 600
    assert place(replicated(offsets={})).replica_age is None
    assert only(replicated(offsets={})).can_move is True


def test_a_replica_older_than_the_guests_rpo_is_said_to_be() -> None:
    old = replace(SYNCED, last_sync=NOW - 2 * DAY)
    (note,) = only(replicated(old)).notes
    assert note.endswith("of 2 d ago, more than its RPO of 1 d 12 h")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"enabled": False}, "its replication 108-0 is disabled"),
        ({"last_sync": None}, "its replication 108-0 was never done yet"),
        ({"failures": 3, "error": "no tunnel"}, "fails (3 times, no tunnel)"),
        ({"failures": 1}, "fails (1 times, no reason): what lies there is of 10 min ago"),
    ],
)
def test_a_replication_that_does_not_run_carries_nothing(
    changes: dict[str, Any], said: str
) -> None:
    found = only(replicated(replace(SYNCED, **changes)))
    assert found.can_move is False and said in found.reasons[0] and found.actions


def test_how_old_a_failing_replica_is_may_not_be_known() -> None:
    found = only(replicated(replace(SYNCED, failures=1), offsets={}))
    assert "of an unknown time" in found.reasons[0]


def test_a_replica_of_the_future_is_not_believed() -> None:
    assert only(replicated(replace(SYNCED, last_sync=NOW + 60))).can_move is True
    assert place(replicated(replace(SYNCED, last_sync=NOW + 60))).replica_age == 0
    assert only(replicated(replace(SYNCED, last_sync=NOW + 61))).can_move is None


def test_a_disk_that_replication_leaves_out_stays_behind() -> None:
    facts = configured(replicated(), scsi1="local-lvm:vm-108-disk-1,replicate=0")
    assert "replication leaves it out" in only(facts).reasons[0]


def test_whether_a_disk_is_replicated_is_unknown_where_its_node_does_not_say() -> None:
    found = only(without_third(local(replicas={})))
    assert found.can_move is None and "does not say whether it is replicated" in found.reasons[0]


def test_a_cloud_init_drive_needs_its_storage_and_no_replica() -> None:
    drive = "local-lvm:vm-108-cloudinit,media=cdrom"
    assert only(configured(ide2=drive)).can_move is True
    gone = tuple(one for one in site().storages if (one.name, one.node) != ("local-lvm", "third"))
    assert place(configured(site(storages=gone), ide2=drive), "third").fits is False


def changed_storage(name: str, node: str, /, **changes: Any) -> tuple[Any, ...]:
    return tuple(
        replace(one, **changes) if (one.name, one.node) == (name, node) else one
        for one in site().storages
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"active": False}, "scsi0: storage nas is not active there"),
        ({"enabled": False}, "scsi0: storage nas is disabled"),
        ({"name": "other"}, "scsi0: storage nas is not there"),
    ],
)
def test_a_shared_storage_must_be_in_use_on_the_other_node(
    changes: dict[str, Any], said: str
) -> None:
    there = place(site(storages=changed_storage("nas", "lge-pve02", **changes)))
    assert there.fits is False and there.reasons[0] == said


def test_a_storage_that_nobody_shows_is_unknown_and_so_are_those_of_a_node_that_said_none() -> None:
    nobody = site(storages=tuple(one for one in site().storages if one.name != "nas"))
    assert only(nobody).can_move is None and "lacks Datastore.Audit" in only(nobody).reasons[0]
    mute = tuple(one for one in site().storages if one.node != "lge-pve02")
    assert place(site(storages=mute)).reasons[0] == (
        "scsi0: it did not say which storages it has (it listed none)"
    )
    there = place(site(untold={"lge-pve02": "timed out"}, storages=mute))
    assert there.fits is None and "(timed out)" in there.reasons[0]
    half = (*mute, stored("local", "lge-pve02"))
    assert place(site(untold={"lge-pve02": "timed out"}, storages=half)).fits is None


def test_a_medium_must_lie_there_too_under_the_same_name() -> None:
    iso = "local:iso/debian.iso,media=cdrom"
    unseen = configured(ide2=iso)
    assert place(unseen).fits is None and "was not listed there" in place(unseen).reasons[0]
    there = replace(
        unseen,
        files={
            ("lge-pve02", "local"): frozenset({"local:iso/debian.iso"}),
            ("third", "local"): frozenset({"local:iso/other.iso"}),
        },
    )
    assert place(there).fits is True
    assert place(there, "third").reasons == ("ide2 names local:iso/debian.iso, which is not there",)
    assert only(there).can_move is True
    assert only(configured(ide2="nas:iso/debian.iso,media=cdrom")).can_move is True
    gone = replace(there, storages=tuple(x for x in there.storages if x.name != "local"))
    assert only(gone).can_move is None


def test_a_device_of_its_node_keeps_it_and_a_mapped_one_may() -> None:
    found = only(configured(hostpci0="0000:01:00.0"))
    assert found.can_move is False and "hostpci0 is a device of its node" in found.reasons[0]
    assert only(configured(hostpci0="mapping=gpu")).can_move is None


def test_a_bridge_that_its_own_node_has_and_the_other_lacks_keeps_it() -> None:
    facts = site(bridges=BRIDGES | {"lge-pve02": frozenset({"vmbr9"})})
    assert place(facts).reasons == ("bridge vmbr0 is not there",)
    assert only(facts).can_move is True, "the third has it"


def test_a_bridge_that_the_token_sees_nowhere_is_unknown() -> None:
    blind = site(bridges=dict.fromkeys(NODES, frozenset({"vmbr9"})))
    found = only(blind)
    assert found.can_move is None and "lacks SDN.Audit" in found.reasons[0]
    assert found.actions == (
        "let the token see it, and not use it: SDN.Audit on /sdn/zones/localnetwork/vmbr0",
    )
    unread = site(bridges={"clovis": frozenset({"vmbr0"})})
    assert only(unread).can_move is None and "its network was not read" in only(unread).reasons[0]
    only_there = site(bridges={"lge-pve02": frozenset({"vmbr0"})})
    assert place(only_there).fits is True and place(only_there, "third").fits is None


def nodes(**memory: tuple[int, int]) -> tuple[Node, ...]:
    return tuple(
        replace(one, max_memory=memory[key][0] * GIB, memory=memory[key][1] * GIB)
        if (key := one.name.replace("-", "_")) in memory
        else one
        for one in site().nodes
    )


def test_memory_must_be_enough_where_it_goes() -> None:
    full = site(nodes=nodes(lge_pve02=(32, 31)))
    assert place(full).reasons == ("2.0 GiB of memory are needed, 1.0 GiB are to spare",)
    assert place(site(nodes=nodes(lge_pve02=(32, 30)))).fits is True
    assert place(site(nodes=nodes(lge_pve02=(8, 9)))).fits is False
    for unseen in ((0, 0), (32, 0)):
        assert place(site(nodes=nodes(lge_pve02=unseen))).fits is None
    assert only(site(guests=(guest(max_memory=0),))).can_move is None
    # one that is not to run needs none
    stopped = site(resources=(Resource("vm:108", "stopped"),), nodes=nodes(lge_pve02=(32, 32)))
    assert place(stopped).fits is True


def test_pve_starts_no_vm_with_more_cpus_than_its_node_has() -> None:
    assert only(configured(cores="8")).can_move is True
    found = only(configured(cores="9"))
    assert found.can_move is False
    assert found.reasons[0] == "lge-pve02: PVE starts no VM of 9 CPUs there: it has 8"
    unseen = tuple(replace(one, max_cpu=0) for one in site().nodes)
    assert only(site(nodes=unseen)).can_move is None


def test_a_node_that_is_off_takes_nothing_and_one_that_is_mute_may() -> None:
    off = (site().nodes[0], Node("lge-pve02", False), Node("third", False, unknown=True))
    facts = site(nodes=off, members={"clovis": True, "lge-pve02": False, "third": False})
    assert place(facts).reasons == ("it is offline",) and place(facts).fits is False
    assert place(facts, "third").fits is None
    assert only(facts).can_move is None
    assert place(site(silent={"lge-pve02": "timed out"})).reasons == ("it is silent",)


def test_a_cluster_of_one_node_has_nowhere_to_go() -> None:
    found = only(site(nodes=site().nodes[:1], status=status(master="clovis")))
    assert found.can_move is False and found.reasons == ("there is no other node",)
    assert found.backup_follows is None


def test_a_container_is_asked_for_its_volumes_and_folders() -> None:
    good = {"rootfs": "nas:subvol-108-disk-0", "net0": "name=eth0,bridge=vmbr0"}
    assert only(container(good)).can_move is True
    assert only(container(good | {"mp0": "/srv,mp=/srv"})).can_move is False


def test_a_guest_that_is_not_shown_or_whose_configuration_was_not_read_is_unknown() -> None:
    hidden = only(site(guests=()))
    assert hidden.can_move is None and "lacks VM.Audit on /vms/108" in hidden.reasons[0]
    # the VMID of another kind of guest is not it
    assert only(site(guests=(guest(type="lxc"),))).can_move is None
    unread = only(site(configs={}))
    assert unread.can_move is None
    assert unread.reasons[0].endswith("so what it needs is not known")
    strange = only(site(resources=(Resource("vm:pfsense"),)))
    assert (strange.vmid, strange.can_move, strange.backup_follows) == (None, None, None)


# --- where it may go ------------------------------------------------------------------------------


def tied(strict: bool, **more: Any) -> Rule:
    return Rule("pair", ("vm:108",), {"clovis": 2, "lge-pve02": 1}, strict=strict, **more)


def test_a_strict_rule_keeps_it_to_its_nodes_and_another_does_not() -> None:
    assert place(site(rules=(tied(True),)), "third").reasons == (
        "rule pair keeps it on clovis, lge-pve02",
    )
    assert place(site(rules=(tied(False),)), "third").fits is True
    for ignored in (tied(True, enabled=False), tied(True, errors="it contradicts another")):
        assert place(site(rules=(ignored,)), "third").fits is True
    assert place(site(rules=(replace(tied(True), resources=("vm:1",)),)), "third").fits is True


def test_a_restricted_group_does_the_same_before_pve_9() -> None:
    grouped = (Resource("vm:108", group="pair"),)
    group = Group("pair", {"clovis": 0, "lge-pve02": 0}, restricted=True)
    assert place(site(resources=grouped, groups=(group,)), "third").reasons == (
        "group pair keeps it on clovis, lge-pve02",
    )
    assert place(site(resources=grouped, groups=(replace(group, name="x"),)), "third").fits is True
    open_ = replace(group, restricted=False)
    assert place(site(resources=grouped, groups=(open_,)), "third").fits is True
    assert place(site(groups=(group,)), "third").fits is True, "it is in no group"


def test_what_could_not_be_read_of_rules_and_groups_is_unknown() -> None:
    assert only(site(rules=None)).can_move is None
    assert only(site(groups=None)).can_move is True, "it is in none"
    assert only(site(groups=None, resources=(Resource("vm:108", group="g"),))).can_move is None


def pair(*rules: Rule, home: str = "third", **changes: Any) -> HaFacts:
    """The site with a second guest under HA."""
    whole = site(
        resources=(Resource("vm:108"), Resource("vm:109")),
        guests=(guest(), guest(109, home)),
        rules=rules,
        status=status(
            services={"vm:108": "started", "vm:109": "started"},
            homes={"vm:108": "clovis", "vm:109": home},
        ),
    )
    configs = dict(whole.configs) | {109: whole.configs[108]}
    return replace(whole, **({"configs": configs} | changes))


def together(*sids: str) -> Rule:
    return Rule("with", sids, together=True)


def apart(*sids: str) -> Rule:
    return Rule("apart", sids, together=False)


def test_what_must_be_apart_does_not_go_where_the_other_is() -> None:
    facts = pair(apart("vm:108", "vm:109"))
    assert place(facts, "third").reasons == ("a rule keeps it apart from vm:109, which is there",)
    assert place(facts).fits is True
    lost = replace(facts, status=status(homes={"vm:108": "clovis"}), guests=(guest(),))
    assert place(lost).fits is None


def test_what_must_stay_together_moves_together_or_not_at_all() -> None:
    facts = pair(together("vm:108", "vm:109"), home="clovis")
    assert of(facts, "vm:108").can_move is True
    stuck = replace(
        facts, configs=dict(facts.configs) | {109: {"scsi0": "local-lvm:vm-109-disk-0"}}
    )
    assert place(stuck).fits is False
    assert place(stuck).reasons[0].startswith("it must stay with vm:109: scsi0 lies on local-lvm")
    # where the other one is already it stands in nobody's way
    there = pair(together("vm:108", "vm:109"), configs=stuck.configs)
    assert place(there, "third").fits is True
    unmanaged = pair(together("vm:108", "vm:110"))
    assert place(unmanaged).fits is True
    # their memory counts together
    tight = replace(facts, nodes=nodes(lge_pve02=(32, 29)))
    assert place(tight).reasons == ("4.0 GiB of memory are needed, 3.0 GiB are to spare",)


def test_what_is_tied_to_one_is_tied_to_all_and_kept_from_what_that_is_kept_from() -> None:
    rules = (together("vm:108", "vm:110"), together("vm:110", "vm:111"), apart("vm:111", "vm:109"))
    assert place(pair(*rules), "third").fits is False


# --- what HA itself does --------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", ["ignored", "disabled"])
def test_what_ha_is_told_to_leave_alone_does_not_move_and_is_no_problem(wanted: str) -> None:
    found = report(site(resources=(Resource("vm:108", wanted),)))
    (one,) = found.resources
    assert one.can_move is False and one.left_alone and found.well
    assert one.reasons == (f"HA is told to leave it alone ({wanted})",)


@pytest.mark.parametrize(
    ("state", "can_move", "said"),
    [
        ("started", True, ""),
        ("request_start_balance", True, ""),
        ("stopped", True, ""),
        ("error", False, "HA has given it up (error)"),
        ("not found", False, "HA finds no such guest"),
        ("freeze", False, "HA has frozen it"),
        ("fence", None, "HA is at work on it (fence)"),
        ("recovery", None, "HA is at work on it (recovery)"),
        ("a word of PVE 10", None, "HA is at work on it (a word of PVE 10)"),
        ("", None, "HA says nothing of it"),
    ],
)
def test_the_state_that_ha_has_it_in_counts(state: str, can_move: bool | None, said: str) -> None:
    found = only(site(status=status(services={"vm:108": state})))
    assert (found.can_move, " ".join(found.reasons)) == (can_move, said)


def test_one_that_is_not_found_is_not_said_to_be_hidden_as_well() -> None:
    found = only(site(status=status(services={"vm:108": "not found"}), guests=()))
    assert found.can_move is False and not any("VM.Audit" in why for why in found.reasons)
    assert "ha-manager remove vm:108" in found.actions


@pytest.mark.parametrize(
    ("lock", "can_move"), [(None, True), ("backup", True), ("migrate", None), ("create", None)]
)
def test_a_lock_that_ha_takes_away_hinders_nothing(lock: str | None, can_move: bool | None) -> None:
    assert only(site(guests=(guest(lock=lock),))).can_move is can_move


@pytest.mark.parametrize(
    ("changes", "can_move", "said"),
    [
        ({"status": None}, None, "what HA says of itself could not be read"),
        ({"quorum": None, "status": status(quorate=None)}, None, "is not known"),
        ({"quorum": None, "status": status(quorate=False)}, False, "no quorum"),
        ({"status": status(quorate=False)}, False, "no quorum"),
        ({"status": status(armed="disarmed", resource_mode="freeze")}, False, "disarmed (resources: freeze)"),
        ({"status": status(armed="disarming")}, False, "HA is disarming: it fences"),
        ({"status": status(armed="standby")}, True, ""),
        ({"status": status(armed="")}, True, ""),
        ({"status": status(master=None)}, False, "no node is HA's master"),
        ({"status": status(master_stamp=NOW - 31)}, None, "has written nothing for 31 s"),
        ({"status": status(master_stamp=NOW - 30)}, True, ""),
        ({"silent": {"lge-pve02": "timed out"}}, None, "HA's master lge-pve02 is silent"),
        ({"status": status(master="gone")}, None, "HA's master gone is no node that"),
        (
            {"offsets": {}, "status": status(master_line="lge-pve02 (old timestamp - dead?, x)")},
            None,
            "HA's master lge-pve02 has written nothing:",
        ),
    ],
)  # fmt: skip
def test_what_keeps_ha_from_its_work_keeps_every_guest(
    changes: Mapping[str, Any], can_move: bool | None, said: str
) -> None:
    found = only(site(**changes))
    assert found.can_move is can_move and said in " ".join(found.reasons)


def test_that_ha_looks_at_no_disks_is_said_where_it_would_try_in_vain() -> None:
    facts = site(storages=changed_storage("nas", "lge-pve02", active=False))
    (note,) = only(facts).notes
    assert note.startswith("HA looks at no disks: it may try lge-pve02 first")
    # a rule that prefers the one that fits, or the one being off, leaves nothing to say
    preferred = Rule("third", ("vm:108",), {"third": 1})
    assert not only(replace(facts, rules=(preferred,))).notes
    off = tuple(replace(one, online=one.name != "lge-pve02") for one in facts.nodes)
    assert not only(replace(facts, nodes=off, status=status(master="third"))).notes
    away = status(node_states={"lge-pve02": "maintenance"})
    assert not only(replace(facts, status=away)).notes


# --- laws -----------------------------------------------------------------------------------------


KNOWN = (
    "quorum", "status", "rules", "storages", "bridges", "configs", "guests", "nodes",
)  # fmt: skip
LESS: dict[str, Any] = {
    "quorum": None, "status": None, "rules": None, "storages": (), "bridges": {}, "configs": {},
    "guests": (), "nodes": tuple(replace(one, memory=0) for one in site().nodes),
}  # fmt: skip


@given(st.sets(st.sampled_from(KNOWN), min_size=1).filter(lambda one: one != {"quorum"}))
def test_law_4_what_is_not_known_never_makes_a_yes(unread: set[str]) -> None:
    facts = replace(site(), **{name: LESS[name] for name in unread})
    assert only(facts).can_move is None
    assert only(facts).reasons


WORLDS = st.builds(
    lambda config, replica, rules, off, dark: replace(
        configured(site(), **config),
        replicas={"clovis": (replica,)},
        rules=rules,
        nodes=tuple(replace(one, online=one.name not in off) for one in site().nodes),
        storages=tuple(one for one in site().storages if (one.node, one.name) not in dark),
        status=status(master="clovis"),
    ),
    st.sampled_from(
        [
            {},
            {"scsi0": "local-lvm:vm-108-disk-0"},
            {"hostpci0": "01:00"},
            {"net0": "virtio,bridge=x"},
        ]
    ),
    st.sampled_from([SYNCED, replace(SYNCED, enabled=False), replace(SYNCED, target="third")]),
    st.sampled_from([(), (tied(True),), (tied(False),)]),
    st.sets(st.sampled_from(["lge-pve02", "third"])),
    st.sets(st.tuples(st.sampled_from(NODES), st.sampled_from(["nas", "local-lvm"]))),
)


@given(WORLDS, st.sampled_from(["lge-pve02", "third"]))
def test_taking_a_node_away_never_lets_a_guest_move_that_could_not(
    facts: HaFacts, gone: str
) -> None:
    less = replace(facts, nodes=tuple(one for one in facts.nodes if one.name != gone))
    off = replace(
        facts,
        nodes=tuple(replace(one, online=one.online and one.name != gone) for one in facts.nodes),
    )
    if only(facts).can_move is not True:
        assert only(less).can_move is not True and only(off).can_move is not True
    if only(facts).can_move is False:
        assert only(off).can_move is not True


@given(WORLDS, st.integers(0, 8))
def test_taking_a_storage_away_never_lets_a_guest_move_that_could_not(
    facts: HaFacts, which: int
) -> None:
    less = replace(facts, storages=facts.storages[:which] + facts.storages[which + 1 :])
    if only(facts).can_move is not True:
        assert only(less).can_move is not True


@given(WORLDS)
def test_a_guest_can_move_only_if_a_node_that_is_up_fits_and_says_why_not_else(
    facts: HaFacts,
) -> None:
    found = only(facts)
    up = {one.name for one in facts.nodes if one.online}
    assert (found.can_move is True) == any(one.fits and one.node in up for one in found.places)
    assert bool(found.reasons) == (found.can_move is not True)
    assert all(one.node != "clovis" for one in found.places)


def test_hour_long_drift_changes_nothing_of_it() -> None:
    offsets = {"clovis": 0, "lge-pve02": HOUR, "third": -HOUR}
    stamps = {node: NOW + offset - 4 for node, offset in offsets.items()}
    drifting = status(stamps=stamps, master_stamp=NOW + HOUR - 4)
    assert only(site(offsets=offsets, status=drifting)).can_move is True
