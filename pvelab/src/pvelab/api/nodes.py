"""/nodes: the members, their status, clock, version and network (pve-manager PVE/API2/Nodes.pm,
Network.pm).
"""

from __future__ import annotations

import os
import shutil
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from pvelab import figures, links
from pvelab.api.cluster import version_of
from pvelab.kernel import Answer, Bridge, Call, route
from pvelab.moves import INTERVAL, replica_target

_FIGURES = ("cpu", "maxcpu", "mem", "maxmem", "disk", "maxdisk", "uptime")


@route("GET", "/nodes")
def nodes(call: Call) -> Any:
    """List the members; figures only to those with Sys.Audit on the node."""
    # what a client may pin who does not trust the cluster's authority
    fingerprints = call.lab.settings.get("fingerprints", {})
    rows = []
    for name, node in call.lab.nodes.items():
        row = {**figures.node(call.lab, node), "ssl_fingerprint": fingerprints.get(name, "")}
        if not call.allowed(f"/nodes/{name}", "Sys.Audit"):
            row = {key: value for key, value in row.items() if key not in _FIGURES}
        rows.append(row)
    return rows


@route("GET", "/nodes/{node}")
def node_index(call: Call) -> Any:
    """List what is below."""
    names = (
        "dns",
        "lxc",
        "network",
        "qemu",
        "replication",
        "status",
        "storage",
        "syslog",
        "tasks",
        "time",
        "version",
        "vzdump",
    )
    return [{"name": name} for name in names]


@route("GET", "/nodes/{node}/replication")
def replication(call: Call) -> Any:
    """List the replication jobs of the node's guests that the caller may see, each with its last
    run (pve-facts 9.8).
    """
    rows = []
    for vmid, job in sorted(
        call.lab.settings.get("replication", {}).items(), key=lambda one: int(one[0])
    ):
        vm = call.lab.guests.get(int(vmid))
        wanted = call.params.get("guest") in (None, int(vmid))
        if not (
            vm and vm.node == call.node and wanted and call.allowed(f"/vms/{vmid}", "VM.Audit")
        ):
            continue
        last, every = call.lab.replicated.get(vm.vmid, 0), int(job.get("interval", INTERVAL))
        rows.append(
            {
                "id": f"{vmid}-0",
                "guest": vm.vmid,
                "jobnum": "0",
                "type": "local",
                "vmtype": vm.type,
                "source": vm.node,
                "target": replica_target(call.lab, vm, job),
                "schedule": f"*/{max(1, every // 60)}",
                "last_sync": last,
                "last_try": last,
                "next_sync": last + every if last else 0,
                "fail_count": 0,
            }
        )
    return rows


@route("GET", "/nodes/{node}/syslog")
def syslog(call: Call) -> Any:
    """Return numbered lines of a node's system log, of one service or of all; an empty one is one
    line.
    """
    zone, params = ZoneInfo(call.lab.tz), call.params
    told = [
        entry.shown(call.node, zone)
        for entry in call.lab.system_logs[call.node].entries(params.get("service", ""))
        if _moment(params.get("since"), zone, 0)
        <= entry.at
        <= _moment(params.get("until"), zone, entry.at)
    ] or ["no content"]
    start, limit = params.get("start", 0), params.get("limit", 0) or 50
    page = [{"n": n, "t": text} for n, text in enumerate(told[start : start + limit], start + 1)]
    return Answer(page, total=len(told))


def _moment(text: str | None, zone: ZoneInfo, otherwise: int) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()) if text else otherwise


