"""An archive is taken for its guest's only if nothing says otherwise: not its record, not the guest
itself (laws 5 and 10).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest

from backupsvc.errors import PveError, PveNotFound, PvePermissionDenied, PveUnreachable, Refused
from backupsvc.operations import build_engine, identity
from backupsvc.operations.restore.memory import RestoreMemory
from backupsvc.operations.restore.planning import open_restore, plan_restore
from backupsvc.operations.restore.result import restore_outcome
from backupsvc.operations.restore_test import proving
from backupsvc.operations.restore_test.opening import open_test
from backupsvc.settings import Settings
from policies import prune_marks
from policies.model import Archive, Guest, Job, Mark, Policy, Scratch
from policies.pve import guest_config
from policies.pve.guest_config import parse_config
from tests.fakes.made import CONFIG, archive
from tests.unit.operations.cluster import Cluster
from tests.unit.operations.worlds import World, world

UUID = str(guest_config.smbios_uuid(parse_config(CONFIG)))
OTHER = "0b5e5e1e-0000-4000-8000-00000000001d"
OLDER = CONFIG.replace(UUID, OTHER)
FIRST, SECOND, THIRD = (archive(108, second) for second in (1, 2, 3))


@pytest.fixture
def site(tmp_path: Path, sqlite_url: str) -> Iterator[World]:
    made = world(sqlite_url)
    nothing: Any = MappingProxyType({})
    jobs = (Job("nightly", "21:00", "local", keep="keep-last=1"),)
    made.policy = Policy(
        "s", "Europe/Paris", "en", jobs, nothing, nothing, Scratch(9000, 9009), "standard"
    )
    made.settings = Settings(state_dir=tmp_path)
    yield made
    made.catalog.close()


def enough() -> None:
    """What comes after the archive was chosen is of no interest here."""
    raise PveError("enough")


def stands(site: World, *archives: Archive, held: dict[str, str], guest: Any = None) -> Cluster:
    """Put archives with their configs there. ``guest``: the config of the guest itself (an error to
    raise, None: it is lost).
    """

    def config(node: str, vmid: int) -> dict[str, str]:
        if isinstance(guest, Exception):
            raise guest
        return parse_config(guest)

    there = [Guest(108, "Debian-Server", "clovis", status="running")] if guest is not None else []
    cluster = Cluster(guests_there=there, listings=[list(archives)])
    cluster.storage.extract_config = lambda node, volid: held[volid]
    cluster.cluster.version = lambda: SimpleNamespace(simulated=False)
    cluster.cluster.permissions = enough
    cluster.guests = SimpleNamespace(config=config)
    site.pve = site.restore_pve = cluster
    site.engine = build_engine(site)
    return cluster


def remembered(site: World, item: Archive, config: str, **more: Any) -> None:
    site.catalog.archives.observe([item], scope=[], at=1)
    site.catalog.archives.annotate(item.node, item.volid, config=config, **more)


def proved(site: World, volid: str | None = None) -> dict[str, Any]:
    opened = open_test(site, 108, volid=volid)
    return proving.outcome(site.engine.drive_one(opened))


def plan(site: World, volid: str | None = None) -> RestoreMemory:
    return plan_restore(site, 108, at=None, volid=volid, node=None, storage=None)


# --- restore tests --------------------------------------------------------------------------------


def test_law_10_an_archive_of_another_machine_than_the_guest_fails_before_anything_is_restored(
    site: World,
) -> None:
    stands(site, FIRST, held={FIRST.volid: OLDER}, guest=CONFIG)
    found = proved(site)
    assert (found["verdict"], found["cause"], found["rung"], found["error"]["step"]) == (
        "failed",
        "archive",
        "recorded",
        "choose",
    )
    assert f"SMBIOS UUID is {OTHER}, the guest's is {UUID}" in found["reasons"][0]
    assert "restore failed" not in " ".join(found["reasons"])
    assert "catalog show" in found["error"]["hint"]


@pytest.mark.parametrize(
    "guest",
    [
        None,
        PvePermissionDenied("Permission check failed"),
        PveNotFound("no such guest"),
        "memory: 128\nlock: create\n",
    ],
    ids=["lost", "not to be read", "gone meanwhile", "only the rest of a restore"],
)
def test_law_10_where_the_guest_cannot_tell_its_recorded_archives_do(
    site: World, guest: Any
) -> None:
    remembered(site, FIRST, CONFIG, operation="OP")
    stands(site, FIRST, SECOND, held={FIRST.volid: CONFIG, SECOND.volid: OLDER}, guest=guest)
    assert "another machine" in proved(site, SECOND.volid)["reasons"][0]
    assert proved(site, FIRST.volid)["error"]["step"] != "choose"


def test_a_guest_that_does_not_answer_is_not_one_of_which_nothing_is_known(site: World) -> None:
    stands(site, FIRST, held={FIRST.volid: CONFIG}, guest=PveUnreachable("no answer"))
    found = proved(site)
    assert (found["verdict"], found["cause"], found["error"]["exit_code"]) == (
        "inconclusive",
        "platform",
        3,
    )


def test_an_archive_of_which_nobody_can_say_whose_it_is_is_tested(site: World) -> None:
    stands(site, FIRST, held={FIRST.volid: CONFIG.replace("smbios1", "#smbios1")}, guest=None)
    assert proved(site)["error"]["step"] != "choose"


@pytest.mark.parametrize(
    "now", [replace(FIRST, size=1001), FIRST], ids=["another size", "another config"]
)
def test_law_5_an_archive_that_was_changed_since_it_was_recorded_fails_and_stays_changed(
    site: World, now: Archive
) -> None:
    remembered(site, FIRST, CONFIG, operation="OP")
    stands(site, now, held={FIRST.volid: OLDER}, guest=OLDER)
    for _ in range(2):
        found = proved(site)
        assert (found["verdict"], found["cause"], found["rung"]) == (
            "failed",
            "archive",
            "recorded",
        )
        assert "was changed since it was recorded" in found["reasons"][0]
    assert site.catalog.archives.facts(FIRST.node, FIRST.volid)["uuid"] == UUID


# --- restores -------------------------------------------------------------------------------------


def test_law_10_no_restore_takes_another_machines_archive_unless_it_is_named_and_then_it_is_said_aloud(
    site: World,
) -> None:
    remembered(site, FIRST, CONFIG, operation="OP")
    stands(site, FIRST, SECOND, held={FIRST.volid: CONFIG, SECOND.volid: OLDER})
    with pytest.raises(Refused, match="is of another machine than guest 108") as refused:
        plan(site)
    assert refused.value.exit_code == 4 and f"--archive {SECOND.volid}" in refused.value.hint
    planned = plan(site, SECOND.volid)
    assert planned.archive.volid == SECOND.volid and "another machine" in planned.warnings[0]


def test_law_5_a_restore_passes_a_changed_archive_over_unless_it_is_named_and_then_it_is_said_aloud(
    site: World,
) -> None:
    for item in (FIRST, SECOND):
        remembered(site, item, CONFIG, operation="OP")
    stands(site, FIRST, replace(SECOND, size=7), held={FIRST.volid: CONFIG, SECOND.volid: CONFIG})
    planned = plan(site)
    assert (planned.archive.volid, planned.warnings) == (FIRST.volid, ())
    assert "was changed since it was recorded (size 1000 -> 7 bytes)" in planned.passed_over[0]
    assert "was changed" in plan(site, SECOND.volid).warnings[0]


def test_law_5_an_archive_that_was_changed_between_plan_and_restore_is_not_restored(
    site: World,
) -> None:
    remembered(site, FIRST, CONFIG, operation="OP")
    stands(site, FIRST, held={FIRST.volid: CONFIG})
    opened = open_restore(site, 108, replace(plan(site), start=False))
    site.catalog.archives.observe([replace(FIRST, size=7)], scope=[], at=9)
    error = restore_outcome(site.engine.drive_one(opened))["error"]
    assert (error["step"], error["exit_code"]) == ("choose", 4) and "was changed" in error[
        "message"
    ]


def test_a_restore_with_an_empty_catalog_goes_on(site: World) -> None:
    stands(site, FIRST, held={FIRST.volid: CONFIG})
    assert plan(site).warnings == ()


# --- retention ------------------------------------------------------------------------------------


def test_law_10_the_archives_of_an_older_machine_neither_rotate_out_nor_count(site: World) -> None:
    items = [archive(108, second) for second in (1, 2, 3, 4)]
    for item, config in zip(items, (OLDER, OLDER, CONFIG, CONFIG), strict=True):
        remembered(site, item, config, operation="OP")
    marked = prune_marks.decide_all(
        site.catalog.archives.find()[::-1], [Guest(108, "Debian-Server", "clovis")], site.policy
    )
    assert [one.mark for one in marked] == [Mark.KEEP, Mark.KEEP, Mark.REMOVE, Mark.KEEP]
    assert "another machine than guest 108" in marked[0].reasons[0]
    assert marked[3].reasons[0].startswith("keep-last 1/1")


def test_law_3_a_changed_archive_is_not_counted_in_place_of_a_whole_one(site: World) -> None:
    for item in (FIRST, SECOND, THIRD):
        remembered(site, item, CONFIG, operation="OP")
    site.catalog.archives.observe([replace(THIRD, size=999)], scope=[], at=5)
    marked = prune_marks.decide_all(
        site.catalog.archives.find()[::-1], [Guest(108, "Debian-Server", "clovis")], site.policy
    )
    assert [one.mark for one in marked] == [Mark.REMOVE, Mark.KEEP, Mark.KEEP]
    assert "was changed since it was recorded (size 1000 -> 999 bytes)" in marked[2].reasons[0]


# --- shown ----------------------------------------------------------------------------------------


def test_a_guests_lineage_and_what_is_recorded_of_an_archive_are_shown(site: World) -> None:
    remembered(site, FIRST, OLDER)
    remembered(site, SECOND, CONFIG, sha256="ab")
    stands(site, FIRST, replace(SECOND, size=5), THIRD, held={}, guest=CONFIG)
    found = identity.show(site, "108")
    assert found["lineage"] == {"uuid": UUID, "created": None, "source": identity.GUEST}
    assert [one["machine"] for one in found["archives"]] == ["unknown", "this", "another"]
    one = identity.show(site, SECOND.volid, offline=True)["archives"][0]
    assert (one["uuid"], one["sha256"], one["disks"], one["config_read"]) == (
        UUID,
        "ab",
        ["scsi0"],
        True,
    )
    assert one["changed"] == "size 1000 -> 5 bytes" and one["changed_at"] and one["first_seen"]
    for unknown in ("local:backup/none", "999"):
        with pytest.raises(PveNotFound):
            identity.show(site, unknown, offline=True)
