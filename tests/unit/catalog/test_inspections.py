"""What the catalog can say for itself: since when it looks, what came later, and who accepted
what.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from backupsvc.catalog import Catalog
from backupsvc.catalog.database import upgrade
from backupsvc.catalog.inspections import Acceptance
from backupsvc.catalog.operations import NewOperation
from policies import prune_guard
from policies.model import Archive, GuestType
from policies.prune_guard import Sighting

LOCAL = ("clovis", "local")


def archive(number: int, vmid: int = 108) -> Archive:
    return Archive(f"local:backup/{number}", "clovis", "local", vmid, GuestType.QEMU, number, 500)


def test_what_the_first_complete_listing_has_may_be_of_any_time_and_what_comes_later_is_bounded(
    catalog: Catalog,
) -> None:
    catalog.archives.observe([archive(1)], scope=[], at=1000, looked=[LOCAL])
    catalog.archives.observe([archive(1), archive(2)], scope=[], at=2000, looked=[LOCAL])
    # of one guest: no listing of the storage
    catalog.archives.observe([archive(3)], scope=[], at=3000)
    catalog.archives.observe(
        [archive(1), archive(2), archive(3)], scope=[], at=4000, looked=[LOCAL]
    )
    known = catalog.inspections.knowledge()
    assert known.looks == {LOCAL: 1000}
    assert known.sightings == {
        ("clovis", "local:backup/1"): Sighting(1000),
        ("clovis", "local:backup/2"): Sighting(2000, not_before=1000),
        ("clovis", "local:backup/3"): Sighting(3000, not_before=2000),
    }


def test_a_first_look_that_was_taken_while_the_clock_was_ahead_moves_back(catalog: Catalog) -> None:
    catalog.archives.observe([], scope=[], at=9000, looked=[LOCAL])
    catalog.archives.observe([], scope=[], at=1000, looked=[LOCAL])
    catalog.archives.observe([archive(1)], scope=[], at=2000, looked=[LOCAL])
    known = catalog.inspections.knowledge()
    assert known.looks == {LOCAL: 1000} and known.sightings["clovis", "local:backup/1"] == Sighting(
        2000, 1000
    )


def test_a_shared_storage_is_looked_at_once_wherever_it_is_listed(catalog: Catalog) -> None:
    nas = replace(archive(1), shared=True, storage="nas")
    catalog.archives.observe([], scope=[], at=1000, looked=[("", "nas")])
    catalog.archives.observe([nas], scope=[], at=2000, looked=[("", "nas")])
    assert catalog.inspections.knowledge().sightings == {("", nas.volid): Sighting(2000, 1000)}


def test_only_what_an_operation_of_this_catalog_wrote_is_ours(catalog: Catalog) -> None:
    made = catalog.operations.open(NewOperation("backup", 108, "locate", {}), 500)
    assert made
    catalog.archives.observe(
        [archive(1), replace(archive(2), operation="01LOST")], scope=[], at=1000
    )
    catalog.archives.annotate("clovis", "local:backup/1", operation=made.id)
    seen = catalog.inspections.knowledge(108).sightings
    assert [seen["clovis", f"local:backup/{number}"].began for number in (1, 2)] == [500, None]
    assert catalog.inspections.knowledge(109).sightings == {}


def test_acceptances_are_kept_in_order_and_the_newest_counts(catalog: Catalog) -> None:
    given = [
        Acceptance(108, at, who, "why", ("local:backup/1",))
        for at, who in ((10, "ada"), (20, "uid 1000"))
    ]
    for one in given:
        catalog.inspections.accept([one])
    assert (
        catalog.inspections.acceptances() == given
        and catalog.inspections.knowledge().accepted == {108: 20}
    )


def test_that_a_new_catalog_was_made_is_said_once(
    new_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            Catalog.open(new_url).close()
    (said,) = caplog.messages
    assert said.startswith(f"a new, empty catalog was made at {new_url.partition(':')[0]}:")


def test_a_file_of_no_bytes_is_a_new_catalog_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "catalog.db").touch()
    Catalog.open(f"sqlite:///{tmp_path}/catalog.db").close()
    assert ["new, empty catalog" in message for message in caplog.messages] == [True]


def test_what_a_catalog_of_an_earlier_version_knew_counts_as_known(new_url: str) -> None:
    engine = create_engine(new_url)
    with engine.begin() as connection:
        upgrade(connection, "0004")
        for number, vmid in ((1, 108), (2, 108), (3, 109)):
            connection.execute(
                text(
                    "INSERT INTO archive (place, volid, node, storage, vmid, type, ctime, size, "
                    "format, protected, shared, notes, first_seen, rung, name) VALUES ('clovis', "
                    ":volid, 'clovis', 'local', :vmid, 'qemu', :ctime, 500, '', :no, :no, '', "
                    ":seen, 'recorded', '')"
                ),
                {
                    "volid": f"local:backup/{number}",
                    "vmid": vmid,
                    "ctime": number,
                    "seen": 1000 * number,
                    "no": False,
                },
            )
    engine.dispose()
    with Catalog.open(new_url) as catalog:
        known = catalog.inspections.knowledge()
        assert known.looks == {LOCAL: 1000} and known.accepted == {108: 2000, 109: 3000}
        assert {one.who for one in catalog.inspections.acceptances()} == {"backupsvc"}
        assert prune_guard.stopped(catalog.archives.find(), known) == {}
        # of which it may not have had a complete listing
        catalog.archives.observe([archive(4, 110)], scope=[], at=900_000)
        assert (
            catalog.inspections.knowledge(110).sightings["clovis", "local:backup/4"].not_before
            is None
        )
