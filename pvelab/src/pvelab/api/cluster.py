"""/cluster and /version: resources, status, next free VMID, recent tasks, log, options (pve-manager
PVE/API2/Cluster.pm).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from pvelab import calendar_event, figures
from pvelab.api.tasks import finished_row, may_see
from pvelab.kernel import Call, Lab, parameter_error, route

_RECENT_TASKS_PER_NODE = 25
# pvestatd reads the list of tasks every so many seconds: until then a task that just ended is as
# its worker noted it
_STATS_INTERVAL = 10
_NODE_FIGURES = ("cpu", "maxcpu", "mem", "maxmem", "disk", "maxdisk", "uptime")


@route("GET", "/")
def root_index(call: Call) -> Any:
    """List what is below."""
    return [
        {"subdir": name} for name in ("version", "cluster", "nodes", "storage", "access", "pools")
    ]


def version_of(lab: Lab) -> dict[str, Any]:
    """Return PVE's version; a lab without real guests says so, everywhere."""
    told: dict[str, Any] = {
        "version": lab.release.version,
        "release": lab.release.name,
        "repoid": lab.release.repoid,
    }
    return told | ({"simulated": 1} if lab.hypervisor.name == "simulated" else {})


@route("GET", "/version")
def version(call: Call) -> Any:
    """Return PVE's version."""
    return version_of(call.lab)


@route("GET", "/cluster")
def cluster_index(call: Call) -> Any:
    """List what is below."""
    names = (
        "backup",
        "backup-info",
        "config",
        "ha",
        "jobs",
        "log",
        "nextid",
        "options",
        "resources",
        "status",
        "tasks",
    )
    return [{"name": name} for name in names]


@route("GET", "/cluster/config")
def config_index(call: Call) -> Any:
    """List what is below."""
    return [{"name": name} for name in ("nodes", "totem", "join", "qdevice", "apiversion")]


@route("GET", "/cluster/jobs")
def jobs_index(call: Call) -> Any:
    """List what is below."""
    return [{"subdir": "schedule-analyze"}, {"subdir": "realm-sync"}]


@route("GET", "/cluster/resources")
def resources(call: Call) -> Any:
    """List guests, nodes, storages and SDN zones that the caller may see, of one type or of all."""
    wanted, lab, rows = call.params.get("type"), call.lab, []
    if wanted in (None, "vm"):
        guests = lab.guests.all(type=None)
        seen = call.visible("vms", (vm.vmid for vm in guests), "VM.Audit")
        for vm in (vm for vm in guests if vm.vmid in seen):
            pool = lab.access.pool_of("vms", vm.vmid)
            rows.append(figures.guest(lab, vm) | ({"pool": pool} if pool else {}))
    if wanted in (None, "node"):
        for name, node in lab.nodes.items():
            row = figures.node(lab, node) | {"cgroup-mode": 2}
            shown = call.allowed(f"/nodes/{name}", "Sys.Audit") and node.online
            rows.append(
                row if shown else {k: value for k, value in row.items() if k not in _NODE_FIGURES}
            )
    if wanted in (None, "storage"):
        # a row per node, even for a shared storage
        rows += [
            figures.storage(lab, storage, name)
            for storage in lab.storages.values()
            if call.allowed(f"/storage/{storage.name}", "Datastore.Audit")
            for name in lab.nodes
            if storage.nodes is None or name in storage.nodes
        ]
    if wanted in (None, "sdn") and call.allowed("/sdn/zones/localnetwork", "SDN.Audit"):
        ids = [(name, f"sdn/{name}/localnetwork") for name in lab.nodes]
        rows += [
            {"id": i, "type": "sdn", "sdn": "localnetwork", "node": name, "status": "ok"}
            for name, i in ids
        ]
    return rows


@route("GET", "/cluster/status")
def status(call: Call) -> Any:
    """Return the cluster with its quorum, then its nodes; a node alone is no cluster and has no
    such first row.
    """
    lab = call.lab
    rows: list[dict[str, Any]] = []
    if len(lab.nodes) > 1:
        name = lab.settings.get("cluster", "langeo")
        rows.append(
            {
                "type": "cluster",
                "id": "cluster",
                "name": name,
                "nodes": len(lab.nodes),
                "quorate": int(lab.quorate()),
                "version": len(lab.nodes),
            }
        )
    for node in lab.nodes.values():
        base = {
            "type": "node",
            "id": f"node/{node.name}",
            "name": node.name,
            "ip": node.ip,
            "level": "",
        }
        nodeid = node.id if len(lab.nodes) > 1 else 0
        rows.append(
            {
                **base,
                "nodeid": nodeid,
                "online": int(node.online),
                "local": int(node.name == call.local),
            }
        )
    return rows


