"""How the report's work grows: what can be found once for a site, a job or a guest is found
once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from backupsvc.catalog import Catalog
from backupsvc.report import document
from backupsvc.report.facts import collect
from policies.compliance import facts as compliance
from policies.compliance.evaluation import findings
from policies.compliance.objectives import assess
from policies.model import Archive
from tests.catalogs import new_catalog
from tests.fakes.clock import StoppedClock
from tests.unit.report.langeo import NAMES, NOW, documented, policy
from tests.unit.report.worlds import World, served


def test_what_a_guest_can_be_restored_from_is_found_once_whatever_asks_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[Archive, ...]] = []
    usable = compliance.usable

    def counting(archives: tuple[Archive, ...]) -> tuple[Archive, ...]:
        asked.append(archives)
        return usable(archives)

    monkeypatch.setattr(compliance, "usable", counting)
    site = documented()
    findings(site, policy(), NOW)
    assess(site, policy(), NOW)
    document.build(site, policy(), "2026-03", NOW)
    assert len(asked) == len(NAMES), "once a guest"


def test_when_a_job_was_due_is_found_once_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def counting(schedule: str, timezone: str, after: int, until: int) -> list[int]:
        asked.append(schedule)
        return [after]

    monkeypatch.setattr(document, "occurrences", counting)
    built = document.build(documented(), policy(), "2026-03", NOW)
    assert asked == ["21:00"] and {line.due for line in built.guests} == {1}


def test_an_archive_that_is_listed_as_the_catalog_has_it_is_made_once(tmp_path: Path) -> None:
    world, given = World(), dict[tuple[str, str], Archive]()
    pve = served(world)
    with Catalog.open(new_catalog(tmp_path)) as catalog:
        catalog.archives.observe(world.archive_list, scope=[], at=NOW)
        find = catalog.archives.find

        def remembering(**wanted: Any) -> list[Archive]:
            found = find(**wanted)
            given.update({(one.node, one.volid): one for one in found})
            return found

        catalog.archives.find = remembering  # type: ignore[method-assign]
        site = collect(pve, catalog, policy(), StoppedClock(NOW))
    for item in site.guests:
        assert all(archive is given[archive.node, archive.volid] for archive in item.archives)
