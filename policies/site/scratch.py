"""The section ``scratch``: where restored copies live, and when they may be made."""

from __future__ import annotations

from policies import windows
from policies.model import Scratch
from policies.site import values
from policies.yaml_reader import Value

DEFAULT_SCRATCH = (9000, 9099)
DEFAULT_SETTLE = 30  # seconds
_BRIDGE = r"[A-Za-z][A-Za-z0-9_]{1,20}"  # PVE's pve-iface, without aliases


def read_scratch(value: Value) -> Scratch:
    """Given the section, return it. Raise PolicyError where a value is wrong."""
    section = value.section(
        "vmids", "bridge", "storage", "node", "pool", "memory", "bandwidth", "restore-timeout", "window", "settle"
    )  # fmt: skip
    first, last = DEFAULT_SCRATCH
    if written := section.get("vmids"):
        allowed = f"FIRST-LAST within {values.MIN_VMID}-{values.MAX_VMID}, such as 9000-9099"
        text = written.matching(r"[0-9]{1,9} *- *[0-9]{1,9}", allowed)
        first, last = map(int, text.split("-"))
        if not values.MIN_VMID <= first <= last <= values.MAX_VMID:
            raise written.wrong(f"{first}-{last} is not a range of VMIDs", allowed)
    return Scratch(
        first,
        last,
        bridge=section.take(
            "bridge", lambda one: one.matching(_BRIDGE, "a bridge's name, such as vmbr9"), None
        ),
        storage=section.take("storage", values.storage, None),
        node=section.take("node", values.node, None),
        pool=section.take(
            "pool", lambda one: one.matching(r"[A-Za-z0-9._/-]+", "a pool's name"), None
        ),
        memory=section.take("memory", values.memory, None),
        bandwidth=section.take("bandwidth", values.bandwidth, None),
        restore_timeout=section.take("restore-timeout", Value.duration, 4 * 3600),
        window=section.take("window", lambda one: one.checked(windows.parse), None),
        settle=section.take("settle", values.settle, DEFAULT_SETTLE),
    )
