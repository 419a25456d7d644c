"""A guest that is there is replaced by one that is restored from its archive, and brought back: the
two are never on the network together, and nothing of the old one is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest

from backupsvc.bootstrap import Service, open_service
from backupsvc.errors import PveError, PvePermissionDenied, PveUnreachable, Refused
from backupsvc.operations.replace import pair as replace_pair
from backupsvc.operations.replace import planning as replacing
from backupsvc.operations.replace.memory import recall
from backupsvc.operations.restore import checking
from backupsvc.operations.restore.choice import Wanted
from backupsvc.operations.restore.planning import Wish
from backupsvc.pve.cluster import Cluster
from backupsvc.pve.guests import Guests
from backupsvc.pve.ha import HighAvailability
from backupsvc.pve.replacing import Replacing
from backupsvc.pve.tasks import TaskResult, Tasks
from policies import restore_verdict
from policies.ha.facts import Resource
from policies.model import CheckResult, Operation, OperationState, Outcome
from policies.pve.guest_config import macs, smbios_uuid
from policies.restore_verdict import Health, Judgement
from pvelab.accident import delete_guest
from tests.commands import Answer, Shell
from tests.integration.root_shell import NODE, Root
from tests.rehearsed import Record, rehearsal

pytestmark = [pytest.mark.slow, pytest.mark.long(300)]
OLD, NEW, NAME = 105, 205, "Kanboard-Server"


@pytest.fixture(scope="module")
def backed_up(site: Shell) -> Shell:
    assert site("backup", "run", "--vmid", OLD, "--json").code == 0
    as_root(site, "PUT", f"/nodes/{NODE}/qemu/{OLD}/config", onboot=1)
    assert site("backup", "run", "--vmid", OLD, "--json").code == 0
    return site


def as_root(site: Shell, method: str, path: str, /, **params: Any) -> Any:
    return Root(site.state)(method, path, **params)


def config(site: Shell, vmid: int) -> dict[str, str]:
    found = as_root(site, "GET", f"/nodes/{NODE}/qemu/{vmid}/config")
    return {key: str(value) for key, value in found.items() if key != "digest"}


def status(site: Shell, vmid: int) -> str:
    return str(as_root(site, "GET", f"/nodes/{NODE}/qemu/{vmid}/status/current")["status"])


def archives(site: Shell) -> list[str]:
    found = site("catalog", "list", "--vmid", OLD, "--json").json["archives"]
    return [one["volid"] for one in found]


def replaced(site: Shell, *words: object) -> Answer:
    return site("restore", OLD, "--replace", "--as", NEW, "--accept-unchecked", *words)


def test_law_1_a_guest_is_shut_down_only_if_its_name_was_typed(backed_up: Shell) -> None:
    before = config(backed_up, OLD)
    for words in ((), ("--yes",), ("--json",), ("--confirm-name", "Another"), ("--clone",)):
        assert replaced(backed_up, *words).code == 2, words
    for words in (("--confirm-name", NAME), ("--force-stop",), ("--accept-unchecked",)):
        assert backed_up("restore", OLD, "--yes", *words).code == 2
    assert config(backed_up, OLD) == before and status(backed_up, OLD) == "running"
    assert backed_up("operations", "list", "--kind", "replace", "--json").json["operations"] == []


def test_what_would_be_done_is_told_with_all_that_keeps_it_from_being_done(
    backed_up: Shell,
) -> None:
    dry = replaced(backed_up, "--dry-run", "--json")
    assert dry.code == 0, dry.out + dry.err
    told = dry.json["replaces"]
    assert (told["vmid"], told["by"], told["type"]) == (OLD, NEW, NAME)
    assert all(
        "link_down=1" in value for key, value in dry.json["overrides"].items() if key[:3] == "net"
    )
    shown = replaced(backed_up, "--dry-run")
    assert f"guest {OLD} is backed up by job" in shown.out and "what is around it" in shown.out
    around = {one["what"]: one for one in dry.json["surroundings"]}
    job = around["backup job backup-langeo"]
    # the lab's token may not change jobs
    assert job["action"] == "command" and "lacks Sys.Modify on /" in job["detail"]
    assert f"{NEW}" in job["commands"][0] and f"{OLD}," not in job["commands"][0]
    unchecked = backed_up("restore", OLD, "--replace", "--dry-run", "--json")
    assert (
        unchecked.code == 4 and "nothing can be asked" in unchecked.json["blockers"][0]["message"]
    )
    gone = backed_up("restore", 4711, "--replace", "--dry-run", "--json")
    assert gone.code == 1 and "nothing to replace" in gone.json["error"]["message"]


def test_law_1_one_that_ha_manages_is_not_replaced_where_ha_cannot_be_told_to_leave_it_alone(
    backed_up: Shell,
) -> None:
    as_root(backed_up, "POST", "/cluster/ha/resources", sid=f"vm:{OLD}", state="started")
    answer = replaced(backed_up, "--confirm-name", NAME, "--json")
    as_root(backed_up, "DELETE", f"/cluster/ha/resources/vm:{OLD}")
    assert answer.code == 4 and "lacks Sys.Console on /" in answer.json["error"]["message"]
    assert f"ha-manager set vm:{OLD} --state ignored" in answer.json["error"]["hint"]
    assert status(backed_up, OLD) == "running" and NEW not in Root(backed_up.state).guests()


def test_law_2_a_running_guest_is_replaced_and_brought_back(
    backed_up: Shell, record_property: Record
) -> None:
    before, saved = config(backed_up, OLD), archives(backed_up)
    with rehearsal(
        record_property, "a running guest replaced, and its way back", backed_up.state / "lab"
    ):
        answer = replaced(backed_up, "--confirm-name", NAME, "--json")
        assert answer.code == 0, answer.out + answer.err
        told = answer.json
        assert (told["original"], told["vmid"], told["replaced"]["switched"], told["verdict"]) == (
            OLD,
            NEW,
            True,
            "simulated",
        )
        # its state before lies in an archive of its own
        volid = told["replaced"]["safety_archive"]
        assert volid not in saved and volid in archives(backed_up)
        old, new = config(backed_up, OLD), config(backed_up, NEW)
        assert (status(backed_up, OLD), status(backed_up, NEW)) == ("stopped", "running")
        assert old["onboot"] == "0" and old["net0"] == f"{before['net0']},link_down=1"
        assert old | {"onboot": "1", "net0": before["net0"]} == before, (
            "its disks and all else stay"
        )
        assert (new["net0"], new["onboot"]) == (before["net0"], "1")
        assert smbios_uuid(new) == smbios_uuid(old) and macs(new) == macs(old)
        # and the way back
        id = told["operation"]
        for words in ((), ("--json",), ("--confirm-name", "Another")):
            assert backed_up("operations", "undo", id, *words).code == 2
        dry = backed_up("operations", "undo", id, "--dry-run", "--json")
        assert dry.code == 0 and dry.json["original"] == OLD
        assert status(backed_up, NEW) == "running"
        undone = backed_up("operations", "undo", id, "--confirm-name", NAME, "--json")
        assert undone.code == 0, undone.out + undone.err
        assert undone.json["back"] is True
        assert config(backed_up, OLD) == before
        assert (status(backed_up, OLD), status(backed_up, NEW)) == ("running", "stopped")
        new = config(backed_up, NEW)
        assert new["onboot"] == "0" and "link_down=1" in new["net0"], (
            "it stays, with what was written"
        )
    again = backed_up("operations", "undo", id, "--confirm-name", NAME, "--json")
    assert again.code == 0 and config(backed_up, OLD) == before, "once more changes nothing"
    third = backed_up("restore", OLD, "--replace", "--accept-unchecked", "--dry-run", "--json")
    assert third.code == 4 and "a second one would meet it" in third.json["blockers"][0]["message"]
    assert (
        f"replacement {id} (guest {OLD} by {NEW}) left it" in third.json["blockers"][0]["message"]
    )
    assert f"qm destroy {NEW} --purge" in third.json["blockers"][0]["hint"]


def test_law_1_no_other_operation_has_a_way_back_or_is_retried(backed_up: Shell) -> None:
    rows = backed_up("operations", "list", "--json").json["operations"]
    kinds = {row["kind"]: row["id"] for row in rows}
    for kind in ("backup", "replace-undo"):
        answer = backed_up("operations", "undo", kinds[kind], "--confirm-name", NAME, "--json")
        assert answer.code == 4 and "has no way back" in answer.json["error"]["message"]
    for kind in ("replace", "replace-undo"):
        answer = backed_up("operations", "retry", kinds[kind], "--json")
        assert answer.code == 4 and "typed anew" in answer.json["error"]["message"]


# --- what goes wrong, in this process ---------------------------------------------------------------


@contextmanager
def service_of(site: Shell, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setenv("BACKUPSVC_STATE_DIR", str(site.state))
    # what an earlier replacement left would be a third one of that machine
    for vmid, row in Root(site.state).guests().items():
        if row["name"] == NAME and vmid != OLD:
            delete_guest(site.state / "lab", NODE, vmid)
    with open_service() as service:
        yield service


def driven(service: Service, **changes: Any) -> Operation:
    """Replace the guest under a VMID of its own each time, and return the operation as it ended."""
    plan = replacing.look_ahead(service, OLD, Wish(Wanted()), replacing.Allowed(unchecked=True))
    planned = replace(replacing.typed(plan.memory, int(service.clock.now())), **changes)
    new = plan.restore.target
    return service.engine.drive_one(replacing.open_replace(service, new, planned))


def untouched(site: Shell, before: dict[str, str], ended: Operation) -> None:
    assert config(site, OLD) == before and status(site, OLD) == "running"
    assert ended.state is OperationState.FAILED and ended.book.cleanup_error is None
    assert ended.subject and status(site, ended.subject) == "stopped"
    left = config(site, ended.subject)
    assert "link_down=1" in left["net0"] and left["onboot"] == "0"


def test_law_1_a_failed_check_leaves_the_old_guest_as_it_was(
    backed_up: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = config(backed_up, OLD)

    def bad(run: Any, wanted: Any) -> None:
        answer = CheckResult("agent", Outcome.FAILED, "no disk", kind="agent")
        run.memory = replace(run.memory, checks={"agent": answer})

    monkeypatch.setattr(checking, "ask", bad)
    with service_of(backed_up, monkeypatch) as service:
        ended = driven(service)
    untouched(backed_up, before, ended)
    assert ended.book.error and "check failed: agent: no disk" in ended.book.error.message
    assert not recall(ended).cut and "shut-down" not in ended.book.tasks
    answer = backed_up("operations", "undo", ended.id, "--confirm-name", NAME, "--json")
    assert answer.code == 4 and "never touched" in answer.json["error"]["message"]


@pytest.mark.parametrize("act", ["pull_old", "connect_new"])
def test_law_2_what_fails_after_the_old_guest_went_down_brings_it_back(
    backed_up: Shell, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    before = config(backed_up, OLD)

    def refused(*_: Any) -> None:
        raise PveError("it is refused", status=400)

    monkeypatch.setattr(Replacing, act, refused)
    with service_of(backed_up, monkeypatch) as service:
        ended = driven(service)
    untouched(backed_up, before, ended)
    assert recall(ended).cut and recall(ended).ran


@pytest.mark.parametrize("force", [False, True])
def test_a_guest_that_does_not_shut_down_is_brought_back_unless_it_may_be_switched_off(
    backed_up: Shell, monkeypatch: pytest.MonkeyPatch, force: bool
) -> None:
    before, poll = config(backed_up, OLD), Tasks.poll

    def deaf(self: Tasks, upid: str) -> TaskResult | None:
        found = poll(self, upid)
        late = f":qmshutdown:{OLD}:" in upid and found
        return replace(found, ok=False, exitstatus="got timeout") if late and found else found

    monkeypatch.setattr(Tasks, "poll", deaf)
    with service_of(backed_up, monkeypatch) as service:
        ended = driven(service, force_stop=force)
    assert ("shut-down-off" in ended.book.tasks) is force
    if force:
        assert ended.state is OperationState.DONE and status(backed_up, OLD) == "stopped"
        words = ("operations", "undo", ended.id, "--confirm-name", NAME, "--json")
        assert backed_up(*words).code == 0
    else:
        assert ended.book.error and "did not shut down within" in ended.book.error.message
    assert config(backed_up, OLD) == before and status(backed_up, OLD) == "running"


def test_law_1_a_token_that_may_not_switch_the_old_guest_off_is_told_so_before_anything_is_done(
    backed_up: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Cluster.permissions_at
    monkeypatch.setattr(
        Cluster,
        "permissions_at",
        lambda self, path: (
            held(self, path) - ({"VM.PowerMgmt"} if path.endswith(str(OLD)) else set())
        ),
    )
    denied = pytest.raises(PvePermissionDenied, match=f"VM.PowerMgmt on /vms/{OLD}")
    with service_of(backed_up, monkeypatch) as service, denied:
        driven(service)


def test_law_10_another_machine_under_the_vmid_is_not_replaced(
    backed_up: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = config(backed_up, OLD)
    other = "uuid=11111111-1111-4111-8111-111111111111"
    as_root(backed_up, "PUT", f"/nodes/{NODE}/qemu/{OLD}/config", smbios1=other)
    try:
        volid = archives(backed_up)[0]
        answer = replaced(backed_up, "--archive", volid, "--dry-run", "--json")
        assert answer.code == 4, answer.out
        assert any("not surely of the machine" in one["message"] for one in answer.json["blockers"])
    finally:
        as_root(backed_up, "PUT", f"/nodes/{NODE}/qemu/{OLD}/config", smbios1=before["smbios1"])
    assert config(backed_up, OLD) == before


# --- what is around it ----------------------------------------------------------------------------

WHO = {
    "users": "backupsvc@pve",
    "tokens": "backupsvc@pve!service,backupsvc@pve!restore",
}
RIGHTS = {
    "/": "Sys.Audit,Sys.Console,Sys.Modify,Pool.Audit",
    "/pool/web": "Pool.Audit,Pool.Allocate",
}
APART, HOME = f"vm:{OLD},vm:108", f"vm:{OLD}"


@pytest.fixture(scope="module")
def surrounded(backed_up: Shell) -> Shell:
    """The old guest is in HA, in rules of it, in a pool and in jobs, and the token may change that."""
    for number, (path, privileges) in enumerate(RIGHTS.items()):
        as_root(backed_up, "POST", "/access/roles", roleid=f"Around{number}", privs=privileges)
        as_root(backed_up, "PUT", "/access/acl", path=path, roles=f"Around{number}", **WHO)
    as_root(backed_up, "POST", "/pools", poolid="web")
    as_root(backed_up, "PUT", "/pools", poolid="web", vms=OLD)
    job = {"schedule": "2038-01-01 21:00", "storage": "local", "mode": "snapshot", "enabled": 0}
    as_root(backed_up, "POST", "/cluster/backup", id="alone", vmid=OLD, **job)
    as_root(backed_up, "POST", "/cluster/backup", id="but", all=1, exclude=OLD, **job)
    as_root(backed_up, "POST", "/cluster/ha/resources", sid=HOME, state="started", max_restart=3)
    nodes = {"type": "node-affinity", "nodes": f"{NODE}:2"}
    as_root(backed_up, "POST", "/cluster/ha/rules", rule="home", resources=HOME, **nodes)
    as_root(backed_up, "POST", "/cluster/ha/rules", rule="two", resources=APART, **nodes)
    fast = backed_up("lab", "cluster", "--time-factor", "50")
    assert fast.code == 0, fast.err
    return backed_up


def around(site: Shell) -> dict[str, Any]:
    """What HA and the jobs have of the two."""
    rows = {one["sid"]: one for one in as_root(site, "GET", "/cluster/ha/resources")}
    jobs = {one["id"]: one for one in as_root(site, "GET", "/cluster/backup")}
    rules = {one["rule"]: one["resources"] for one in as_root(site, "GET", "/cluster/ha/rules")}
    lists = {
        name: sorted(str(one.get("vmid") or one.get("exclude")).split(","))
        for name, one in jobs.items()
    }
    return {
        "ha": {sid: one["state"] for sid, one in rows.items() if sid != "vm:108"},
        "jobs": {name: [one for one in listed if one in (str(OLD), str(NEW))]
                 for name, listed in lists.items()},
        "others": {name: [one for one in listed if one not in (str(OLD), str(NEW))]
                   for name, listed in lists.items()},
        "rules": rules,
    }  # fmt: skip


def test_law_1_what_is_around_it_passes_to_the_new_guest_and_comes_back(
    surrounded: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    with service_of(surrounded, monkeypatch):
        pass
    before, wired = around(surrounded), config(surrounded, OLD)
    dry = replaced(surrounded, "--dry-run", "--json")
    assert dry.code == 0, dry.out + dry.err
    planned = {one["what"]: one["action"] for one in dry.json["surroundings"]}
    assert planned[f"HA resource vm:{OLD}"] == planned[f"HA resource vm:{NEW}"] == "planned"
    assert planned["pool web"] == planned["backup job alone"] == planned["HA rule two"] == "planned"
    assert around(surrounded) == before
    answer = replaced(surrounded, "--confirm-name", NAME, "--json")
    assert answer.code == 0, answer.out + answer.err
    told = {one["what"]: one["action"] for one in answer.json["surroundings"]}
    assert {told[what] for what in planned if planned[what] == "planned"} == {"done"}
    now = around(surrounded)
    assert now["ha"] == {f"vm:{OLD}": "ignored", f"vm:{NEW}": "started"}
    assert now["jobs"]["alone"] == now["jobs"]["backup-langeo"] == [str(NEW)]
    assert now["jobs"]["but"] == [str(OLD), str(NEW)] and now["others"] == before["others"]
    assert set(now["rules"]["two"].split(",")) == {*APART.split(","), f"vm:{NEW}"}
    members = {one["vmid"] for one in as_root(surrounded, "GET", "/pools/web")["members"]}
    assert members == {OLD, NEW}
    resource = as_root(surrounded, "GET", f"/cluster/ha/resources/vm:{NEW}")
    assert int(resource["max_restart"]) == 3
    # HA has had rounds enough to start what it manages
    assert (status(surrounded, OLD), status(surrounded, NEW)) == ("stopped", "running")
    shown = surrounded("operations", "undo", answer.json["operation"], "--dry-run")
    assert f"HA keeps guest {OLD} started again" in shown.out
    undone = surrounded(
        "operations", "undo", answer.json["operation"], "--confirm-name", NAME, "--json"
    )
    assert undone.code == 0, undone.out + undone.err
    now = around(surrounded)
    assert now["ha"] == {f"vm:{OLD}": "started", f"vm:{NEW}": "ignored"}
    assert {name: now["jobs"][name] for name in ("alone", "backup-langeo")} == {
        name: before["jobs"][name] for name in ("alone", "backup-langeo")
    }
    assert now["others"] == before["others"] and config(surrounded, OLD) == wired
    assert (status(surrounded, OLD), status(surrounded, NEW)) == ("running", "stopped")
    as_root(surrounded, "DELETE", f"/cluster/ha/resources/vm:{NEW}")


@pytest.mark.parametrize("act", ["hold_old", "shut_down_old", "connect_new"])
def test_law_1_where_it_fails_ha_has_the_old_guest_again_as_it_had_it(
    surrounded: Shell, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    with service_of(surrounded, monkeypatch):  # what an earlier test left goes
        before, wired = around(surrounded), config(surrounded, OLD)

    def refused(*_: Any) -> None:
        raise PveError("it is refused", status=400)

    monkeypatch.setattr(Replacing, act, refused)
    with service_of(surrounded, monkeypatch) as service:
        ended = driven(service)
    untouched(surrounded, wired, ended)
    assert recall(ended).held == "started" and around(surrounded) == before


def test_law_1_one_that_could_not_give_ha_its_guest_back_says_how_and_is_undone_later(
    surrounded: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold = Replacing.hold_old
    with service_of(surrounded, monkeypatch):  # what an earlier test left goes
        before, wired = around(surrounded), config(surrounded, OLD)

    def refused(*_: Any) -> None:
        raise PveError("it is refused", status=400)

    def held_and_refused(self: Replacing) -> None:
        hold(self)
        refused()

    with monkeypatch.context() as broken:
        broken.setattr(Replacing, "hold_old", held_and_refused)
        broken.setattr(Replacing, "arm_old", refused)
        with service_of(surrounded, broken) as service:
            ended = driven(service)
    assert around(surrounded)["ha"] == {f"vm:{OLD}": "ignored"}
    command = f"`ha-manager set vm:{OLD} --state started`"
    assert any(command in one for one in recall(ended).left), recall(ended).left
    undone = surrounded("operations", "undo", ended.id, "--confirm-name", NAME, "--json")
    assert undone.code == 0 and undone.json["left"] == [], undone.out + undone.err
    assert around(surrounded) == before and config(surrounded, OLD) == wired
    assert status(surrounded, OLD) == "running"
    again = surrounded("operations", "undo", ended.id, "--confirm-name", NAME, "--json")
    assert again.code == 4 and "never touched" in again.err, again.out + again.err


def test_a_good_replacement_stays_good_where_the_old_guests_node_is_lost_before_ha_gets_the_new_one(
    surrounded: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost() -> None:
        raise PveUnreachable("the node of the old one does not answer", node=NODE)

    def pair(run: Any) -> Replacing:
        both = replace_pair.pair(run)
        if run.operation.step == "move":
            monkeypatch.setattr(both, "look", lost)
        return both

    monkeypatch.setattr("backupsvc.operations.replace.moving.pair", pair)
    with service_of(surrounded, monkeypatch) as service:
        ended = driven(service)
    assert ended.state is OperationState.DONE, ended.error
    ends = {one.thing.what: one.end for one in recall(ended).pieces}
    armed = ends[f"HA resource vm:{ended.subject}"]
    assert armed and armed.outcome == "skipped" and "how the two stand is not known" in armed.detail
    assert surrounded("operations", "undo", ended.id, "--confirm-name", NAME).code == 0


def test_law_2_a_verdict_that_is_not_good_gives_ha_no_new_guest(
    surrounded: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bad(_: Any) -> Judgement:
        return Judgement(Health.FAILED, ("check http: no answer",))

    monkeypatch.setattr(restore_verdict, "decide", bad)
    with service_of(surrounded, monkeypatch) as service:
        ended = driven(service)
    ends = {one.thing.what: one.end for one in recall(ended).pieces}
    held = ends[f"HA resource vm:{ended.subject}"]
    assert held and held.outcome == "skipped" and "HA would start it" in held.detail
    assert ends["backup job alone"] and ends["backup job alone"].outcome == "done"
    assert around(surrounded)["ha"] == {f"vm:{OLD}": "ignored"}
    assert surrounded("operations", "undo", ended.id, "--confirm-name", NAME).code == 0
    assert around(surrounded)["ha"] == {f"vm:{OLD}": "started"}


def test_law_2_a_vmid_that_ha_has_already_is_not_restored_under(
    surrounded: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would start the new guest as soon as a restore lets go of its lock."""
    kept = HighAvailability.resources

    def more(self: HighAvailability) -> tuple[Resource, ...]:
        return (*kept(self), Resource(f"vm:{NEW}", "started"))

    monkeypatch.setattr(HighAvailability, "resources", more)
    with service_of(surrounded, monkeypatch) as service, pytest.raises(Refused, match="already"):
        replacing.look_ahead(
            service, OLD, Wish(Wanted(), into=NEW), replacing.Allowed(unchecked=True)
        )


