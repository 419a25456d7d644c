"""The HA manager at work: its CRM and the nodes' LRMs (pve-ha-manager
PVE/HA/{Manager,NodeStatus,LRM}.pm; pve-facts 9.4).

It looks at the cluster every ten seconds. A node that is gone is ``unknown``; after a minute it is
to be fenced, and it counts as fenced when its agent lock has run out. Then its services'
configurations move to a node that lives and are started there: whether their disks are there is not
the manager's business, and without them the start fails until it gives up (``error``). All seconds
here are the cluster's: the time factor makes them pass faster.
"""

from __future__ import annotations

import logging
from functools import partial

from pvelab.containers import power as containers
from pvelab.guests import power
from pvelab.ha import Service
from pvelab.kernel import Lab, LabError, LabNode, TaskLog, VmConfig
from pvelab.moves import move
from pvelab.nodes_life import drop_lock, kill_node, revive_node

ROUND = 10.0
FENCE_DELAY = 60.0  # PVE/HA/NodeStatus.pm
LOCK_LIFE = 120.0  # pmxcfs: a lock that nobody renews
WATCHDOG = 70.0  # 60 s until watchdog-mux gives a client up, 10 s of the hardware watchdog
REBOOT = 90.0  # how long a node takes to boot that its watchdog reset: the lab's own figure
_ACTIVE = ("started", "request_stop", "migrate", "relocate")
_TASK = {"qemu": "qm", "lxc": "vz"}  # how the types of their tasks begin
_log = logging.getLogger(__name__)


