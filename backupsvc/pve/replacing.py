"""The only code that shuts a production guest down or changes its config: law 1's exception (b), for
the two guests of one replacement, and nothing else.

Bound to the VMID whose name a person typed, to the one that its archive was restored under, and to
the operation. Each method looks at both guests first, and does what ``policies.replace_guard`` allows
for what it sees at that moment. Nothing is ever destroyed here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backupsvc.errors import LawRefused, PveError
from backupsvc.pve.client import Client, Value
from policies import lineage, ownership, replace_guard, restore_clone
from policies.lineage import Identity
from policies.model import GuestType, Scratch
from policies.pve import guest_config
from policies.replace_guard import ABSENT, Act, Change, Power, Side, Wiring
from policies.surroundings.moving import IGNORED, managed

if TYPE_CHECKING:
    from backupsvc.pve import Pve
    from backupsvc.pve.ha import HighAvailability

_POWERS = {"running": Power.RUNNING, "stopped": Power.STOPPED}


@dataclass(frozen=True, slots=True)
class Found:
    """One of the two at this moment: where it is, its config, and what is seen of it. ``node`` is ""
    and the config empty where it is absent. ``mine``: it is the machine, by its UUID. ``ha`` is the
    state that HA is to keep it in, None if it is no resource.
    """

    node: str
    config: Mapping[str, str]
    side: Side
    mine: bool = False
    ha: str | None = None


@dataclass(frozen=True, slots=True)
class Both:
    """The two at this moment."""

    old: Found
    new: Found


class Replacing:
    """The guest ``old`` and the one that replaces it, ``new``: VMIDs of one machine, ``machine``.

    ``holds`` raises LeaseLost if the operation is another process's by now, and writes down what it
    remembers; it is called before each effect. ``ha`` tells what HA is to do with them.
    """

    def __init__(
        self,
        client: Client,
        pve: Pve,
        scratch: Scratch,
        old: int,
        new: int,
        machine: Identity,
        holds: Callable[[], None],
        ha: HighAvailability,
    ) -> None:
        if old == new or old in scratch or new in scratch or machine.uuid is None:
            raise LawRefused(
                1,
                f"guest {old} cannot be replaced by {new}: both must lie outside the scratch range, "
                "be two, and be told by a UUID",
            )
        self._client, self._pve, self._machine, self._holds = client, pve, machine, holds
        self._old, self._new, self._ha = old, new, ha

    def look(self) -> Both:
        """Return what is seen of both at this moment. Raise PveUnreachable where one cannot be
        asked.
        """
        states = self._states()
        return Both(self._look(self._old, states), self._look(self._new, states))

    def old(self) -> Found:
        """Return what is seen of the old guest at this moment. Raise PveUnreachable."""
        return self._look(self._old, self._states())

    def new(self) -> Found:
        """Return what is seen of the new guest at this moment. Raise PveUnreachable."""
        return self._look(self._new, self._states())

    def start_new(self) -> str:
        """Start the new guest, whose links are down; return the task."""
        node = self._allowed(Act.START_NEW).node
        return self._client.post(f"nodes/{node}/qemu/{self._new}/status/start").upid()

    def shut_down_old(self, seconds: int) -> str:
        """Ask the old guest to shut down within so many seconds; return the task."""
        return self._shut_down(Act.SHUT_OLD, self._old, seconds)

    def stop_old(self) -> str:
        """Switch the old guest off, which a person allowed; return the task."""
        node = self._allowed(Act.SHUT_OLD).node
        return self._client.post(f"nodes/{node}/qemu/{self._old}/status/stop").upid()

    def pull_old(self) -> None:
        """Take the links of the old guest down, and its start at boot away."""
        found = self._allowed(Act.PULL_OLD)
        self._change(found, self._old, Change(replace_guard.cut(found.config)))

    def connect_new(self, archived: Wiring) -> None:
        """Give the new guest the links, and the start at boot, that its archive had."""
        found = self._allowed(Act.CONNECT_NEW)
        self._change(found, self._new, replace_guard.given_back(found.config, archived))

    def pull_new(self) -> None:
        """Take the links of the new guest down, and its start at boot away."""
        found = self._allowed(Act.PULL_NEW)
        self._change(found, self._new, Change(replace_guard.cut(found.config)))

    def shut_down_new(self, seconds: int) -> str:
        """Ask the new guest to shut down within so many seconds; return the task."""
        return self._shut_down(Act.SHUT_NEW, self._new, seconds)

    def stop_new(self) -> str:
        """Switch the new guest off, which a person allowed; return the task."""
        node = self._allowed(Act.SHUT_NEW).node
        return self._client.post(f"nodes/{node}/qemu/{self._new}/status/stop").upid()

    def return_old(self, before: Wiring) -> None:
        """Give the old guest the links, and the start at boot, that it had."""
        found = self._allowed(Act.RETURN_OLD)
        self._change(found, self._old, replace_guard.given_back(found.config, before))

    def start_old(self) -> str:
        """Start the old guest; return the task."""
        node = self._allowed(Act.START_OLD).node
        return self._client.post(f"nodes/{node}/qemu/{self._old}/status/start").upid()

    def hold_old(self) -> None:
        """Have HA leave the old guest alone: it keeps its place there."""
        self._wish(Act.HOLD_OLD, self._old, IGNORED)

    def hold_new(self) -> None:
        """Have HA leave the new guest alone."""
        self._wish(Act.HOLD_NEW, self._new, IGNORED)

    def arm_old(self, state: str) -> None:
        """Let HA keep the old guest in the state again that it kept it in."""
        self._wish(Act.ARM_OLD, self._old, state)

    def require_arming(self) -> None:
        """Raise LawRefused if HA must not be given the new guest at this moment."""
        self._allowed(Act.ARM_NEW)

    def _wish(self, act: Act, vmid: int, state: str) -> None:
        self._allowed(act)
        self._client.put(f"cluster/ha/resources/vm:{vmid}", {"state": state})

    def _states(self) -> dict[str, str]:
        """What HA is to do with each resource. A guest's own state calls it unmanaged while HA is
        disarmed too, and is then taken over later (pve-facts 9.4).
        """
        return {one.sid: one.wanted for one in self._ha.resources()}

    def _shut_down(self, act: Act, vmid: int, seconds: int) -> str:
        node = self._allowed(act).node
        return self._client.post(
            f"nodes/{node}/qemu/{vmid}/status/shutdown", {"timeout": seconds}
        ).upid()

    def _allowed(self, act: Act) -> Found:
        """Look at both, and return the one that the act is about. Raise LawRefused if it must not be
        done.
        """
        both = self.look()
        found = both.old if act in replace_guard.OF_OLD else both.new
        why = replace_guard.refusal(act, both.old.side, both.new.side)
        if why is None and not found.mine:
            why = "it is another machine by its UUID"
        if why:
            raise LawRefused(
                2,
                f"replacing guest {self._old} by {self._new}: to {act} is refused: {why}",
                "look at both in PVE; nothing was brought up",
            )
        self._holds()
        return found

    def _change(self, found: Found, vmid: int, change: Change) -> None:
        if not change:
            return
        asked: dict[str, Value] = {**change.set}
        if change.delete:
            asked["delete"] = ",".join(change.delete)
        # by its digest PVE refuses if somebody changed the config since (pve-facts 8.1)
        asked["digest"] = found.config.get("digest")
        self._client.put(f"nodes/{found.node}/qemu/{vmid}/config", asked)

    def _look(self, vmid: int, states: Mapping[str, str]) -> Found:
        guests = self._pve.cluster.guests()
        guest = next((one for one in guests if one.vmid == vmid), None)
        if guest is None:
            # a list leaves out what the token may not see; this answer does not (pve-facts 8.3)
            if self._pve.cluster.vmid_free(vmid):
                return Found("", {}, ABSENT)
            raise PveError(
                f"guest {vmid} cannot be seen by {self._client.token_id}",
                f"give that token VM.Audit on /vms/{vmid}",
            )
        if guest.type is not GuestType.QEMU:
            return Found("", {}, ABSENT)
        config = self._pve.guests.config(guest.node, vmid)
        # what neither shares a MAC address nor the UUID can never meet the other one
        if ownership.is_stub(config) or not restore_clone.twin(self._machine, lineage.of(config)):
            return Found("", {}, ABSENT)
        status = self._pve.guests.status(guest.node, vmid)
        state = states.get(f"vm:{vmid}")
        power = _POWERS.get(status.status, Power.UNKNOWN)
        lines = [value for _, value in guest_config.nics(config)]
        if power is not Power.STOPPED:
            lines += self._pve.guests.nics_now(guest.node, vmid)
        side = Side(power, replace_guard.links(lines), managed(state) or status.ha_managed is True)
        mine = lineage.of(config).uuid == self._machine.uuid
        return Found(guest.node, config, side, mine, state)
