"""A guest's place in HA: its resource with its limits, and the rules that named it."""

from __future__ import annotations

from collections.abc import Iterator

from policies.cluster_config import words
from policies.surroundings.asked import NOTHING, Asked, missing
from policies.surroundings.model import (
    Call,
    Kind,
    Surrounding,
    for_hands,
    nameable,
    plain,
    right,
    said,
    unknown,
)
from policies.surroundings.sections import Section, named, take, values

RESOURCES, RULES, GROUPS = "ha/resources.cfg", "ha/rules.cfg", "ha/groups.cfg"
_RIGHT = right("Sys.Console", "/")
_RESOURCE = words("state max_restart max_relocate failback comment group")
_RULE = words("nodes strict affinity disable comment")
_FREE = words("comment")
STARTS = ("", "started", "enabled")  # what HA takes for a wish to start; none is one too


def warning(asked: Asked) -> Iterator[Surrounding]:
    """Say that HA will start the guest by itself once a restore has written its configuration: its
    resource is there, and it is not (pve-facts 8.8).
    """
    found = named(asked.after(RESOURCES), asked.sid)
    if found and asked.exists is not True and found.get("state") in STARTS:
        yield said(
            Kind.HA_RESOURCE,
            asked.sid,
            "it is still in HA with state started: HA will start the guest as soon as it is "
            f"restored. If you do not want that: ha-manager set {asked.sid} --state stopped",
        )


def resource(asked: Asked) -> Iterator[Surrounding]:
    """Say whether its HA resource is missing."""
    found = named(asked.before(RESOURCES), asked.old_sid)
    yield from asked.untold(Kind.HA_RESOURCE, RESOURCES, found=found is not None)
    if found is None or named(asked.after(RESOURCES), asked.sid):
        return
    if unseen := asked.unseen(Kind.HA_RESOURCE, asked.sid, RESOURCES):
        yield unseen
        return
    fields, note = values(found), ""
    group, untold = fields.get("group"), asked.now.why_not_read(GROUPS) is not None
    if group and not untold and not named(asked.after(GROUPS), group):
        # only a PVE that has rules tells them, and it has no groups (pve-facts 9.4)
        ruled = asked.now.why_not_read(RULES) is None
        why = (
            "on this Proxmox VE groups have become rules"
            if ruled
            else "there is no such group any more"
        )
        del fields["group"]
        note = f"; its group {group} is left out: {why}"
    taken = take(fields, _RESOURCE, _FREE)
    starts = ". HA starts it then" if found.get("state") in STARTS else ""
    yield missing(
        Kind.HA_RESOURCE,
        asked.sid,
        f"HA does not manage it any more{note}; to be added once the guest is there{starts}",
        (Call("POST", "cluster/ha/resources", (("sid", asked.sid), *taken.params)),),
        taken,
        _RIGHT,
    )


def rules(asked: Asked) -> Iterator[Surrounding]:
    """Say which rules do not name it any more."""
    found = [row for row in asked.before(RULES) if asked.old_sid in row.listed("resources")]
    yield from asked.untold(Kind.HA_RULE, RULES, found=bool(found))
    for row in found:
        there = named(asked.after(RULES), row.name)
        if there and asked.sid in there.listed("resources"):
            continue
        if there is None:
            yield asked.unseen(Kind.HA_RULE, row.name, RULES) or _anew(asked, row)
        elif there.word != row.word:
            detail = f"it was a {row.word} rule and is a {there.word} rule now"
            yield said(Kind.HA_RULE, row.name, detail)
        elif not nameable(row.name) or not plain(there.get("resources")):
            yield for_hands(Kind.HA_RULE, row.name, f"add {asked.sid} to its resources by hand")
        else:
            # the change replaces the list, so what it names now is named again
            listed = ",".join((*there.listed("resources"), asked.sid))
            params = (("type", row.word), ("resources", listed))
            call = Call("PUT", f"cluster/ha/rules/{row.name}", params)
            detail = f"it does not name {asked.sid} any more; to be added once HA manages it"
            yield missing(Kind.HA_RULE, row.name, detail, (call,), NOTHING, _RIGHT)


def _anew(asked: Asked, row: Section) -> Surrounding:
    """The rule is gone. A deletion takes only those that named nothing else."""
    others = {sid for sid in row.listed("resources") if sid != asked.old_sid}
    if others and (why := asked.now.why_not_read(RESOURCES)):
        detail = f"it is gone; what HA manages of what it named is not known: {why}"
        return unknown(Kind.HA_RULE, row.name, detail)
    if here := others & {one.name for one in asked.after(RESOURCES)}:
        detail = f"it is gone, though it named {', '.join(sorted(here))} too: somebody deleted it"
        return said(Kind.HA_RULE, row.name, detail)
    # a rule among guests says nothing with one of them alone
    if row.word != "node-affinity" or not nameable(row.name):
        return for_hands(
            Kind.HA_RULE, row.name, f"the {row.word} rule is gone; create it by hand if you want it"
        )
    taken = take(values(row), _RULE, _FREE, ignored=words("order resources"))
    params = (("type", row.word), ("rule", row.name), ("resources", asked.sid), *taken.params)
    return missing(
        Kind.HA_RULE,
        row.name,
        "it is gone, it named nothing else that HA still manages; to be created once HA manages "
        "the guest",
        (Call("POST", "cluster/ha/rules", params),),
        taken,
        _RIGHT,
    )
