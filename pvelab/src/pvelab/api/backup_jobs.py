"""/cluster/backup and /cluster/backup-info: PVE's own vzdump jobs (pve-manager PVE/API2/Backup.pm;
pve-facts 4.1).
"""

from __future__ import annotations

import re
import uuid
from contextlib import suppress
from typing import Any
from zoneinfo import ZoneInfo

from pvelab import calendar_event
from pvelab.containers.mounts import mounts
from pvelab.kernel import Call, LabError, VmConfig, parameter_error, route
from pvelab.schema.endpoints import api
from pvelab.schema.formats import split_list

_ROOT_ONLY = ("tmpdir", "dumpdir", "script", "job-id")
_SELECTIONS = ("all", "exclude", "pool")
_PROPERTY_STRINGS = ("prune-backups", "fleecing", "performance")
_DRIVE = re.compile(r"(?:scsi|virtio|sata|ide|efidisk|tpmstate)\d+")


@route("GET", "/cluster/backup")
def jobs(call: Call) -> Any:
    """List the jobs with their next run, disabled ones too."""
    rows = []
    for name in sorted(call.lab.jobs.entries):
        row = _shown(call, name)
        # a schedule that cannot be read has no next run, and hides no job
        with suppress(calendar_event.BadEvent):
            event = calendar_event.read(call.lab.jobs.entries[name]["schedule"])
            moment = event.next_after(call.lab.now(), ZoneInfo(call.lab.tz))
            if moment is not None:
                row["next-run"] = moment
        rows.append(row)
    return rows


@route("GET", "/cluster/backup/{id}")
def job(call: Call) -> Any:
    """Return one job."""
    _need(call)
    return _shown(call, call.params["id"])


@route("POST", "/cluster/backup")
def create_job(call: Call) -> Any:
    """Create a job."""
    params, jobs = dict(call.params), call.lab.jobs
    _check_root_only(call)
    name = params.pop("id", None) or str(uuid.uuid4())
    _schedule(params, required=True)
    if pool := params.get("pool"):
        raise LabError(403, f"Permission check failed (pool '{pool}' does not exist)")
    if not call.is_root_ticket:
        # a job may fill a storage and prune there, whoever owns the archives
        call.check(f"/storage/{params.get('storage', 'local')}", "Datastore.Allocate")
    _check_selection(params)
    _check_template(params)
    if name in jobs.entries:
        raise LabError(500, f"Job '{name}' already exists")
    jobs.entries[name] = {"enabled": 1, **params}
    jobs.save()


@route("PUT", "/cluster/backup/{id}")
def update_job(call: Call) -> Any:
    """Change what is given and drop what is listed in ``delete``; choosing guests one way drops the
    other ways.
    """
    params = dict(call.params)
    name, deleted = params.pop("id"), split_list(params.pop("delete", ""))
    _check_root_only(call)
    if not params and not deleted:
        raise LabError(500, "no options specified")
    entry = call.lab.jobs.entries.get(name)
    if entry is None:
        raise LabError(500, "no such vzdump job")
    _schedule(params, required=False)
    endpoint = api().find("PUT", "/cluster/backup/x")
    known = frozenset(endpoint[0].parameters if endpoint else ())
    for key in deleted:
        if key in ("schedule", "id") or not (key in entry or key in known):
            raise _nested(f"delete: unknown option '{key}'")
    # a change that chooses no guests keeps the job's own choice
    _check_selection(
        {**params, "vmid": params.get("vmid", "x")} if not _selects(params) else params
    )
    _check_template(params)
    # a job has one way to choose its guests: naming them and choosing them conflict
    dropped = _SELECTIONS if "vmid" in params else ("vmid",) if _selects(params) else ()
    kept = {key: value for key, value in entry.items() if key not in (*deleted, *dropped)}
    call.lab.jobs.entries[name] = kept | params
    call.lab.jobs.save()


@route("DELETE", "/cluster/backup/{id}")
def delete_job(call: Call) -> Any:
    """Delete a job."""
    name = call.params["id"]
    if call.lab.jobs.entries.pop(name, None) is None:
        raise _nested(f"id: No such job '{name}'")
    call.lab.jobs.save()


@route("GET", "/cluster/backup/{id}/included_volumes")
def included_volumes(call: Call) -> Any:
    """Return the guests of a job and which of their volumes it saves."""
    _need(call)
    entry, known = (
        call.lab.jobs.entries[call.params["id"]],
        {vm.vmid: vm for vm in call.lab.guests.all(type=None)},
    )
    children: list[dict[str, Any]] = []
    for vmid in _vmids(entry, list(known)):
        if vm := known.get(vmid):
            base = {"id": vmid, "name": _name(vm), "type": vm.type, "leaf": 0}
            children.append({**base, "children": _volumes(vm)})
        else:
            # nothing takes a deleted guest out of a job but a deletion with purge (pve-facts 8.7)
            children.append({"id": vmid, "type": "unknown", "leaf": 1})
    return {"children": children}


