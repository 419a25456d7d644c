"""The lab's kernel: the cluster's state, a call to its API, and the registry of handlers.

Handlers live in ``pvelab.api``; ``pvelab.app`` imports them and dispatches to them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pvelab.access import Access, Identity
from pvelab.clock import ClusterClock
from pvelab.configfile import GuestTable, VmConfig
from pvelab.errors import LabError, TaskDied, TaskVanished, parameter_error
from pvelab.faults import board, waiting
from pvelab.ha import Ha
from pvelab.jobs import Jobs
from pvelab.release import release_of
from pvelab.system_log import MANAGER, SystemLog
from pvelab.tasks import TaskLog, Tasks, Upid

if TYPE_CHECKING:
    from pvelab.guests.history import History

__all__ = [
    "Answer",
    "Bridge",
    "Call",
    "Hypervisor",
    "Lab",
    "LabError",
    "LabNode",
    "Machine",
    "Raw",
    "StorageDef",
    "TaskDied",
    "TaskLog",
    "TaskVanished",
    "Tasks",
    "Upid",
    "VmConfig",
    "parameter_error",
    "route",
]

Handler = Callable[["Call"], Any]
ROUTES: dict[tuple[str, str], Handler] = {}


def route(method: str, path: str) -> Callable[[Handler], Handler]:
    """Register a handler for a method and a path template as the API schema writes it
    (``/nodes/{node}/qemu``).
    """

    def register(handler: Handler) -> Handler:
        ROUTES[method, path] = handler
        return handler

    return register


@dataclass(frozen=True)
class Answer:
    """A handler's data with what else belongs into the envelope (``total``, ``changes``)."""

    data: Any
    extras: Mapping[str, Any]

    def __init__(self, data: Any, **extras: Any) -> None:
        object.__setattr__(self, "data", data)
        object.__setattr__(self, "extras", extras)


@dataclass(frozen=True)
class Raw:
    """A handler's answer that is not JSON: the bytes and their content type."""

    body: bytes
    content_type: str


class Machine(Protocol):
    """A guest's hardware: what ``pvelab.vmm.machine`` and ``pvelab.simulated`` both are."""

    spec: Any

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def powerdown(self) -> None: ...
    def reset(self) -> None: ...
    def suspend(self) -> None: ...
    def resume(self) -> None: ...
    def resize_disk(self, key: str, size: int) -> None: ...
    def status(self) -> str: ...
    def run_state(self) -> str: ...
    def block_stats(self) -> Mapping[str, Mapping[str, Any]]: ...
    @property
    def pid(self) -> int | None: ...
    def uptime(self) -> float: ...
    def console(self) -> str: ...
    def agent(
        self, command: str, arguments: dict[str, Any] | None = None, timeout: float = 3.0
    ) -> Any: ...
    def set_link(self, index: int, up: bool) -> None: ...
    def snapshot(
        self,
        targets: Mapping[str, Path],
        *,
        freeze: bool,
        on_event: Callable[..., None] | None = None,
    ) -> Any: ...


class Hypervisor(Protocol):
    """Where machines come from. ``name`` is ``qemu`` or ``simulated``."""

    name: str

    def create(self, spec: Any) -> Machine:
        """Given a MachineSpec, return its machine, not started."""
        ...

    def close(self) -> None:
        """End everything that was started, networks included."""
        ...


@dataclass
class LabNode:
    """A cluster member. ``drift`` is how many seconds its clock is ahead, ``dir`` stands for its
    root directory.

    ``memory`` in bytes is what it claims to have: guests are much smaller here than their
    configuration says.
    """

    name: str
    id: int
    ip: str
    drift: int
    dir: Path
    online: bool = True
    memory: int = 64 * 1024**3
    # what the others know of it when it has died: when (cluster seconds), its last stamp, which of
    # its guests ran
    died: float | None = None
    last_seen: int | None = None
    last_running: set[int] = field(default_factory=set)


