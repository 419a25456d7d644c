"""What the catalog remembers of archives."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from backupsvc.catalog import Catalog, Observation
from backupsvc.catalog.database import upgrade
from backupsvc.errors import PveNotFound
from policies.model import Archive, GuestType, Rung

CLOVIS = ("clovis", "local")


def archive(vmid: int = 108, ctime: int = 1000, **more: Any) -> Archive:
    volid = f"local:backup/vzdump-qemu-{vmid}-{ctime}.vma.zst"
    return replace(
        Archive(volid, "clovis", "local", vmid, GuestType.QEMU, ctime, 500, "vma.zst"), **more
    )


def observe(
    catalog: Catalog,
    *listing: Archive,
    at: int = 5000,
    scope: tuple[tuple[str, str], ...] = (CLOVIS,),
) -> Observation:
    return catalog.archives.observe(listing, scope=scope, at=at)


def test_a_listing_is_remembered_as_it_was(catalog: Catalog) -> None:
    first = archive(
        protected=True,
        notes="Debian-Server\nbefore upgrade é",
        name="Debian-Server",
        operation="OP",
    )
    seen = observe(
        catalog, first, replace(archive(109, 4_000_000_000, size=1 << 43), vmid=None, type=None)
    )
    assert seen.known_before == 0 and seen.gone == ()
    assert catalog.archives.find(vmid=108) == [first]
    assert [
        (item.vmid, item.type, item.size) for item in catalog.archives.find() if item.vmid is None
    ] == [(None, None, 1 << 43)]


def test_only_what_was_not_there_is_new(catalog: Catalog) -> None:
    observe(catalog, archive(ctime=1000))
    seen = observe(catalog, archive(ctime=1000), archive(ctime=2000))
    assert (seen.new, seen.gone, seen.known_before) == ((archive(ctime=2000),), (), 1)


def test_an_archive_that_is_no_longer_listed_is_gone_and_its_row_stays(catalog: Catalog) -> None:
    observe(catalog, archive(ctime=1000), archive(ctime=2000))
    seen = observe(catalog, archive(ctime=2000), at=6000)
    assert seen.gone == (archive(ctime=1000),) and seen.known_before == 2
    assert catalog.archives.find() == [archive(ctime=2000)]
    assert catalog.archives.find(gone=True) == [archive(ctime=1000)]
    assert catalog.archives.get("clovis", archive(ctime=1000).volid) == archive(ctime=1000)
    assert catalog.archives.facts("clovis", archive(ctime=1000).volid)["gone_at"] == 6000


def test_law_3_what_was_not_listed_completely_cannot_be_gone(catalog: Catalog) -> None:
    observe(catalog, archive(108), archive(109))
    assert observe(catalog, archive(108), scope=()).gone == ()
    assert observe(catalog, scope=(("lge-pve02", "local"),)).gone == ()
    assert observe(catalog, scope=(("clovis", "nas"),)).gone == ()
    assert len(catalog.archives.find()) == 2


def test_an_archive_that_comes_back_is_new_again_with_what_it_had_proven(catalog: Catalog) -> None:
    observe(catalog, archive())
    catalog.archives.raise_rung("clovis", archive().volid, Rung.INTACT, 1)
    observe(catalog)
    assert observe(catalog, archive(), at=5001).new == (archive(),)
    assert [item.rung for item in catalog.archives.find()] == [Rung.INTACT]


@pytest.mark.parametrize(
    ("began", "back"), [(4999, False), (5000, False), (5001, True), (5000 - 3601, True)]
)
def test_law_3_a_listing_that_began_before_an_archive_went_does_not_bring_it_back(
    catalog: Catalog, began: int, back: bool
) -> None:
    """Unless it began so long before that the clock that saw it go must have been wrong."""
    observe(catalog, archive(), at=1)
    catalog.archives.mark_gone("clovis", archive().volid, 5000)
    observe(catalog, archive(), at=began)
    assert bool(catalog.archives.find()) is back


def test_two_nodes_list_the_same_file_of_a_shared_storage_and_equal_names_of_local_ones(
    catalog: Catalog,
) -> None:
    there = replace(archive(), node="lge-pve02")
    observe(catalog, archive(), there, scope=(CLOVIS, ("lge-pve02", "local")))
    shared = [
        replace(archive(), node=node, storage="nas", volid="nas:backup/x", shared=True)
        for node in ("clovis", "lge-pve02")
    ]
    seen = observe(catalog, *shared, scope=(("clovis", "nas"), ("lge-pve02", "nas")))
    assert seen.new == (shared[0],)
    assert len(catalog.archives.find()) == 3 and catalog.archives.find(storage="nas") == [shared[0]]
    catalog.archives.raise_rung("lge-pve02", "nas:backup/x", Rung.INTACT, 1)
    assert [item.rung for item in catalog.archives.find()].count(Rung.INTACT) == 1
    assert observe(catalog, scope=(("lge-pve02", "nas"),)).gone == (
        replace(shared[0], rung=Rung.INTACT),
    )


def test_changed_notes_and_protection_are_seen(catalog: Catalog) -> None:
    observe(catalog, archive())
    observe(catalog, archive(notes="keep me", protected=True))
    assert catalog.archives.find() == [archive(notes="keep me", protected=True)]


def changed(catalog: Catalog) -> str:
    found = catalog.archives.get("clovis", archive().volid)
    assert found is not None and (found.rung, found.proven_at) == (Rung.RECORDED, None)
    return found.changed


def test_law_5_another_file_under_the_same_name_inherits_no_proof_and_never_replaces_the_record(
    catalog: Catalog,
) -> None:
    observe(catalog, archive())
    catalog.archives.annotate(
        "clovis", archive().volid, sha256="aa", config="memory: 1", name="x", excluded=["scsi1"]
    )
    catalog.archives.raise_rung("clovis", archive().volid, Rung.HEALTHY, 1)
    observe(catalog, archive(size=501), at=6000)
    assert changed(catalog) == "size 500 -> 501 bytes"
    facts = catalog.archives.facts("clovis", archive().volid)
    assert (facts["config"], facts["sha256"], facts["changed_at"]) == ("memory: 1", "aa", 6000)
    observe(catalog, archive(size=501), at=7000)
    catalog.archives.raise_rung("clovis", archive().volid, Rung.INTACT, 7001)
    assert changed(catalog) == "size 500 -> 501 bytes"
    assert catalog.archives.facts("clovis", archive().volid)["changed_at"] == 6000


NEW, OLD = "44454c4c-0000-4000-8000-000000000105", "44454c4c-0000-4000-8000-000000000104"


@pytest.mark.parametrize(
    ("later", "what"),
    [
        ({"sha256": "bb"}, "SHA-256 aa -> bb"),
        ({"size": 400}, "size 500 -> 400 bytes"),
        ({"config": f"smbios1: uuid={OLD}\nname: g\n"}, f"SMBIOS UUID {NEW} -> {OLD}"),
        ({"config": f"smbios1: uuid={NEW}\nname: h\n"}, "name g -> h"),
        (
            {"config": f"smbios1: uuid={NEW}\nname: g\nscsi0: a:b\n#qmdump#map:scsi0:x:a:raw:\n"},
            "disks none -> scsi0",
        ),
    ],
)
def test_law_5_a_later_look_that_contradicts_the_record_marks_the_archive_and_leaves_the_record(
    catalog: Catalog, later: dict[str, Any], what: str
) -> None:
    config = f"smbios1: uuid={NEW.upper()}\nname: g\n"
    observe(catalog, archive())
    assert catalog.archives.annotate("clovis", archive().volid, sha256="aa", config=config) == ()
    catalog.archives.raise_rung("clovis", archive().volid, Rung.HEALTHY, 1)
    assert (
        catalog.archives.annotate(
            "clovis", archive().volid, sha256="aa", size=500, config=config, at=8000
        )
        == ()
    )
    assert catalog.archives.annotate("clovis", archive().volid, at=9000, **later) == (what,)
    assert changed(catalog) == what
    facts = catalog.archives.facts("clovis", archive().volid)
    assert (facts["config"], facts["sha256"], facts["uuid"], facts["changed_at"]) == (
        config,
        "aa",
        NEW,
        9000,
    )


def test_an_archive_that_was_seen_to_be_made_is_not_held_against_one_that_had_its_name(
    catalog: Catalog,
) -> None:
    observe(catalog, archive())
    catalog.archives.annotate(
        "clovis", archive().volid, sha256="aa", config=f"smbios1: uuid={OLD}\n"
    )
    catalog.archives.raise_rung("clovis", archive().volid, Rung.HEALTHY, 1)
    observe(catalog)
    observe(catalog, archive(size=501), at=6000)
    assert (
        catalog.archives.annotate(
            "clovis", archive().volid, config=f"smbios1: uuid={NEW}\nmeta: ctime=77\n", anew=True
        )
        == ()
    )
    assert catalog.archives.find() == [archive(size=501, uuid=NEW, born=77, holds_disk=False)]


def test_what_is_learnt_adds_up_and_a_listing_does_not_undo_it(catalog: Catalog) -> None:
    observe(catalog, archive(), at=5000)
    catalog.archives.annotate(
        "clovis",
        archive().volid,
        name="Debian-Server",
        sha256="ab",
        operation="OP",
        excluded=("scsi1",),
    )
    catalog.archives.annotate(
        "clovis", archive().volid, config="memory: 512", uuid="u", consistency="crash-consistent"
    )
    observe(catalog, archive(), at=7000)
    assert catalog.archives.find() == [
        archive(name="Debian-Server", sha256="ab", operation="OP", uuid="u", holds_disk=False)
    ]
    facts = catalog.archives.facts("clovis", archive().volid)
    assert facts == {
        "name": "Debian-Server",
        "sha256": "ab",
        "config": "memory: 512",
        "uuid": "u",
        "consistency": "crash-consistent",
        "excluded": ["scsi1"],
        "operation": "OP",
        "rung_at": None,
        "first_seen": 5000,
        "gone_at": None,
        "born": None,
        "changed_at": None,
        "changed": None,
        "damaged_at": None,
        "damaged": None,
        "checked_at": None,
    }


def test_law_5_a_damaged_archive_stands_unproven_until_its_bytes_are_read_whole_again(
    catalog: Catalog,
) -> None:
    observe(catalog, archive())
    catalog.archives.record_intact("clovis", archive().volid, 10)
    (good,) = catalog.archives.find()
    assert (good.rung, good.checked_at, good.unfit) == (Rung.INTACT, 10, "")
    catalog.archives.record_damaged("clovis", archive().volid, "cluster 7 is torn", 20)
    catalog.archives.record_damaged("clovis", archive().volid, "cluster 9 is torn", 30)
    catalog.archives.raise_rung("clovis", archive().volid, Rung.HEALTHY, 40)
    (bad,) = catalog.archives.find()
    assert (bad.rung, bad.proven_at, bad.checked_at) == (Rung.RECORDED, None, 30)
    assert bad.unfit == bad.damaged == "cluster 9 is torn"
    assert catalog.archives.facts("clovis", archive().volid)["damaged_at"] == 20
    catalog.archives.record_intact("clovis", archive().volid, 50)
    (again,) = catalog.archives.find()
    assert (again.rung, again.checked_at, again.unfit) == (Rung.INTACT, 50, "")


def test_an_archive_that_is_made_anew_under_its_name_has_not_been_read(catalog: Catalog) -> None:
    observe(catalog, archive())
    catalog.archives.record_damaged("clovis", archive().volid, "torn", 20)
    catalog.archives.annotate("clovis", archive().volid, operation="OP", anew=True, at=30)
    (new,) = catalog.archives.find()
    assert (new.damaged, new.checked_at) == ("", None)


def test_a_rung_is_raised_and_never_lowered(catalog: Catalog) -> None:
    observe(catalog, archive())
    for rung in (Rung.RESTORED, Rung.INTACT, Rung.RECORDED):
        catalog.archives.raise_rung("clovis", archive().volid, rung, 10)
    assert [(item.rung, item.proven_at) for item in catalog.archives.find()] == [
        (Rung.RESTORED, None)
    ]


def test_an_archive_that_was_never_seen_is_an_error_with_the_way_out(catalog: Catalog) -> None:
    assert catalog.archives.get("clovis", "local:backup/none") is None
    assert catalog.archives.facts("clovis", "local:backup/none") == {}
    with pytest.raises(PveNotFound, match="local:backup/none on clovis") as caught:
        catalog.archives.raise_rung("clovis", "local:backup/none", Rung.INTACT, 1)
    assert "catalog sync" in caught.value.hint
    with pytest.raises(PveNotFound):
        catalog.archives.annotate("clovis", "local:backup/none", name="x")


def test_archives_come_newest_first_and_by_guest_and_storage(catalog: Catalog) -> None:
    observe(catalog, archive(108, 1000), archive(109, 3000), archive(108, 2000))
    assert [item.ctime for item in catalog.archives.find()] == [3000, 2000, 1000]
    assert [item.ctime for item in catalog.archives.find(vmid=108)] == [2000, 1000]
    assert catalog.archives.find(storage="elsewhere") == []


def test_law_3_what_we_removed_ourselves_is_gone_before_the_next_listing_could_miss_it(
    catalog: Catalog,
) -> None:
    observe(catalog, archive(ctime=1000), archive(ctime=2000))
    catalog.archives.mark_gone("clovis", archive(ctime=1000).volid, 5500)
    seen = observe(catalog, archive(ctime=2000), at=6000)
    assert (seen.gone, seen.known_before) == ((), 1)
    assert catalog.archives.facts("clovis", archive(ctime=1000).volid)["gone_at"] == 5500
    with pytest.raises(PveNotFound):
        catalog.archives.mark_gone("clovis", "local:backup/none", 1)


def test_whether_an_archive_holds_a_disk_is_known_by_its_config_and_by_nothing_else(
    catalog: Catalog,
) -> None:
    small, big, container = (
        archive(108),
        archive(109, size=1 << 30),
        archive(110, type=GuestType.LXC),
    )
    observe(catalog, small, big, container)

    def known(item: Archive) -> bool | None:
        found = catalog.archives.get(item.node, item.volid)
        assert found is not None
        return found.holds_disk

    assert [known(item) for item in (small, big, container)] == [None, True, None]
    catalog.archives.annotate("clovis", small.volid, config="memory: 128\n")
    catalog.archives.annotate("clovis", container.volid, config="rootfs: local:x\n")
    assert [known(small), known(container)] == [False, None]
    catalog.archives.annotate(
        "clovis",
        small.volid,
        anew=True,
        config="scsi0: local:x\n#qmdump#map:scsi0:drive-scsi0:local:raw:\n",
    )
    assert known(small) is True


def test_a_catalog_of_an_earlier_version_learns_whose_its_archives_are_from_the_configs_that_it_has(
    new_url: str,
) -> None:
    engine = create_engine(new_url)
    columns = (
        "place, volid, node, storage, vmid, type, ctime, size, format, protected, shared, notes, "
        "first_seen, rung, name"
    )
    with engine.begin() as connection:
        upgrade(connection, "0005")
        for number, config in enumerate(
            (None, f"smbios1: uuid={NEW.upper()}\nmeta: ctime=77\n"), 1
        ):
            connection.execute(
                text(
                    f"INSERT INTO archive ({columns}, config, uuid) VALUES ('clovis', :volid, "
                    "'clovis', 'local', 108, 'qemu', 1, 500, '', :no, :no, '', 1, 'recorded', '', "
                    ":config, :uuid)"
                ),
                {
                    "volid": f"local:backup/{number}",
                    "no": False,
                    "config": config,
                    "uuid": config and NEW.upper(),
                },
            )
    engine.dispose()
    with Catalog.open(new_url) as catalog:
        found = {
            one.volid[-1]: (one.uuid, one.born, one.changed) for one in catalog.archives.find()
        }
    assert found == {"1": (None, None, ""), "2": (NEW, 77, "")}
