"""One guest's backup: where it is now, vzdump there, read back what came of it, verify it.

A backup counts when the storage lists its archive with a size and a readable embedded config, whatever the task said (law 4).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from backupsvc.errors import ArchiveError, BackupsvcError, PveError, PveNotFound, PvePermissionDenied
from backupsvc.operations.engine import Run, Wait
from backupsvc.operations.listing import as_dict
from backupsvc.pve.answers import grant_for
from policies import vzdumplog
from policies.isolation import parse_config
from policies.jobs import expected
from policies.model import Guest, Job, Operation, OperationState, Rung
from policies.wording import size

if TYPE_CHECKING:
    from backupsvc.bootstrap import Service

LEFT_ALONE = 120  # seconds


def open_job(service: Service, job: Job, only: Collection[int] = (), occurrence: str | None = None) -> list[Operation]:
    """Given a job, open one backup operation for each guest that it expects, and return them in VMID order.

    With ``occurrence`` (one guest's scheduled turn) it is opened at most once for it (law 9).
    """
    found = expected(job, service.policy, service.pve.cluster.guests(), only)
    opened = []
    for item in found:
        data = {
            "job": job.id,
            "node": item.guest.node if item.guest else None,
            "name": item.guest.name if item.guest else "",
            "deadline": int(service.clock.now()) + job.timeout,
        }
        operation = service.engine.open("backup", item.vmid, data, occurrence)
        if operation:
            opened.append(operation)
    return opened


def locate(run: Run) -> Wait | None:
    """Find where the guest is now, wait for that node's turn, and note what its storage listed before."""
    if run.data["node"] and _lane_busy(run, str(run.data["node"])):
        return Wait("another guest of this node is being dumped", most=0.3)
    guest, job = _guest(run), _job(run)
    run.data.update(node=guest.node, name=guest.name)
    if _lane_busy(run, guest.node):
        return Wait("another guest of this node is being dumped", most=0.3)
    storage = run.service.pve.storage
    run.data["keep_all"] = prunes(str(storage.backup_defaults(guest.node, job.storage).get("prune-backups", "")))
    run.data["before"] = [archive.volid for archive in storage.archives(guest.node, job.storage, run.vmid)]
    return None


def dump(run: Run) -> Wait | None:
    """Run vzdump for this guest alone, and read its log. What the task says is noted, not believed: read-back decides."""
    pve, job, node = run.service.pve, _job(run), str(run.data["node"])

    def start() -> str | None:
        return pve.vzdump.start(
            node,
            run.vmid,
            storage=job.storage,
            mode=job.mode,
            compress=job.compress,
            notes=f"{run.data['name']} on {node}, backupsvc {run.id}",
            keep_all=bool(run.data["keep_all"]),
            bandwidth=job.bandwidth,
        )

    result = run.task("dump", start, pve=pve, node=node, type="vzdump", vmid=run.vmid, what=f"back up guest {run.vmid}")
    if result is None:
        return Wait("vzdump is running", most=1.0)
    report = vzdumplog.read(result.log, run.vmid)
    run.data["dump"] = {
        **asdict(report),
        "consistency": str(report.consistency),
        "exitstatus": result.exitstatus,
        "upid": result.upid,
    }
    run.note("task-ended", result.upid, exitstatus=result.exitstatus, log=list(result.log)[-200:])
    return None


def read_back(run: Run) -> Wait | None:
    """Find the new archive in the storage's listing, with a size and a readable config, and remember it (law 4)."""
    storage, job, node = run.service.pve.storage, _job(run), str(run.data["node"])
    listed = storage.archives(node, job.storage, run.vmid)
    fresh = [archive for archive in listed if archive.volid not in run.data["before"] and archive.size > 0]
    if not fresh:
        raise _no_archive(run, job)
    archive = max(fresh, key=lambda item: item.ctime)
    text = storage.extract_config(node, archive.volid)
    config = parse_config(text)
    if not config:
        raise PveError(
            f"archive {archive.volid} of guest {run.vmid} holds no config", "it cannot be restored: back the guest up again"
        )
    catalog, dumped = run.service.catalog, run.data["dump"]
    catalog.observe(listed, scope=[], at=run.now())
    catalog.annotate(
        node,
        archive.volid,
        name=config.get("name") or str(run.data["name"]),
        config=text,
        uuid=_uuid(config),
        consistency=dumped["consistency"],
        excluded=list(dumped["excluded"]),
        operation=run.id,
    )
    run.data["archive"] = as_dict(catalog.archive(node, archive.volid) or archive)
    run.data["said"] = f"{archive.volid}, {size(archive.size, 'en')}, {dumped['consistency']}"
    return None


def verify(run: Run) -> Wait | None:
    """Read the archive once over SSH where the node can be reached: every checksum and every cluster; the rung becomes intact."""
    node, volid = str(run.data["node"]), str(run.data["archive"]["volid"])
    if node not in run.service.settings.ssh.nodes:
        run.data["verified"] = None
        run.data["said"] = "not read: no SSH to the node is configured; a restore test will prove it"
        return None
    found = verify_on_node(run.service, node, volid)
    run.data["verified"] = found["intact"]
    if not found["intact"]:
        first = found["problems"][0]
        raise ArchiveError(
            f"archive {volid} on {node} of guest {run.vmid} is corrupt: {first['text']}",
            "back the guest up again, and check the storage's disk",
            offset=first["offset"],
        )
    run.service.catalog.annotate(node, volid, sha256=found["sha256"])
    run.data["archive"]["sha256"] = found["sha256"]
    if not found["checksummed"]:
        run.data["said"] = "complete, but it carries no checksum of its data, so nobody can say that it is intact"
        return None
    run.service.catalog.raise_rung(node, volid, Rung.INTACT, run.now())
    run.data["archive"]["rung"] = str(Rung.INTACT)
    run.data["said"] = f"intact, sha256 {found['sha256'][:12]}"
    return None


def verify_on_node(service: Service, node: str, volid: str) -> dict[str, Any]:
    """Given an archive on a node that SSH reaches, read it once and return the verification as a dict."""
    from backupsvc.archives.verify import verify as verify_stream
    from backupsvc.remote.nodes import open_archive

    path = service.pve.storage.volume_path(node, volid)
    with open_archive(service.settings.ssh, node, path) as stream:
        return verify_stream(stream, PurePosixPath(path).name).as_dict()


def prunes(retention: str) -> bool:
    """Given the retention that PVE would apply after a dump, return whether it would remove anything behind our back."""
    return (
        bool(retention)
        and "keep-all=1" not in retention
        and any(part.split("=")[-1] not in ("", "0") for part in retention.split(","))
    )


def outcome(operation: Operation) -> dict[str, Any]:
    """Given an ended backup operation, return its line of ``backup run --json``."""
    data: Any = operation.data
    dumped = data.get("dump") or {}
    bad = operation.state is not OperationState.DONE
    warned = bool(dumped.get("warnings")) or (bool(dumped) and dumped["exitstatus"] != "OK")
    return {
        "vmid": operation.subject,
        "name": data.get("name", ""),
        "node": data.get("node"),
        "operation": operation.id,
        "status": "failed" if bad else "warnings" if warned else "ok",
        "archive": data.get("archive"),
        "verified": data.get("verified"),
        "consistency": dumped.get("consistency"),
        "excluded_disks": list(dumped.get("excluded", ())),
        "warnings": list(dumped.get("warnings", ())),
        "exitstatus": dumped.get("exitstatus"),
        "seconds": round(sum(value for step, value in (data.get("seconds") or {}).items() if step != "locate"), 3),
        "error": operation.error,
        "exit_code": (data.get("error") or {}).get("exit_code", 1) if bad else 0,
        "hint": (data.get("error") or {}).get("hint", "") if bad else "",
    }


def _guest(run: Run) -> Guest:
    for guest in run.service.pve.cluster.guests():
        if guest.vmid == run.vmid:
            return guest
    raise PveNotFound(
        f"guest {run.vmid} is not in the cluster, so nothing was backed up",
        f"bring it back with `backupsvc restore {run.vmid}`, or take it out of job {run.data['job']}",
    )


def _job(run: Run) -> Job:
    for job in run.service.policy.jobs:
        if job.id == run.data["job"]:
            return job
    raise PveError(f"job {run.data['job']} is no longer in the policy", "run `backupsvc policy show`")


def _lane_busy(run: Run, node: str) -> bool:
    """Whether a guest of this node is being dumped, or one that was opened earlier still waits for its turn.

    An earlier one counts only while somebody is at it: one that has been left alone for a while must not hold up the others.
    """
    waiting = False
    for other in run.service.catalog.operations(kind="backup", state=OperationState.OPEN):  # newest first
        if other.id == run.id:
            waiting = True
        elif other.data.get("node") == node:
            ahead = waiting and other.step == "locate" and other.updated > run.now() - LEFT_ALONE
            if ahead or other.step == "dump":
                return True
    return False


def _no_archive(run: Run, job: Job) -> BackupsvcError:
    dumped = run.data["dump"]
    why = str(dumped["failure"] or dumped["exitstatus"])
    message = f"backup of guest {run.vmid} on {run.data['node']} left no archive on {job.storage}: {why}"
    if "Permission check failed" in why:
        return PvePermissionDenied(message, grant_for(why, run.service.pve.token_id))
    return PveError(message, f"read the task's log with `backupsvc operations show {run.id}`", text=why)


def _uuid(config: Any) -> str | None:
    parts = dict(part.split("=", 1) for part in str(config.get("smbios1", "")).split(",") if "=" in part)
    return parts.get("uuid")


HANDLERS = {"locate": locate, "dump": dump, "read-back": read_back, "verify": verify}
