"""What was around a guest is put back call by call: each is decided anew, nothing that is there is
overwritten, and what goes wrong at one thing keeps only those from being put back that need it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from backupsvc.catalog.operations import Kept, Note
from backupsvc.clock import iso
from backupsvc.errors import LawRefused, PveAnswerUnreadable, PveUnreachable, Refused
from backupsvc.operations import build_engine, surroundings
from backupsvc.operations.kinds import KINDS
from backupsvc.operations.put_back import opening
from backupsvc.operations.put_back.memory import recall
from backupsvc.operations.put_back.result import outcome, refused
from backupsvc.operations.restore.memory import RestoreMemory
from backupsvc.operations.showing import table
from policies.cluster_config import ConfigSet
from policies.model import Operation, OperationState
from policies.restore_verdict import Health, Judgement
from policies.surroundings import Kind
from tests.fakes.cluster import Guest, connect
from tests.fakes.made import archive, config_of
from tests.fakes.state import Refusal, Said
from tests.unit.operations.farm import policy
from tests.unit.operations.test_cluster_config import EVERYTHING, FIREWALL, Told
from tests.unit.operations.test_surroundings import DAY, EMPTY, keep
from tests.unit.operations.worlds import World, operation_of, world

UUID, OTHER = (
    "uuid=11111111-2222-3333-4444-555555555555",
    "uuid=99999999-2222-3333-4444-555555555555",
)
FOLDER = "guests/qemu-108.firewall"
BASE = "nodes/n1/qemu/108/firewall"
KEPT = {
    "guests.cfg": "qemu: 108\n\tnode n1\n\nqemu: 109\n\tnode n2\n",
    "guests/qemu-108.conf": f"smbios1: {UUID}\ntags: web\n",
    "pools.cfg": "pool: web\n",
    "pools/web.cfg": "pool: web\n\tmember qemu/108\n",
    "access/acl.cfg": "acl: /vms/108 user a@pve Role\n\tpropagate 1\n",
    f"{FOLDER}/options.cfg": "enable: 1\n",
    f"{FOLDER}/rules.cfg": "rule: 0\n\taction ACCEPT\n\ttype in\n\nrule: 1\n\taction DROP\n\ttype in\n",
    "replication.cfg": "local: 108-0\n\tschedule */5\n\ttarget n2\n",
    "jobs.cfg": "vzdump: both\n\tschedule 1:00\n\tvmid 108,109\n",
    "ha/resources.cfg": "vm: vm:108\n\tstate started\n",
    "ha/rules.cfg": "node-affinity: home\n\tnodes n1\n\tresources vm:108\n",
}  # fmt: skip
RIGHTS = {
    "/": ("Sys.Console", "Sys.Modify"),
    "/pool/web": ("Pool.Allocate",),
    "/storage": ("Datastore.Allocate",),
    "/vms/108": ("VM.Allocate", "VM.Config.Network", "VM.Config.Options", "Permissions.Modify"),
}
ALL = [
    "pool web",
    "rights /vms/108 user a@pve Role",
    "firewall rules",
    "firewall options",
    "replication job 108-0",
    "backup job both",
    "HA resource vm:108",
    "HA rule home",
]
DONE = dict.fromkeys(ALL, "done")
LISTS = (
    "cluster/resources",
    "pools",
    "access/acl",
    f"{BASE}/rules",
    "cluster/backup",
    "cluster/ha/rules",
)


class Around(Told):
    """A cluster that takes what is put back. ``before`` hears of each change that is asked for,
    before it is looked at; ``deaf`` are paths at which a change is taken and comes to nothing.
    """

    before: Callable[[str], None] = staticmethod(lambda path: None)
    deaf: tuple[str, ...] = ()

    def answer(self, method: str, path: str, asked: Mapping[str, Any]) -> Said:
        if path == "access/permissions" and "path" in asked:
            held = self.rights.get(asked["path"], ())
            if isinstance(held, Exception):
                raise held
            return Said({asked["path"]: dict.fromkeys(held, 1)}, {})
        if method == "GET":
            return super().answer(method, path, asked)
        self.before(path)
        self.changes.append((method, path, dict(asked)))
        if path not in self.deaf:
            self._take(method, path, dict(asked))
        return Said(None, {})

    def start_afresh(self) -> None:
        self.changes: list[tuple[str, str, dict[str, Any]]] = []
        self.rights: dict[str, Any] = dict(RIGHTS)

    def _take(self, method: str, path: str, asked: dict[str, Any]) -> None:
        said = self.said
        if path == "pools":
            said["pools?web"] = [{"poolid": "web", "members": [{"type": "qemu", "vmid": 108}]}]
        elif path == "access/acl":
            row = {"path": asked["path"], "type": "user", "ugid": asked["users"]}
            said[path] = [row | {"roleid": asked["roles"], "propagate": 1}]
        elif path.endswith("/options"):
            said[path] = {**said[path], **asked}
        elif path == "cluster/backup/both":
            said["cluster/backup"] = [{"id": "both", "type": "vzdump", "schedule": "1:00"} | asked]
        elif path.endswith("/config"):
            self.guests[108].config |= {key: asked[key] for key in asked if key != "digest"}
        else:
            rows = [asked, *said[path]]
            if path.endswith("/rules") and path.startswith("nodes"):
                rows = [row | {"pos": place} for place, row in enumerate(rows)]
            said[path] = rows


Scene = tuple[World, Around]


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """Guest 108 is back, and all that was around it is gone."""
    made = world(f"sqlite:///{tmp_path}/catalog.db")
    cluster = Around(made.clock)
    cluster.start_afresh()
    cluster.guests[108] = Guest("n1", config_of(108) | {"smbios1": UUID, "tags": "web"})
    cluster.permissions = EVERYTHING
    cluster.said = {path: [] for path in EMPTY}
    cluster.said["cluster/ha/groups"] = Refusal(500, "ha groups have been migrated to rules")
    cluster.said["pools"] = [{"poolid": "web"}]
    cluster.said["pools?web"] = [{"poolid": "web", "members": []}]
    cluster.said |= {f"{BASE}/{part}": {} if part == "options" else [] for part in FIREWALL}
    cluster.said["cluster/backup"] = [
        {"id": "both", "type": "vzdump", "schedule": "1:00", "vmid": "109"}
    ]
    made.policy = policy()
    made.pve = made.restore_pve = connect(cluster, made.policy.scratch)
    made.engine = build_engine(made)
    return keep(made, tmp_path, {1: ConfigSet(KEPT)}), cluster


def open_one(site: World, **more: Any) -> Operation:
    found = surroundings.of(site, 108, "" if more.get("restored") else None)
    ahead = opening.look_ahead(site, 108, found, **more)
    operation = opening.open_put_back(site, ahead)
    assert operation is not None
    return operation


def put_back(site: World, **more: Any) -> tuple[Operation, dict[str, str]]:
    ended = site.engine.drive_one(open_one(site, **more))
    return ended, {one["what"]: one["action"] for one in outcome(ended)["items"]}


def details(operation: Operation) -> dict[str, str]:
    return {one["what"]: one["detail"] for one in outcome(operation)["items"]}


def test_all_of_it_is_put_back_in_its_order_and_ha_comes_last(scene: Scene) -> None:
    site, cluster = scene
    ended, actions = put_back(site)
    assert (ended.state, actions) == (OperationState.DONE, DONE)
    assert [path for _, path, _ in cluster.changes] == [
        "pools",
        "access/acl",
        f"{BASE}/rules",
        f"{BASE}/rules",
        f"{BASE}/options",
        "cluster/replication",
        "cluster/backup/both",
        "cluster/ha/resources",
        "cluster/ha/rules",
    ]
    assert surroundings.of(site, 108).whole
    kind = KINDS["put-back"]
    assert kind.exit_code(site.catalog, ended) == 0
    assert kind.result(ended) == "8 put back" and "surroundings 108" in kind.done_hint(ended)
    assert outcome(ended)["kept_at"] == iso(DAY) and not outcome(ended)["left"]
    shown = table(ended)
    assert shown and shown.rows[0] == ("pool web", "done", "") and shown.below == ()
    again, actions = put_back(site)
    assert actions == {} and kind.result(again) == "nothing was missing"


def test_what_somebody_did_meanwhile_is_not_done_again_and_not_overwritten(scene: Scene) -> None:
    site, cluster = scene

    def meanwhile(path: str) -> None:
        if path == "pools":
            cluster._take(
                "PUT", "access/acl", {"path": "/vms/108", "users": "a@pve", "roles": "Role"}
            )
            cluster.said["cluster/backup"][0]["vmid"] = "109,110"
            cluster.said["cluster/ha/resources"] = [
                {"sid": "vm:108", "type": "vm", "state": "ignored"}
            ]

    cluster.before = meanwhile
    ended, actions = put_back(site)
    assert actions == DONE | {
        "rights /vms/108 user a@pve Role": "already-there",
        "backup job both": "command",
        "HA resource vm:108": "already-there",
    }
    assert cluster.said["cluster/backup"][0]["vmid"] == "109,110"
    assert "state is ignored, not started" in details(ended)["HA resource vm:108"]
    assert KINDS["put-back"].exit_code(site.catalog, ended) == 1
    shown = table(ended)
    assert shown and "  pvesh set /cluster/backup/both --vmid 109,110,108" in shown.below


def test_law_10_nothing_more_is_changed_of_another_machine_that_comes_under_the_vmid(
    scene: Scene,
) -> None:
    site, cluster = scene

    def meanwhile(path: str) -> None:
        if path == "access/acl":
            cluster.guests[108] = Guest("n1", config_of(108) | {"smbios1": OTHER})

    cluster.before = meanwhile
    ended, actions = put_back(site)
    assert len(cluster.changes) == 2 and actions["pool web"] == "done"
    assert set(list(actions.values())[1:]) == {"skipped"}
    assert "is another machine now" in details(ended)["firewall rules"]
    for change, law in (({"smbios1": OTHER}, True), ({}, False)):
        cluster.guests[108] = Guest("n1", config_of(108) | change)
        found = surroundings.Found((), DAY)
        ahead = opening.look_ahead(site, 108, found)
        assert isinstance(ahead.blocker, LawRefused) is law
        with pytest.raises(Refused, match="another machine" if law else "nothing tells whether"):
            opening.open_put_back(site, ahead)
        late = site.engine.open("put-back", 108, ahead.memory)
        assert late is not None
        told = outcome(site.engine.drive_one(late))["error"]
        assert told["exit_code"] == 4 and told["hint"]


def test_a_guest_that_goes_leaves_the_rest_as_commands(scene: Scene) -> None:
    site, cluster = scene

    def meanwhile(path: str) -> None:
        if path == "access/acl":
            del cluster.guests[108]

    cluster.before = meanwhile
    ended, actions = put_back(site)
    assert actions["backup job both"] == "skipped" and len(cluster.changes) == 2
    assert "there is no guest 108" in details(ended)["backup job both"]
    assert outcome(ended)["items"][-1]["commands"]


def test_law_4_what_pve_takes_and_does_not_show_is_no_success(scene: Scene) -> None:
    site, cluster = scene
    cluster.deaf = (f"{BASE}/rules", "cluster/ha/resources")
    ended, actions = put_back(site)
    assert actions == DONE | {
        "firewall rules": "failed",
        "firewall options": "skipped",
        "HA resource vm:108": "failed",
        "HA rule home": "skipped",
    }
    assert "still missing" in details(ended)["firewall rules"]
    assert [path for _, path, _ in cluster.changes].count(f"{BASE}/rules") == 1
    assert f"{BASE}/options" not in [path for _, path, _ in cluster.changes]


@pytest.mark.parametrize(
    ("refusal", "action"),
    [
        (Refusal(403, "Permission check failed (/, Sys.Modify)"), "command"),
        (Refusal(400, "Parameter verification failed.", {"vmid": "bad"}), "failed"),
        (Refusal(500, "no such vzdump job"), "failed"),
    ],
)
def test_what_pve_refuses_keeps_nothing_else_from_being_put_back(
    scene: Scene, refusal: Refusal, action: str
) -> None:
    site, cluster = scene

    def refuses(path: str) -> None:
        if path.startswith("cluster/backup"):
            raise refusal

    cluster.before = refuses
    ended, actions = put_back(site)
    assert actions == DONE | {"backup job both": action}
    item = outcome(ended)["items"][ALL.index("backup job both")]
    assert item["commands"] == ["pvesh set /cluster/backup/both --vmid 109,108"]
    assert refusal.text.partition(".")[0] in item["detail"]


def test_what_passes_is_tried_again(scene: Scene) -> None:
    site, cluster = scene
    failed: list[str] = []

    def hiccup(path: str) -> None:
        if path not in failed:
            failed.append(path)
            raise Refusal(500, "can't lock file '/var/lock/x' - got timeout")

    cluster.before = hiccup
    assert put_back(site)[1] == DONE and len(failed) == 8


def test_a_call_whose_answer_was_lost_is_looked_for_before_it_is_made_again(scene: Scene) -> None:
    site, cluster = scene
    lost: list[str] = []

    def around(method: str, path: str, act: Callable[[], Any]) -> Any:
        answer = act()
        if method != "GET" and path not in lost:
            lost.append(path)
            raise PveUnreachable("no answer")
        return answer

    site.restore_pve = connect(cluster, site.policy.scratch, around)
    assert put_back(site)[1] == DONE
    assert len(cluster.changes) == 9, "none was made twice"


def test_one_that_never_came_through_is_made_again_after_a_while(scene: Scene) -> None:
    site, cluster = scene
    lost: list[float] = []

    def around(method: str, path: str, act: Callable[[], Any]) -> Any:
        if path == "pools" and method == "PUT" and not lost:
            lost.append(site.clock.now())
            raise PveUnreachable("no answer")
        return act()

    site.restore_pve = connect(cluster, site.policy.scratch, around)
    assert put_back(site)[1] == DONE
    assert site.clock.now() - lost[0] >= site.engine.executor.lost_reply_grace_s


@pytest.mark.parametrize("lacking", [("/", ()), ("/", Refusal(500, "x")), ("/", Refusal(403, "x"))])
def test_what_the_token_may_not_or_nobody_knows_is_left_as_commands(
    scene: Scene, lacking: tuple[str, Any]
) -> None:
    site, cluster = scene
    cluster.rights |= dict([lacking])
    ended, actions = put_back(site)
    assert actions == DONE | {
        "backup job both": "command",
        "HA resource vm:108": "command",
        "HA rule home": "skipped",
    }
    word = "the token lacks" if lacking[1] == () else "is not known"
    assert word in details(ended)["HA resource vm:108"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("stopped", "it does not run"),
        ("locked", "it is locked (migrate)"),
        ("unread", "how it stands is not known"),
        ("gone", "whether it runs is not known"),
        ("no-quorum", "the cluster has no quorum"),
        ("restore-failed", "its restore"),
        ("unwell", "running, CHECKS FAILED; no answer"),
        ("twin", "it may not be alone"),
    ],
)
def test_law_2_ha_gets_only_a_guest_that_is_up_and_alone(
    scene: Scene, change: str, why: str
) -> None:
    site, cluster = scene
    status = "nodes/n1/qemu/108/status/current"
    said: dict[str, Any] = {
        "locked": {"status": "running", "lock": "migrate"},
        "unread": Refusal(400, "x"),
        "gone": Refusal(500, "Configuration file 'nodes/n1/qemu-server/108.conf' does not exist"),
    }
    if change in said:
        cluster.said[status] = said[change]
    elif change == "stopped":
        cluster.guests[108].running = False
    elif change == "no-quorum":
        row = {"type": "cluster", "name": "c", "quorate": 0, "nodes": 2, "version": 1, "id": "c"}
        cluster.said["cluster/status"] = [
            row,
            {"type": "node", "name": "n1", "online": 1, "id": "n1", "nodeid": 1, "local": 1},
        ]
    elif change == "unwell":
        judged = Judgement(Health.FAILED, ("no answer",))
        ended_well(site, RestoreMemory(archive(108, 0), "n1", judged=judged))
    elif change == "restore-failed":
        memory = RestoreMemory(archive(108, 0), "n1")
        opened = site.engine.open("restore", 108, memory)
        assert opened is not None
        site.catalog.operations.request_cancel(opened.id, "no", int(site.clock.now()))
        site.engine.drive_one(opened)
    else:
        again = RestoreMemory(archive(108, 0), "n2", original=108)
        assert site.engine.open("restore", 208, again)
    ended, actions = put_back(site)
    assert actions == DONE | {"HA resource vm:108": "skipped", "HA rule home": "skipped"}
    assert why in details(ended)["HA resource vm:108"]
    assert "cluster/ha/resources" not in [path for _, path, _ in cluster.changes]


def test_a_kept_set_that_is_gone_by_then_leaves_the_rest_as_commands(
    scene: Scene, tmp_path: Path
) -> None:
    site, cluster = scene

    def meanwhile(path: str) -> None:
        if path == "access/acl":
            for one in (tmp_path / "config").iterdir():
                one.unlink()

    cluster.before = meanwhile
    ended, actions = put_back(site)
    assert actions["backup job both"] == "skipped"
    assert "is not here any more" in details(ended)["backup job both"]


def test_start_order_and_tags_are_put_back_on_a_guest_that_was_restored_since(
    scene: Scene,
) -> None:
    site, cluster = scene
    cluster.guests[108].config["tags"] = "old"
    assert not opening.came_back(site, 108)
    assert put_back(site, restored=True)[1] == DONE | {"start order and tags": "done"}
    (first, *_) = cluster.changes
    assert first[2]["tags"] == "web" and first[2]["digest"]


def ended_well(site: World, memory: RestoreMemory) -> None:
    opened = site.engine.open("restore", 108, memory)
    assert opened is not None
    site.catalog.operations.finish(
        opened.id,
        site.engine.executor.driver(),
        OperationState.DONE,
        kept=Kept(opened.memory, opened.book),
        error=None,
        note=Note("start", "finished"),
    )


def test_what_was_restored_is_known_by_the_catalog(scene: Scene) -> None:
    site, _ = scene
    for clone, back in ((False, True), (True, False)):
        ended_well(site, RestoreMemory(archive(108, 0), "n1", clone=clone))
        assert opening.came_back(site, 108) is back


def test_two_guests_are_not_put_back_at_the_same_time(scene: Scene) -> None:
    site, _ = scene
    first = open_one(site)
    fence = (first.id, site.engine.executor.driver().owner)
    site.engine.executor.advance(first.id)
    site.engine.executor.advance(first.id)
    assert site.catalog.locks.enter("surroundings", int(site.clock.now()), fence, lambda owner: False) is None  # fmt: skip
    ended = site.engine.drive_one(operation_of(site, first.id))
    assert ended.state is OperationState.DONE


def test_law_2_nothing_is_put_around_a_copy_and_nothing_without_a_kept_set(scene: Scene) -> None:
    site, _ = scene
    with pytest.raises(LawRefused, match="scratch range"):
        opening.look_ahead(site, 108, surroundings.Found(kept_at=DAY), as_vmid=9001)
    with pytest.raises(Refused, match="is in no configuration that is kept here"):
        opening.look_ahead(site, 4711, surroundings.of(site, 4711))
    told = refused(Refused("why", "how"))
    assert (told["items"], told["left"], told["error"]["exit_code"]) == ([], True, 4)


def test_one_that_was_cancelled_tells_what_it_did_not_reach(scene: Scene) -> None:
    site, _ = scene
    opened = open_one(site)
    site.catalog.operations.request_cancel(opened.id, "enough", int(site.clock.now()))
    ended = site.engine.drive_one(opened)
    told = outcome(ended)
    assert ended.state is OperationState.CANCELLED and told["left"]
    assert {one["action"] for one in told["items"]} == {"skipped"}
    assert all("not reached" in one["detail"] and one["commands"] for one in told["items"])
    assert KINDS["put-back"].exit_code(site.catalog, ended) == 1


def test_who_looks_ahead_sees_what_would_be_left_and_what_waits_for_it(scene: Scene) -> None:
    site, cluster = scene
    cluster.guests[108].running = False
    ahead = opening.look_ahead(site, 108, surroundings.of(site, 108))
    found = {thing.what: end and str(end.outcome) for thing, end in ahead.things}
    assert found == dict.fromkeys(ALL) | {
        "HA resource vm:108": "skipped",
        "HA rule home": "skipped",
    }
    assert ahead.memory.node == "n1" and not ahead.blocker


def test_a_look_that_does_not_succeed_at_once_is_made_again(
    scene: Scene,
) -> None:
    site, cluster = scene
    opened, failed = open_one(site), list[str]()

    def around(method: str, path: str, act: Callable[[], Any]) -> Any:
        if path in LISTS and path not in failed:
            failed.append(path)
            raise PveAnswerUnreadable(f"{path} is none of PVE's")
        return act()

    site.pve = connect(cluster, site.policy.scratch, around)
    ended = site.engine.drive_one(opened)
    assert {one["action"] for one in outcome(ended)["items"]} == {"done"}, details(ended)


def test_what_is_remembered_is_read_back_as_it_was_written(scene: Scene) -> None:
    site, _ = scene
    opened = open_one(site)
    memory = recall(opened)
    assert [one.thing.what for one in memory.pieces] == ALL
    assert memory.pieces[0].thing.kind is Kind.POOL
    assert memory.pieces[0].thing == surroundings.of(site, 108).items[0]


def test_names_and_texts_that_no_call_can_hold_reach_no_call(scene: Scene, tmp_path: Path) -> None:
    site, cluster = scene
    hostile = {
        "guests.cfg": KEPT["guests.cfg"],
        "guests/qemu-108.conf": KEPT["guests/qemu-108.conf"],
        "pools.cfg": "pool: web\n",
        "pools/web.cfg": "pool: we%0Ab\n\tmember qemu/108\n",
        "access/acl.cfg": "acl: /vms/108 user a@pve%1B[1m Role\n",
        "jobs.cfg": "vzdump: ../../access/users\n\tschedule 1:00\n\tvmid 108\n",
        "replication.cfg": "local: 108-0\n\ttarget n2/../x\n",
        "ha/rules.cfg": "node-affinity: a/b\n\tnodes n1\n\tresources vm:108\n",
        "ha/resources.cfg": "vm: vm:108\n\tstate started%0Aforce 1\n",
        f"{FOLDER}/aliases.cfg": "alias: ../x\n\tcidr 10.0.0.0/8\n",
        f"{FOLDER}/options.cfg": "enable: 1\n",
    }
    (tmp_path / "config").rename(tmp_path / "old")
    cluster.said["cluster/backup"] = []
    keep(site, tmp_path, {2: ConfigSet(hostile)})
    ended, actions = put_back(site)
    assert cluster.changes == [] and set(actions.values()) == {"skipped"}
    assert KINDS["put-back"].exit_code(site.catalog, ended) == 1
