"""Say what a guest had around it when the cluster's configuration was kept, what of it is missing
now, and how it is put back.

A guest that is deleted leaves HA, backup jobs, replication, its pool, its rights and its firewall
(pve-facts 8.7), and none of that stands in its archive, but for the firewall. What was not read is
not known, and is said to be: it is never taken for nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from policies.cluster_config import ConfigSet, words
from policies.pve import guest_config
from policies.surroundings import access, firewall, ha, jobs
from policies.surroundings.asked import Asked, missing, where
from policies.surroundings.model import (
    Action,
    Call,
    Kind,
    Right,
    Surrounding,
    for_hands,
    nameable,
    right,
    said,
    unknown,
)
from policies.surroundings.sections import pairs, take

__all__ = ["FILES", "Action", "Call", "Kind", "Right", "Surrounding", "find", "to_do"]

# the lists of the cluster that are looked at
FILES = frozenset(
    {
        jobs.JOBS,
        jobs.REPLICATION,
        jobs.NODES,
        ha.RESOURCES,
        ha.GROUPS,
        ha.RULES,
        access.ACL,
        access.POOLS,
    }
)
_KINDS = ("qemu", "lxc")
_WITH_CONFIG = words("onboot startup tags")


def find(
    then: ConfigSet,
    now: ConfigSet,
    vmid: int,
    *,
    as_vmid: int | None = None,
    node: str | None = None,
    archive: str | None = None,
) -> tuple[Surrounding, ...]:
    """Given a kept configuration in which a guest is, the one of now, and the guest's VMID, return
    what it had around it that is missing or not known, in the order in which it is put back: what
    makes HA start it comes last, but for a warning, which comes first.

    ``as_vmid``: the VMID that it has or gets now, if another one. ``node``: where it lies or is to
    lie, if that is known; else where it lies now, or lay. ``archive``: the text of the
    configuration in the archive that it comes from. Nothing if the guest is not in the kept set.
    """
    row = where(then, vmid)
    if row is None or row.word not in _KINDS:
        return ()
    new = vmid if as_vmid is None else as_vmid
    here = where(now, new)
    at = (here or row).get("node") if node is None else node
    # it stands in paths of commands, and a kept set may come from anywhere
    asked = Asked(then, now, vmid, new, row.word, at if nameable(at) else None, archive)
    return (
        *ha.warning(asked),
        *_config(asked),
        *access.pool(asked),
        *access.acl(asked),
        *firewall.firewall(asked),
        *jobs.replication(asked),
        *jobs.backups(asked),
        *ha.resource(asked),
        *ha.rules(asked),
    )


def to_do(found: Surrounding) -> bool:
    """Given what was found, return whether commands put it back."""
    return found.action is not Action.NONE


def _config(asked: Asked) -> Iterator[Surrounding]:
    """Start order and tags come back with the archive's configuration; say where that has others."""
    old = f"guests/{asked.type}-{asked.vmid}.conf"
    new = f"guests/{asked.type}-{asked.as_vmid}.conf"
    was = {
        key: one for key, one in pairs(asked.then.files.get(old, "")).items() if key in _WITH_CONFIG
    }
    yield from asked.untold(Kind.CONFIG, old, found=bool(was))
    if not was:
        return
    if asked.archive is None:
        # of a guest that is there nobody can say whether it was brought back
        if asked.exists is not True:
            yield said(Kind.CONFIG, "", f"{', '.join(was)} come back with its configuration")
        return
    why = asked.now.why_not_read(new) if asked.exists else None
    if why is not None:
        yield unknown(Kind.CONFIG, "", f"what it has of them now is not known: {why}")
        return
    text = asked.now.files.get(new, "") if asked.exists else asked.archive
    there = pairs(text)
    # tags are told in any order, with any of PVE's separators
    other = {
        key: one
        for key, one in was.items()
        if guest_config.tags(one) != guest_config.tags(there.get(key, ""))
    }
    taken = take(other, _WITH_CONFIG, _WITH_CONFIG)
    if not other:
        return
    kept = ", ".join(f"{key} {one}" for key, one in other.items())
    detail = f"the configuration that it comes back with has others than it had ({kept})"
    if not taken.params or asked.node is None:
        yield for_hands(Kind.CONFIG, "", f"{detail}; set them by hand")
        return
    call = Call("PUT", f"nodes/{asked.node}/{asked.type}/{asked.as_vmid}/config", taken.params)
    needed = right("VM.Config.Options", f"/vms/{asked.as_vmid}")
    yield missing(Kind.CONFIG, "", detail, (call,), taken, needed)
