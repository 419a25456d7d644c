"""What ``copy run`` wants copied: all that the policy's targets may lack, looked at once more."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import pytest

from backupsvc.catalog.operations import Driver, NewOperation
from backupsvc.cli import copy as command
from backupsvc.errors import PveNotFound, UsageError
from backupsvc.inventory import listing
from backupsvc.inventory.listing import Survey
from policies.copies_due import DueCopy, route_of
from policies.model import ArchiveCopy, CopyTarget, Directory, PveStorage
from tests.fakes.made import archive
from tests.unit.operations.farm import policy
from tests.unit.operations.worlds import World, world

if TYPE_CHECKING:
    from backupsvc.bootstrap import Service

USB = CopyTarget("usb", Directory("/mnt/usb"))
CLOVIS, LGE = (
    CopyTarget(node, PveStorage(node, "local", "/var/lib/vz/dump"))
    for node in ("clovis", "lge-pve02")
)
ORIGINAL, COPY = replace(archive(108, 2), node="lge-pve02"), archive(108, 2)


@pytest.fixture
def site(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Two nodes that are each other's target; PVE lists the archive and its copy alike."""
    made = world(sqlite_url)
    seen = Survey((COPY, ORIGINAL), frozenset(), (), {}, {})
    monkeypatch.setattr(listing, "survey", lambda service: seen)
    made.policy = replace(policy(), copies=(CLOVIS, LGE, USB))
    yield made
    made.catalog.close()


def known(site: World, target: CopyTarget) -> None:
    driver = Driver("me", 60, 1000)
    copying = site.catalog.operations.open(NewOperation("copy", 108, "choose", {}), 1000, driver)
    assert copying
    route = route_of(ORIGINAL, target)
    made = ArchiveCopy(route, "f", ORIGINAL.size, "ab", 1000, "read back", copying.id)
    site.catalog.copies.record_verified(made, 900, (copying.id, "me"))


def wanted(site: World, *given: list[Any]) -> dict[str, DueCopy]:
    only, targets = given or ([], [])
    found, _ = command._wanted(cast("Service", site), only, targets)
    return {one.target.name: one for one in found}


def test_copies_that_are_known_are_looked_at_again_and_tell_the_archive_from_its_copy(
    site: World,
) -> None:
    known(site, CLOVIS)
    known(site, USB)
    found = wanted(site)
    assert {name: one.archive.node for name, one in found.items()} == dict.fromkeys(
        ("clovis", "lge-pve02", "usb"), "lge-pve02"
    )
    assert {name for name, one in found.items() if one.skip is None} == {"clovis", "usb"}


def test_only_the_guests_and_targets_that_were_named_are_wanted(site: World) -> None:
    assert set(wanted(site, [108], ["usb"])) == {"usb"}
    with pytest.raises(PveNotFound, match="no archive of guest 109 that could be copied"):
        wanted(site, [108, 109], [])


def test_a_target_that_the_policy_does_not_have_is_refused_with_those_that_it_has(
    site: World,
) -> None:
    with pytest.raises(UsageError, match="no copy target nas") as refused:
        wanted(site, [], ["usb", "nas"])
    assert refused.value.hint == "its targets are: clovis, lge-pve02, usb"
    site.policy = policy()
    with pytest.raises(UsageError, match="names no copy targets"):
        wanted(site)