class HaManager:
    """The leading CRM and the LRMs of all nodes. Call ``round`` every ``ROUND`` cluster seconds."""

    def __init__(self, lab: Lab) -> None:
        self.lab, self.ha = lab, lab.ha
        self._last_online: dict[str, float] = {}
        self._without_quorum: float | None = None
        self._rebooting: dict[str, float] = {}

    def round(self) -> None:
        """Do what is due now."""
        now = self.lab.clock.seconds()
        self._watchdogs(now)
        for name in [name for name, at in self._rebooting.items() if now >= at]:
            del self._rebooting[name]
            if not self.lab.nodes[name].online:
                revive_node(self.lab, name)
        if not self.lab.quorate():
            return
        master = self.lab.nodes.get(self.ha.master or "")
        if master is None:
            return
        if not master.online:
            # its lock has to run out before another node takes over
            if not _lock_is_free(master, now):
                return
            self.ha.master = self.lab.answering()
            self._last_online.clear()
            self._say("status change slave => master")
        for node in self.lab.nodes.values():
            if node.online:
                self._last_online[node.name] = now
                self._note(node.name, "online")
            elif self.ha.node_status.get(node.name, "online") == "online":
                self._note(node.name, "unknown")
        for sid in [sid for sid in self.ha.services if not self._is_managed(sid)]:
            del self.ha.services[sid]
        for sid in sorted(sid for sid in self.ha.resources if self._is_managed(sid)):
            try:
                self._look_at_service(sid, now)
            except LabError as error:
                # a guest that is being deleted or moved by hand: the next round sees it as it is
                # then
                _log.warning("HA round of %s: %s", sid, error)
        self.ha.save()

    def _say(self, text: str) -> None:
        self.lab.ha_says(self.ha.master or "", text)

    def _note(self, node: str, status: str) -> None:
        """Know a node as ``status`` from now on, and write that down."""
        before = self.ha.node_status.get(node, "online")
        self.ha.node_status[node] = status
        if status != before:
            self._say(f"node '{node}': state changed from '{before}' => '{status}'")

    def _is_managed(self, sid: str) -> bool:
        return (
            sid in self.ha.resources
            and self._guest(sid) is not None
            and self.ha.wanted(sid) != "ignored"
        )

    def _guest(self, sid: str) -> VmConfig | None:
        kind, _, vmid = sid.partition(":")
        vm = self.lab.guests.get(int(vmid))
        return vm if vm and vm.word.lower() == kind else None

    def _online(self) -> list[str]:
        return [node.name for node in self.lab.nodes.values() if node.online]

    def _watchdogs(self, now: float) -> None:
        """A node that runs services and has lost quorum cannot feed its watchdog, which resets
        it.
        """
        if self.lab.quorate():
            self._without_quorum = None
            return
        if self._without_quorum is None:
            self._without_quorum = now
        if now - self._without_quorum < WATCHDOG:
            return
        for node in {
            s.node for sid, s in self.ha.services.items() if s.state in _ACTIVE and self._runs(sid)
        }:
            if self.lab.nodes[node].online:
                kill_node(self.lab, node)
                self._rebooting[node] = now + REBOOT

    def _look_at_service(self, sid: str, now: float) -> None:
        vm = self._guest(sid)
        if vm is None:
            return
        new = "started" if self.ha.wanted(sid) == "started" else "request_stop"
        service = self.ha.services.setdefault(sid, Service(new, vm.node))
        if service.state not in ("fence", "migrate", "relocate"):
            service.node = vm.node  # somebody may have moved it by hand
        while True:
            before = service.state
            # what is switched off on purpose is not taken over when its node is lost
            recoverable = (
                before not in ("fence", "recovery", "error") and self.ha.wanted(sid) != "disabled"
            )
            # a new master counts a node's absence from its own first look
            lost = (
                not self.lab.nodes[service.node].online
                and recoverable
                and now - self._last_online.setdefault(service.node, now) >= FENCE_DELAY
            )
            if lost:
                service.state, service.task = "fence", ""
            else:
                self._next(sid, service, vm, now)
            if service.state == before:
                return
            told = {"node": service.node} if before == "recovery" else {}
            if service.state in ("migrate", "relocate"):
                told = {"node": service.node, "target": service.target}
            more = ", ".join(f"{name} = {value}" for name, value in told.items())
            self._say(
                f"service '{sid}': state changed from '{before}' to '{service.state}'"
                + (f"  ({more})" if more else "")
            )
            if lost:
                self._note(service.node, "fence")

    def _next(self, sid: str, service: Service, vm: VmConfig, now: float) -> None:
        wanted, alive = self.ha.wanted(sid), self.lab.nodes[service.node].online
        if service.state == "fence":
            if alive:  # it came back in time
                service.state = "started"
            elif _lock_is_free(self.lab.nodes[service.node], now):
                if self.ha.node_status[service.node] == "fence":
                    self._say(f"fencing: acknowledged - got agent lock for node '{service.node}'")
                self._note(service.node, "unknown")
                service.state = "recovery"
        elif service.state == "recovery":
            if node := self._choose(sid, ""):
                self._say(
                    f"recover service '{sid}' from fenced node '{service.node}' to node '{node}'"
                    if node != service.node
                    else f"recover service '{sid}' to previous failed and fenced node '{node}' again"
                )
                # its configuration moves there, and a lock that a cut dump left goes
                self.lab.guests.move(vm.vmid, node)
                if vm.config.get("lock") == "backup":
                    drop_lock(self.lab, vm)
                service.node = node
                service.state = "started" if wanted == "started" else "request_stop"
        elif service.state == "error":
            if wanted == "disabled":
                service.state, service.failed, service.tries = "stopped", [], 0
        elif not alive:
            return
        elif service.state in ("migrate", "relocate"):
            self._move(sid, service, vm)
        elif service.state == "stopped":
            if not self._take_command(service) and wanted == "started":
                service.state = "started"
        elif wanted == "started":
            service.state = "started"
            if not self._take_command(service):
                self._keep_running(sid, service, vm)
        elif self._runs(sid):
            service.state = "request_stop"
            if not self._is_busy(vm):
                self._spawn_shutdown(vm)
        else:
            service.state, service.task = "stopped", ""

    def _take_command(self, service: Service) -> bool:
        """Begin a move that was asked for; return whether there was one that can be made."""
        if service.command is None:
            return False
        (kind, target), service.command = service.command, None
        if target not in self._online() or target == service.node:
            return False
        service.state, service.target = kind, target
        return True

    def _move(self, sid: str, service: Service, vm: VmConfig) -> None:
        lab, source, target = self.lab, service.node, service.target
        if not service.task:
            work = lambda log: move(lab, vm.vmid, source, target, log)  # noqa: E731 - the task's whole body
            service.task = lab.tasks.spawn(
                source,
                "vzmigrate" if vm.type == "lxc" else "qmigrate",
                str(vm.vmid),
                "root@pam",
                work,
            )
        if lab.tasks.exitstatus(service.task) is None:
            return
        service.task, service.target, service.node = "", "", vm.node
        service.state = "started" if self.ha.wanted(sid) == "started" else "request_stop"

    def _keep_running(self, sid: str, service: Service, vm: VmConfig) -> None:
        """Start what does not run; move what runs elsewhere than its rule wants it."""
        if service.task and self.lab.tasks.exitstatus(service.task) is None:
            return
        tried, service.task = bool(service.task), ""
        if self._runs(sid):
            service.tries, service.failed = 0, []
            better = (
                self._choose(sid, service.node) if self.ha.limit(sid, "failback") else service.node
            )
            if better not in (None, service.node):
                service.state, service.target = "migrate", str(better)
        elif tried:
            # again on the same node, then on another one, until both limits are used up
            service.tries += 1
            if service.tries <= self.ha.limit(sid, "max_restart"):
                return
            service.tries = 0
            service.failed.append(service.node)
            if len(service.failed) > self.ha.limit(sid, "max_relocate"):
                service.state = "error"
            elif other := self._choose(sid, "", without=service.failed):
                service.state, service.target = "migrate", other
        elif not self._is_busy(vm):
            begin = containers.start if vm.type == "lxc" else power.start
            service.task = self.lab.tasks.spawn(
                vm.node,
                f"{_TASK[vm.type]}start",
                str(vm.vmid),
                "root@pam",
                partial(begin, self.lab, vm.node, vm.vmid),
            )

    def _choose(self, sid: str, current: str, without: list[str] | None = None) -> str | None:
        """Return where a service belongs: where it is if that is as good as any, else the node with
        the fewest services.
        """
        names = [
            name for name in self.ha.nodes_for(sid, self._online()) if name not in (without or ())
        ]
        load = lambda name: (sum(s.node == name for s in self.ha.services.values()), name)  # noqa: E731 - a sort key
        return current if current in names else min(names, key=load, default=None)

    def _runs(self, sid: str) -> bool:
        return power.machine_of(self.lab, int(sid.partition(":")[2])) is not None

    def _is_busy(self, vm: VmConfig) -> bool:
        """Say whether a task is at work on the guest: a start or stop that was asked for, a dump, a
        restore.
        """
        return "lock" in vm.config or any(
            upid.id == str(vm.vmid) for upid in self.lab.tasks.running(vm.node)
        )

    def _spawn_shutdown(self, vm: VmConfig) -> None:
        lab, node, vmid, lxc = self.lab, vm.node, vm.vmid, vm.type == "lxc"

        def work(log: TaskLog) -> None:
            if lxc:
                containers.stop(lab, node, vmid, log)
            else:
                power.shutdown(lab, node, vmid, log, force=True)

        lab.tasks.spawn(node, f"{_TASK[vm.type]}shutdown", str(vmid), "root@pam", work)


def _lock_is_free(node: LabNode, now: float) -> bool:
    """Say whether a dead node's locks have run out; one that was dead when the lab was opened holds
    none.
    """
    return node.died is None or now - node.died >= LOCK_LIFE
