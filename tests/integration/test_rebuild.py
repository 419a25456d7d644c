"""``catalog rebuild`` on a lab with modelled guests: what a new catalog learns of what a lost one
knew, and what it does not pretend to know.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.commands import Answer, Shell
from tests.integration.administrator import disable_pve_job

pytestmark = pytest.mark.slow
VMIDS = (104, 105)


class Catalogs:
    """A user of the lab with the catalog that knows all, and another one that begins empty."""

    def __init__(self, site: Shell, folder: Path) -> None:
        self.site, self.other = site, f"sqlite:///{folder}/rebuilt.db"

    def __call__(self, *words: object) -> Answer:
        return self.site(*words)

    def anew(self, *words: object) -> Answer:
        return self.site(*words, BACKUPSVC_CATALOG__URL=self.other)


@pytest.fixture
def catalogs(site: Shell, tmp_path: Path) -> Iterator[Catalogs]:
    disable_pve_job(site.state)
    made = Catalogs(site, tmp_path)
    for vmid in VMIDS:
        answer = made("backup", "run", "--vmid", vmid, "--json")
        assert answer.code == 0, answer.out + answer.err
    yield made
    folder = site.state / "lab" / "nodes" / "clovis" / "var" / "lib" / "vz" / "dump"
    for vmid in VMIDS:
        for path in folder.glob(f"vzdump-qemu-{vmid}-*"):
            path.unlink()
    assert made("catalog", "sync", "--accept", "--json").code == 0


def outside(answer: Answer) -> list[dict[str, Any]]:
    """What a list tells of archives that stands outside the catalog, too."""
    assert answer.code == 0, answer.out + answer.err
    kept = ("volid", "node", "vmid", "name", "size", "ctime", "lineage", "operation", "missing")
    return [{key: one[key] for key in kept} for one in answer.json["archives"]]


def test_law_8_a_lost_catalog_is_filled_from_storages_archives_and_notes(
    catalogs: Catalogs,
) -> None:
    before = outside(catalogs("catalog", "list", "--json"))
    assert len(before) >= 2 and all(one["operation"] for one in before if one["vmid"] in VMIDS)
    rebuilt = catalogs.anew("catalog", "rebuild", "--json")
    assert rebuilt.code == 0, rebuilt.out + rebuilt.err
    told = rebuilt.json
    assert told["archives"] == told["machines"] == len(before) and told["proofs"] == 0
    assert any("clovis" in place for place in told["from"]) and told["unread"] == []
    assert outside(catalogs.anew("catalog", "list", "--json")) == before


def test_law_8_proofs_and_hashes_that_only_the_lost_catalog_knew_are_not_made_up(
    catalogs: Catalogs,
) -> None:
    shown = catalogs.anew("catalog", "rebuild")
    assert shown.code == 0 and "0 proofs" in shown.out and "lost" in shown.out
    listed = catalogs.anew("catalog", "list", "--json").json["archives"]
    assert {one["rung"] for one in listed} == {"recorded"}
    assert {one["sha256"] for one in listed} == {one["proven_at"] for one in listed} == {None}
    assert {one["integrity"]["state"] for one in listed} == {"unread"}


def test_law_3_a_rebuilt_catalog_prunes_no_guest_that_was_not_proven_since(
    catalogs: Catalogs,
) -> None:
    for _ in range(4):
        assert catalogs("backup", "run", "--vmid", 105, "--json").code == 0
    assert catalogs.anew("catalog", "rebuild").code == 0
    told = catalogs.anew("prune", "--vmid", 105, "--dry-run", "--json").json
    assert not [one for one in told["archives"] if one["mark"] == "remove"]


def test_a_rebuild_may_be_done_again_and_a_dry_run_looks_into_nothing(catalogs: Catalogs) -> None:
    dry = catalogs.anew("catalog", "rebuild", "--dry-run", "--json")
    assert dry.code == 0 and dry.json["archives"] >= 2
    assert (dry.json["linked"], dry.json["machines"]) == (0, 0)
    first, second = (catalogs.anew("catalog", "rebuild", "--json").json for _ in range(2))
    assert first == second
    # of the catalog that knows all, nothing is forgotten
    before = catalogs("catalog", "list", "--json").json["archives"]
    assert catalogs("catalog", "rebuild").code == 0
    assert catalogs("catalog", "list", "--json").json["archives"] == before


def test_law_5_notes_that_name_an_operation_of_the_catalog_make_nobody_elses_archive_its_own(
    catalogs: Catalogs,
) -> None:
    folder = catalogs.site.state / "lab" / "nodes" / "clovis" / "var" / "lib" / "vz" / "dump"
    own = sorted(folder.glob("vzdump-qemu-105-*.vma.zst"))[-1]
    planted = own.with_name("vzdump-qemu-105-2020_01_01-21_00_00.vma.zst")
    planted.write_bytes(own.read_bytes())
    notes = own.with_name(f"{own.name}.notes").read_bytes()
    planted.with_name(f"{planted.name}.notes").write_bytes(notes)
    assert catalogs("catalog", "rebuild").code == 0
    listed = catalogs("catalog", "list", "--vmid", 105, "--json").json["archives"]
    made = {one["volid"].rpartition("/")[2]: one["operation"] for one in listed}
    assert made[own.name] and made[planted.name] is None
    assert made[own.name].encode() in notes
