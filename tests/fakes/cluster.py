"""A cluster that lives on a virtual clock. It is served at the place of the HTTP client of
``backupsvc.pve`` (``connect``), or behind TLS on loopback (``tests.fakes.pve_server``).

Its tasks last some virtual seconds, its guests are only values, and every call is counted. It is
simulated: it proves nothing about PVE, only about who asks it what, and when. Its answers are held
to recorded ones by ``tests/unit/fakes``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from backupsvc.errors import BackupsvcError
from backupsvc.pve import Pve
from backupsvc.pve.answers import BadAnswer, Caller, error_for
from backupsvc.pve.breakers import Breakers
from backupsvc.pve.client import encoded
from backupsvc.pve.fields import Answer
from policies.model import Scratch
from tests.fakes.cluster_calls import ClusterCalls, StorageCalls, TaskCalls
from tests.fakes.guest_calls import GuestCalls
from tests.fakes.state import TOKEN_ID, Guest, Refusal, Said, Task

__all__ = ["Guest", "Task", "VirtualClient", "VirtualCluster", "connect"]
WHERE = "virtual:8006"


class VirtualCluster(StorageCalls, GuestCalls, TaskCalls, ClusterCalls):
    """A cluster with everything that the service asks of one."""

    def answer(self, method: str, path: str, asked: Mapping[str, Any]) -> Said:
        """Given a call, return its answer. Raise Refusal where PVE refuses it."""
        self.catch_up()
        if path.startswith("nodes/") and path.split("/")[1] in self.offline:
            raise Refusal(595, "No route to host")
        for pattern, known, handler in ROUTES:
            if method == known and (found := pattern.fullmatch(path)):
                self.calls[f"{method} {handler.__name__.strip('_')}"] += 1
                said = getattr(self, handler.__name__)(*found.groups(), asked=asked)
                return said if isinstance(said, Said) else Said(said, {})
        if method == "GET" and _NOT_SERVED.fullmatch(path):
            self.calls["GET what is not there"] += 1
            raise Refusal(501, f"Method 'GET /{path}' not implemented")
        raise AssertionError(f"the fake does not know {method} {path}")


# Given a call and what carries it out, carry it out; or let time pass, lose the answer, or do not.
Around = Callable[[str, str, Callable[[], Any]], Any]


class VirtualClient:
    """Stands where ``backupsvc.pve.client.Client`` stands. ``around`` may wrap every call; a read
    is tried once only.
    """

    def __init__(self, cluster: VirtualCluster, around: Around | None = None) -> None:
        self.token_id, self.where, self.breakers = TOKEN_ID, WHERE, Breakers(cluster.clock)
        self._cluster, self._around = cluster, around or (lambda method, path, act: act())

    def get(
        self, path: str, params: Mapping[str, Any] | None = None, *, retry: bool = True
    ) -> Answer:
        return self._call("GET", path, params)

    def post(self, path: str, params: Mapping[str, Any] | None = None) -> Answer:
        return self._call("POST", path, params)

    def put(self, path: str, params: Mapping[str, Any] | None = None) -> Answer:
        return self._call("PUT", path, params)

    def delete(self, path: str, params: Mapping[str, Any] | None = None) -> Answer:
        return self._call("DELETE", path, params)

    def _call(self, method: str, path: str, params: Mapping[str, Any] | None) -> Answer:
        asked, call = encoded(params or {}), f"{method} /{path}"
        beside: dict[str, Any] = {}

        def act() -> Any:
            try:
                said = self._cluster.answer(method, path, asked)
            except Refusal as refusal:
                raise _error(refusal, call) from None
            beside.update(said.beside)
            return said.data

        return Answer("virtual", call, self._around(method, path, act), beside)


def _error(refusal: Refusal, call: str) -> BackupsvcError:
    answer = BadAnswer(refusal.status, refusal.text, f"{refusal.text}\n", refusal.errors)
    return error_for(answer, Caller(WHERE, TOKEN_ID, call))


def connect(cluster: VirtualCluster, scratch: Scratch, around: Around | None = None) -> Pve:
    """Given a virtual cluster, return it as the service's typed calls."""
    client: Any = VirtualClient(cluster, around)
    return Pve(client, cluster.clock, scratch)