@route("GET", "/cluster/config/nodes")
def config_nodes(call: Call) -> Any:
    """List the members as corosync's configuration has them."""
    fields = [(node.name, str(node.id), node.ip) for node in call.lab.nodes.values()]
    return [
        {"node": n, "name": n, "nodeid": i, "ring0_addr": ip, "quorum_votes": "1"}
        for n, i, ip in fields
    ]


@route("GET", "/cluster/nextid")
def nextid(call: Call) -> Any:
    """Return the first free VMID, or the one asked for when it is free; as a string (pve-facts
    8.3).
    """
    taken = {vm.vmid for vm in call.lab.guests.all(type=None)}
    if wanted := call.params.get("vmid"):
        if wanted in taken:
            raise parameter_error(vmid=f"VM {wanted} already exists")
        return str(wanted)
    return str(next(vmid for vmid in range(100, 1_000_000) if vmid not in taken))


@route("GET", "/cluster/tasks")
def cluster_tasks(call: Call) -> Any:
    """List what runs and the last finished tasks of every node; all of them only with Sys.Audit on
    /.
    """
    tasks, everything = call.lab.tasks, call.allowed("/", "Sys.Audit")
    rows = [(upid, upid.row()) for upid in tasks.running()]
    for node in call.lab.nodes:
        recent = tasks.finished(node)[:_RECENT_TASKS_PER_NODE]
        for upid, end, text in recent:
            newest = max(row[1] for row in recent)
            fresh = end == newest and call.lab.now(node) - end < _STATS_INTERVAL
            # a number where its worker just wrote it, text once it was read back (07_tasks 31)
            saved: int | str = 1 if fresh else "1"
            rows.append((upid, {**finished_row(upid, end, text), "saved": saved}))
    seen = [row for upid, row in rows if everything or may_see(call, upid)]
    for row in seen:
        for name in ("pid", "pstart") if "endtime" in row else ("pstart",):
            del row[name]
    return sorted(seen, key=lambda row: row["starttime"], reverse=True)


@route("GET", "/cluster/log")
def log(call: Call) -> Any:
    """List the cluster's log, newest first: the tasks' starts and ends, the caller's own without
    Sys.Syslog on /.
    """
    entries: list[dict[str, Any]] = []
    for upid, end, text in call.lab.tasks.finished():
        if call.allowed("/", "Sys.Syslog") or may_see(call, upid):
            base = {
                "node": upid.node,
                "user": upid.user,
                "pri": 6,
                "tag": "pvedaemon",
                "pid": upid.pid,
            }
            entries.append({**base, "time": end, "msg": f"end task {upid.text} {text}"})
            entries.append({**base, "time": upid.starttime, "msg": f"starting task {upid.text}"})
    count = len(entries)
    numbered = [
        {**entry, "uid": str(count - n), "id": f"{count - n}:{entry['node']}"}
        for n, entry in enumerate(entries)
    ]
    return numbered[: call.params.get("max", 50)]


@route("GET", "/cluster/options")
def options(call: Call) -> Any:
    """Return the datacenter's options."""
    tags = {
        tag for vm in call.lab.guests.all() for tag in vm.config.get("tags", "").split(";") if tag
    }
    return {
        "description": "",
        "mac_prefix": "BC:24:11",
        "keyboard": "fr",
        "allowed-tags": sorted(tags),
    }


@route("GET", "/cluster/jobs/schedule-analyze")
def schedule_analyze(call: Call) -> Any:
    """Return when a calendar event comes next."""
    try:
        event = calendar_event.read(call.params["schedule"])
    except calendar_event.BadEvent as error:
        text = f"invalid format - invalid calendar event '{call.params['schedule']}' - {error}\n"
        raise parameter_error(schedule=text) from None
    zone = ZoneInfo(call.lab.tz)
    found: list[dict[str, Any]] = []
    moment: int | None = call.params.get("starttime", call.lab.now())
    while (
        len(found) < call.params.get("iterations", 10)
        and (moment := event.next_after(moment or 0, zone)) is not None
    ):
        found.append(
            {
                "timestamp": moment,
                "utc": datetime.fromtimestamp(moment, UTC).strftime("%a %b %e %H:%M:%S %Y"),
            }
        )
    return found
