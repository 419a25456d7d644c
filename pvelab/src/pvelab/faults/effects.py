"""Setting and clearing a fault: what it must name, and what happens at once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from pvelab import links, nodes_life
from pvelab.errors import UsageError
from pvelab.faults.model import Fault, Value, read_options
from pvelab.guests import volumes
from pvelab.guests.devices import uuid_of
from pvelab.kernel import Lab, LabError

_AT_ONCE = ("archive-flip", "archive-truncate", "archive-vanish", "node-death", "bridge")
_MODELLED_HAVE_NONE = ("service-down",)


def set_fault(lab: Lab, kind: str, given: Mapping[str, Any]) -> Fault:
    """Set a fault and return it. Raise UsageError for what makes no sense, LabError for a node or
    storage that does not exist.
    """
    options = read_options(kind, given)
    node = str(options.get("node", ""))
    # a pattern may fit nothing; a name that fits nothing is a mistake
    if node and "*" not in node and node not in lab.nodes:
        raise UsageError(f"there is no node {node}", f"one of {', '.join(lab.nodes)}")
    if "storage" in options and "*" not in str(options["storage"]):
        lab.storage(str(options["storage"]))
    if (
        float(options.get("rate", 1)) <= 0
        or float(options.get("missing", 1)) < 1
        or float(options.get("seconds", 0)) < -(10**9)
        or float(options.get("after", 0)) < 0
        or float(options.get("every", 1)) <= 0
    ):
        raise UsageError(f"fault {kind}: a number is out of range")
    if kind in _MODELLED_HAVE_NONE and lab.hypervisor.name != "qemu":
        raise UsageError(
            "modelled guests run no service", "`pvelab up --hypervisor qemu` has real ones"
        )
    if kind.startswith("archive-"):
        options = _damage(lab, kind, options)
    # by its UUID the fault also finds the copies that tests restore of that guest
    uuid = None
    if guest := lab.guests.get(int(options["vmid"])) if "vmid" in options else None:
        uuid = uuid_of(guest.config)
    if kind == "node-death":
        nodes_life.kill_node(lab, str(options["node"]))
    if kind == "bridge":
        links.join(lab, options)
    fault = lab.faults.add(kind, options, uuid)
    # what happens at once has struck by now
    return (lab.faults.count(fault) if kind in _AT_ONCE else None) or fault


def clear(lab: Lab, number: int | None = None) -> list[Fault]:
    """Clear one fault or all of them, and return them. Raise UsageError if there is none of that
    number.

    A dead node is switched on again. A damaged archive stays as it is.
    """
    wanted = [fault for fault in lab.faults.all() if number in (None, fault.id)]
    if number is not None and not wanted:
        raise UsageError(f"there is no fault {number}", "see `pvelab fault list`")
    for fault in wanted:
        lab.faults.remove(fault.id)
        if fault.kind == "node-death" and not lab.node(fault["node"]).online:
            nodes_life.revive_node(lab, fault["node"])
        if fault.kind == "bridge":
            links.part(lab, fault.options)
    return wanted


def _damage(lab: Lab, kind: str, options: Mapping[str, Value]) -> dict[str, Value]:
    """Damage an archive's file; return the options with the node and the offset that were really
    used.
    """
    volid = str(options["volid"])
    # storages of one name may lie on several nodes
    for node in [str(options["node"])] if options["node"] else lab.nodes:
        try:
            volume = volumes.find(lab, node, volid)
        except LabError:
            continue
        if volume.content == "backup" and volume.path.is_file():
            path = volume.path
            break
    else:
        raise UsageError(f"there is no archive {volid}", "see what the node's storage lists")
    found = {**options, "node": node}
    if kind == "archive-vanish":
        path.unlink()
        return found
    size = path.stat().st_size
    # the middle lies in the data: a damaged header fails in another way (pve-facts 7.6)
    at = size // 2 if options["at"] == -1 else int(options["at"])
    if not 0 <= at < size:
        raise UsageError(f"{volid} has no byte {at}", f"it has {size} bytes")
    if kind == "archive-flip":
        with path.open("r+b") as file:
            file.seek(at)
            # one bit: only the compression's own checksum sees that (pve-facts 10.2)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 1]))
    else:
        os.truncate(path, at)
    return {**found, "at": at}
