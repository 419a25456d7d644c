"""The operations that are killed and broken: how each is opened, and what must be the same whatever
happened.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from backupsvc.bootstrap import Service
from backupsvc.errors import Unreachable
from backupsvc.operations import surroundings
from backupsvc.operations.backup.opening import open_backup
from backupsvc.operations.backup.result import backup_outcome
from backupsvc.operations.copy.memory import recall as recall_copy
from backupsvc.operations.copy.opening import open_copy
from backupsvc.operations.copy_recheck.memory import recall as recall_copy_recheck
from backupsvc.operations.copy_recheck.opening import open_copy_recheck
from backupsvc.operations.ha_drill.opening import open_drill
from backupsvc.operations.ha_drill.result import outcome as drill_outcome
from backupsvc.operations.prune.opening import open_prune
from backupsvc.operations.prune.result import prune_outcome
from backupsvc.operations.put_back.opening import look_ahead, open_put_back
from backupsvc.operations.put_back.result import outcome as put_back_outcome
from backupsvc.operations.recheck.memory import recall as recall_recheck
from backupsvc.operations.recheck.opening import open_recheck
from backupsvc.operations.recover.memory import RecoverMemory
from backupsvc.operations.recover.opening import open_recovery
from backupsvc.operations.recover.result import outcome as recover_outcome
from backupsvc.operations.replace import planning as replacing
from backupsvc.operations.replace.memory import recall as recall_replace
from backupsvc.operations.replace.result import replace_outcome, undo_outcome
from backupsvc.operations.restore.choice import Wanted
from backupsvc.operations.restore.planning import Wish, open_restore, plan_restore
from backupsvc.operations.restore.result import restore_outcome
from backupsvc.operations.restore_test import proving
from backupsvc.operations.restore_test.opening import open_test
from policies.copies_due import due
from policies.copy_folders import folder_of
from policies.ha import drill
from policies.ha.drill import Plan
from policies.jobs import expected
from policies.model import Operation, OperationState
from policies.recover.plan import Planned, Way
from policies.restore_guard import Confirmation
from tests.integration.durable import around

DRILLED, AWAY = 108, "lge-pve02"
BACKED_UP, TESTED, RESTORED, PRUNED, COPIED, READ = 110, 101, 103, 105, 104, 104
REPLACED, REPLACING = 105, 205
# what passes to the guest that replaces it: its backup job, and HA
MOVED = 2


@dataclass(frozen=True)
class Kind:
    """One kind of operation. ``open`` opens it, ``result`` tells what it came to, without times and
    names of its own. ``broken`` says what must not be, not even at the moment at which it is killed.
    """

    name: str
    vmid: int
    open: Callable[[Service], Operation | None]
    result: Callable[[Service, Operation], Any]
    broken: Callable[[Service], list[str]] = lambda service: []


def _open_backup(service: Service) -> Operation | None:
    job = service.policy.jobs[0]
    (item,) = expected(job, service.policy, service.pve.cluster.guests(), [BACKED_UP])
    return open_backup(service, job, item)


def _backed_up(service: Service, operation: Operation) -> Any:
    told = backup_outcome(operation)
    kept = (
        "vmid",
        "name",
        "node",
        "status",
        "verified",
        "consistency",
        "excluded_disks",
        "warnings",
        "exitstatus",
        "error",
    )
    archive = told["archive"]
    return {key: told[key] for key in kept} | {
        "thawed": told["file_systems"] and told["file_systems"]["state"],
        "rung": archive and archive["rung"],
        "ours": archive and operation.id in archive["notes"],
        "known": archive
        and service.catalog.archives.facts(archive["node"], archive["volid"])["operation"]
        == operation.id,
    }


def _tested(service: Service, operation: Operation) -> Any:
    told = proving.outcome(operation)
    kept = ("vmid", "verdict", "rung", "reasons", "isolation", "error")
    return {key: told[key] for key in kept} | {
        "stages": [stage["name"] for stage in told["stages"]],
        "checks": [(check["name"], check["outcome"]) for check in told["checks"]],
        "proofs": sum(
            proof.operation == operation.id for proof in service.catalog.proofs.find(vmid=TESTED)
        ),
    }


def _open_restore(service: Service) -> Operation | None:
    planned = plan_restore(service, RESTORED, at=None, volid=None, node=None, storage="local-lvm")
    return open_restore(service, RESTORED, planned)


def _restored(service: Service, operation: Operation) -> Any:
    told = restore_outcome(operation)
    return {key: told[key] for key in ("vmid", "name", "node", "restored", "started", "error")}


def _open_recovery(service: Service) -> Operation | None:
    """Of a node that was taken out of the cluster with the guest that is lost, whose archive is
    elsewhere, and with one of which nothing is left.
    """
    (archive,) = service.catalog.archives.find(vmid=RESTORED)
    lost = Planned(RESTORED, "Zabbix-Server", "important", True, Way.RESTORE, volid=archive.volid,
                   at=archive.ctime, target=archive.node, storage="local-lvm")  # fmt: skip
    nothing = Planned(199, "gone", "standard", False, Way.LOST)
    said = Confirmation("tests", int(service.clock.now()), "old-node is off")
    return open_recovery(service, RecoverMemory("old-node", (lost, nothing), said))


def _recovered(service: Service, operation: Operation) -> Any:
    told = recover_outcome(operation)
    ends = [(one["vmid"], one["outcome"], one["why"]) for one in told["guests"]]
    restores = service.catalog.operations.find(kind="restore", since=operation.created)
    mine = [one for one in restores if one.occurrence == f"recover {operation.id}#{RESTORED}"]
    around = [bool(one["around"]) for one in told["guests"]]
    return {"ends": ends, "error": told["error"], "restores": len(mine), "around": around}


def _open_put_back(service: Service) -> Operation | None:
    found = surroundings.of(service, around.VMID)
    ahead = look_ahead(service, around.VMID, found)
    # who is shown that something is not known would look again
    seen = sum(bool(one.calls) for one in found.items), len(found.items)
    if ahead.blocker or seen != (around.CALLED, around.SHOWN):
        raise Unreachable("not all of it could be seen")
    return open_put_back(service, ahead)


def _put_back(service: Service, operation: Operation) -> Any:
    told = put_back_outcome(operation)
    return {"error": told["error"]} | {one["what"]: one["action"] for one in told["items"]}


def _open_replace(service: Service) -> Operation | None:
    wish = Wish(Wanted(), storage="local-lvm", into=REPLACING)
    plan = replacing.look_ahead(service, REPLACED, wish, replacing.Allowed(unchecked=True))
    # who is shown that something is not known would look again
    if sum(end is None for _, end in plan.things) != MOVED:
        raise Unreachable("not all that is around it could be seen")
    planned = replacing.typed(plan.memory, int(service.clock.now()))
    return replacing.open_replace(service, REPLACING, planned)


def _replaced(service: Service, operation: Operation) -> Any:
    told = replace_outcome(operation)
    about = told["replaced"]
    kept = ("vmid", "original", "name", "node", "verdict", "error")
    known = {archive.volid for archive in service.catalog.archives.find(vmid=REPLACED)}
    return {key: told[key] for key in kept} | {
        "saved": about["safety_archive"] in known,
        **{key: about[key] for key in ("touched", "switched", "left")},
        "around": _moved(told),
    }


def _moved(told: dict[str, Any]) -> dict[str, str]:
    return {one["what"]: one["action"] for one in told["surroundings"]}


def _open_undo(service: Service) -> Operation | None:
    """Of the replacement that the stage made just before."""
    (done,) = service.catalog.operations.find(kind="replace", state=OperationState.DONE, limit=1)
    planned = replacing.plan_undo(service, done, recall_replace(done), force_stop=False)
    if planned.around_unknown or sum(bool(one.thing.calls) for one in planned.pieces) != 1:
        raise Unreachable("not all that is around it could be seen")
    return replacing.open_undo(
        service, REPLACING, replacing.typed(planned, int(service.clock.now()))
    )


def _undone(service: Service, operation: Operation) -> Any:
    told = undo_outcome(operation)
    kept = ("original", "vmid", "back", "left", "error")
    return {key: told[key] for key in kept} | {"around": _moved(told)}


def both_up(service: Service) -> list[str]:
    """Say so if the guest that is replaced and its successor both run with a link up (law 2)."""
    up = []
    for guest in service.pve.cluster.guests():
        if guest.vmid not in (REPLACED, REPLACING):
            continue
        config = service.pve.guests.config(guest.node, guest.vmid)
        lines = [value for key, value in config.items() if key.startswith("net")]
        if service.pve.guests.status(guest.node, guest.vmid).running and any(
            "link_down=1" not in line for line in lines
        ):
            up.append(guest.vmid)
    return [f"guests {up} both run with a link up"] if len(up) > 1 else []


def _pruned(service: Service, operation: Operation) -> Any:
    told = prune_outcome(operation)
    left = sorted(archive.volid for archive in service.catalog.archives.find(vmid=PRUNED))
    return {"removed": sorted(told["removed"]), "error": told["error"], "left": left}


def _open_copy(service: Service, target: str) -> Operation | None:
    archives = service.catalog.archives.find(vmid=COPIED)
    (one,) = due(service.policy, archives, targets=[target])
    return open_copy(service, one)


def _copied(service: Service, operation: Operation) -> Any:
    verified, error = recall_copy(operation).verified, operation.book.error
    known = service.catalog.copies.find(COPIED)
    return {
        "bytes": verified and (verified.sha256, verified.size),
        "error": error and error.message,
        "listed": [(copy.route.target, copy.file, copy.sha256) for copy in known],
        "archives": sorted(
            (archive.node, archive.volid, archive.rung)
            for archive in service.catalog.archives.find(vmid=COPIED)
        ),
    }


def _open_recheck(service: Service) -> Operation | None:
    (one,) = service.catalog.archives.find(vmid=READ)
    return open_recheck(service, one)


def _read(service: Service, operation: Operation) -> Any:
    found, error = recall_recheck(operation).found, operation.book.error
    (archive,) = service.catalog.archives.find(vmid=READ)
    return {
        "found": found and (found.sha256, found.size, found.good, found.problem),
        "error": error and error.message,
        "known": (archive.sha256, archive.rung, archive.damaged, archive.checked_at is not None),
    }


def _open_copy_recheck(service: Service) -> Operation | None:
    (target,) = (one for one in service.policy.copies if one.name == "usb")
    (copy,) = service.catalog.copies.find(COPIED, folder=folder_of(target), damaged=True)
    return open_copy_recheck(service, copy, target)


def _copy_read(service: Service, operation: Operation) -> Any:
    found, error = recall_copy_recheck(operation).found, operation.book.error
    known = service.catalog.copies.find(COPIED, archives=False, damaged=True)
    return {
        "found": found and (found.problem, found.how),
        "error": error and error.message,
        "known": [(copy.file, copy.damaged, copy.checked_at is not None) for copy in known],
    }


def _open_drill(service: Service) -> Operation | None:
    check, address = drill.question(service.policy, DRILLED)
    plan = Plan(
        DRILLED, "Debian-Server", f"vm:{DRILLED}", "clovis", AWAY, "migrate", check, address, ()
    )
    return open_drill(service, plan)


def _drilled(service: Service, operation: Operation) -> Any:
    told = drill_outcome(operation)
    ways = {way: (told[way]["arrived"], told[way]["answered"]) for way in ("out", "back")}
    return ways | {key: told[key] for key in ("back_home", "ended_on", "error")}


def copy_to(target: str) -> Kind:
    """Given a target of the stage's policy, return the kind that copies to it."""
    return Kind("copy", COPIED, lambda service: _open_copy(service, target), _copied)


KINDS = {
    kind.name: kind
    for kind in (
        Kind("backup", BACKED_UP, _open_backup, _backed_up),
        Kind("restore-test", TESTED, lambda service: open_test(service, TESTED), _tested),
        Kind("prune", PRUNED, lambda service: open_prune(service, [PRUNED]), _pruned),
        Kind("restore", RESTORED, _open_restore, _restored),
        Kind("recover", RESTORED, _open_recovery, _recovered),
        Kind("put-back", around.VMID, _open_put_back, _put_back),
        Kind("replace", REPLACING, _open_replace, _replaced, both_up),
        Kind("replace-undo", REPLACING, _open_undo, _undone, both_up),
        Kind("recheck", READ, _open_recheck, _read),
        Kind("copy-recheck", COPIED, _open_copy_recheck, _copy_read),
    )
} | {
    "copy": copy_to("pve02"),
    "copy-to-a-folder": copy_to("usb"),
    "copy-encrypted": copy_to("sealed"),
}
# what needs a stage of its own
APART = {"ha-drill": Kind("ha-drill", DRILLED, _open_drill, _drilled)}
ASKING_PVE = [
    title for title in KINDS if title not in ("copy-to-a-folder", "copy-encrypted", "copy-recheck")
]
