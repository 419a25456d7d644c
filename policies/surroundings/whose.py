"""Tell whether the machine under a VMID in a kept configuration is the one that is asked for: a VMID
is no identity (law 10).
"""

from __future__ import annotations

from enum import StrEnum

from policies import chains, lineage
from policies.cluster_config import ConfigSet
from policies.lineage import Identity
from policies.surroundings.asked import exists, where


def in_set(config: ConfigSet, vmid: int, archive: str | None) -> str | None:
    """Given a kept configuration, a VMID, and the configuration in an archive of the guest (None if
    there is none to compare with), return None if the guest is in that set; "" if it is not; else
    why nobody can go by that set: it was not read, or holds another machine under the VMID.
    """
    found = exists(config, vmid)
    if found is None:
        return "which guests there were was not read in full"
    if not found:
        return ""
    mine = _identity(config, vmid)
    # nothing to compare with is no other machine: what is only shown may be shown
    if archive is None or mine is None:
        return None
    return _differ(
        mine, lineage.read(archive), f"under {vmid} was another machine than in the archive"
    )


def another_now(then: ConfigSet, vmid: int, now: ConfigSet, now_vmid: int) -> str | None:
    """Given the kept configuration and the one of now, each with its VMID, return why what is under
    the VMID now is another machine than then, None if it is not, or nothing is there.
    """
    was, here = where(then, vmid), where(now, now_vmid)
    if was is None or here is None:
        return None
    said = f"under {now_vmid} is another machine now"
    # a VM and a container are never one machine, whatever their MACs say
    if was.word != here.word:
        return f"{said}: it was of kind {was.word} and is of kind {here.word}"
    mine, theirs = _identity(now, now_vmid), _identity(then, vmid)
    return _differ(mine, theirs, said) if mine and theirs else None


class Who(StrEnum):
    """Who is under a VMID now: the machine that was kept, another one, or nobody. UNTOLD: nothing
    tells which machine either of them is. UNKNOWN: it was not read.
    """

    SAME = "same"
    ANOTHER = "another"
    GONE = "gone"
    UNTOLD = "untold"
    UNKNOWN = "unknown"


def is_there(then: ConfigSet, vmid: int, now: ConfigSet, now_vmid: int) -> tuple[Who, str]:
    """Given the kept configuration and the one of now, each with its VMID, return who is there now,
    and why that is no machine to change anything of; "" of the same.

    Stricter than ``another_now``, which only shows: what nobody can tell is not taken for the same.
    """
    there = exists(now, now_vmid)
    if there is None:
        return Who.UNKNOWN, "which guests there are was not read in full"
    if not there:
        return Who.GONE, f"there is no guest {now_vmid}"
    if stranger := another_now(then, vmid, now, now_vmid):
        return Who.ANOTHER, stranger
    # without its own configuration the VMID alone would tell, which is no identity (law 10)
    here = where(now, now_vmid)
    if here and (why := now.why_not_read(f"guests/{here.word}-{now_vmid}.conf")):
        return Who.UNKNOWN, f"the configuration of guest {now_vmid} was not read: {why}"
    mine, theirs = _identity(now, now_vmid), _identity(then, vmid)
    if mine and theirs and chains.relation(mine, theirs) is chains.Relation.SAME:
        return Who.SAME, ""
    return Who.UNTOLD, f"nothing tells whether guest {now_vmid} is the machine that it was"


def _identity(config: ConfigSet, vmid: int) -> Identity | None:
    row = where(config, vmid)
    text = config.files.get(f"guests/{row.word}-{vmid}.conf") if row else None
    return None if text is None else lineage.read(text)


def _differ(mine: Identity, theirs: Identity, said: str) -> str | None:
    """Where even people would have to be asked, nothing is taken for the guest's."""
    if chains.relation(mine, theirs) in (chains.Relation.SAME, chains.Relation.UNTOLD):
        return None
    reasons = lineage.another(mine, theirs) or ("no MAC address is in both",)
    return f"{said}: {'; '.join(reasons)}"
