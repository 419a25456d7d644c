"""Archive names with their local time, and the lab's own reading of PVE's retention."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pvelab.guests.names import archive_name, local_epoch, parse_name, split_volid
from pvelab.guests.notes import expand, problem
from pvelab.guests.prune import Candidate, parse_keep, prune

VECTORS = json.loads((Path(__file__).parents[3] / "golden" / "prune_vectors.json").read_text())[
    "cases"
]
EVALUABLE = [case for case in VECTORS if "error" not in case]


def marks(case: dict[str, Any]) -> list[str]:
    """Return this lab's marks for the archives of a case that PVE marked."""
    tz, candidates = case["tz"], []
    for backup in (b for b in case["backups"] if "mark" in b):
        name = parse_name(backup["volid"].rpartition("/")[2], tz)
        group, ctime = None, backup["ctime"]
        if name and name.standard:
            assert name.type is not None and name.vmid is not None and name.ctime is not None
            group, ctime = (name.type, name.vmid), name.ctime
        candidates.append(Candidate(group, ctime, bool(backup.get("protected"))))
    return prune(candidates, parse_keep(case["prune_backups"]), tz)


def test_every_mark_of_pves_own_vectors_is_the_same() -> None:
    assert len(EVALUABLE) > 400
    wrong = [
        c["id"] for c in EVALUABLE if marks(c) != [b["mark"] for b in c["backups"] if "mark" in b]
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("local", "utc"),
    [
        ("2026_03_29-02_30_00", 1774747800),  # does not exist in Paris: one hour later
        ("2026_10_25-02_30_00", 1792888200),  # exists twice: the first
        ("2026_07_01-21_00_02", 1782932402),
    ],
)
def test_local_time_in_a_name_is_read_as_pve_reads_it(local: str, utc: int) -> None:
    assert local_epoch(local, "Europe/Paris") == utc


def test_a_name_is_taken_apart_again() -> None:
    name = parse_name(archive_name(108, 1_782_932_402, "Europe/Paris", ".zst"), "Europe/Paris")
    assert name and (name.file, name.vmid, name.type) == (
        "vzdump-qemu-108-2026_07_01-21_00_02.vma.zst",
        108,
        "qemu",
    )
    assert (name.extension, name.ctime, name.log) == (
        "vma.zst",
        1_782_932_402,
        "vzdump-qemu-108-2026_07_01-21_00_02.log",
    )


@pytest.mark.parametrize(
    "file", ["vzdump-qemu-108-2026_07_01-21_00_02.log", "x.vma.zst.notes", "vzdump.dat", ".vma"]
)
def test_what_is_no_backup_is_not_listed(file: str) -> None:
    assert parse_name(file, "Europe/Paris") is None


def test_a_renamed_archive_has_no_time_of_its_own() -> None:
    name = parse_name("before-upgrade.vma.zst", "Europe/Paris")
    assert name and not name.standard and name.vmid is None


def test_a_path_is_no_volid() -> None:
    assert split_volid("/var/lib/vz/dump/x.vma") is None
    assert split_volid("local:backup/x.vma") == ("local", "backup/x.vma")


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{foo}}", "found unknown: variable 'foo' at char 4\n"),
        ("a\\tb", "found unknown: escape sequence '\\t' at char 1\n"),
        ("a\nb", "contains a line feed\n"),
        ("{{guestname}}\\n\\\\", None),
    ],
)
def test_a_notes_template_is_checked_as_pve_does(template: str, text: str | None) -> None:
    assert problem(template) == text


def test_a_notes_template_is_expanded() -> None:
    values = {"guestname": "web", "node": "clovis", "vmid": "108", "cluster": "langeo"}
    assert (
        expand("{{guestname}}/{{vmid}} on {{node}} of {{cluster}}\\nsecond \\\\", values)
        == "web/108 on clovis of langeo\nsecond \\"
    )
