"""The figures of guests, nodes and storages that listings carry."""

from __future__ import annotations

import functools
import re
import shutil
from typing import Any, NamedTuple

from pvelab.kernel import Lab, LabNode, Machine, StorageDef, VmConfig

_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
_DISK = re.compile(r"(?:scsi|virtio|sata|ide|efidisk)\d+")
_NODE_BASE_MEMORY = 2 * 1024**3
_NODE_CPUS = 16
# how long a guest runs until its share of the processors was measured twice (05_restore_ok: an
# integer 0 until then)
_MEASURED_AFTER = 10.0
_BROADCAST_LIFE = 300.0  # seconds (pmxcfs: RRD entries expire)


def disk_size(value: str) -> int:
    """Given a drive's property string, return its ``size`` in bytes, 0 when it has none."""
    found = re.search(r"(?:^|,)size=(\d+(?:\.\d+)?)([KMGT]?)", value)
    return int(float(found[1]) * _UNITS[found[2]]) if found else 0


def boot_disk_size(config: dict[str, str]) -> int:
    """Return the size of the first boot disk in bytes: what PVE calls ``maxdisk``."""
    order = re.search(r"order=([\w;]+)", config.get("boot", ""))
    # the boot order first, then whatever disks there are: an order may name none
    keys = [
        *(order[1].split(";") if order else ()),
        *(key for key in sorted(config) if _DISK.fullmatch(key)),
    ]
    sizes = [
        disk_size(config[key]) for key in keys if key in config and "media=cdrom" not in config[key]
    ]
    return next((size for size in sizes if size), 0)


def memory(config: dict[str, str]) -> int:
    """Return a guest's configured memory in bytes; PVE's default is 512 MiB."""
    return int(config.get("memory", "512").removeprefix("current=").split(",")[0]) * 1024**2


def cpus(config: dict[str, str]) -> int:
    """Return a guest's number of virtual CPUs."""
    return int(config.get("cores", 1)) * int(config.get("sockets", 1))


def cpu(machine: Machine | None) -> float:
    """Return what share of its processors a guest uses; a whole 0 for one that is off or was just
    started.
    """
    up = (
        machine is not None
        and machine.status() != "stopped"
        and machine.uptime() >= _MEASURED_AFTER
    )
    return 0.01 if up else 0


def name(vm: VmConfig) -> str:
    """Return what PVE calls a guest: a VM's name, a container's hostname, else its VMID."""
    if vm.type == "lxc":
        return vm.config.get("hostname", f"CT{vm.vmid}")
    return vm.config.get("name", f"VM {vm.vmid}")


def guest(lab: Lab, vm: VmConfig) -> dict[str, Any]:
    """Return what /cluster/resources says of a guest."""
    if vm.node not in lab.nodes:  # a node that never reported (04_vzdump_errors 23)
        return {
            "id": f"{vm.type}/{vm.vmid}",
            "type": vm.type,
            "vmid": vm.vmid,
            "node": vm.node,
            "status": "unknown",
        }
    running = lab.machine_status(vm.vmid) != "stopped"
    machine, size = lab.machines.get(vm.vmid), _size(vm.type, *vm.config.items())
    online = lab.nodes[vm.node].online
    # figures are what the node last broadcast, and are forgotten in time (pve-facts 9.1)
    if not online or _unreported(lab, vm.node):
        return _of_dead_node(lab, vm)
    row: dict[str, Any] = {
        "id": f"{vm.type}/{vm.vmid}",
        "type": vm.type,
        "vmid": vm.vmid,
        "node": vm.node,
        "name": name(vm),
        "status": "running" if running else "stopped",
        "template": int(vm.config.get("template", 0)),
        "uptime": int(machine.uptime()) if running and machine else 0,
        "cpu": cpu(machine),
        "maxcpu": size.cpus,
        "mem": size.memory // 2 if running else 0,
        "memhost": size.memory if running else 0,
        "maxmem": size.memory,
        "disk": 0,
        "maxdisk": size.disk,
        "netin": 0,
        "netout": 0,
        "diskread": 0,
        "diskwrite": 0,
    }
    if vm.type == "lxc":  # what a container uses is counted on the host already
        del row["memhost"]
    optional = {
        "tags": vm.config.get("tags"),
        "lock": vm.config.get("lock"),
        "hastate": ha_state(lab, vm),
    }
    return row | {key: value for key, value in optional.items() if value}


