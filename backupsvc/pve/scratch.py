"""The only code that stops or destroys a guest, or starts a restored copy. Laws 1 and 2 are held
here, at each effect.

Every method reads the guest's config back from PVE first: the VMID must lie in the scratch range,
the config must carry this operation's marker, and the catalog's lease on the VMID must be this
operation's (policies.ownership). A start also needs every assertion of policies.isolation. Nothing
that a caller knew before counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from backupsvc.errors import LawRefused, PveError, PveNotFound
from backupsvc.pve import leftovers
from backupsvc.pve.client import Client, Value
from backupsvc.pve.tasks import Upid, parse_upid, task_row
from policies import attached, bridge_isolation, isolation, ownership, stubs
from policies.model import Scratch
from policies.pve import texts
from policies.pve.volid import storage_of

if TYPE_CHECKING:
    from backupsvc.pve import Pve

# seconds for which a guest's NICs are believed before a restore; before the start they are read
# anew
FRESH = 300.0
_HINT_LAW_1 = (
    "nothing was touched; look at the guest in PVE, and remove it by hand if it is a left-over"
)


class ScratchGuests:
    """The copies that restore tests make. ``lease_holder`` tells which operation the catalog has
    lent a VMID to.

    ``heir`` is the operation that removes a copy which the catalog has forgotten.
    """

    def __init__(
        self,
        client: Client,
        pve: Pve,
        scratch: Scratch,
        lease_holder: Callable[[int], str | None],
        heir: ownership.Heir | None = None,
    ) -> None:
        self._client, self._pve, self._scratch, self._lease_holder, self._heir = (
            client,
            pve,
            scratch,
            lease_holder,
            heir,
        )
        self._guests, self._cluster, self._tasks = pve.guests, pve.cluster, pve.tasks

    def apply_strip(self, node: str, vmid: int, operation: str, delete: Sequence[str]) -> None:
        """Given a restored copy, delete these keys from its config. Raise LawRefused if it is not
        this operation's.
        """
        config = self._owned(node, vmid, operation)
        if delete:
            # by its digest PVE refuses if somebody changed the config since (pve-facts 8.1)
            asked = {"delete": ",".join(delete), "digest": config.get("digest")}
            self._client.put(f"nodes/{node}/qemu/{vmid}/config", asked)

    def require_bridge(self, node: str, network: str, max_age: float = FRESH) -> tuple[str, ...]:
        """Given the node of a copy and its kind of network, return if its links may be up there as
        far as the bridge goes.

        The node is asked at this moment; the NICs of a guest that was there before may be known for
        ``max_age`` seconds. Raise LawRefused if the bridge is not isolated there, or if that cannot
        be seen. Return what the reader should know: that the node's kernel could not be asked.
        """
        bridge = self._scratch.bridge
        # no link is up; without a bridge the assertions allow no NIC at all
        if network != isolation.ISOLATED or bridge is None:
            return ()
        permissions = self._cluster.permissions()
        found = bridge_isolation.openings(self._cluster.network(node), bridge, permissions)
        kernel = self._pve.kernel(node, bridge)
        if not found:
            known = {*self._pve.probes, *range(self._scratch.first, self._scratch.last + 1)}
            found = attached.foreign_ports(kernel, node, bridge, known) if kernel else ()
        if not found:
            cards = self._pve.attached.of(node, max_age)
            found = attached.strangers(
                cards,
                node,
                bridge,
                scratch=self._scratch,
                probes=self._pve.probes,
                permissions=permissions,
            )
        if found:
            raise LawRefused(
                2,
                f"no copy starts on {node}: {'; '.join(found)}",
                f"name a bridge in scratch.bridge that has on {node} neither port nor address nor "
                "any guest but the probe (BACKUPSVC_PROBE__VMID names it); see `backupsvc doctor`",
            )
        return (kernel.said,) if kernel and kernel.said else ()

    def start(self, node: str, vmid: int, operation: str, *, network: str) -> str:
        """Given a restored copy, start it and return the task.

        Raise LawRefused, and start nothing, if it is not this operation's (law 1) or if one
        condition of its isolation does not hold, or the bridge is not isolated on that node (law
        2).
        """
        config = self._owned(node, vmid, operation)
        managed = self._guests.status(node, vmid).ha_managed
        if managed is None:  # a PVE that does not tell it with the state
            managed = f"vm:{vmid}" in self._cluster.ha_resources()
        asserted = isolation.assertions(
            config,
            scratch=self._scratch,
            vmid=vmid,
            operation=operation,
            network=network,
            ha_managed=managed,
        )
        if broken := [
            f"{assertion.name}: {assertion.detail}" for assertion in asserted if not assertion.holds
        ]:
            raise LawRefused(
                2,
                f"the copy in scratch VMID {vmid} on {node} is not started: {'; '.join(broken)}",
                "see what the archive's configuration carries; the copy is removed unstarted",
            )
        # last of all, and anew: somebody may have joined the bridge since the restore (law 2)
        self.require_bridge(node, network, max_age=0.0)
        return self._client.post(f"nodes/{node}/qemu/{vmid}/status/start").upid()

    def stop(self, node: str, vmid: int, operation: str) -> str | None:
        """Given a copy, kill it and return the task; None if none runs. Raise LawRefused if it is
        not this operation's.
        """
        try:
            self._owned(node, vmid, operation)
            if not self._guests.status(node, vmid).running:
                return None
            return self._client.post(f"nodes/{node}/qemu/{vmid}/status/stop").upid()
        except PveNotFound as error:
            _unless_gone(error)
            return None

    def destroy(self, node: str, vmid: int, operation: str) -> str | None:
        """Given a stopped copy, destroy it with its disks and return the task; None if there is
        nothing to destroy.

        PVE itself refuses while it runs. Raise LawRefused if it is not this operation's.
        """
        try:
            self._owned(node, vmid, operation)
            # disks that its config does not name stay unless asked for (pve-facts 8.4)
            asked = {"purge": True, "destroy-unreferenced-disks": True}
            return self._client.delete(f"nodes/{node}/qemu/{vmid}", asked).upid()
        except PveNotFound as error:
            _unless_gone(error)
            return None

    def remove_volume(self, node: str, volid: str, vmid: int, operation: str) -> str | None:
        """Given a disk that a destroyed copy left behind, begin to remove it and return the task;
        None if it is not there.

        Raise LawRefused unless the VMID is in range and leased to this operation, the cluster calls
        it free at this moment, and the storage lists the volume as this VMID's.
        """
        holder, wanted = self._lease_holder(vmid), self._heir.operation if self._heir else operation
        storage = storage_of(volid)
        if vmid not in self._scratch or holder != wanted:
            raise LawRefused(
                1,
                f"volume {volid} on {node} is not removed: VMID {vmid} is not lent to {wanted}",
                _HINT_LAW_1,
            )
        if not self._cluster.vmid_free(vmid):
            raise LawRefused(
                1, f"volume {volid} on {node} is not removed: a guest has VMID {vmid}", _HINT_LAW_1
            )
        if volid not in self._pve.storage.volumes(node, storage, vmid):
            return None
        return self._client.delete(f"nodes/{node}/storage/{storage}/content/{volid}").upid_if_any()

    def mark_stub(self, node: str, vmid: int, operation: str, restore_upid: str) -> None:
        """Given the failed restore that this operation began, mark the config it left, so that
        ``destroy`` may remove it.

        A failed restore leaves a config without our marker (pve-facts 7.4). It counts as ours only
        if the VMID is in range and leased to us, the task is this token's own restore into that
        VMID, has ended and has failed, and the config holds nothing at all. Raise LawRefused
        otherwise.
        """
        config = self._guests.config(node, vmid)
        if why := self._not_our_stub(node, vmid, operation, restore_upid, config):
            raise LawRefused(
                1, f"the config of VMID {vmid} on {node} is not taken over: {why}", _HINT_LAW_1
            )
        asked = {"description": ownership.marker(operation), "digest": config.get("digest")}
        self._client.put(f"nodes/{node}/qemu/{vmid}/config", asked)

    def _not_our_stub(
        self, node: str, vmid: int, operation: str, upid: str, config: dict[str, str]
    ) -> str | None:
        """Why that config is not the rest of our own failed restore; None if it is."""
        unmarked = {**config, "description": ownership.marker(operation)}
        # range and lease; the marker is what it lacks
        if why := self._refusal(vmid, unmarked, operation):
            return why
        if not _restores_into(node, vmid, parse_upid(upid), self._client.token_id):
            return f"{upid} is not this token's restore into it"
        result = self._tasks.poll(upid)
        if result is None or result.ok:
            return f"{upid} {'still runs' if result is None else 'has succeeded'}"
        return None if ownership.is_stub(config) else "it holds more than a failed restore leaves"

    def _owned(self, node: str, vmid: int, operation: str) -> dict[str, str]:
        """The guest's config as it is now. Raise LawRefused if it is not this operation's,
        PveNotFound if there is none.
        """
        if vmid not in self._scratch:  # known without asking PVE
            raise LawRefused(1, str(self._refusal(vmid, {}, operation)), _HINT_LAW_1)
        config = self._guests.config(node, vmid)
        if why := self._refusal(vmid, config, operation):
            raise LawRefused(1, why, _HINT_LAW_1)
        # the catalog forgot it, and a marker can be cloned: PVE's own tasks must tell (law 1)
        if self._heir and not leftovers.restored_here(self._pve, vmid):
            raise LawRefused(
                1,
                f"PVE's tasks do not say that this token restored VM {vmid} on {node}",
                _HINT_LAW_1,
            )
        return config

    def _refusal(self, vmid: int, config: dict[str, str], operation: str) -> str | None:
        holder = self._lease_holder(vmid)
        return ownership.refusal(
            vmid,
            config,
            scratch=self._scratch,
            operation=operation,
            lease_holder=holder,
            heir=self._heir,
        )


class RestoreStubs:
    """What a failed restore leaves under the VMID that it was to restore: law 1's exception (a),
    and nothing else.
    """

    def __init__(self, client: Client, pve: Pve) -> None:
        self._client, self._pve = client, pve

    def why_not(self, node: str, vmid: int, restore_upid: str | None) -> str | None:
        """Given a guest and the restore of ours that failed under its VMID, return why it may not
        be destroyed; None if it may.

        Everything is asked at this moment: config, state, the task, and every storage of the node.
        Raise PveUnreachable if one of them does not answer.
        """
        pve = self._pve
        config, ours, ended = pve.guests.config(node, vmid), False, None
        if restore_upid:
            task = parse_upid(restore_upid)
            ours = _restores_into(node, vmid, task, self._client.token_id)
            # anybody's, by the node's own clock: each may have made another guest since
            asked: dict[str, Value] = {"source": "all", "vmid": vmid, "since": task.start}
            tasks = f"nodes/{node}/tasks"
            later = {
                task_row(row).upid
                for kind in ("qmrestore", "qmcreate")
                for row in self._client.get(tasks, {**asked, "typefilter": kind}).rows()
            }
            ours = ours and later <= {restore_upid}
            ended = pve.tasks.poll(restore_upid) if ours else None
        running = pve.guests.status(node, vmid).running
        return stubs.refusal(
            vmid,
            config,
            ours=ours,
            failed=ended is not None and not ended.ok,
            running=running,
            volumes=self._volumes(node, vmid),
        )

    def destroy(self, node: str, vmid: int, restore_upid: str) -> str:
        """Given such a rest, destroy it and return the task. Raise LawRefused if anything says that
        it is more than that.

        Without ``purge``: PVE would take the guest, which is about to come back, out of its jobs,
        HA and replication.
        """
        if why := self.why_not(node, vmid, restore_upid):
            raise LawRefused(1, f"VM {vmid} on {node} is left alone: {why}", _HINT_LAW_1)
        return self._client.delete(f"nodes/{node}/qemu/{vmid}").upid()

    def _volumes(self, node: str, vmid: int) -> list[str]:
        """Every volume of that VMID that the node sees. A storage that is enabled there and cannot
        be listed raises.
        """
        places = [
            item.name
            for item in self._pve.storage.seen().storages
            if item.node == node and item.enabled and "images" in item.content
        ]
        if not places:
            raise PveError(
                f"no storage of {node} that holds disks could be seen",
                "see that the node is there, and the token's rights",
            )
        return [id for name in places for id in self._pve.storage.volumes(node, name, vmid)]


def gone(exitstatus: str) -> bool:
    """Given a failed task's exit status, return whether it failed because there is no such
    guest.
    """
    return texts.GUEST_GONE.search(exitstatus) is not None


def _restores_into(node: str, vmid: int, task: Upid, token: str) -> bool:
    """Whether a task is this token's own restore of a VM into that VMID, on that node."""
    # the user names the token too: another one of the same user is somebody else
    return (task.type, task.id, task.node, task.user) == ("qmrestore", str(vmid), node, token)


def _unless_gone(error: PveError) -> None:
    """Given an error, raise it again unless it says that the guest itself does not exist."""
    if not texts.GUEST_GONE.search(error.text):
        raise error
