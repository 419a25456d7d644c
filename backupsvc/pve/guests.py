"""One guest: its configuration, its state, and the start of a guest that was restored for real."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from backupsvc.errors import LawRefused
from backupsvc.pve.client import Client
from policies import ownership
from policies.model import Scratch
from policies.pve import guest_config
from policies.stillness import Reads

_SCRATCH_MARK = ownership.marker("")


@dataclass(frozen=True, slots=True)
class GuestStatus:
    """A guest's state. ``agent`` says whether its config switches the agent on, not whether it
    answers.

    ``uptime`` is that of the QEMU process, in seconds: a reset does not end it. ``pid`` is that
    process. It and ``ha_managed`` are None when PVE did not say. ``reads`` are what the guest has
    read from its disks since its start, by their keys; None where PVE does not tell it, as of a
    guest that is off.
    """

    status: str
    qmpstatus: str
    agent: bool
    lock: str | None
    uptime: int
    ha_managed: bool | None = None
    pid: int | None = None
    reads: Mapping[str, Reads] | None = None

    @property
    def running(self) -> bool:
        """Whether a QEMU process exists (a paused guest runs too)."""
        return self.status == "running"


class Guests:
    """VMs, by node and VMID. ``scratch`` tells the reserved range, if it is known, into which
    ``start`` never reaches.
    """

    def __init__(self, client: Client, scratch: Callable[[], Scratch | None]) -> None:
        self._client, self._scratch = client, scratch

    def config(self, node: str, vmid: int) -> dict[str, str]:
        """Given a guest, return its config with pending changes applied: what its next start would
        use. All values are text.

        Includes ``digest``. Raise PveNotFound if that node has no such guest.
        """
        data = self._client.get(f"nodes/{node}/qemu/{vmid}/config").row()
        return {name: data.properties(name) for name in data.names()}

    def nics_now(self, node: str, vmid: int) -> list[str]:
        """Given a guest, return its NIC lines as they are at this moment, without the changes that
        wait for its next start. Raise PveNotFound if that node has no such guest.
        """
        rows = self._client.get(f"nodes/{node}/qemu/{vmid}/pending").rows()
        return [
            row.properties("value")
            for row in rows
            if guest_config.is_nic(row.need_text("key")) and "value" in row
        ]

    def container_config(self, node: str, vmid: int) -> dict[str, str]:
        """Given a container, return its config. Raise PveNotFound if that node has no such one."""
        data = self._client.get(f"nodes/{node}/lxc/{vmid}/config").row()
        # its raw ``lxc`` keys are a list, and tell of no machine
        return {name: data.properties(name) for name in data.names() if name != "lxc"}

    def status(self, node: str, vmid: int) -> GuestStatus:
        """Given a guest, return its state now. Raise PveNotFound if that node has no such guest."""
        data = self._client.get(f"nodes/{node}/qemu/{vmid}/status/current").row()
        ha, told = data.row_if_any("ha"), data.row_if_any("blockstat")
        # QEMU's count of each disk (query-blockstats)
        disks = {key: told.row(key) for key in told.names()} if told is not None else {}
        reads = {
            key: Reads(disk.integer("rd_operations"), disk.integer("rd_bytes"))
            for key, disk in disks.items()
            if "rd_bytes" in disk
        }
        return GuestStatus(
            status=data.need_text("status"),
            qmpstatus=data.text("qmpstatus"),
            agent=data.boolean("agent"),
            lock=data.text("lock") or None,
            uptime=data.integer("uptime"),
            ha_managed=ha.boolean("managed") if ha is not None and "managed" in ha else None,
            pid=data.integer("pid") or None,
            reads=reads if told is not None else None,
        )

    def start(self, node: str, vmid: int) -> str:
        """Given a guest that was restored for real, start it and return the task.

        Raise LawRefused if it is a scratch copy: those start only through ``ScratchGuests``, which
        checks law 2.
        """
        scratch = self._scratch()
        if scratch is not None and vmid in scratch:
            raise LawRefused(
                2,
                f"VMID {vmid} lies in the scratch range {scratch.first}-{scratch.last}: it is not "
                "started as a production guest",
            )
        # its marker tells a copy, even if the policy's range is another one by now
        if _SCRATCH_MARK in self.config(node, vmid).get("description", ""):
            raise LawRefused(
                2,
                f"guest {vmid} on {node} is the copy of a restore test: it is not started as a "
                "production guest",
            )
        return self._client.post(f"nodes/{node}/qemu/{vmid}/status/start").upid()