def _unreported(lab: Lab, node: str) -> bool:
    """Whether a node's pvestatd has been silent for so long that what it last broadcast is
    forgotten (fault status-unknown).
    """
    return lab.faults.find("status-unknown", node=node) is not None


class _Size(NamedTuple):
    """How big a guest is made."""

    cpus: int
    memory: int
    disk: int


@functools.lru_cache(maxsize=20_000)
def _size(type: str, *values: tuple[str, str]) -> _Size:
    """Given what a configuration says, return the size of its guest; listings of thousands ask this
    again and again.
    """
    config = dict(values)
    disk = disk_size(config.get("rootfs", "")) if type == "lxc" else boot_disk_size(config)
    return _Size(cpus(config), memory(config), disk)


def _of_dead_node(lab: Lab, vm: VmConfig) -> dict[str, Any]:
    """What a dead node last broadcast of its guests counts for five minutes (pve-facts 9.1); then
    nothing is known of them.
    """
    row: dict[str, Any] = {
        "id": f"{vm.type}/{vm.vmid}",
        "type": vm.type,
        "vmid": vm.vmid,
        "node": vm.node,
        "status": "unknown",
    }
    died = lab.nodes[vm.node].died
    if died is not None and lab.clock.seconds() - died < _BROADCAST_LIFE:
        # what the others still remember of it
        row |= {"name": name(vm), "maxcpu": cpus(vm.config), "maxmem": memory(vm.config)}
        row |= {
            "status": "running" if vm.vmid in lab.nodes[vm.node].last_running else "stopped",
            "uptime": 0,
            "template": 0,
        }
    state = ha_state(lab, vm)
    return row | ({"hastate": state} if state else {})


def ha_state(lab: Lab, vm: VmConfig) -> str | None:
    """Return the HA state of a guest, None when it is not managed."""
    sid = f"{vm.word.lower()}:{vm.vmid}"
    if sid not in lab.ha.resources:
        return None
    running = lab.machine_status(vm.vmid) != "stopped"
    if sid in lab.ha.services:
        return lab.ha.services[sid].word(running)
    wanted = lab.ha.wanted(sid)
    return "starting" if wanted == "started" and not running else wanted


def node_memory(lab: Lab, node: LabNode) -> dict[str, int]:
    """Return a node's memory in bytes: a base for the host and the configured memory of the guests
    that run there.
    """
    running = [
        vm for vm in lab.guests.all(node.name, None) if lab.machine_status(vm.vmid) != "stopped"
    ]
    # guests may be configured larger than the node claims to be
    used = min(node.memory, _NODE_BASE_MEMORY + sum(memory(vm.config) for vm in running))
    return {
        "total": node.memory,
        "used": used,
        "free": node.memory - used,
        "available": node.memory - used,
    }


def node(lab: Lab, entry: LabNode) -> dict[str, Any]:
    """Return what /nodes and /cluster/resources say of a node, figures included."""
    row: dict[str, Any] = {
        "id": f"node/{entry.name}",
        "type": "node",
        "node": entry.name,
        "level": "",
    }
    if not entry.online:
        return {**row, "status": "offline"}
    if _unreported(lab, entry.name):
        return {**row, "status": "unknown"}
    used, disk = node_memory(lab, entry), shutil.disk_usage(lab.dir)
    return {
        **row,
        "status": "online",
        "cpu": 0.05,
        "maxcpu": _NODE_CPUS,
        "mem": used["used"],
        "maxmem": used["total"],
        "disk": disk.used,
        "maxdisk": disk.total,
        "uptime": lab.uptime(),
    }


def storage(lab: Lab, definition: StorageDef, node_name: str) -> dict[str, Any]:
    """Return what /cluster/resources says of a storage on a node."""
    online = (
        lab.nodes[node_name].online and not definition.disabled and not _unreported(lab, node_name)
    )
    disk = shutil.disk_usage(lab.dir)  # what every node and storage of a lab lies on
    return {
        "id": f"storage/{node_name}/{definition.name}",
        "type": "storage",
        "storage": definition.name,
        "node": node_name,
        "plugintype": definition.type,
        "content": ",".join(definition.content),
        "shared": int(definition.shared),
        "status": "available" if online else "unknown",
        "disk": disk.used if online else 0,
        "maxdisk": disk.total if online else 0,
    }
