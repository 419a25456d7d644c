"""The reference site in the fake of PVE, beside a real catalog: the report's collector asks it as it
asks PVE.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from backupsvc.errors import PveNotFound, PveUnreachable
from backupsvc.pve import Pve
from backupsvc.pve.cluster import ClusterNode, ClusterStatus, PveJob, Version
from backupsvc.pve.tasks import TaskRow, parse_upid
from policies.model import Archive, Guest, Node, Storage
from tests.fakes.clock import StoppedClock
from tests.fakes.cluster import Task, VirtualCluster, connect
from tests.fakes.made import archive_row, guest_row, job_row, storage_row
from tests.fakes.state import BRIDGE
from tests.unit.report.langeo import (
    NAMES,
    NIGHTS,
    NOW,
    archive,
    guest,
    permissions,
    policy,
    storage,
)

TOKEN = "svc@pve!b1"
DRIFTS = "lge-pve02 (active, Mon Mar  9 21:00:01 2026, detected time drift!)"


class World:
    """The reference site behind the calls of ``backupsvc.pve``; ``refuse`` maps a call's name to
    the error it raises.
    """

    def __init__(self) -> None:
        self.refuse: dict[str, Exception] = {}
        self.calls: list[tuple[object, ...]] = []
        self.mute: set[str] = set()  # nodes that answer no question at all
        self.told: dict[str, Any] = {}  # what the fake has no call for, by path
        self.guest_list: list[Guest] = [guest(vmid) for vmid in NAMES]
        self.node_list = [Node("clovis", True), Node("lge-pve02", True)]
        self.storage_list: list[Storage] = [
            storage(name, node, content)
            for node in ("clovis", "lge-pve02")
            for name, content in (("local", "backup,iso"), ("local-lvm", "images"))
        ]
        self.archive_list: list[Archive] = [
            archive(vmid, night) for vmid in NAMES for night in NIGHTS
        ]
        self.configs: dict[int, dict[str, str]] = {
            vmid: {
                "name": name,
                "scsi0": f"local-lvm:vm-{vmid}-disk-0,size=16G",
                "agent": "enabled=1,fstrim_cloned_disks=1",
            }
            for vmid, name in NAMES.items()
        }
        del self.configs[108]["agent"]
        self.job_list = [
            PveJob(
                "backup-langeo",
                True,
                "21:00",
                "local",
                node="clovis",
                guests=tuple(NAMES),
                next_run=NOW + 12 * 3600,
            )
        ]
        self.task_list: list[TaskRow] = []
        # of each node: the production bridge, and the one that leads nowhere
        self.network = [BRIDGE | {"iface": "vmbr0", "bridge_ports": "eno1"}, BRIDGE]
        self.version_answer = Version("9.2", "9.2.11")
        self.offsets = {"clovis": 0.2, "lge-pve02": 3644.4}
        self.status_answer = ClusterStatus(
            "langeo",
            True,
            (
                ClusterNode("clovis", 1, "192.168.3.221", True),
                ClusterNode("lge-pve02", 2, "192.168.3.225", True),
            ),
        )

    def served(self) -> VirtualCluster:
        """The site as a fake cluster, as it is by now."""
        nodes = tuple(node.name for node in self.node_list)
        made = VirtualCluster(StoppedClock(float(NOW)), nodes)
        made.simulated = self.version_answer.simulated
        made.offline = {one.name for one in self.node_list if not (one.online or one.unknown)}
        made.unknown = {one.name for one in self.node_list if one.unknown}
        made.memory = max(one.memory for one in self.node_list)
        made.name = self.status_answer.name if self.status_answer.quorate is not None else ""
        made.members = [
            {"name": one.name, "nodeid": one.id, "ip": one.ip, "online": int(one.online)}
            for one in self.status_answer.nodes
        ]
        made.ha, made.ahead = {108}, self.offsets
        made.ha_lines = [
            {"type": "master", "node": "clovis"},
            {"type": "lrm", "node": "lge-pve02", "status": DRIFTS},
        ]
        made.permissions = {
            path: dict.fromkeys(sorted(rights), 1)
            for path, rights in permissions("/sdn/zones/localnetwork/vmbr9").items()
        }
        made.network = self.network
        made.jobs = [job_row(job) for job in self.job_list]
        self._fill(made)
        return made

    def _fill(self, made: VirtualCluster) -> None:
        """Put guests, storages, archives and tasks into the fake cluster."""
        for item in self.guest_list:
            there = made.add(item.vmid, self.configs.get(item.vmid, {}), node=item.node)
            there.running, there.told = item.status == "running", {"name": ""} | guest_row(item)
        made.storages = {
            node: [storage_row(one) for one in self.storage_list if one.node == node]
            for node in made.nodes
        }
        for one in self.archive_list:
            made.archives[one.node, one.volid] = archive_row(one)
        for row in self.task_list:
            task = parse_upid(row.upid)
            at, runs = float(row.starttime), row.status == "running"
            made.tasks[row.upid] = Task(
                row.upid,
                task.node,
                task.type,
                int(task.id),
                at,
                float("inf") if runs else at,
                "",
                lambda _: None,
                ended=None if runs else row.status,
                user=row.user,
            )
            if runs:
                made.running[row.upid] = made.tasks[row.upid]

    def around(self, method: str, path: str, act: Callable[[], Any]) -> Any:
        """Note each call by its name, and let it be answered unless it is refused."""
        name = name_of(path)
        self.calls.append((name,))
        if error := self.refuse.get(name):
            raise error
        if path in self.told:
            return self.told[path]
        parts = path.split("/")
        if path.endswith("/version") and parts[1] in self.mute:
            raise PveUnreachable("595 No route to host")
        if path.endswith("/time") and parts[1] not in self.offsets:
            raise PveUnreachable("596 Connection timed out")
        if path.endswith("/config") and int(parts[3]) not in self.configs:
            raise PveNotFound(f"guest {parts[3]} does not exist on {parts[1]}")
        return act()


# how tests name the calls about the cluster, and those about one of its nodes
CALLS = {
    "cluster/resources": "guests",
    "cluster/backup": "jobs",
    "cluster/ha/status/current": "ha",
    "cluster/ha/resources": "ha_resources",
    "cluster/status": "status",
    "access/permissions": "permissions",
    "storage": "storages",
}
OF_NODE = {"network": "bridges", "version": "answers", "tasks": "tasks", "storage": "storages of"}


def name_of(path: str) -> str:
    """Given a call's path, return how tests name it: ``archives NODE STORAGE``, ``config VMID``."""
    parts = path.split("/")
    if path in CALLS or parts[0] != "nodes" or len(parts) < 3:
        return CALLS.get(path, path)
    if parts[2] == "time":
        return "clock_offsets"
    if parts[2] == "qemu":
        return f"{parts[-1]} {parts[3]}"
    if parts[2:3] == ["storage"] and parts[4:] == ["content"]:
        return f"archives {parts[1]} {parts[3]}"
    return f"{OF_NODE.get(parts[2], parts[2])} {parts[1]}"


def served(world: World) -> Pve:
    """Given the site, return it as the service's typed calls, which the fake of PVE answers."""
    return connect(world.served(), policy().scratch, world.around)
