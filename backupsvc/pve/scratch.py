"""The only code that stops or destroys a guest, or starts a restored copy. Laws 1 and 2 are held here, at each effect.

Every method reads the guest's config back from PVE first: the VMID must lie in the scratch range, the config must carry this
operation's marker, and the catalog's lease on the VMID must be this operation's (policies.ownership). A start also needs every
assertion of policies.isolation. Nothing that a caller knew before counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from backupsvc.errors import LawRefused, PveError, PveNotFound
from backupsvc.pve.client import Client
from backupsvc.pve.cluster import Cluster
from backupsvc.pve.guests import Guests
from backupsvc.pve.tasks import Tasks, parse_upid
from policies import bridge_isolation, isolation, ownership, pve_texts
from policies.model import Scratch

_HINT_LAW_1 = "nothing was touched; look at the guest in PVE, and remove it by hand if it is a left-over"


class ScratchGuests:
    """The copies that restore tests make. ``lease_holder`` tells which operation the catalog has lent a VMID to."""

    def __init__(
        self,
        client: Client,
        guests: Guests,
        cluster: Cluster,
        tasks: Tasks,
        scratch: Scratch,
        lease_holder: Callable[[int], str | None],
    ) -> None:
        self._client, self._guests, self._cluster, self._tasks = client, guests, cluster, tasks
        self._scratch, self._lease_holder = scratch, lease_holder

    def apply_strip(self, node: str, vmid: int, operation: str, delete: Sequence[str]) -> None:
        """Given a restored copy, delete these keys from its config. Raise LawRefused if it is not this operation's."""
        config = self._owned(node, vmid, operation)
        if delete:
            asked = {"delete": ",".join(delete), "digest": config.get("digest")}
            self._client.put(f"nodes/{node}/qemu/{vmid}/config", asked)

    def require_bridge(self, node: str, network: str) -> None:
        """Given the node of a copy and its kind of network, return if its links may be up there as far as the bridge goes.

        The node is asked at this moment. Raise LawRefused if the bridge is not isolated there, or if that cannot be seen.
        """
        bridge = self._scratch.bridge
        if network != isolation.ISOLATED or bridge is None:  # no link is up; without a bridge the assertions allow no NIC at all
            return
        if found := bridge_isolation.openings(self._cluster.network(node), bridge, self._cluster.permissions()):
            raise LawRefused(
                2,
                f"no copy starts on {node}: {'; '.join(found)}",
                f"name a bridge in scratch.bridge that has neither port nor address on {node}; see `backupsvc doctor`",
            )

    def start(self, node: str, vmid: int, operation: str, *, network: str) -> str:
        """Given a restored copy, start it and return the task.

        Raise LawRefused, and start nothing, if it is not this operation's (law 1) or if one condition of its isolation does
        not hold, or the bridge is not isolated on that node (law 2).
        """
        config = self._owned(node, vmid, operation)
        asserted = isolation.assertions(
            config,
            scratch=self._scratch,
            vmid=vmid,
            operation=operation,
            network=network,
            ha_managed=self._ha_managed(node, vmid),
        )
        if broken := [f"{assertion.name}: {assertion.detail}" for assertion in asserted if not assertion.holds]:
            raise LawRefused(
                2,
                f"the copy in scratch VMID {vmid} on {node} is not started: {'; '.join(broken)}",
                "see what the archive's configuration carries; the copy is removed unstarted",
            )
        self.require_bridge(node, network)
        return str(self._client.post(f"nodes/{node}/qemu/{vmid}/status/start"))

    def stop(self, node: str, vmid: int, operation: str) -> str | None:
        """Given a copy, kill it and return the task; None if none runs. Raise LawRefused if it is not this operation's."""
        try:
            self._owned(node, vmid, operation)
            if not self._guests.status(node, vmid).running:
                return None
            return str(self._client.post(f"nodes/{node}/qemu/{vmid}/status/stop"))
        except PveNotFound as error:
            _unless_gone(error)
            return None

    def destroy(self, node: str, vmid: int, operation: str) -> str | None:
        """Given a stopped copy, destroy it with its disks and return the task; None if there is nothing to destroy.

        PVE itself refuses while it runs. Raise LawRefused if it is not this operation's.
        """
        try:
            self._owned(node, vmid, operation)
            return str(self._client.delete(f"nodes/{node}/qemu/{vmid}", {"purge": True, "destroy-unreferenced-disks": True}))
        except PveNotFound as error:
            _unless_gone(error)
            return None

    def mark_stub(self, node: str, vmid: int, operation: str, restore_upid: str) -> None:
        """Given the failed restore that this operation began, mark the config it left, so that ``destroy`` may remove it.

        A failed restore leaves a config without our marker (OBSERVED 18, 19). It counts as ours only if the VMID is in range and
        leased to us, the task is this token's own restore into that VMID, has ended and has failed, and the config holds
        nothing at all. Raise LawRefused otherwise.
        """
        config = self._guests.config(node, vmid)
        if why := self._not_our_stub(node, vmid, operation, restore_upid, config):
            raise LawRefused(1, f"the config of VMID {vmid} on {node} is not taken over: {why}", _HINT_LAW_1)
        asked = {"description": ownership.marker(operation), "digest": config.get("digest")}
        self._client.put(f"nodes/{node}/qemu/{vmid}/config", asked)

    def _not_our_stub(self, node: str, vmid: int, operation: str, upid: str, config: dict[str, str]) -> str | None:
        """Why that config is not the rest of our own failed restore; None if it is."""
        unmarked = {**config, "description": ownership.marker(operation)}
        if why := self._refusal(vmid, unmarked, operation):  # range and lease; the marker is what it lacks
            return why
        task = parse_upid(upid)
        if (task.type, task.id, task.node, task.user) != ("qmrestore", str(vmid), node, self._client.token_id):
            return f"{upid} is not this token's restore into it"
        result = self._tasks.poll(upid)
        if result is None or result.ok:
            return f"{upid} {'still runs' if result is None else 'has succeeded'}"
        return None if ownership.is_stub(config) else "it holds more than a failed restore leaves"

    def _owned(self, node: str, vmid: int, operation: str) -> dict[str, str]:
        """The guest's config as it is now. Raise LawRefused if it is not this operation's, PveNotFound if there is none."""
        if vmid not in self._scratch:  # known without asking PVE
            raise LawRefused(1, str(self._refusal(vmid, {}, operation)), _HINT_LAW_1)
        config = self._guests.config(node, vmid)
        if why := self._refusal(vmid, config, operation):
            raise LawRefused(1, why, _HINT_LAW_1)
        return config

    def _refusal(self, vmid: int, config: dict[str, str], operation: str) -> str | None:
        holder = self._lease_holder(vmid)
        return ownership.refusal(vmid, config, scratch=self._scratch, operation=operation, lease_holder=holder)

    def _ha_managed(self, node: str, vmid: int) -> bool:
        managed = self._guests.status(node, vmid).ha_managed
        return f"vm:{vmid}" in self._cluster.ha_resources() if managed is None else managed


def gone(exitstatus: str) -> bool:
    """Given a failed task's exit status, return whether it failed because there is no such guest."""
    return pve_texts.GUEST_GONE.search(exitstatus) is not None


def _unless_gone(error: PveError) -> None:
    """Given an error, raise it again unless it says that the guest itself does not exist."""
    if not pve_texts.GUEST_GONE.search(error.text):
        raise error
