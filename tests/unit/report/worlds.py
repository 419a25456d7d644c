"""A cluster that answers by what it is given, beside a real catalog: the report's collector asks it
as it asks PVE.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from backupsvc.errors import PveNotFound
from backupsvc.pve.cluster import Bridge, ClusterNode, ClusterStatus, HaStatus, PveJob, Version
from backupsvc.pve.tasks import TaskRow
from policies.model import Archive, Guest, Node, SeenStorages, Storage
from tests.unit.report.langeo import NAMES, NIGHTS, archive, guest, permissions, storage

T = TypeVar("T")
TOKEN = "svc@pve!b1"


class World:
    """The reference site behind the calls of ``backupsvc.pve``; ``refuse`` maps a call's name to
    the error it raises.
    """

    def __init__(self) -> None:
        self.refuse: dict[str, Exception] = {}
        self.calls: list[tuple[object, ...]] = []
        self.mute: set[str] = set()  # nodes that answer no question at all
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
            PveJob("backup-langeo", True, "21:00", "local", node="clovis", guests=tuple(NAMES))
        ]
        self.task_list: list[TaskRow] = []
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

    def answer(self, name: str, value: Callable[[], T], *arguments: object) -> T:
        self.calls.append((name, *arguments))
        if error := self.refuse.get(name):
            raise error
        return value()


class Cluster:
    def __init__(self, world: World) -> None:
        self.world = world

    def version(self) -> Version:
        return self.world.answer("version", lambda: self.world.version_answer)

    def guests(self) -> list[Guest]:
        return self.world.answer("guests", lambda: list(self.world.guest_list))

    def answers(self, node: str) -> bool:
        return bool(self.world.answer(f"answers {node}", lambda: node not in self.world.mute))

    def nodes(self, max_age: float = 0.0) -> list[Node]:
        return self.world.answer("nodes", lambda: list(self.world.node_list))

    def status(self) -> ClusterStatus:
        return self.world.answer("status", lambda: self.world.status_answer)

    def jobs(self) -> list[PveJob]:
        return self.world.answer("jobs", lambda: list(self.world.job_list))

    def clock_offsets(self) -> dict[str, float]:
        return self.world.answer("clock_offsets", lambda: dict(self.world.offsets))

    def permissions(self) -> dict[str, frozenset[str]]:
        return self.world.answer(
            "permissions", lambda: dict(permissions("/sdn/zones/localnetwork/vmbr9"))
        )

    def bridges(self, node: str) -> list[Bridge]:
        return self.world.answer(
            f"bridges {node}", lambda: [Bridge("vmbr0", node, ("eno1",)), Bridge("vmbr9", node)]
        )

    def ha(self) -> HaStatus:
        line = "lge-pve02 (active, Mon Mar  9 21:00:01 2026, detected time drift!)"
        return self.world.answer("ha", lambda: HaStatus(True, "clovis", {"lge-pve02": line}))

    def ha_resources(self) -> set[str]:
        return self.world.answer("ha_resources", lambda: {"vm:108"})


class Storages:
    def __init__(self, world: World) -> None:
        self.world = world

    def seen(self) -> SeenStorages:
        return self.world.answer("storages", lambda: SeenStorages(tuple(self.world.storage_list)))

    def archives(self, node: str, storage: str, vmid: int | None = None) -> list[Archive]:
        there = [
            item
            for item in self.world.archive_list
            if item.storage == storage and (item.shared or item.node == node)
        ]
        return self.world.answer(f"archives {node} {storage}", lambda: there)


class Guests:
    def __init__(self, world: World) -> None:
        self.world = world

    def config(self, node: str, vmid: int) -> dict[str, str]:
        if vmid not in self.world.configs:
            raise PveNotFound(f"guest {vmid} does not exist on {node}")
        return self.world.answer(f"config {vmid}", lambda: dict(self.world.configs[vmid]))


class Tasks:
    def __init__(self, world: World) -> None:
        self.world = world

    def of_guest(self, node: str, vmid: int) -> list[TaskRow]:
        there = [
            row
            for row in self.world.task_list
            if f"UPID:{node}:" in row.upid and f":{vmid}:" in row.upid
        ]
        return self.world.answer(f"tasks {node}", lambda: there)


class FakePve:
    """What ``collect`` asks of a cluster."""

    def __init__(self, world: World) -> None:
        self.cluster, self.storage, self.guests = Cluster(world), Storages(world), Guests(world)
        self.tasks, self.token_id = Tasks(world), TOKEN