@dataclass
class StorageDef:
    """A storage's configuration. ``nodes`` None = all; ``options`` as in storage.cfg
    (prune-backups, ...).
    """

    name: str
    type: str
    content: tuple[str, ...]
    shared: bool = False
    nodes: tuple[str, ...] | None = None
    disabled: bool = False
    path: str = "/var/lib/vz"
    options: dict[str, str] = field(default_factory=dict)

    @property
    def block(self) -> bool:
        """Whether its volumes are block devices: raw files in the node's ``dev/pve`` here."""
        return self.type in ("lvmthin", "zfspool")

    @property
    def replicates(self) -> bool:
        """Whether PVE can replicate its volumes: of all plugins only ZFS pools have that
        feature.
        """
        return self.type == "zfspool"


@dataclass(frozen=True)
class Bridge:
    """A bridge of a node. ``ports`` are its host interfaces: none on an isolated one."""

    name: str
    ports: tuple[str, ...] = ()
    address: str | None = None
    vlan_aware: bool = True


class Lab:
    """The whole cluster: its state on disk under ``dir`` and what runs now.

    ``settings`` holds what is decided once at seeding (``auth_delay`` in seconds, ``tz``, ...);
    ``run_dir`` is a short private directory for sockets; ``machines`` are the guests that were
    started, by VMID.
    """

    def __init__(
        self,
        directory: Path,
        *,
        nodes: Mapping[str, LabNode],
        storages: Mapping[str, StorageDef],
        bridges: tuple[Bridge, ...],
        tz: str,
        run_dir: Path,
        hypervisor: Hypervisor,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.dir, self.etc, self.run_dir, self.tz = (
            directory,
            directory / "etc" / "pve",
            run_dir,
            tz,
        )
        self.nodes, self.storages, self.bridges = dict(nodes), dict(storages), bridges
        self.settings = dict(settings or {})
        self.release = release_of(self.settings)
        self.hypervisor = hypervisor
        self._started = time.monotonic()
        self.clock = ClusterClock(float(self.settings.get("time_factor", 1)))
        # told a node's name and whether it lives, when that changes
        self.node_listeners: list[Callable[[str, bool], None]] = []
        self.machines: dict[int, Machine] = {}
        self.history: History | None = None  # archives that are computed: a scaled lab's
        # when each guest was last replicated, in epoch seconds of its node
        self.replicated: dict[int, int] = {}
        self.etc.mkdir(parents=True, exist_ok=True)
        self.guests = GuestTable(self.etc)
        # without quorum no configuration can be written (pve-facts 9.3)
        self.guests.quorate = self.quorate
        self.access = Access(self.etc / "user.json")
        self.jobs = Jobs(self.etc / "jobs.json")
        self.ha = Ha(self.etc / "ha.json")
        self.faults = board.Board(directory / board.FILE)
        self.tasks = Tasks({name: node.dir for name, node in self.nodes.items()}, self.now)
        self.tasks.gate = lambda log: waiting.hang(self.faults, log)
        self.system_logs = {name: SystemLog(node.dir) for name, node in self.nodes.items()}

    @property
    def networks(self) -> Any:
        """The hypervisor's networks (QEMU only)."""
        return getattr(self.hypervisor, "networks", None)

    def now(self, node: str | None = None) -> int:
        """Return a node's clock in epoch seconds, with that node's drift."""
        drift = self.nodes[node].drift if node in self.nodes else 0
        # a fault stands in the place of the drift that was chosen
        fault = self.faults.find("drift", node=node) if node else None
        return int(time.time()) + (int(fault["seconds"]) if fault else drift)

    def ha_says(self, node: str, text: str) -> None:
        """Let HA's manager on a node write a line to that node's system log, if it lives."""
        if node in self.nodes and self.nodes[node].online:
            self.system_logs[node].write(self.now(node), MANAGER, text)

    def uptime(self) -> int:
        """Return how many seconds the lab has been up."""
        return int(time.monotonic() - self._started)

    def quorate(self) -> bool:
        """Say whether more than half of the votes are there: one a node, and one of the QDevice
        where the setting says so.
        """
        alive, third = (
            sum(node.online for node in self.nodes.values()),
            int(bool(self.settings.get("qdevice"))),
        )
        return alive > 0 and 2 * (alive + third) > len(self.nodes) + third

    def answering(self) -> str:
        """Return the node that answers for the cluster: the first one alive, an empty name when
        none is.
        """
        return next((node.name for node in self.nodes.values() if node.online), "")

    def node(self, name: str) -> LabNode:
        """Return a cluster member. Raise LabError 500 as PVE does for a name that it cannot
        resolve.
        """
        if name not in self.nodes:
            raise LabError(
                500,
                f"hostname lookup '{name}' failed - failed to get address info for: {name}: "
                "Temporary failure in name resolution",
            )
        return self.nodes[name]

    def storage(self, name: str) -> StorageDef:
        """Return a storage's definition. Raise LabError 500 with PVE's text if there is none."""
        if name not in self.storages:
            raise LabError(500, f"storage '{name}' does not exist")
        return self.storages[name]

    def storage_dir(self, node: str, storage: str) -> Path:
        """Return where a storage really lies: per node, or under ``shared`` for a shared one."""
        definition = self.storage(storage)
        base = self.dir / "shared" / storage if definition.shared else self.node(node).dir
        return base / ("dev/pve" if definition.block else definition.path.lstrip("/"))

    def machine_status(self, vmid: int) -> str:
        """Return ``running``, ``paused`` or ``stopped``."""
        machine = self.machines.get(vmid)
        return machine.status() if machine else "stopped"

    def machine_dir(self, vmid: int) -> Path:
        """Return the short private directory for a machine's sockets."""
        return self.run_dir / f"vm{vmid}"


@dataclass
class Call:
    """One request: validated parameters (the path's included), who asks, and the node that was
    asked.
    """

    method: str
    path: str
    params: dict[str, Any]
    identity: Identity
    lab: Lab
    local: str = ""

    @property
    def auth(self) -> str:
        """The user, with ``!token`` for a token: what stands in a UPID."""
        return self.identity.name

    @property
    def is_root_ticket(self) -> bool:
        """Say whether root@pam asks with a ticket: no token is ever root (pve-facts 1.9)."""
        return self.identity.name == "root@pam"

    @property
    def node(self) -> str:
        """The path's node."""
        return str(self.params["node"])

    @property
    def vmid(self) -> int:
        """The path's VMID."""
        return int(self.params["vmid"])

    def allowed(self, path: str, *privs: str, any: bool = False) -> bool:
        """Say whether the caller holds the privileges (or any of them) on an ACL path."""
        held = self.lab.access.privileges(self.identity, path)
        wanted = [priv in held for priv in privs]
        return (True in wanted) if any else all(wanted)

    def visible(self, kind: str, members: Iterable[int | str], priv: str) -> set[int | str]:
        """Given ``vms`` or ``storage`` and members of it, return those on which the caller holds a
        privilege.
        """
        return {
            member
            for member, held in self.lab.access.listed(self.identity, kind, members).items()
            if priv in held
        }

    def check(self, path: str, *privs: str, any: bool = False) -> None:
        """Raise LabError 403 with PVE's text unless the caller holds the privileges (or any of
        them) on an ACL path.
        """
        if not self.allowed(path, *privs, any=any):
            raise LabError(
                403, f"Permission check failed ({path}, {('|' if any else ', ').join(privs)})"
            )

    def spawn(
        self, type: str, id: str | int, fn: Callable[[TaskLog], None], node: str | None = None
    ) -> str:
        """Start a task in the caller's name on the path's node and return its UPID."""
        return self.lab.tasks.spawn(node or self.node, type, str(id), self.auth, fn)
