"""Proxmox VE: the only package that imports proxmoxer. ``connect`` returns the cluster as typed
calls.

Heavy modules are imported by ``connect``, so that importing this package's names costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from backupsvc.clock import Clock
    from backupsvc.errors import BackupsvcError
    from backupsvc.pve.breakers import Breakers
    from backupsvc.pve.client import Client
    from backupsvc.pve.ha import HighAvailability
    from backupsvc.pve.replacing import Replacing
    from backupsvc.pve.scratch import RestoreStubs, ScratchGuests
    from backupsvc.settings import PveSettings
    from policies.attached import Kernel
    from policies.lineage import Identity
    from policies.model import Scratch
    from policies.ownership import Heir

__all__ = ["Pve", "connect"]


class Pve:
    """One cluster, seen with one token. Safe to share between threads."""

    def __init__(self, client: Client, clock: Clock, scratch: Scratch | None = None) -> None:
        """Given a client. ``scratch`` is the range that ``guests.start`` never reaches into;
        ``scratch()`` sets it too.
        """
        from backupsvc.pve.agent import Agent
        from backupsvc.pve.attached import Attachments
        from backupsvc.pve.cluster import Cluster
        from backupsvc.pve.configuration import Configuration
        from backupsvc.pve.guests import Guests
        from backupsvc.pve.ha import HighAvailability
        from backupsvc.pve.ha_history import HaHistory
        from backupsvc.pve.nodes import Nodes
        from backupsvc.pve.restore import Restore
        from backupsvc.pve.storage import Storages
        from backupsvc.pve.surroundings import Surroundings
        from backupsvc.pve.tasks import Tasks
        from backupsvc.pve.vzdump import Vzdump

        self._client, self._scratch = client, scratch
        self.tasks = Tasks(client, clock)
        nodes = Nodes(client, clock)
        self.cluster = Cluster(client, clock, nodes)
        self.ha = HighAvailability(client)
        self.ha_history = HaHistory(client, clock)
        self.guests = Guests(client, lambda: self._scratch)
        self.agent = Agent(client, clock, self.guests)
        self.storage = Storages(client, clock, nodes)
        self.vzdump = Vzdump(client)
        self.restore = Restore(client)
        self.configuration = Configuration(client)
        self.surroundings = Surroundings(client, lambda: self._scratch)
        self.attached = Attachments(client, self.cluster, clock)
        # what is known of the isolated bridge from elsewhere: the probes' VMIDs, and a node's
        # kernel where SSH leads to it
        self.probes: Collection[int] = ()
        self.kernel: Callable[[str, str], Kernel | None] = lambda node, bridge: None

    def __repr__(self) -> str:
        return f"Pve({self.host}, {self.token_id})"

    @property
    def host(self) -> str:
        """host:port of the API that answered last."""
        return self._client.where

    def silent(self) -> list[BackupsvcError]:
        """Return what is wrong with each host of the settings that does not answer."""
        return self._client.silent()

    @property
    def token_id(self) -> str:
        """user@realm!name of the token in use; never its secret."""
        return self._client.token_id

    def scratch(
        self, scratch: Scratch, lease_holder: Callable[[int], str | None], heir: Heir | None = None
    ) -> ScratchGuests:
        """Given the policy's scratch range and the catalog's leases, return what alone may stop,
        destroy or start copies.

        ``heir`` is given by an operation that removes a copy which the catalog has forgotten.
        """
        from backupsvc.pve.scratch import ScratchGuests

        # from now on `guests.start` refuses what lies in it (law 2)
        self._scratch = scratch
        return ScratchGuests(self._client, self, scratch, lease_holder, heir)

    def stubs(self) -> RestoreStubs:
        """Return what alone may destroy the rest of a restore that failed (law 1, exception a)."""
        from backupsvc.pve.scratch import RestoreStubs

        return RestoreStubs(self._client, self)

    def replacing(
        self,
        scratch: Scratch,
        old: int,
        new: int,
        machine: Identity,
        holds: Callable[[], None],
        ha: HighAvailability | None = None,
    ) -> Replacing:
        """Given the guest whose name a person typed, the VMID that its archive is restored under, and
        the machine that both are, return what alone may shut them down and switch between them (law
        1, exception b). ``holds`` raises LeaseLost once the operation is another process's; ``ha``
        is asked by the everyday token, where this one may not look at HA.
        """
        from backupsvc.pve.replacing import Replacing

        return Replacing(self._client, self, scratch, old, new, machine, holds, ha or self.ha)


def connect(
    settings: PveSettings,
    clock: Clock,
    *,
    restore: bool = False,
    scratch: Scratch | None = None,
    breakers: Breakers | None = None,
) -> Pve:
    """Given the settings, return the cluster. Nothing is asked yet: ``cluster.version()`` shows
    whether it answers.

    ``restore`` takes the token that may use production bridges, if there is one; ``breakers`` is
    what the process knows of the silence of hosts and nodes. Raise UsageError if a setting is
    malformed.
    """
    from backupsvc.pve.client import Client

    token = settings.restore_token if restore and settings.restore_token else settings.token
    return Pve(Client(settings, token, clock, breakers), clock, scratch)
