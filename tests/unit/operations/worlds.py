"""Small worlds for the engine's tests: a real catalog, a clock that moves when it is waited for,
PVE tasks by script.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import delete

from backupsvc.bootstrap import Service
from backupsvc.catalog import Catalog
from backupsvc.catalog.tables import IDENTITY, METADATA
from backupsvc.engine import drivers
from backupsvc.engine.kind import OperationKind
from backupsvc.operations.backup.opening import open_backup
from backupsvc.operations.kinds import KINDS
from backupsvc.remote.connections import NodeConnections
from backupsvc.settings import SshSettings
from policies.jobs import expected
from policies.model import Job, Operation
from tests.fakes.clock import SteppingClock


@dataclass
class Row:
    """A row of a node's task list."""

    upid: str


@dataclass
class Tasks:
    """PVE tasks that end after so many polls."""

    polls: dict[str, int] = field(default_factory=dict)
    listed: list[Row] = field(default_factory=list)

    def poll(self, upid: str) -> Any:
        left = self.polls.get(upid, 0)
        self.polls[upid] = left - 1
        return None if left > 0 else f"result of {upid}"

    def surely_runs(self, upid: str) -> bool:
        return False

    def find(self, node: str, *, type: str, vmid: int, since: int) -> list[Row]:
        return self.listed


@dataclass
class World(Service):
    """A service into which a test puts the parts; what it does not put in is not there, and is
    opened by nothing.
    """

    catalog: Catalog = field()
    clock: SteppingClock = field(default_factory=SteppingClock)
    pve: Any = None
    restore_pve: Any = None
    policy: Any = None
    settings: Any = None
    nodes: Any = field(default_factory=lambda: NodeConnections(SshSettings()))
    engine: Any = None
    probe: Any = None
    probe_vmid: Any = None

    def __post_init__(self) -> None:
        super().__init__(self.settings, self.clock)


def dead_command() -> str:
    """The name that a command of this machine left on its leases before it was killed."""
    with subprocess.Popen(["sleep", "60"]) as child:
        found = drivers.look(child.pid)
        child.kill()
    assert found
    return str(replace(drivers.identity(foreground=True), pid=child.pid, start=found.start))


def operation_of(site: Service, id: str) -> Operation:
    """Given the id of an operation that the catalog knows, return it."""
    found = site.catalog.operations.get(id)
    assert found is not None
    return found


def world(catalog_url: str) -> World:
    """Given an empty database's URL, return a world with its catalog there."""
    return World(Catalog.open(catalog_url))


def emptied(catalog: Catalog) -> Catalog:
    """Given a catalog, return it without anything that it knew: sooner done than to make the tables
    of another one.
    """
    with catalog._database.write() as connection:
        for table in reversed(METADATA.sorted_tables):
            if table is not IDENTITY:
                connection.execute(delete(table))
    return catalog


Handler = Callable[[Any], Any]


def kinds_with(handlers: Mapping[str, Mapping[str, Handler]]) -> dict[str, OperationKind[Any, Any]]:
    """Every kind of operation, some of them with other handlers."""
    return dict(KINDS) | {
        name: replace(KINDS[name], handlers=own) for name, own in handlers.items()
    }


def open_job(service: Service, job: Job, only: Collection[int] = ()) -> list[Operation]:
    """Given a job, open one backup operation for each guest that it expects, and return them in
    VMID order.
    """
    found = expected(job, service.policy, service.pve.cluster.guests(), only)
    return [operation for item in found if (operation := open_backup(service, job, item))]
