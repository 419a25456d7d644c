"""Which archive an operation is about, and what it holds."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from backupsvc.errors import PveNotFound, Refused, UsageError
from backupsvc.operations.listing import observe
from backupsvc.operations.wholeness import holds_disk
from policies.model import Archive

if TYPE_CHECKING:
    from backupsvc.bootstrap import Service
    from backupsvc.operations.run import Run


def choose(
    service: Service,
    vmid: int,
    *,
    at: str | None = None,
    volid: str | None = None,
    say: Callable[[str], None] = lambda text: None,
    trusted: bool = False,
) -> Archive:
    """Given a guest, return its newest archive: the newest of all, the newest until the end of day ``at``, or the named one.

    One that holds no disk restores an empty machine, so unless it is named the next older one is taken; ``say`` is told. With
    ``trusted`` so is one that was changed since it was recorded. Raise PveNotFound when the storages list none that fits,
    UsageError when ``at`` is not a date or time.
    """
    archives = observe(service, vmid)
    latest = _until(at, service.policy.timezone) if at else None
    fitting = [archive for archive in archives if _fits(archive, vmid, latest, volid)]
    for archive in sorted(fitting, key=lambda archive: -archive.ctime):
        if volid or (why := _passed_over(service, archive, trusted)) is None:
            return archive
        say(f"{archive.volid} {why}, so it was passed over")
    which = f"archive {volid}" if volid else f"archive until {at}" if at else "archive"
    missing = f"{which} of guest {vmid}" + (f" that holds a disk{' and is as it was recorded' * trusted}" if fitting else "")
    listed = ", ".join(archive.volid for archive in sorted(archives, key=lambda item: item.ctime)) or "none"
    raise PveNotFound(
        f"the storages list no {missing}",
        f"its archives are: {listed}. To see one, a token needs VM.Backup on /vms/{vmid} and AllocateSpace on its storage",
    )


def _passed_over(service: Service, archive: Archive, trusted: bool) -> str | None:
    if trusted and archive.changed:
        return f"was changed since it was recorded ({archive.changed})"
    return "holds no disk" if holds_disk(service, archive) is False else None


def chosen(run: Run) -> Archive:
    """Given an operation that has chosen its archive, return it as the catalog knows it now. Raise PveNotFound if it does not."""
    item: Any = run.data["archive"]
    found = run.service.catalog.archive(item["node"], item["volid"])
    if found is None:
        raise PveNotFound(
            f"archive {item['volid']} on {item['node']} is no longer in the catalog", "run `backupsvc catalog sync`"
        )
    return found


def pin(run: Run, archive: Archive) -> None:
    """Given an archive that an operation has chosen, keep prune from it until that operation ends.

    Raise Refused if a prune is removing it at this moment.
    """
    if other := run.service.catalog.pin(archive.node, archive.volid, run.id, run.now(), run.fence()):
        raise Refused(
            f"archive {archive.volid} of guest {archive.vmid} on {archive.node} is being removed by operation {other}",
            "run it again: another archive is chosen then",
        )


def _fits(archive: Archive, vmid: int, latest: int | None, volid: str | None) -> bool:
    return (
        archive.vmid == vmid
        and archive.size > 0
        and (latest is None or archive.ctime <= latest)
        and volid in (None, archive.volid)
    )


def _until(at: str, timezone: str) -> int:
    """Given a date (its end is meant) or an ISO time, in the site's zone unless it names one, return epoch seconds."""
    zone = ZoneInfo(timezone)
    try:
        if len(at) == len("2026-03-08"):
            return int(datetime.combine(date.fromisoformat(at) + timedelta(days=1), time(), zone).timestamp()) - 1
        moment = datetime.fromisoformat(at)
    except ValueError:
        raise UsageError(f"--at {at!r} is not a date or a time", "write it like 2026-03-08 or 2026-03-08T21:00") from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=zone)).timestamp())
