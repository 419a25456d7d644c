"""Which archive an operation is about, and what it holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from backupsvc.catalog.fences import Fence
from backupsvc.errors import BackupsvcError, OutOfReach, PveNotFound, Refused, UsageError
from backupsvc.inventory.listing import Survey, require_answers, survey
from backupsvc.inventory.wholeness import holds_disk
from backupsvc.operations.services import Cluster, Records
from policies import reach
from policies.archive_signs import in_words
from policies.model import Archive
from policies.pve.volid import file_of, storage_of
from policies.restore_choice import SUSPICIOUS


def choose(
    service: Cluster,
    vmid: int,
    *,
    at: str | None = None,
    volid: str | None = None,
    say: Callable[[str], None] = lambda text: None,
    retries: bool = False,
) -> Archive:
    """Given a guest, return the archive that a restore test is about: its newest, the newest until
    the end of day ``at``, or the named one.

    One that holds no disk restores an empty machine, so unless it is named the next older one is
    taken; ``say`` is told. So is one on a storage that cannot be listed now. Raise PveNotFound when
    the storages list none that fits, OutOfReach when one is known that is out of reach, or when not
    all of them could be listed, UsageError when ``at`` is not a date or time. Who ``retries`` gets
    OutOfReach too where PVE itself failed at a question: it may answer soon, and an older archive
    would be taken meanwhile.
    """
    latest = until(at, service.policy.timezone) if at else None
    seen = survey(service, vmid)
    # before anything is chosen: half a look would choose an older archive, and call it the newest
    require_answers(seen.passing, retries=retries)
    fitting = [archive for archive in seen.listed if _fits(archive, vmid, latest, volid)]
    beyond = [archive for archive in seen.unreachable if _fits(archive, vmid, latest, volid)]
    # of what the storages list: with an empty catalog a guest is restored, too (law 8)
    for archive in sorted(fitting, key=lambda archive: -archive.ctime):
        if volid or holds_disk(service, archive) is not False:
            for newer in sorted(
                (one for one in beyond if one.ctime > archive.ctime), key=lambda one: one.ctime
            ):
                say(
                    f"{newer.volid} is newer and out of reach ({seen.why[reach.place(newer)]}), "
                    "so it was passed over"
                )
            # of one that was named it does not matter what lies elsewhere
            if volid is None:
                if archive.suspicious:
                    say(SUSPICIOUS.format(archive.volid, in_words(archive.suspicious), vmid))
                for sentence in seen.blank():
                    say(f"{sentence}: whether a newer archive lies there is not known")
            return archive
        say(f"{archive.volid} holds no disk, so it was passed over")
    raise none_fits(service, vmid, seen, at=at, volid=volid, wanted="that holds a disk")


def none_fits(
    service: Cluster, vmid: int, seen: Survey, *, at: str | None, volid: str | None, wanted: str
) -> BackupsvcError:
    """Given a guest, what the storages list and what was asked for, return the error that says that
    no archive fits: OutOfReach where one may be out of reach, else PveNotFound.

    ``wanted``: what those that are there do not fulfil.
    """
    latest = until(at, service.policy.timezone) if at else None
    beyond = [archive for archive in seen.unreachable if _fits(archive, vmid, latest, volid)]
    if beyond:  # they are not gone, and no right is missing
        # of several the newest is told of: to bring that back is worth the most
        newest = max(beyond, key=lambda archive: archive.ctime)
        where = newest.storage if newest.shared else f"{newest.storage} of {newest.node}"
        count = f"its newest of {len(beyond)} known," if len(beyond) > 1 else "the one known,"
        bring = (
            f"bring {newest.node} back"
            if newest.node in seen.down
            else f"bring storage {newest.storage} back (pvesm status)"
        )
        return OutOfReach(
            f"no archive of guest {vmid} that fits is within reach: {count} {newest.volid}, lies "
            f"on {where}, and {seen.why[reach.place(newest)]}; it is not gone",
            f"{bring}; `backupsvc pra status` says what is within reach meanwhile",
        )
    there = any(_fits(archive, vmid, latest, volid) for archive in seen.listed)
    which = f"archive {volid}" if volid else f"archive until {at}" if at else "archive"
    missing = f"{which} of guest {vmid}{f' {wanted}' if there else ''}"
    hint = _way_on(service, vmid, seen.listed, at if not there else None, volid)
    if blank := seen.blank(storage_of(volid) if volid else None):
        return OutOfReach(
            f"the storages that could be listed hold no {missing}; {'; '.join(blank)}",
            f"bring that back; {hint}",
        )
    return PveNotFound(f"the storages list no {missing}", hint)


def _way_on(
    service: Cluster, vmid: int, archives: Sequence[Archive], at: str | None, volid: str | None
) -> str:
    """The next action where no archive fits. Rights are a cause only of what is not listed at
    all.
    """
    known = sorted(archives, key=lambda item: item.ctime)
    if known and at and not volid:
        began = datetime.fromtimestamp(known[0].ctime, ZoneInfo(service.policy.timezone))
        return (
            f"its oldest archive is {known[0].volid}, begun on {began:%Y-%m-%d} at {began:%H:%M} "
            f"{began.tzname()}: choose --at {began:%Y-%m-%d} or later, or leave --at out for the "
            "newest one"
        )
    hint = f"its archives are: {', '.join(archive.volid for archive in known) or 'none'}"
    wanted = file_of(volid) if volid else ""
    encrypted = [
        one
        for one in service.catalog.copies.find(vmid)
        if one.encrypted and wanted.startswith(one.file if wanted else "")
    ]
    if encrypted:  # PVE can restore none of them by name
        newest = max(encrypted, key=lambda one: one.file)
        hint += (
            f". An encrypted copy of {newest.route.volid} lies at {newest.route.target} "
            f"({newest.route.folder}): bring its files to a machine with the key, decrypt them "
            f"with `backupsvc archive decrypt FOLDER/{newest.file}`, and put the archive into a "
            "storage"
        )
    if known and not volid:
        return hint
    return (
        f"{hint}. To see one, a token needs VM.Backup on /vms/{vmid} and AllocateSpace on its "
        "storage"
    )


def chosen(service: Records, archive: Archive) -> Archive:
    """Given the archive that an operation has chosen, return it as the catalog knows it now. Raise
    PveNotFound if it does not.
    """
    return known(service, archive.node, archive.volid)


def known(service: Records, node: str, volid: str) -> Archive:
    """Given an archive's node and volid, return it as the catalog knows it now. Raise PveNotFound
    if it does not.
    """
    found = service.catalog.archives.get(node, volid)
    if found is None:
        raise PveNotFound(
            f"archive {volid} on {node} is not in the catalog", "run `backupsvc catalog sync`"
        )
    return found


def pin(service: Records, archive: Archive, fence: Fence, now: int) -> None:
    """Given an archive that an operation has chosen, and that operation with its driver, keep prune
    from it until it ends.

    ``now`` in epoch seconds. Raise Refused if a prune is removing it at this moment.
    """
    if other := service.catalog.archive_pins.pin(archive.node, archive.volid, now, fence):
        raise Refused(
            f"archive {archive.volid} of guest {archive.vmid} on {archive.node} is being removed "
            f"by operation {other}",
            "run it again: another archive is chosen then",
        )


def _fits(archive: Archive, vmid: int, latest: int | None, volid: str | None) -> bool:
    return (
        archive.vmid == vmid
        # PVE lists an empty file like a good archive (pve-facts 5.7)
        and archive.size > 0
        and (latest is None or archive.ctime <= latest)
        and volid in (None, archive.volid)
    )


def until(at: str, timezone: str) -> int:
    """Given a date (its end is meant) or an ISO time, in the site's zone unless it names one,
    return epoch seconds.
    """
    zone = ZoneInfo(timezone)
    try:
        # the day's last second by the calendar: it may have 23 hours, or 25
        if len(at) == len("2026-03-08"):
            return (
                int(
                    datetime.combine(
                        date.fromisoformat(at) + timedelta(days=1), time(), zone
                    ).timestamp()
                )
                - 1
            )
        moment = datetime.fromisoformat(at)
    except ValueError:
        raise UsageError(
            f"--at {at!r} is not a date or a time", "write it like 2026-03-08 or 2026-03-08T21:00"
        ) from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=zone)).timestamp())
