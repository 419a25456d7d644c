"""Starting a restore. Never over an existing guest, never started by the restore itself."""

from __future__ import annotations

import re
from collections.abc import Mapping

from backupsvc.errors import LawRefused
from backupsvc.pve.client import Client

# A start=1 that fails leaves no trace in the task (pve-facts 7.7) and would skip law 2; force
# overwrites a guest (law 1); unique changes MACs and UUID, so that the copy would not be the guest,
# and is sent for a clone alone; HA must never adopt a copy.
NEVER_SENT = frozenset({"force", "start", "unique", "ha-managed", "live-restore", "skiplock"})
_OURS = frozenset({"vmid", "archive", "storage", "pool", "bwlimit"})
_DRIVE = re.compile(r"(scsi|virtio|sata|ide)\d+|efidisk\d*|tpmstate\d*")


class Restore:
    """Restores of VMs from archives."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def start(
        self,
        node: str,
        vmid: int,
        volid: str,
        *,
        storage: str | None,
        overrides: Mapping[str, str],
        pool: str | None = None,
        bandwidth: int | None = None,
        unique: bool = False,
    ) -> str:
        """Given an archive and a free VMID, begin to restore it there and return the task.

        ``overrides`` replace options of the archived config before the guest exists (pve-facts
        7.1); ``storage`` takes every disk, "" leaves each where it was; ``bandwidth`` in KiB/s;
        ``unique``: it gets MAC addresses and an SMBIOS UUID of its own (pve-facts 7.2). Raise
        LawRefused if an override is one that is never sent, PveError if the VMID is taken.
        """
        refuse_unsafe(vmid, overrides)
        asked = {
            **overrides,
            "vmid": vmid,
            "archive": volid,
            "storage": storage or None,
            "pool": pool,
            "bwlimit": bandwidth or None,
            "unique": 1 if unique else None,
        }
        return self._client.post(f"nodes/{node}/qemu", asked).upid()


def refuse_unsafe(vmid: int, overrides: Mapping[str, str]) -> None:
    """Given the overrides of a restore, raise LawRefused if one would overwrite, start, or change
    what is restored.
    """
    for name in overrides:
        if name in NEVER_SENT or name in _OURS or _DRIVE.fullmatch(name):
            raise LawRefused(
                1 if name == "force" else 2,
                f"the restore into VMID {vmid} may not carry {name!r}",
                "remove it from the overrides",
            )
