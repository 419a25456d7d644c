"""Whether an archive holds what its guest had: looked into where the catalog does not know, judged against what came before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from backupsvc.errors import PveError
from policies import whole
from policies.model import Archive, GuestType

if TYPE_CHECKING:
    from backupsvc.bootstrap import Service

TINY = 16 << 10  # bytes: the archive of a stub has some hundred, and 12 KiB of header where nothing compresses it


def look_into(service: Service, archives: Sequence[Archive]) -> list[Archive]:
    """Given archives, return them, each that is too small for a disk and unknown to the catalog with what its config says."""
    return [replace(one, holds_disk=holds_disk(service, one)) if one.size <= TINY else one for one in archives]


def holds_disk(service: Service, archive: Archive) -> bool | None:
    """Given an archive, return whether it holds any disk; None for a container's, and where its config cannot be read."""
    if archive.holds_disk is not None or archive.type is not GuestType.QEMU or archive.size <= 0:
        return archive.holds_disk
    try:
        return whole.holds_disk(service.pve.storage.extract_config(archive.node, archive.volid))
    except PveError:
        return None
