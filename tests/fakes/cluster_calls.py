"""What the fake cluster answers of itself, its nodes, its storages and its tasks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from pvelab.guests.prune import Candidate, parse_keep, prune
from tests.fakes.made import config_of, config_text, stamp
from tests.fakes.recorded import data
from tests.fakes.state import INTERRUPTED, Guest, Refusal, Said, State, Task, wrong

Asked = Mapping[str, Any]
RECENT = 25  # ended tasks that the cluster's list shows, at most

# what a real server said, under which the fake's own values are put
_VERSION = data("01_auth", 9)
_NODE = data("02_inventory", 2)[0]
_MEMBER = data("02_inventory", 10)[0]
_GUEST = data("02_inventory", 12)[0]
_STORAGE = data("02_inventory", 16)[0]
_STORAGE_OF_NODE = data("02_inventory", 51)[0]
_STORAGE_STATUS = data("02_inventory", 61)
_IMAGE = data("02_inventory", 63)[0]
_TIME = data("02_inventory", 5)
_DEFAULTS = data("03_vzdump_ok", 84)
_HA = data("11_ha", 19)[0]
_HA_QUORUM = data("11_ha", 3)[0]


# a storage of a node, with much room
LOCAL = _STORAGE_OF_NODE | {
    "content": "backup,images",
    "total": 1 << 44,
    "used": 0,
    "avail": 1 << 44,
    "used_fraction": 0.0,
}


def number(asked: Asked, name: str) -> int | None:
    """A number among the parameters, which may have come as text."""
    found = asked.get(name)
    return None if found is None else int(found)


class ClusterCalls(State):
    """The calls about the cluster and its nodes."""

    def _version(self, *, asked: Asked) -> Any:
        # the service's own mark of what is no PVE
        own = {"simulated": 1} if self.simulated else {}
        return self._node_version("", asked=asked) | own

    def _node_version(self, node: str, *, asked: Asked) -> Any:
        return _VERSION | {"release": "9.2", "version": "9.2.11"}

    def _resources(self, *, asked: Asked) -> Any:
        return [
            _resource(vmid, guest, guest.node in self.offline)
            for vmid, guest in self.guests.items()
        ]

    def _node_list(self, *, asked: Asked) -> Any:
        room = {"maxmem": 1 << 40, "mem": self.memory, "maxcpu": 8}
        return [
            {"node": node, "id": f"node/{node}", "type": "node", "level": "", "status": "offline"}
            if node in self.offline
            else _NODE
            | room
            | {"node": node, "id": f"node/{node}"}
            | ({"status": "unknown"} if node in self.unknown else {})
            for node in self.nodes
        ]

    def _nextid(self, *, asked: Asked) -> Any:
        vmid = number(asked, "vmid")
        if vmid in self.guests:
            raise wrong(vmid=f"VM {vmid} already exists")
        return str(vmid)

    def _cluster_status(self, *, asked: Asked) -> Any:
        members = self.members or [
            {"name": node, "nodeid": place, "online": int(node not in self.offline)}
            for place, node in enumerate(self.nodes, 1)
        ]
        rows = [
            _MEMBER | {"id": f"node/{row['name']}", "local": int(row["nodeid"] == 1)} | row
            for row in members
        ]
        if not self.name:
            return rows
        whole = {"type": "cluster", "id": "cluster", "name": self.name, "version": 1}
        return [whole | {"nodes": len(rows), "quorate": 1}, *rows]

    def _ha_resources(self, *, asked: Asked) -> Any:
        states = {vmid: "ignored" if vmid in self.ha_ignored else "started" for vmid in self.ha}
        return [_HA | {"sid": f"vm:{vmid}", "state": state} for vmid, state in states.items()]

    def _ha_status(self, *, asked: Asked) -> Any:
        return [_HA_QUORUM | {"node": self.nodes[0]}, *self.ha_lines]

    def _backup_jobs(self, *, asked: Asked) -> Any:
        return self.jobs

    def _permissions(self, *, asked: Asked) -> Any:
        return self.permissions

    def _network(self, node: str, *, asked: Asked) -> Any:
        changes = {"changes": self.network_changes} if self.network_changes else {}
        return Said(self.network, changes)

    def _time(self, node: str, *, asked: Asked) -> Any:
        now = int(self.clock.now() + self.ahead.get(node, 0.0))
        return _TIME | {"time": now, "localtime": now}


def _resource(vmid: int, guest: Guest, off: bool) -> Any:
    place = {"id": f"qemu/{vmid}", "type": "qemu", "vmid": vmid, "node": guest.node}
    if off:  # PVE knows no more of it
        return place | {"status": "unknown"}
    name = guest.config.get("name", f"VM {vmid}")
    status = "running" if guest.running else "stopped"
    return _GUEST | place | {"name": name, "status": status} | guest.told


class StorageCalls(State):
    """The calls about storages and archives."""

    def _storages(self, *, asked: Asked) -> Any:
        rows = {row["storage"]: row for node in self.nodes for row in self._rows(node)}
        kept = ("storage", "type", "content")
        return [_STORAGE | {key: row[key] for key in kept} for row in rows.values()]

    def _storages_of(self, node: str, *, asked: Asked) -> Any:
        return self._rows(node)

    def _rows(self, node: str) -> list[dict[str, Any]]:
        return self.storages.get(node, [LOCAL])

    def _storage_status(self, node: str, storage: str, *, asked: Asked) -> Any:
        row = self._row(node, storage)
        return {key: row[key] for key in _STORAGE_STATUS}

    def _row(self, node: str, storage: str) -> dict[str, Any]:
        return next(row for row in self._rows(node) if row["storage"] == storage)

    def _content(self, node: str, storage: str, *, asked: Asked) -> Any:
        if asked["content"] == "images":
            return self._images(number(asked, "vmid"))
        return self._archives_of(node, storage, number(asked, "vmid"))

    def _images(self, vmid: int | None) -> Any:
        guest = self.guests.get(vmid) if vmid else None
        if not (guest and "scsi0" in guest.config) and vmid not in self.stray:
            return []
        return [_IMAGE | {"volid": f"local:{vmid}/vm-{vmid}-disk-0.raw", "vmid": vmid}]

    def _archives_of(self, node: str, storage: str, vmid: int | None) -> list[dict[str, Any]]:
        shared = self._row(node, storage)["shared"]
        return [
            row
            for (where, volid), row in self.archives.items()
            if (shared or where == node)
            and volid.startswith(f"{storage}:")
            and vmid in (None, row["vmid"])
        ]

    def _prunebackups(self, node: str, storage: str, *, asked: Asked) -> Any:
        rows = self._archives_of(node, storage, number(asked, "vmid"))
        candidates = [
            Candidate(("qemu", row["vmid"]), row["ctime"], bool(row.get("protected")))
            for row in rows
        ]
        marks = prune(candidates, parse_keep(asked["prune-backups"]), self.zone)
        return [
            {key: row[key] for key in ("volid", "vmid", "ctime")}
            | {"type": row["subtype"], "mark": mark}
            for row, mark in zip(rows, marks, strict=True)
        ]

    def _delete_archive(self, node: str, storage: str, volid: str, *, asked: Asked) -> Any:
        row = self.archives.get((node, volid), {})
        if row.get("protected"):
            name = volid.partition(":")[2]
            raise Refusal(500, f"cannot remove protected volume '{name}' on '{storage}'")

        def gone(exitstatus: str) -> None:
            if exitstatus == "OK":
                self.archives.pop((node, volid), None)

        return self._start(node, "imgdel", 0, gone, id=f"{row.get('vmid', '')}@{storage}")

    def _defaults(self, node: str, *, asked: Asked) -> Any:
        return _DEFAULTS

    def _extractconfig(self, node: str, *, asked: Asked) -> Any:
        return config_text(self.held_by(node, str(asked["volume"])))

    def _vzdump(self, node: str, *, asked: Asked) -> Any:
        vmid, notes = int(asked["vmid"]), str(asked["notes-template"])
        guest = self.guests.get(vmid)
        if guest is None or guest.node != node:
            return "OK"  # PVE accepts it, and does nothing
        began, config = self.clock.now(), dict(guest.config)

        def finish(exitstatus: str) -> None:
            if exitstatus == "OK":
                self.add_archive(node, vmid, int(began), notes, config)

        return self._start(node, "vzdump", vmid, finish, notes.rpartition(" ")[2])

    def add_archive(
        self,
        node: str,
        vmid: int,
        ctime: int,
        notes: str = "",
        config: dict[str, str] | None = None,
    ) -> str:
        """Put an archive of a guest into a node's storage, and return its volid. It holds the
        config, or that of any production guest.
        """
        volid = f"local:backup/vzdump-qemu-{vmid}-{stamp(ctime, self.zone)}.vma.zst"
        row = {
            "volid": volid,
            "vmid": vmid,
            "subtype": "qemu",
            "content": "backup",
            "ctime": ctime,
            "size": 1000,
            "format": "vma.zst",
            "notes": notes,
        }
        self.archives[node, volid] = row
        self.held[node, volid] = config or config_of(vmid)
        return volid


class TaskCalls(State):
    """The calls about tasks."""

    def _cluster_tasks(self, *, asked: Asked) -> Any:
        ended = [task for task in islice(reversed(self.tasks.values()), RECENT) if task.ended]
        return [_recent(task) for task in (*self.running.values(), *ended)]

    def _node_tasks(self, node: str, *, asked: Asked) -> Any:
        since, until, vmid = (number(asked, name) for name in ("since", "until", "vmid"))
        known: Iterable[Task] = self.tasks.values()
        if until is not None:  # the client looks for one task's own row
            known = [task for task in known if int(task.began) <= until]
        rows = [
            _listed(task)
            for task in known
            if task.node == node
            and asked.get("typefilter") in (None, task.type)
            and int(task.began) >= (since or 0)
            and vmid in (None, task.vmid)
        ]
        return Said(rows, {"total": len(rows)})

    def _task_status(self, node: str, upid: str, *, asked: Asked) -> Any:
        return self._task(upid).state()

    def _task_log(self, node: str, upid: str, *, asked: Asked) -> Any:
        task = self._task(upid)
        last = "TASK OK" if task.ended == "OK" else f"TASK ERROR: {task.ended}"
        name = f"vzdump-qemu-{task.vmid}-{stamp(int(task.began), self.zone)}.vma.zst"
        lines = [
            f"INFO: Starting Backup of VM {task.vmid} (qemu)",
            "INFO: backup mode: snapshot",
            f"INFO: creating vzdump archive '/var/lib/vz/dump/{name}'",
            last,
        ]
        rows = [{"n": place, "t": line} for place, line in enumerate(lines, 1)]
        return Said(rows, {"total": len(rows)})

    def _stop_task(self, node: str, upid: str, *, asked: Asked) -> Any:
        if (task := self._task(upid)).ended is None:
            self._end(task, INTERRUPTED)

    def _task(self, upid: str) -> Task:
        if upid not in self.tasks:
            raise wrong(upid="no such task")
        return self.tasks[upid]


def _recent(task: Task) -> dict[str, Any]:
    """A row of the cluster's list."""
    row = task.row() | task.split_user()
    del row["pstart"]
    if task.ended:
        del row["pid"]
        row |= {"status": task.ended, "endtime": int(task.ends), "saved": "1"}
    return row


def _listed(task: Task) -> dict[str, Any]:
    """A row of a node's list, which splits the token off the user of ended tasks only."""
    if task.ended:
        ended = {"status": task.ended, "endtime": int(task.ends)}
        return task.row() | task.split_user() | ended
    return task.row() | {"user": task.user, "status": "RUNNING", "saved": "0"}
