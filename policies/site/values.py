"""Values that several sections of a policy have: nodes, storages, retention, memory, bandwidth,
VMIDs, how long to settle.
"""

from __future__ import annotations

from policies.model import Scratch
from policies.pve import prune_backups
from policies.yaml_reader import Value

MIN_VMID, MAX_VMID = 100, 999_999_999  # PVE's own limits
MAX_SETTLE = 3600  # seconds
_NODE = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"  # PVE's pve-node
_STORAGE = r"[A-Za-z][A-Za-z0-9._-]*[A-Za-z0-9]"  # PVE's pve-storage-id


def storage(value: Value) -> str:
    """Given a value, return the storage that it names. Raise PolicyError if it cannot be one."""
    return value.matching(_STORAGE, "a storage's name, such as local")


def node(value: Value) -> str:
    """Given a value, return the node that it names. Raise PolicyError if it cannot be one."""
    return value.matching(_NODE, "a node's name")


def keep(value: Value) -> str:
    """Given a retention, return it as PVE writes it. Raise PolicyError if PVE would not take it."""
    allowed = (
        "keep-all=1, or keep-last, -hourly, -daily, -weekly, -monthly, -yearly with counts, such "
        "as keep-last=3,keep-daily=7"
    )
    return str(value.checked(prune_backups.parse_keep, allowed))


def memory(value: Value) -> int:
    """Given a value, return it in MiB. Raise PolicyError if no guest can have so much, or so
    little.
    """
    return value.integer(16, 4_194_304, "(MiB)")


def bandwidth(value: Value) -> int:
    """Given a value, return it in KiB/s. Raise PolicyError if PVE would not take it."""
    return value.integer(1, 100_000_000, "(KiB/s)")


def octets(value: Value) -> int:
    """Given an amount such as ``500GiB``, return it in bytes. Raise PolicyError if it is none."""
    text = value.matching(r"[1-9][0-9]{0,5} ?[MGT]iB", "an amount such as 500GiB or 2TiB")
    return int(text[:-3]) << {"M": 20, "G": 30, "T": 40}[text[-3]]


def settle(value: Value) -> int:
    """Given a value, return how long a copy lives on after its checks, in seconds. 0 is allowed,
    and the verdict says so.
    """
    allowed = "0s, or a duration up to 1h, such as 30s"
    # no duration elsewhere may be 0, so it is read apart
    if value.text(allowed) in ("0", "0s"):
        return 0
    if (seconds := value.duration()) > MAX_SETTLE:
        raise value.wrong(
            f"{value.text()} is too long: the copy holds its node's turn all the while", allowed
        )
    return seconds


def vmids(value: Value, scratch: Scratch) -> tuple[int, ...]:
    """Given a list, return its VMIDs. Raise PolicyError for one that is written twice or lies in
    the scratch range.
    """
    found: dict[int, None] = {}
    for item in value.items("a list of VMIDs, such as [100, 101]"):
        vmid = item.integer(MIN_VMID, MAX_VMID)
        refuse_scratch(item, vmid, scratch)
        if vmid in found:
            raise item.wrong(f"{vmid} is written twice", "each VMID once")
        found[vmid] = None
    return tuple(found)


def refuse_scratch(value: Value, vmid: int, scratch: Scratch) -> None:
    """Given a guest's VMID, raise PolicyError if restored copies would be made, and destroyed,
    under it (law 1).
    """
    if vmid in scratch:
        allowed = (
            f"a guest outside {scratch.first}-{scratch.last}, or another range in scratch.vmids"
        )
        raise value.wrong(
            f"{vmid} lies in the scratch range, whose guests are destroyed after their test",
            allowed,
        )
