"""Which guests of a node may hang on a bridge: their configs, read as seldom as the truth allows.

PVE lists guests in one call, but neither their NICs nor a digest of their configs (pve-facts 9.1):
whether a config has changed is known only by reading it. So whoever asks says how old an answer may
be; a guest that was not there before is read in any case.
"""

from __future__ import annotations

from contextlib import suppress

from backupsvc.clock import Clock
from backupsvc.errors import PveNotFound
from backupsvc.pve.client import Client
from backupsvc.pve.cluster import Cluster
from backupsvc.pve.fields import Row
from policies.attached import Card, card
from policies.model import Guest, GuestType


class Attachments:
    """The guests of each node with what joins them to bridges."""

    def __init__(self, client: Client, cluster: Cluster, clock: Clock) -> None:
        self._client, self._cluster, self._clock = client, cluster, clock
        self._known: dict[tuple[str, int], tuple[float, Card]] = {}

    def of(self, node: str, max_age: float = 0.0) -> list[Card]:
        """Given a node, return its guests, containers and templates among them, as far as the token
        may see them.

        The list is read anew; a config that was read less than ``max_age`` seconds ago is not. A
        guest that leaves the node in between is left out.
        """
        now, here = (
            self._clock.monotonic(),
            [guest for guest in self._cluster.guests() if guest.node == node],
        )
        for guest in here:
            known = self._known.get((node, guest.vmid))
            if known is None or now - known[0] >= max_age:
                # before the question: if that fails, no old answer may stand for it
                self._known.pop((node, guest.vmid), None)
                with suppress(PveNotFound):
                    found = card(guest.vmid, guest.name, self._options(guest))
                    self._known[node, guest.vmid] = (now, found)
        # a guest that comes back is read anew: it may have another config by then
        there = {guest.vmid for guest in here}
        for key in [key for key in self._known if key[0] == node and key[1] not in there]:
            del self._known[key]
        return [
            self._known[node, guest.vmid][1] for guest in here if (node, guest.vmid) in self._known
        ]

    def _options(self, guest: Guest) -> list[tuple[str, str]]:
        """Every option as it is and as it will be. One call tells both of a VM; of a container each
        needs its own.
        """
        if guest.type is not GuestType.LXC:
            rows = self._client.get(f"nodes/{guest.node}/qemu/{guest.vmid}/pending").rows()
            return [
                (row.need_text("key"), _plain(row, which))
                for row in rows
                for which in ("value", "pending")
                if which in row
            ]
        answers = [
            self._client.get(f"nodes/{guest.node}/lxc/{guest.vmid}/config", asked).row()
            for asked in ({}, {"current": True})
        ]
        return [(name, _plain(answer, name)) for answer in answers for name in answer.names()]


def _plain(row: Row, key: str) -> str:
    """A raw option of LXC comes as a list of pairs, which holds whatever it holds."""
    value = row.fields[key]
    return str(value) if key == "lxc" and isinstance(value, list) else row.properties(key)
