"""The copies that the catalog knows at the targets of the policy, by guest."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING

from policies.copy_folders import folder_of
from policies.model import ArchiveCopy, Policy

if TYPE_CHECKING:
    from backupsvc.catalog import Catalog

Copies = Mapping[int, list[ArchiveCopy]]


def copies_of(catalog: Catalog, policy: Policy) -> tuple[Copies, Copies]:
    """Given catalog and policy, return the verified copies at the policy's targets that PVE does not
    list, by VMID: those that are well, and those that were found damaged since.
    """
    # a copy at a target that the policy no longer names helps nobody who goes by the policy
    folders = {folder_of(target) for target in policy.copies}
    well: dict[int, list[ArchiveCopy]] = defaultdict(list)
    damaged: dict[int, list[ArchiveCopy]] = defaultdict(list)
    for one in catalog.copies.find(archives=False, damaged=True):
        if one.route.folder in folders and one.route.vmid is not None:
            (damaged if one.damaged else well)[one.route.vmid].append(one)
    return well, damaged
