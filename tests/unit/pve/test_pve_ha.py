"""High availability as PVE tells it: recorded answers, and those of PVE 8 and 9.2."""

from __future__ import annotations

import pytest

from backupsvc.errors import PveError
from backupsvc.pve import Pve
from backupsvc.pve.ha import Wished
from policies.ha.facts import Group, Rebalancing, Replica, Resource, Rule
from tests.fakes.pve_server import FakePve, refuse


def test_resources_have_the_defaults_that_pve_leaves_out(fake: FakePve, pve: Pve) -> None:
    fake.replay("11", 19)
    assert pve.ha.resources() == (Resource("vm:100", "ignored", max_restart=2),)
    fake.on("GET", "/cluster/ha/resources", [{"sid": "ct:200", "group": "pair", "max_relocate": 0}])
    assert pve.ha.resources() == (Resource("ct:200", "started", "pair", 1, 0),)


def test_a_recorded_rule_is_read_and_a_server_without_manager_has_no_states(
    fake: FakePve, pve: Pve
) -> None:
    fake.replay("11", 47)
    assert pve.ha.rules() == (Rule("r1", ("vm:100",), {"pve": 2}),)
    fake.replay("11", 22)
    assert pve.ha.states() == ({}, {})


def test_rules_tell_whom_they_tie_to_what_and_what_pve_finds_wrong(fake: FakePve, pve: Pve) -> None:
    fake.on(
        "GET",
        "/cluster/ha/rules",
        [
            {"rule": "a", "type": "node-affinity", "resources": "vm:1,ct:2", "nodes": "n1:3,n2",
             "strict": 1, "affinity": "positive"},
            {"rule": "b", "type": "resource-affinity", "resources": "vm:1,ct:2", "disable": 1,
             "affinity": "negative"},
            {"rule": "c", "type": "resource-affinity", "resources": "vm:1", "affinity": "positive",
             "errors": {"resources": ["too few", "really"], "nodes": "none"}},
            {"rule": "d", "type": "node-affinity", "resources": "vm:9", "nodes": "n1:x",
             "errors": "as a text"},
        ],
    )  # fmt: skip
    first, second, third, last = pve.ha.rules()
    assert first == Rule("a", ("vm:1", "ct:2"), {"n1": 3, "n2": 0}, strict=True)
    assert second == Rule("b", ("vm:1", "ct:2"), together=False, enabled=False)
    assert (third.together, third.errors, third.followed) == (True, "too few; really; none", False)
    assert (last.nodes, last.errors) == ({"n1": 0}, "as a text")


def test_pve_8_has_groups_and_no_rules_and_pve_9_the_other_way_round(
    fake: FakePve, pve: Pve
) -> None:
    fake.on(
        "GET", "/cluster/ha/rules", refuse(501, "Method 'GET /cluster/ha/rules' not implemented")
    )
    assert pve.ha.rules() == ()
    fake.on("GET", "/cluster/ha/groups", [{"group": "g", "nodes": "n1:2,n2", "nofailback": 1}])
    assert pve.ha.groups() == (Group("g", {"n1": 2, "n2": 0}, restricted=False, nofailback=True),)
    fake.routes.clear()
    fake.replay("11", 39)
    assert pve.ha.groups() == ()


@pytest.mark.parametrize("name", ["rules", "groups"])
def test_any_other_refusal_is_none_of_that(fake: FakePve, pve: Pve, name: str) -> None:
    fake.on("GET", f"/cluster/ha/{name}", refuse(500, "unable to read file"))
    with pytest.raises(PveError, match="unable to read file"):
        getattr(pve.ha, name)()


def test_the_status_tells_stamps_homes_and_whether_ha_is_armed(fake: FakePve, pve: Pve) -> None:
    fake.on(
        "GET",
        "/cluster/ha/status/current",
        [
            {"id": "quorum", "type": "quorum", "quorate": 1, "status": "OK", "node": "a"},
            {"id": "master", "type": "master", "node": "a", "timestamp": 11,
             "status": "a (detected time drift!, Mon Mar  9 21:00:01 2026)"},
            {"id": "fencing", "type": "fencing", "node": "a", "armed-state": "disarmed",
             "resource_mode": "freeze", "status": "disarmed"},
            {"id": "lrm:a", "type": "lrm", "node": "a", "timestamp": 10, "status": "a (active, x)"},
            {"id": "lrm:b", "type": "lrm", "node": "b", "status": "b (unable to read lrm status)"},
            {"id": "service:vm:1", "type": "service", "sid": "vm:1", "node": "a", "state": "freeze"},
            {"id": "service:vm:2", "type": "service", "sid": "vm:2", "state": "not found"},
        ],
    )  # fmt: skip
    found = pve.ha.status()
    assert (found.armed, found.resource_mode, found.master_stamp) == ("disarmed", "freeze", 11)
    assert (found.stamps, found.homes) == ({"a": 10}, {"vm:1": "a"})
    assert found.master_line.startswith("a (detected") and found.lrm["b"].endswith("lrm status)")
    assert found.services == {"vm:1": "freeze", "vm:2": "not found"}


