"""``catalog recheck`` on a lab with modelled guests: an archive that rots on its disk is found, told
everywhere, and rotates no good one out.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands import Answer, Shell, briefly
from tests.integration.administrator import disable_pve_job
from tests.integration.conftest import LANGEO

pytestmark = pytest.mark.slow
VMID = 105


class User:
    """Somebody whose retention keeps the newest archive alone."""

    def __init__(self, site: Shell, policy: Path) -> None:
        self.site, self.policy = site, policy
        text = briefly(LANGEO.read_text(encoding="utf-8"))
        text = re.sub("keep: keep-.*", "keep: keep-last=1", text)
        policy.write_text(text.replace("max-share: 50%", "max-share: 80%"), encoding="utf-8")
        self.folder = site.state / "lab" / "nodes" / "clovis" / "var" / "lib" / "vz" / "dump"

    def __call__(self, *words: object) -> Answer:
        return self.site(*words, BACKUPSVC_POLICY=str(self.policy))

    def back_up(self) -> Path:
        answer = self("backup", "run", "--vmid", VMID, "--json")
        assert answer.code == 0, answer.out + answer.err
        return sorted(self.folder.glob(f"vzdump-qemu-{VMID}-*.vma.zst"))[-1]

    def recheck(self, *words: object) -> Answer:
        return self("catalog", "recheck", "--vmid", VMID, "--all", "--json", *words)


@pytest.fixture
def user(site: Shell, tmp_path: Path) -> Iterator[User]:
    disable_pve_job(site.state)
    made = User(site, tmp_path / "policy.yaml")
    yield made
    for path in made.folder.glob(f"vzdump-qemu-{VMID}-*"):
        path.unlink()
    assert made("catalog", "sync", "--accept", "--json").code == 0


def rot(path: Path) -> bytes:
    """Flip a bit in the middle, as a disk does: size and times stay; return what was there."""
    was, stat = path.read_bytes(), path.stat()
    data = bytearray(was)
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    return was


def test_law_3_an_archive_that_rots_is_found_told_and_rotates_no_good_one_out(user: User) -> None:
    older, newer = user.back_up(), user.back_up()
    assert user("catalog", "recheck", "--vmid", VMID).code == 0  # none is due so soon
    assert [one["state"] for one in user.recheck().json["archives"]] == ["intact", "intact"]
    was = rot(newer)

    found = user.recheck()
    assert found.code == 1, found.out + found.err
    states = {one["volid"].rpartition("/")[2]: one for one in found.json["archives"]}
    assert states[older.name]["state"] == "intact"
    bad = states[newer.name]
    assert bad["state"] == "damaged" and f"backup run --vmid {VMID}" in bad["reason"]

    listed = user("catalog", "list", "--vmid", VMID, "--json").json["archives"]
    assert [one["integrity"]["state"] for one in listed] == ["damaged", "intact"]
    assert "DAMAGED" in user("catalog", "list", "--vmid", VMID).out
    told = [one["id"] for one in user("pra", "status", "--json").json["findings"]]
    assert "archive-corrupt" in told

    assert user("prune", "--vmid", VMID, "--json").json["removed"] == []
    assert older.exists() and newer.exists()
    explained = user("prune", "--vmid", VMID, "--dry-run", "--explain")
    assert "its bytes were found damaged" in explained.out

    newer.write_bytes(was)
    assert user.recheck().code == 0
    told = [one["id"] for one in user("pra", "status", "--json").json["findings"]]
    assert "archive-corrupt" not in told


def test_a_dry_run_says_what_would_be_read_and_reads_nothing(user: User) -> None:
    newer = user.back_up()
    rot(newer)
    plan = user.recheck("--dry-run")
    assert plan.code == 0 and [one["state"] for one in plan.json["archives"]] == ["planned"]
    told = [one["id"] for one in user("pra", "status", "--json").json["findings"]]
    assert "archive-corrupt" not in told
    shown = user("catalog", "recheck", "--vmid", VMID, "--all", "--dry-run")
    assert "nothing was read" in shown.out and newer.name in shown.out


def test_an_archive_that_rotted_before_its_first_reading_is_found_too(user: User) -> None:
    newer = user.back_up()
    rot(newer)
    assert user.recheck().code == 1
    shown = user("catalog", "show", f"local:backup/{newer.name}", "--json")
    assert "damaged" in shown.out, shown.out + shown.err
