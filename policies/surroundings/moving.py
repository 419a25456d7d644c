"""Say how what is around a guest passes to the one that takes its place, and comes back.

Of the two one is off. It keeps all that it has but its place in backup jobs: dumps of a guest that
never changes would rotate its good ones out. HA leaves the one that is off alone (state ``ignored``),
and does not forget it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from policies import surroundings
from policies.cluster_config import ConfigSet
from policies.config_sources import GUESTS, GUESTS_FOLDER
from policies.surroundings import access, ha, jobs
from policies.surroundings.asked import NOTHING, missing, where
from policies.surroundings.model import Call, Kind, Surrounding, for_hands, nameable, plain
from policies.surroundings.sections import Section, named, sections, split

# what HA takes for a wish to leave a resource alone, as if it were none of its own (pve-facts 9.4)
IGNORED = "ignored"
_SAID: Mapping[Kind, str] = {
    Kind.POOL: "guest {new} joins it, and {old} stays in it",
    Kind.BACKUP: "it saves {new}, and {old} no longer",
    Kind.REPLICATION: "{new} gets one like it, and {old} keeps its own",
    Kind.HA_RESOURCE: "HA manages {new} as it managed {old}, once that one serves",
    Kind.HA_RULE: "it names {new} beside {old}",
}


def managed(state: str | None) -> bool:
    """Given the state that HA is to keep a guest in, None if it is no resource, return whether HA may
    start or stop it by itself.
    """
    return state is not None and state != IGNORED


def about(config: ConfigSet, vmid: int) -> ConfigSet:
    """Given a configuration and a VMID, return the part of it that is about that guest: small enough
    to be remembered. Whether it starts at boot is left out: that goes with its links.
    """
    row = where(config, vmid)
    if row is None:
        return ConfigSet({}, config.not_read, config.in_part)
    conf, folder = (f"{GUESTS_FOLDER}{row.word}-{vmid}.{end}" for end in ("conf", "firewall/"))
    files: dict[str, str] = {}
    for file, text in config.files.items():
        if file == conf:
            lines = text.splitlines(keepends=True)
            files[file] = "".join(one for one in lines if not one.startswith(("#", "onboot:")))
        elif file.startswith(folder):
            files[file] = text
        elif found := [one for one in sections(text) if _names(file, one, vmid, row.word)]:
            files[file] = "\n".join(map(_written, found))
    return ConfigSet(files, config.not_read, config.in_part)


def forth(
    then: ConfigSet,
    now: ConfigSet,
    old: int,
    new: int,
    *,
    node: str | None = None,
    archive: str | None = None,
) -> tuple[Surrounding, ...]:
    """Given what was around the guest ``old`` before, the configuration of now, and the guest that
    takes its place, return what that one lacks; the rest as ``surroundings.find``.
    """
    found = surroundings.find(then, now, old, as_vmid=new, node=node, archive=archive)
    return (
        *(_moved(one, then, now, old, new, node) for one in found),
        *_both_saved(now, old, new),
        *_go_on_saving(then, now, old),
    )


def back(then: ConfigSet, now: ConfigSet, old: int, new: int) -> tuple[Surrounding, ...]:
    """Given the same and that ``old`` comes back, return the backup jobs that do not name it any
    more. All else it kept.
    """
    found = surroundings.find(then, now, old)
    moved = (_moved(one, then, now, new, old) for one in found if one.kind is Kind.BACKUP)
    return (*moved, *_both_saved(now, new, old))


def _both_saved(now: ConfigSet, leaves: int, comes: int) -> Iterator[Surrounding]:
    """The jobs that name both already: somebody added the one, or its VMID is one that was named."""
    for job in sections(now.files.get(jobs.JOBS, "")):
        listed = job.listed("vmid")
        if not {str(leaves), str(comes)} <= set(listed):
            continue
        detail = f"it saves {comes}, and {leaves} no longer"
        if nameable(job.name) and plain(job.get("vmid")):
            call = Call("PUT", f"cluster/backup/{job.name}", (("vmid", _listed(listed, leaves)),))
            yield missing(Kind.BACKUP, job.name, detail, (call,), NOTHING, jobs.RIGHT)
        else:
            yield for_hands(Kind.BACKUP, job.name, f"it saves both: take {leaves} out by hand")


def _go_on_saving(then: ConfigSet, now: ConfigSet, old: int) -> Iterator[Surrounding]:
    """The jobs that save the old guest without naming it: all guests, or those of its pool."""
    row = where(then, old)
    if row is None:
        return
    member = f"{row.word}/{old}"
    pools = {
        pool.name
        for file, text in then.files.items()
        if file.startswith(access.POOLS_FOLDER)
        for pool in sections(text)
        if member in pool.fields.get("member", ())
    }
    for job in sections(now.files.get(jobs.JOBS, "")):
        pool = job.get("pool")
        named = job.get("vmid") or str(old) in job.listed("exclude") or (pool and pool not in pools)
        if job.get("enabled") == "0" or named:
            continue
        whom = f"those of pool {pool}" if pool else "all guests"
        yield for_hands(
            Kind.BACKUP,
            job.name,
            f"it saves {whom}, {old} too: dumps of a guest that is off rotate its good ones out, so "
            "leave it out by hand",
        )


def _moved(
    thing: Surrounding,
    then: ConfigSet,
    now: ConfigSet,
    leaves: int,
    comes: int,
    node: str | None = None,
) -> Surrounding:
    if not thing.calls:
        return thing
    row = where(now, comes)
    at = node or (row.get("node") if row else "")
    if thing.kind is Kind.BACKUP and (alone := _tied(thing, now)) and alone != at:
        return for_hands(
            thing.kind,
            thing.name,
            f"it saves guests on {alone} alone, and {comes} lies on {at or 'another node'}: {leaves} "
            "is left in it, and choose by hand what saves the other",
        )
    if thing.kind is Kind.HA_RESOURCE:
        return _managed(thing, then, leaves, comes)
    said = _SAID.get(thing.kind, thing.detail).format(new=comes, old=leaves)
    if thing.kind in _SAID and thing.by_hand:
        said += f"; to be set by hand: {', '.join(thing.by_hand)}"
    calls = thing.calls
    if thing.kind is Kind.BACKUP:
        calls = tuple(_without(call, leaves) for call in calls)
        if any(key == "exclude" for call in calls for key, _ in call.params):
            said = f"it leaves {comes} out, as it does {leaves}"
    return replace(thing, detail=said, calls=calls)


def _managed(thing: Surrounding, then: ConfigSet, leaves: int, comes: int) -> Surrounding:
    """The HA resource: its guest is not given to HA as one that HA leaves alone."""
    fields = [pair for call in thing.calls for pair in call.params]
    if ("state", IGNORED) in fields:
        return for_hands(
            thing.kind,
            thing.name,
            f"HA leaves {leaves} alone (state {IGNORED}), so {comes} is not given to it; if HA is to "
            f"manage it: `ha-manager add {thing.name} --state started`",
        )
    said = _SAID[thing.kind].format(new=comes, old=leaves)
    kind = thing.name.partition(":")[0]
    was = named(sections(then.files.get(ha.RESOURCES, "")), f"{kind}:{leaves}")
    if was and (group := was.get("group")) and "group" not in dict(fields):
        said += f"; its group {group} is left out, which is there no longer"
    if thing.by_hand:
        said += f"; to be set by hand: {', '.join(thing.by_hand)}"
    return replace(thing, detail=said)


def _tied(thing: Surrounding, now: ConfigSet) -> str:
    """The only node whose guests a backup job saves, "" if it saves those of all."""
    if node := next((dict(call.params).get("node", "") for call in thing.calls), ""):
        return node
    job = named(sections(now.files.get(jobs.JOBS, "")), thing.name)
    return job.get("node") if job else ""


def _without(call: Call, vmid: int) -> Call:
    """A job's list of guests names one no longer. Whom a job leaves out it goes on leaving out."""
    params = tuple(
        (key, _listed(split(value), vmid) if key == "vmid" else value) for key, value in call.params
    )
    return replace(call, params=params)


def _listed(vmids: Iterable[str], without: int) -> str:
    return ",".join(one for one in vmids if one != str(without))


def _names(file: str, row: Section, vmid: int, type: str) -> bool:
    sid = f"{'ct' if type == 'lxc' else 'vm'}:{vmid}"
    if file == GUESTS.file:
        return row.name == str(vmid)
    if file == access.ACL:
        return row.name.split(" ")[0] == f"/vms/{vmid}"
    if file.startswith(access.POOLS_FOLDER):
        return f"{type}/{vmid}" in row.fields.get("member", ())
    if file == jobs.JOBS:
        return str(vmid) in (*row.listed("vmid"), *row.listed("exclude"))
    if file == jobs.REPLICATION:
        return row.name.partition("-")[0] == str(vmid)
    if file == ha.RESOURCES:
        return row.name == sid
    return file == ha.RULES and sid in row.listed("resources")


def _written(row: Section) -> str:
    lines = [f"\t{key} {line}" for key, found in row.fields.items() for line in found]
    return "\n".join((f"{row.word}: {row.name}", *lines)) + "\n"
