"""POST and DELETE of guests: restoring from an archive, creating empty ones, destroying (qemu-server PVE/API2/Qemu.pm)."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from typing import Any

from pvelab.guests import power, volumes
from pvelab.guests.access import REQUEST_ONLY, check_bridges, check_options, check_root_parameter
from pvelab.guests.devices import DRIVE, NET, Drive, disks, drive, format_size, with_mac
from pvelab.guests.restore import Request, Restore
from pvelab.guests.state import check_unlocked, need, patience, save, task_lock
from pvelab.guests.vzdump_api import backup_volume
from pvelab.kernel import Call, Lab, LabError, TaskLog, VmConfig, parameter_error, route

_FLOCK_TIMEOUT = 5.0
_NEW_DISK = re.compile(r"([^:]+):(\d+(?:\.\d+)?)")


@route("POST", "/nodes/{node}/qemu")
def create(call: Call) -> Any:
    """Restore a guest from an archive, or create an empty one; the configuration is reserved before the task starts."""
    _check_create(call)
    overrides = _overrides(call.params)
    if call.params.get("archive"):
        return _restore(call, overrides)
    check_options(call, call.vmid, overrides, call.params.get("pool"))
    check_bridges(call, overrides)
    _reserve(call, "create", existing=False)
    return call.spawn("qmcreate", call.vmid, lambda log: _create(call, overrides, log))


@route("DELETE", "/nodes/{node}/qemu/{vmid}")
def destroy(call: Call) -> Any:
    """Destroy a guest with its disks, in a task."""
    check_root_parameter(call, "skiplock")
    lab, node, vmid, params = call.lab, call.node, call.vmid, call.params
    vm = lab.guests.need(node, vmid)
    _check_removable(lab, vm, purge=bool(params.get("purge")))
    work = _Destroy(lab, node, vmid, bool(params.get("purge")), bool(params.get("destroy-unreferenced-disks")))
    return call.spawn("qmdestroy", vmid, lambda log: work.run(log, skiplock=bool(params.get("skiplock"))))


def _check_create(call: Call) -> None:
    params, lab, vmid = call.params, call.lab, call.vmid
    archive, pool = params.get("archive"), params.get("pool")
    for key in params:
        if archive and DRIVE.fullmatch(key):
            raise parameter_error(**{key: "option conflicts with option 'archive'"})
    if pool and pool not in lab.access.pools:
        raise LabError(403, f"Permission check failed (pool '{pool}' does not exist)")
    with_force = bool(archive and params.get("force") and lab.guests.get(vmid) and call.allowed(f"/vms/{vmid}", "VM.Backup"))
    pooled = bool(pool) and call.allowed(f"/pool/{pool}", "VM.Allocate")
    if not with_force and not pooled and not call.allowed(f"/vms/{vmid}", "VM.Allocate"):
        raise LabError(403, "Permission check failed")
    if params.get("storage"):  # there or not: who has no right learns nothing (10_permissions 260)
        call.check(f"/storage/{params['storage']}", "Datastore.AllocateSpace")
    if params.get("start"):
        call.check(f"/vms/{vmid}", "VM.PowerMgmt")
    if not lab.quorate():
        raise LabError(500, "cluster not ready - no quorum?")


def _overrides(params: Mapping[str, Any]) -> dict[str, str]:
    """The options of a configuration among a call's parameters; NICs get a MAC address where they have none."""
    chosen = {key: str(value) for key, value in params.items() if key not in REQUEST_ONLY}
    return {key: with_mac(value) if NET.fullmatch(key) else value for key, value in chosen.items()}


def _restore(call: Call, overrides: Mapping[str, str]) -> str:
    params = call.params
    archive = backup_volume(call, params["archive"])
    if not archive.path.is_file():
        raise LabError(500, f"volume '{archive.volid}' does not exist")
    check_options(call, call.vmid, overrides, call.params.get("pool"))
    check_bridges(call, overrides)
    _reserve(call, "restore", existing=bool(params.get("force")))
    request = Request(
        vmid=call.vmid,
        archive=archive,
        storage=params.get("storage"),
        overrides=overrides,
        unique=bool(params.get("unique")),
        force=bool(params.get("force")),
        bwlimit=params.get("bwlimit", 0),
        start=bool(params.get("start")),
        live=bool(params.get("live-restore")),
        pool=params.get("pool"),
    )
    return call.spawn("qmrestore", call.vmid, lambda log: Restore(call, request, log).run())


def _reserve(call: Call, verb: str, *, existing: bool) -> None:
    """Take the VMID: an empty configuration with ``lock: create``. Raise LabError 500 in PVE's words if that is not possible."""
    lab, node, vmid = call.lab, call.node, call.vmid
    try:
        with lab.guests.lock(vmid, patience(lab, _FLOCK_TIMEOUT)):
            vm = lab.guests.get(vmid)
            if vm is None:
                lab.guests.create(node, vmid, {"lock": "create"})
                return
            if not existing or vm.node != node or vm.type != "qemu":
                raise LabError(500, f"{vm.word} {vmid} already exists on node '{vm.node}'")
            check_unlocked(vm)
            save(lab, vm, {**vm.config, "lock": "create"})
    except LabError as error:
        raise LabError(
            500, f"unable to {verb} VM {vmid} - {error.reason.removeprefix(f'unable to create VM {vmid} - ')}"
        ) from error


