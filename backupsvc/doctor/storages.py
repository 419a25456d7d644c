"""What ``backupsvc doctor`` says of the storages: whether those that the policy names are there, have
room, and are known well enough to be pruned.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from backupsvc.doctor.cluster import down
from backupsvc.doctor.lines import FAILED, OK, UNKNOWN, WARNING, Line
from backupsvc.inventory.listing import survey
from backupsvc.inventory.room import rooms
from backupsvc.services import DoctorServices
from policies import archive_signs, i18n, prune_guard, reach
from policies.model import Storage


def look(service: DoctorServices) -> Iterator[Line]:
    """Given the service, yield whether each storage that the policy names is there for its purpose."""
    # a storage that is missing on nodes that could not be asked is not known to be missing
    seen, away = service.pve.storage.seen(), down(service)
    for node, why in sorted(seen.silent.items()):
        text = (
            f"{node} did not say which storages it has, so what they hold, and whether they have "
            f"room, is not known: {why}"
        )
        yield Line("storages", WARNING, text, f"see on {node} which one hangs: pvesm status")
    unseen = i18n.names(sorted({*away, *seen.silent}))
    for name in sorted({job.storage for job in service.policy.jobs}):
        yield _storage(name, "backup", "archives", seen.storages, unseen)
    if service.policy.scratch.storage:
        yield _storage(
            service.policy.scratch.storage, "images", "the disks of copies", seen.storages, unseen
        )


def _storage(name: str, content: str, purpose: str, found: Sequence[Storage], unseen: str) -> Line:
    """What is to be said of a storage that the policy names. ``unseen``: the nodes that could not
    be asked, or "".
    """
    places = [storage for storage in found if storage.name == name]
    action = (
        "correct the storage's name in the policy, its content types in PVE (pvesm status), or "
        "the token's rights on it"
    )
    # a storage that only an unasked node may have is out of reach, and not gone
    if not places and unseen:
        text = (
            f"no node that could be asked has a storage {name} for {purpose}; whether {unseen} "
            "has it is not known"
        )
        return Line("storages", UNKNOWN, text)
    if not places:
        return Line(
            "storages",
            FAILED,
            f"there is no storage {name} for {purpose}, or the token may not see it",
            action,
            1,
        )
    if not any(content in storage.content for storage in places):
        return Line(
            "storages",
            FAILED,
            f"storage {name} takes no {content}, so it cannot hold {purpose}",
            action,
            1,
        )
    if silent := sorted(
        storage.node for storage in places if not (storage.active and storage.enabled)
    ):
        text = f"storage {name} for {purpose} is not active on {', '.join(silent)}"
        return Line("storages", WARNING, text, f"look at it there: pvesm status --storage {name}")
    return Line(
        "storages",
        OK,
        f"{name} holds {purpose} on {', '.join(sorted(storage.node for storage in places))}",
    )


def room(service: DoctorServices) -> Iterator[Line]:
    """Given the service, yield whether the next archives will find room."""
    yield from (Line("room", *item) for item in rooms(service))


def retention(service: DoctorServices) -> Iterator[Line]:
    """Given the service, yield which guests a prune would not touch, by what the storages list now: a
    lost catalog knows of no archive itself.
    """
    seen = survey(service, remember=False)
    known = [*seen.listed, *seen.unreachable]
    stopped = prune_guard.stopped(known, service.catalog.inspections.knowledge())
    for why in stopped.values():
        _, action = prune_guard.refusal({0: why}) or ("", "")
        yield Line("retention", WARNING, f"{why}; prune removes nothing of it", action)
    if not stopped:
        # a storage of a node that is down goes without saying
        alone = [reach.in_words(place) for place in sorted(seen.why) if place[0] not in seen.down]
        where = i18n.names([*sorted(seen.down), *alone])
        unseen = f"; what lies on {where} was not looked at" if where else ""
        yield Line(
            "retention", OK, f"every guest's archives are known well enough to be pruned{unseen}"
        )
    # a guest's owner may make suspicious archives at will: until somebody acknowledges them all
    # that they hold stays, and the storage fills
    for vmid, hold in archive_signs.holds(service.catalog.archive_signs.suspicious()).items():
        theirs = [one for one in known if one.vmid == vmid and one.ctime <= hold.until]
        size = i18n.size(sum(one.size for one in theirs), i18n.ENGLISH)
        yield Line(
            "retention",
            WARNING,
            f"guest {vmid}: {hold.volid} is suspicious, and holds {len(theirs)} archives of {size} "
            "together, so that none of them is removed",
            f"see `backupsvc pra status`; if its data are right, `backupsvc archive acknowledge "
            f"{hold.volid} --reason TEXT`",
        )
