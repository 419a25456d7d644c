"""A guest that is there is replaced by one that is restored from its archive, and brought back: the
two are never on the network together, and nothing of the old one is lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from backupsvc.bootstrap import Service, open_service
from backupsvc.errors import PveError, PvePermissionDenied
from backupsvc.operations.replace import planning as replacing
from backupsvc.operations.replace.memory import recall
from backupsvc.operations.restore import checking
from backupsvc.operations.restore.choice import Wanted
from backupsvc.operations.restore.planning import Wish
from backupsvc.pve.cluster import Cluster
from backupsvc.pve.replacing import Replacing
from backupsvc.pve.tasks import TaskResult, Tasks
from policies.model import CheckResult, Operation, OperationState, Outcome
from policies.pve.guest_config import macs, smbios_uuid
from pvelab.accident import delete_guest
from tests.commands import Answer, Shell
from tests.integration.root_shell import NODE, Root

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
    assert f"guest {OLD} is backed up by job" in shown.out and "is not moved" in shown.out
    unchecked = backed_up("restore", OLD, "--replace", "--dry-run", "--json")
    assert (
        unchecked.code == 4 and "nothing can be asked" in unchecked.json["blockers"][0]["message"]
    )
    gone = backed_up("restore", 4711, "--replace", "--dry-run", "--json")
    assert gone.code == 1 and "nothing to replace" in gone.json["error"]["message"]


def test_law_1_one_that_ha_manages_is_not_replaced_and_the_command_is_said(
    backed_up: Shell,
) -> None:
    as_root(backed_up, "POST", "/cluster/ha/resources", sid=f"vm:{OLD}", state="started")
    answer = replaced(backed_up, "--confirm-name", NAME, "--json")
    as_root(backed_up, "DELETE", f"/cluster/ha/resources/vm:{OLD}")
    assert answer.code == 4 and f"ha-manager remove vm:{OLD}" in answer.json["error"]["hint"]
    assert status(backed_up, OLD) == "running" and NEW not in Root(backed_up.state).guests()


def test_law_2_a_running_guest_is_replaced_and_brought_back(backed_up: Shell) -> None:
    before, saved = config(backed_up, OLD), archives(backed_up)
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
    assert old | {"onboot": "1", "net0": before["net0"]} == before, "its disks and all else stay"
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
    assert new["onboot"] == "0" and "link_down=1" in new["net0"], "it stays, with what was written"
    again = backed_up("operations", "undo", id, "--confirm-name", NAME, "--json")
    assert again.code == 0 and config(backed_up, OLD) == before, "once more changes nothing"
    third = backed_up("restore", OLD, "--replace", "--accept-unchecked", "--dry-run", "--json")
    assert third.code == 4 and "a second one would meet it" in third.json["blockers"][0]["message"]


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