# --- what others do meanwhile ---------------------------------------------------------------------

Deed = Callable[[Shell, int], object]
CONFIG = f"/nodes/{NODE}/qemu/{{}}/config"
STRANGER = "uuid=11111111-1111-4111-8111-111111111111"


def changed(vmid: int, **params: Any) -> Deed:
    """The config of the old guest (``OLD``), or of the new one (``NEW``), is changed by hand."""
    return lambda site, new: as_root(
        site, "PUT", CONFIG.format(new if vmid == NEW else OLD), **params
    )


def started(site: Shell, new: int) -> None:
    Root(site.state).task("POST", f"/nodes/{NODE}/qemu/{OLD}/status/start")


def given_to_ha(site: Shell, new: int) -> None:
    started(site, new)
    as_root(site, "POST", "/cluster/ha/resources", sid=f"vm:{new}", state="started")


@dataclass(frozen=True)
class Attack:
    """What somebody does right before an effect of the replacement, the words in which that stops
    it, and the keys of the old guest's config that are then as somebody set them.
    """

    before: str
    deed: Deed
    said: str
    others: tuple[str, ...] = ()


ATTACKS = {
    "the old guest is started by hand before the new one gets its links": Attack(
        "connect_new", started, "the old guest is running"
    ),
    "the old guest gets another NIC before the new one gets its links": Attack(
        "connect_new", changed(OLD, net1="virtio,bridge=vmbr0"), "its links are up", ("net1",)
    ),
    "the links of the old guest are brought up again": Attack(
        "connect_new", changed(OLD, net0="virtio=BC:24:11:00:00:05,bridge=vmbr0"), "its links are up",
        ("net0",),
    ),
    "somebody gives the old guest to HA again": Attack(
        "connect_new",
        lambda site, new: as_root(
            site, "PUT", f"/cluster/ha/resources/vm:{OLD}", state="started"
        ),
        "the old guest is",
    ),
    "the new guest gets a link before the old one is shut down": Attack(
        "shut_down_old", changed(NEW, net1="virtio,bridge=vmbr0"), "its links are up"
    ),
    "somebody starts the old guest, and gives the new one to HA": Attack(
        "connect_new", given_to_ha, "the old guest is running"
    ),
    "the old guest is renamed after its name was typed": Attack(
        "start_new", changed(OLD, name="Another"), "another name by now", ("name",)
    ),
    "another machine is under the old VMID": Attack(
        "shut_down_old", changed(OLD, smbios1=STRANGER, net0="virtio=BC:24:11:00:00:99,bridge=vmbr0"),
        "is another machine", ("smbios1", "net0"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS)
def test_law_2_whatever_others_do_meanwhile_the_two_are_never_on_the_network_by_our_doing(
    surrounded: Shell, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    attack, wired = ATTACKS[name], config(surrounded, OLD)
    effect, done = getattr(Replacing, attack.before), list[int]()

    def meanwhile(self: Replacing, *words: Any) -> Any:
        if not done:
            done.append(1)
            attack.deed(surrounded, self._new)
        return effect(self, *words)

    monkeypatch.setattr(Replacing, attack.before, meanwhile)
    try:
        with service_of(surrounded, monkeypatch) as service:
            ended = driven(service)
        assert done and ended.subject
        now, new = config(surrounded, OLD), config(surrounded, ended.subject)
        others = {key: now[key] for key in attack.others if key in now}
        assert now == wired | others, "nothing else of it has changed"
        assert ended.state is OperationState.FAILED and ended.book.error
        assert attack.said in ended.book.error.message, ended.book.error
        assert "link_down=1" in new["net0"] and status(surrounded, OLD) == "running"
        if "smbios1" not in attack.others:
            assert ended.book.cleanup_error is None, ended.book.cleanup_error
            assert status(surrounded, ended.subject) == "stopped"
            states = around(surrounded)["ha"]
            assert states.get(f"vm:{ended.subject}", "ignored") == "ignored"
            assert states[f"vm:{OLD}"] == "started"
    finally:
        back = {key: wired[key] for key in attack.others if key in wired}
        gone = [key for key in attack.others if key not in wired]
        if back or gone:
            changed(OLD, **back, **({"delete": ",".join(gone)} if gone else {}))(surrounded, 0)
        as_root(surrounded, "PUT", f"/cluster/ha/resources/vm:{OLD}", state="started")


def test_one_that_is_hibernated_is_not_replaced(
    backed_up: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its memory would be lost to whoever takes its place, and it cannot be shut down."""
    read = Guests.config
    monkeypatch.setattr(
        Guests,
        "config",
        lambda self, node, vmid: read(self, node, vmid) | ({"lock": "suspended"} if vmid == OLD else {}),
    )  # fmt: skip
    with service_of(backed_up, monkeypatch) as service, pytest.raises(Refused, match="hibernated"):
        driven(service)


def test_law_2_one_that_was_replaced_and_then_deleted_does_not_come_back_beside_its_successor(
    backed_up: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    with service_of(backed_up, monkeypatch) as service:
        ended = driven(service)
    assert ended.state is OperationState.DONE
    delete_guest(backed_up.state / "lab", NODE, OLD)
    answer = backed_up("restore", OLD, "--yes", "--json")
    assert answer.code == 4 and f"guest {ended.subject} (" in answer.json["error"]["message"]
    assert "a second one would meet it" in answer.json["error"]["message"]
    undo = backed_up("operations", "undo", ended.id, "--confirm-name", NAME, "--json")
    assert undo.code == 1 and "nothing to replace" in undo.json["error"]["message"]
    assert ended.subject and status(backed_up, ended.subject) == "running"
