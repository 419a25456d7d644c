"""What PVE says of a running guest besides its state: pressure, balloon, block statistics, NICs
(02_inventory 19, 22).

What a guest read from and wrote to its disks is QEMU's own count. The other counters stand at 0: a
client meets the fields and their types.
"""

from __future__ import annotations

from typing import Any

from pvelab import figures
from pvelab.guests.devices import disks
from pvelab.kernel import Machine, VmConfig

_SUPPORT = (
    "backup-access-api backup-fleecing backup-max-workers pbs-dirty-bitmap "
    "pbs-dirty-bitmap-migration pbs-dirty-bitmap-savevm pbs-masterkey query-bitmap-info"
)
_KINDS = ("rd", "wr", "flush", "unmap", "zone_append")


def listed() -> dict[str, Any]:
    """Return what listings say of a running guest, too."""
    return {
        f"pressure{kind}{part}": 0 for kind in ("cpu", "io", "memory") for part in ("some", "full")
    }


def current(vm: VmConfig, machine: Machine) -> dict[str, Any]:
    """Return what its current status says besides."""
    memory = figures.memory(vm.config)
    counted = machine.block_stats()
    # QEMU's statistics of a disk that nobody has used yet: it says since when it is idle only after
    # the first use
    unused: dict[str, Any] = {"account_failed": True, "account_invalid": True, "timed_stats": []}
    for kind in _KINDS:
        for prefix in ("", "failed_", "invalid_"):
            unused[f"{prefix}{kind}_operations"] = 0
        unused[f"{kind}_total_time_ns"] = 0
        if kind != "flush":
            unused |= {f"{kind}_bytes": 0, f"{kind}_merged": 0}
    unused["wr_highest_offset"] = 0
    nics = [key for key in sorted(vm.config) if key.startswith("net") and key[3:].isdigit()]
    return {
        "balloon": memory,
        "ballooninfo": {"actual": memory, "max_mem": memory},
        "blockstat": {
            disk.key: {**unused, **counted.get(disk.key, {})} for disk in disks(vm.config)
        },
        "nics": {f"tap{vm.vmid}i{key[3:]}": {"netin": 0, "netout": 0} for key in nics},
        "proxmox-support": {
            **dict.fromkeys(_SUPPORT.split(), True),
            "pbs-library-version": "1.5.2 (lab)",
        },
    }