_NODE = r"nodes/([^/]+)"
ROUTES: tuple[tuple[re.Pattern[str], str, Callable[..., Any]], ...] = tuple(
    (re.compile(pattern), method, handler)
    for method, pattern, handler in (
        ("GET", r"cluster/tasks", VirtualCluster._cluster_tasks),
        ("GET", rf"{_NODE}/tasks/([^/]+)/status", VirtualCluster._task_status),
        ("GET", rf"{_NODE}/tasks/([^/]+)/log", VirtualCluster._task_log),
        ("GET", rf"{_NODE}/tasks", VirtualCluster._node_tasks),
        ("DELETE", rf"{_NODE}/tasks/([^/]+)", VirtualCluster._stop_task),
        ("GET", r"cluster/resources", VirtualCluster._resources),
        ("GET", rf"{_NODE}/storage/([^/]+)/content", VirtualCluster._content),
        ("GET", rf"{_NODE}/storage/([^/]+)/prunebackups", VirtualCluster._prunebackups),
        ("DELETE", rf"{_NODE}/storage/([^/]+)/content/(.+)", VirtualCluster._delete_archive),
        ("GET", rf"{_NODE}/storage/([^/]+)/status", VirtualCluster._storage_status),
        ("GET", rf"{_NODE}/storage", VirtualCluster._storages_of),
        ("GET", r"storage", VirtualCluster._storages),
        ("GET", rf"{_NODE}/vzdump/defaults", VirtualCluster._defaults),
        ("GET", rf"{_NODE}/vzdump/extractconfig", VirtualCluster._extractconfig),
        ("POST", rf"{_NODE}/vzdump", VirtualCluster._vzdump),
        ("GET", rf"{_NODE}/network", VirtualCluster._network),
        ("GET", rf"{_NODE}/time", VirtualCluster._time),
        ("GET", r"version", VirtualCluster._version),
        ("GET", r"nodes", VirtualCluster._node_list),
        ("GET", r"cluster/nextid", VirtualCluster._nextid),
        ("GET", r"cluster/status", VirtualCluster._cluster_status),
        ("GET", rf"{_NODE}/qemu/(\d+)/pending", VirtualCluster._pending),
        ("GET", r"cluster/ha/status/current", VirtualCluster._ha_status),
        ("GET", rf"{_NODE}/version", VirtualCluster._node_version),
        ("GET", r"cluster/ha/resources", VirtualCluster._ha_resources),
        ("GET", r"cluster/backup", VirtualCluster._backup_jobs),
        ("GET", r"access/permissions", VirtualCluster._permissions),
        ("POST", rf"{_NODE}/qemu", VirtualCluster._restore),
        ("GET", rf"{_NODE}/qemu/(\d+)/config", VirtualCluster._config),
        ("PUT", rf"{_NODE}/qemu/(\d+)/config", VirtualCluster._change),
        ("GET", rf"{_NODE}/qemu/(\d+)/status/current", VirtualCluster._status),
        ("POST", rf"{_NODE}/qemu/(\d+)/agent/fsfreeze-status", VirtualCluster._fsfreeze_status),
        ("POST", rf"{_NODE}/qemu/(\d+)/agent/fsfreeze-thaw", VirtualCluster._fsfreeze_thaw),
        ("POST", rf"{_NODE}/qemu/(\d+)/status/(start|stop|shutdown)", VirtualCluster._power),
        ("DELETE", rf"{_NODE}/qemu/(\d+)", VirtualCluster._destroy),
    )
)
# of what is kept of a configuration, what no test needs: this PVE does not have it
_NOT_SERVED = re.compile(
    r"cluster/log|nodes/[^/]+/syslog|access/(?:users|groups|roles|acl|domains)|pools"
    r"|cluster/(?:options|replication|config/nodes|ha/(?:groups|rules)|metrics/server)"
    r"|cluster/(?:firewall|mapping|notifications|sdn)/.+"
    r"|nodes/[^/]+/(?:dns|hosts|config|(?:qemu/\d+/)?firewall/.+)"
)