@route("GET", "/nodes/{node}/status")
def node_status(call: Call) -> Any:
    """Return a node's figures, kernel and version."""
    lab, disk = call.lab, shutil.disk_usage(call.lab.nodes[call.node].dir)
    system, load = os.uname(), [f"{value:.2f}" for value in os.getloadavg()]
    return {
        "cpu": 0.05,
        "cpuinfo": {
            "cpus": 16,
            "cores": 8,
            "sockets": 1,
            "model": "Lab CPU",
            "mhz": "2600.000",
            "hvm": "1",
            "user_hz": 100,
        }
        | {"flags": "fpu vmx"},
        "memory": figures.node_memory(lab, lab.nodes[call.node]),
        "rootfs": {"total": disk.total, "used": disk.used, "free": disk.free, "avail": disk.free},
        "swap": {"total": 0, "used": 0, "free": 0},
        "ksm": {"shared": 0},
        "loadavg": load,
        "uptime": lab.uptime(),
        "wait": 0,
        "idle": 0,
        "kversion": f"{system.sysname} {system.release} {system.version}",
        "current-kernel": {
            "sysname": system.sysname,
            "release": system.release,
            "version": system.version,
            "machine": system.machine,
        },
        "pveversion": f"pve-manager/{lab.release.version}/{lab.release.repoid}",
        "boot-info": {"mode": "legacy-bios"},
    }


@route("GET", "/nodes/{node}/time")
def node_time(call: Call) -> Any:
    """Return a node's clock: UTC epoch, the same shifted by its zone, the zone."""
    now = call.lab.now(call.node)
    offset = datetime.fromtimestamp(now, ZoneInfo(call.lab.tz)).utcoffset()
    return {
        "time": now,
        "localtime": now + int(offset.total_seconds() if offset else 0),
        "timezone": call.lab.tz,
    }


@route("GET", "/nodes/{node}/version")
def node_version(call: Call) -> Any:
    """Return a node's PVE version."""
    return version_of(call.lab)


@route("GET", "/nodes/{node}/dns")
def node_dns(call: Call) -> Any:
    """Return a node's resolver."""
    return {"dns1": "192.168.10.2", "search": "langeo.lan"}


@route("GET", "/nodes/{node}/network")
def network(call: Call) -> Any:
    """List a node's bridges (02_inventory 8) and cards; ``type=any_bridge`` keeps the bridges that
    the caller may use.
    """
    bridges, wanted = (
        [_bridge(call, n, bridge) for n, bridge in enumerate(call.lab.bridges)],
        call.params.get("type"),
    )
    # those that are left out are not told of (pve-facts 9.7)
    if wanted in ("any_bridge", "any_local_bridge"):
        zone = "/sdn/zones/localnetwork"
        return [
            row
            for row in bridges
            if call.allowed(f"{zone}/{row['iface']}", "SDN.Audit", "SDN.Use", any=True)
        ]
    # the cards are the ports of the bridges: found by the kernel, so that they are said to exist
    names = dict.fromkeys(name for row in bridges for name in row["bridge_ports"].split())
    card = {
        "type": "eth",
        "exists": 1,
        "active": 1,
        "families": ["inet"],
        "method": "manual",
        "method6": "manual",
    }
    cards = [
        {"iface": name, **card, "priority": 3 + len(bridges) + n} for n, name in enumerate(names)
    ]
    return [row for row in (*bridges, *cards) if wanted in (None, row["type"])]


def _bridge(call: Call, position: int, bridge: Bridge) -> dict[str, Any]:
    row: dict[str, Any] = {
        "iface": bridge.name,
        "type": "bridge",
        "active": 1,
        "autostart": 1,
        "bridge_ports": " ".join(bridge.ports),
        "bridge_stp": "off",
        "bridge_fd": "0",
        "families": ["inet"],
        "method": "manual",
        "method6": "manual",
        "priority": 3 + position,
    }
    # an option that is off is absent (pve-facts 1.1)
    if bridge.vlan_aware:
        row["bridge_vlan_aware"] = 1
    if bridge.ports:
        address = call.lab.nodes[call.node].ip
        row |= {"method": "static", "address": address, "netmask": "24", "cidr": f"{address}/24"}
    # what a fault has given to this bridge of this node
    if ports := links.fault_values(call.lab, call.node, bridge.name, "port"):
        row["bridge_ports"] = " ".join([*bridge.ports, *ports])
    for cidr in links.fault_values(call.lab, call.node, bridge.name, "address"):
        address, _, length = cidr.partition("/")
        row |= {"method": "static", "address": address, "netmask": length or "32", "cidr": cidr}
    return row