@route("GET", "/cluster/backup-info")
def backup_info(call: Call) -> Any:
    """List what is below."""
    return [{"subdir": "not-backed-up"}]


@route("GET", "/cluster/backup-info/not-backed-up")
def not_backed_up(call: Call) -> Any:
    """List the guests that no job names: disabled jobs count as cover, and no archive is ever
    looked at.
    """
    known = {vm.vmid: vm for vm in call.lab.guests.all(type=None)}
    covered = {
        vmid for entry in call.lab.jobs.entries.values() for vmid in _vmids(entry, list(known))
    }
    missing = [vm for vmid, vm in known.items() if vmid not in covered]
    return [{"vmid": vm.vmid, "name": _name(vm), "type": vm.type} for vm in missing]


def _name(vm: VmConfig) -> str:
    return vm.config.get("hostname" if vm.type == "lxc" else "name", "")


def _shown(call: Call, name: str) -> dict[str, Any]:
    """Property strings come out as objects, their numbers as strings, except that fleecing's flag
    is a number.
    """
    row: dict[str, Any] = {"id": name, "type": "vzdump", **call.lab.jobs.entries[name]}
    for key in _PROPERTY_STRINGS:
        if isinstance(row.get(key), str):
            row[key] = dict(part.partition("=")[::2] for part in row[key].split(",") if part)
    if "enabled" in row.get("fleecing", {}):
        row["fleecing"]["enabled"] = int(row["fleecing"]["enabled"])
    return row


def _need(call: Call) -> None:
    if call.params["id"] not in call.lab.jobs.entries:
        raise parameter_error(id=f"No such job '{call.params['id']}'")


def _nested(detail: str) -> LabError:
    """PVE wraps these parameter errors into a 500 whose detail stands only in the message
    (pve-facts 1.5).
    """
    return LabError(500, f"400 Parameter verification failed.\n{detail}\n")


def _check_root_only(call: Call) -> None:
    for name in _ROOT_ONLY:
        if name in call.params and not call.is_root_ticket:
            raise LabError(
                400, "Parameter verification failed.", {name: "Only root may set this option."}
            )


def _schedule(params: dict[str, Any], *, required: bool) -> None:
    """Turn the old starttime and dow into a schedule."""
    start, days = params.pop("starttime", None), params.pop("dow", None)
    if start and params.get("schedule"):
        raise parameter_error(starttime="'starttime' and 'schedule' cannot both be set")
    if start:
        # jobs of before calendar events had a time and days
        params["schedule"] = f"{days} {start}" if days else start
    if required and not params.get("schedule"):
        raise parameter_error(schedule="neither 'starttime' nor 'schedule' were set")


def _selects(params: dict[str, Any]) -> bool:
    return any(params.get(key) for key in _SELECTIONS)


def _check_selection(params: dict[str, Any]) -> None:
    if params.get("vmid"):
        for key in _SELECTIONS:
            if params.get(key):
                raise _nested(f"{key}: option conflicts with option 'vmid'")
    elif not _selects(params):
        raise _nested("vmid: property is missing")


def _check_template(params: dict[str, Any]) -> None:
    for found in re.finditer(r"\{\{(.*?)\}\}", params.get("notes-template", "")):
        if found[1] not in ("cluster", "guestname", "node", "vmid"):
            raise _nested(
                f"notes-template: found unknown: variable '{found[1]}' at char "
                f"{found.start() + 4}\n"
            )


def _vmids(entry: dict[str, Any], known: list[int]) -> list[int]:
    """Return the guests of a job in ascending order: those listed, or all but the excluded."""
    listed = {int(part) for part in split_list(str(entry.get("vmid", "")))}
    excluded = {int(part) for part in split_list(str(entry.get("exclude", "")))}
    return sorted(listed or set(known) - excluded)


def _volumes(vm: VmConfig) -> list[dict[str, Any]]:
    if vm.type == "lxc":
        found = [
            (m, {"id": f"{vm.vmid}:{m.key}", "name": m.volume, "reason": m.reason, "leaf": 1})
            for m in mounts(vm.config)
        ]
        return [{**row, "included": int(not mount.left_out)} for mount, row in found]
    rows = []
    for key, value in sorted(vm.config.items()):
        if _DRIVE.fullmatch(key):
            name, *options = value.split(",")
            if "media=cdrom" in options:
                included, reason = 0, "CD-ROM"
            else:
                included, reason = (0, "backup=no") if "backup=0" in options else (1, "backup=yes")
            rows.append(
                {
                    "id": f"{vm.vmid}:{key}",
                    "name": name,
                    "included": included,
                    "reason": reason,
                    "leaf": 1,
                }
            )
    return rows