def _create(call: Call, given: Mapping[str, str], log: TaskLog) -> None:
    lab, node, vmid = call.lab, call.node, call.vmid
    with task_lock(lab, vmid, log):
        vm = need(lab, node, vmid)
        made: list[volumes.Volume] = []
        try:
            config = {key: new_disk(lab, vm, key, value, made, log) for key, value in given.items()}
        except LabError:
            for volume in made:
                volumes.free(volume)
            lab.guests.remove(vmid)
            raise
        own = {
            "boot": _boot_order(config),
            "vmgenid": str(uuid.uuid4()),
            "smbios1": f"uuid={uuid.uuid4()}",
            "meta": f"creation-qemu=10.0.2,ctime={lab.now(node)}",
        }
        save(lab, vm, own | config)
        if call.params.get("pool"):
            lab.access.join_pool(call.params["pool"], vmid)


def _boot_order(config: Mapping[str, str]) -> str:
    """The first disk, then every NIC; PVE writes a blank when there is nothing to boot from (01b_encoding 5)."""
    first = [d.key for d in disks(config)][:1]
    found = [*first, *sorted(key for key in config if NET.fullmatch(key))]
    return f"order={';'.join(found)}" if found else " "


def new_disk(lab: Lab, vm: VmConfig, key: str, value: str, made: list[volumes.Volume], log: TaskLog | None = None) -> str:
    """Given an option, return what the configuration will say: ``storage:32`` makes a new disk of 32 GiB, noted in ``made``."""
    if not DRIVE.fullmatch(key):
        return value
    wanted = drive(key, value)
    found = _NEW_DISK.fullmatch(wanted.volume)
    if found is None:
        return value
    size = int(float(found[2]) * 1024**3)
    volume = volumes.allocate(lab, vm.node, found[1], vm.vmid, size)
    made.append(volume)
    if log:
        if lab.storage(found[1]).type == "dir":
            log.line(f"Formatting '{volume.path}', fmt=raw size={size} preallocation=off")
        log.line(f"{key}: successfully created disk '{volume.volid},size={format_size(size)}'")
    return Drive(key, volume.volid, {**wanted.properties, "size": format_size(size)}).text()


def _check_removable(lab: Lab, vm: VmConfig, *, purge: bool) -> None:
    if power.machine_of(lab, vm.vmid):
        raise LabError(500, f"VM {vm.vmid} is running - destroy failed")
    if vm.config.get("protection") == "1":
        raise LabError(500, f"can't remove VM {vm.vmid} - protection mode enabled")
    if lab.ha.manages(vm.vmid) and not purge:
        raise LabError(500, f"unable to remove VM {vm.vmid} - used in HA resources and purge parameter not set.")


class _Destroy:
    """What qmdestroy does: disks, related configurations, then the guest itself."""

    def __init__(self, lab: Lab, node: str, vmid: int, purge: bool, unreferenced: bool) -> None:
        self.lab, self.node, self.vmid, self.purge, self.unreferenced = lab, node, vmid, purge, unreferenced

    def run(self, log: TaskLog, *, skiplock: bool) -> None:
        with task_lock(self.lab, self.vmid, log):
            vm = need(self.lab, self.node, self.vmid)
            if not skiplock:
                check_unlocked(vm)
            _check_removable(self.lab, vm, purge=True)
            for volume in self._disks(vm):
                if not volume.path.exists():
                    log.line(f"disk image '{volume.path}' does not exist")
                volumes.free(volume)
                if self.lab.storage(volume.storage).type == "lvmthin":
                    log.line(f'  Logical volume "{volume.path.name}" successfully removed.')
            if self.purge:
                log.line(f"purging VM {self.vmid} from related configurations..")
                self._purge()
            self.lab.access.forget_guest(self.vmid)
            power.switch_off(self.lab, self.vmid)
            self.lab.guests.remove(self.vmid)

    def _disks(self, vm: VmConfig) -> list[volumes.Volume]:
        named = [d.volume for d in disks(vm.config)] + [v.split(",")[0] for k, v in vm.config.items() if k.startswith("unused")]
        found = {volid: volumes.find(self.lab, self.node, volid) for volid in named}
        if self.unreferenced:
            for name, storage in self.lab.storages.items():
                if "images" in storage.content and volumes.is_available(self.lab, self.node, name):
                    own = (v for v in volumes.images(self.lab, self.node, name) if v.owner == self.vmid)
                    found.update({volume.volid: volume for volume in own})
        return list(found.values())

    def _purge(self) -> None:
        """Take the guest out of backup jobs and HA."""
        for job in self.lab.jobs.entries.values():
            for field in ("vmid", "exclude"):
                if field in job:
                    rest = [v for v in re.split(r"[,; ]+", str(job[field])) if v and v != str(self.vmid)]
                    job[field] = ",".join(rest)
        self.lab.jobs.save()
        if self.lab.ha.resources.pop(f"vm:{self.vmid}", None) is not None:
            self.lab.ha.save()