def test_the_managers_own_words_are_states_and_modes(fake: FakePve, pve: Pve) -> None:
    fake.on(
        "GET",
        "/cluster/ha/status/manager_status",
        {
            "manager_status": {"node_status": {"a": "online", "b": "fence"}},
            "lrm_status": {
                "a": {"mode": "active", "state": "wait_for_agent_lock"},
                "b": {"mode": "maintenance", "state": "active"},
                "c": {"state": "active"},
            },
        },
    )
    assert pve.ha.states() == (
        {"a": "wait_for_agent_lock", "b": "maintenance mode", "c": "active"},
        {"a": "online", "b": "fence"},
    )
    fake.on("GET", "/cluster/ha/status/manager_status", {})
    assert pve.ha.states() == ({}, {})


@pytest.mark.parametrize(
    ("crs", "found"),
    [
        (None, Rebalancing()),
        ("static", Rebalancing("static")),
        ("ha=static,ha-rebalance-on-start=1", Rebalancing("static", on_start=True)),
        ({"ha": "dynamic", "ha-auto-rebalance": 1}, Rebalancing("dynamic", automatic=True)),
        ("ha=static,ha=basic", None),
    ],
)
def test_rebalancing_is_read_as_text_and_as_an_object(
    fake: FakePve, pve: Pve, crs: object, found: Rebalancing | None
) -> None:
    fake.on("GET", "/cluster/options", {"keyboard": "fr"} | ({"crs": crs} if crs else {}))
    assert pve.ha.rebalancing() == found


def test_votes_and_replicas_are_read(fake: FakePve, pve: Pve) -> None:
    fake.on("GET", "/cluster/config/nodes", [{"node": "a", "quorum_votes": "2"}, {"node": "b"}])
    assert pve.ha.votes() == {"a": 2, "b": 1}
    fake.on(
        "GET",
        "/nodes/a/replication",
        [
            {"id": "1-0", "guest": 100, "target": "b", "last_sync": 5, "fail_count": 0},
            {"id": "2-0", "guest": "101", "target": "b", "last_sync": 0, "fail_count": 2,
             "error": "no tunnel", "disable": 1},
            {"id": "3-0", "guest": 102, "target": "b", "remove_job": "full"},
        ],
    )  # fmt: skip
    assert pve.ha.replicas("a") == (
        Replica("1-0", 100, "b", last_sync=5),
        Replica("2-0", 101, "b", enabled=False, failures=2, error="no tunnel"),
    )


def test_what_is_replicated_is_told_by_any_node(fake: FakePve, pve: Pve) -> None:
    rows = [
        {"id": "100-0", "type": "local", "guest": 100, "target": "c", "disable": 1},
        {"id": "100-1", "type": "local", "guest": 100, "target": "b"},
        {"id": "101-0", "type": "local", "guest": 101, "target": "b", "remove_job": "full"},
        {"id": "odd", "type": "local", "target": "b"},
    ]
    fake.on("GET", "/cluster/replication", rows)
    assert pve.ha.replicated() == {100: ("b", "c")}


def test_files_of_a_kind_are_listed_by_name(fake: FakePve, pve: Pve) -> None:
    fake.on("GET", "/nodes/a/storage/local/content", [{"volid": "local:iso/a.iso", "size": 1}])
    assert pve.storage.files("a", "local", "iso") == {"local:iso/a.iso"}
    assert fake.sent("GET", "/nodes/a/storage/local/content") == [{"content": "iso"}]


@pytest.mark.parametrize("how", ["migrate", "relocate"])
def test_a_wish_is_sent_and_what_goes_along_or_blocks_it_is_heard(
    fake: FakePve, pve: Pve, how: str
) -> None:
    path = f"/cluster/ha/resources/vm:108/{how}"
    fake.on("POST", path, None)  # as before PVE 9
    assert pve.ha.move("vm:108", "pve02", how) == Wished()
    fake.on("POST", path, {"sid": "vm:108", "requested-node": "pve02"})
    assert pve.ha.move("vm:108", "pve02", how) == Wished()
    blocking = [{"sid": "vm:7", "cause": "resource-affinity"}]
    told = {"comigrated-resources": ["vm:109"], "blocking-resources": blocking}
    fake.on("POST", path, {"sid": "vm:108", "requested-node": "pve02"} | told)
    assert pve.ha.move("vm:108", "pve02", how) == Wished(("vm:109",), ("vm:7",))


def test_a_guest_that_ha_gave_up_is_not_moved(fake: FakePve, pve: Pve) -> None:
    why = "service 'vm:108' in error state, must be disabled and fixed first"
    fake.on("POST", "/cluster/ha/resources/vm:108/migrate", refuse(500, why))
    with pytest.raises(PveError, match="in error state"):
        pve.ha.move("vm:108", "pve02", "migrate")


def test_whether_ha_takes_it_back_is_read(fake: FakePve, pve: Pve) -> None:
    fake.on("GET", "/cluster/ha/resources", [{"sid": "vm:1", "failback": 0}, {"sid": "vm:2"}])
    assert [one.failback for one in pve.ha.resources()] == [False, True]
