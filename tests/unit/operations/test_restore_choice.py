"""A restore takes the newest archive of which a restore was proven, and looks into what is newer."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from backupsvc.errors import PveError, PveNotFound, PveUnreachable, Refused
from backupsvc.operations.kinds import KINDS
from backupsvc.operations.restore.memory import RestoreMemory
from backupsvc.operations.restore.planning import open_restore, plan_restore
from policies.model import Archive, GuestType, Operation, Proof, Rung, Verdict
from tests.fakes.made import CONFIG, archive
from tests.unit.operations.cluster import Cluster
from tests.unit.operations.test_choosing import shown
from tests.unit.operations.test_identity import OLDER, OTHER, UUID, remembered, stands
from tests.unit.operations.test_identity import site as site
from tests.unit.operations.worlds import World

FIRST, SECOND, THIRD = (archive(108, second) for second in (1, 2, 3))
HELD = {one.volid: CONFIG for one in (FIRST, SECOND, THIRD)}
STUB = "memory: 128\n"


def plan(site: World, **asked: Any) -> RestoreMemory:
    wanted = {"at": None, "volid": None, "node": None, "storage": None} | asked
    return plan_restore(site, 108, **wanted)


def proved(
    site: World, of: Archive, verdict: Verdict = Verdict.PROVEN, rung: Rung = Rung.HEALTHY
) -> None:
    """A restore test of an archive that the catalog knows."""
    now = int(site.clock.now())
    seen = Proof(
        f"OP{now}{of.volid}", 108, of.volid, of.node, of.ctime, verdict, rung, now - 9, now
    )
    site.catalog.proofs.record(seen)
    site.clock.sleep(1)


def known(site: World, *archives: Archive, **more: Any) -> Cluster:
    """A lost guest with archives that this service made."""
    for one in archives:
        remembered(site, one, CONFIG, operation="OP")
    return stands(site, *archives, **({"held": HELD} | more))


def test_the_newest_proven_archive_is_taken_and_the_newer_one_named_with_the_way_to_it(
    site: World,
) -> None:
    known(site, FIRST, SECOND, THIRD)
    proved(site, SECOND)
    planned = plan(site)
    assert planned.archive.volid == SECOND.volid and planned.cautions == ()
    (said,) = planned.passed_over
    assert said.startswith(f"{THIRD.volid}, backed up ") and "is newer, and not proven" in said
    assert f"take it with --newest or --archive {THIRD.volid}" in said
    assert f"  {said}" in shown(site)


def test_the_newest_is_taken_by_word_or_by_name_and_said_to_be_unproven(site: World) -> None:
    known(site, FIRST, SECOND)
    proved(site, FIRST)
    for asked in ({"newest": True}, {"volid": SECOND.volid}, {"at": "2026-03-09"}):
        planned = plan(site, **asked)
        assert planned.archive.volid == SECOND.volid
        assert "is not proven: no restore of it was tested" in planned.cautions[0]
        assert f"take it with --archive {FIRST.volid}" in planned.cautions[1]
        assert f"  WARNING: {planned.cautions[0]}" in shown(site, **asked)


def test_law_8_with_an_empty_catalog_the_newest_is_taken_and_said_to_be_unproven(
    site: World,
) -> None:
    stands(site, FIRST, SECOND, held=HELD)
    planned = plan(site)
    assert planned.archive.volid == SECOND.volid
    assert "no restore of any archive of guest 108 is proven" in planned.cautions


def test_the_rung_that_the_guests_tier_wants_decides_what_is_proven(site: World) -> None:
    known(site, FIRST, SECOND)
    proved(site, FIRST, rung=Rung.BOOTED)
    assert plan(site).archive.volid == SECOND.volid
    tier = SimpleNamespace(proof_rung=Rung.BOOTED)
    site.policy = replace(site.policy, tiers={"standard": tier})
    assert plan(site).archive.volid == FIRST.volid


def test_a_test_that_failed_since_takes_the_proof_away(site: World) -> None:
    known(site, FIRST, SECOND)
    proved(site, FIRST)
    proved(site, SECOND, Verdict.FAILED, Rung.RESTORED)
    assert "ended failed" in plan(site).passed_over[0]
    proved(site, FIRST, Verdict.FAILED, Rung.RESTORED)
    assert plan(site).archive.volid == SECOND.volid


def test_a_simulated_cluster_proves_nothing(site: World) -> None:
    cluster = known(site, FIRST, SECOND)
    proved(site, FIRST)
    cluster.cluster.version = lambda: SimpleNamespace(simulated=True)
    planned = plan(site)
    assert planned.archive.volid == SECOND.volid and "simulated" in planned.cautions[0]


def test_law_5_a_proven_archive_that_is_found_changed_when_it_is_read_is_not_taken(
    site: World,
) -> None:
    known(site, FIRST, SECOND, held=HELD | {SECOND.volid: CONFIG.replace("2048", "2048\nname: x")})
    proved(site, SECOND)
    planned = plan(site)
    assert planned.archive.volid == FIRST.volid
    assert "was changed since it was recorded (name Debian-Server -> x)" in planned.passed_over[0]


def test_law_10_the_newest_of_another_machine_is_refused_at_each_try_and_both_are_named(
    site: World,
) -> None:
    known(site, FIRST)
    proved(site, FIRST)
    stands(site, FIRST, SECOND, held=HELD | {SECOND.volid: OLDER})
    for _ in range(2):
        with pytest.raises(Refused, match="is of another machine than guest 108") as refused:
            plan(site)
        assert f"SMBIOS UUID is {OTHER}, the guest's is {UUID}" in refused.value.message
        assert f"--archive {FIRST.volid} (proven " in refused.value.hint
        assert f"or --archive {SECOND.volid}" in refused.value.hint
    assert plan(site, volid=FIRST.volid).warnings == ()
    assert "another machine" in plan(site, volid=SECOND.volid).warnings[0]


def test_law_10_the_archives_of_the_machine_before_are_not_offered(site: World) -> None:
    remembered(site, FIRST, OLDER, operation="OP")
    remembered(site, SECOND, CONFIG, operation="OP")
    stands(site, FIRST, SECOND, held=HELD | {FIRST.volid: OLDER})
    proved(site, FIRST)
    planned = plan(site)
    assert planned.archive.volid == SECOND.volid
    with pytest.raises(PveNotFound):
        site.catalog.archives.record_damaged(SECOND.node, SECOND.volid, "torn", 5)
        plan(site)


def test_a_container_that_came_after_the_machine_is_not_passed_over(site: World) -> None:
    container = replace(
        SECOND,
        volid=SECOND.volid.replace("qemu", "lxc").replace("vma", "tar"),
        type=GuestType.LXC,
        format="tar.zst",
    )
    known(site, FIRST)
    proved(site, FIRST)
    stands(site, FIRST, container, held=HELD)
    with pytest.raises(Refused, match="it is of a container"):
        plan(site)


@pytest.mark.parametrize("error", [PveError("no such file"), PveUnreachable("no answer")])
def test_a_newer_archive_that_cannot_be_read_hinders_nobody_from_the_proven_one(
    site: World, error: Exception
) -> None:
    cluster = known(site, FIRST)
    proved(site, FIRST)
    cluster = stands(site, FIRST, SECOND, held=HELD)

    def config(node: str, volid: str) -> str:
        if volid == SECOND.volid:
            raise error
        return CONFIG

    cluster.storage.extract_config = config
    planned = plan(site)
    assert planned.archive.volid == FIRST.volid
    assert f"the config in {SECOND.volid} could not be read ({error})" in planned.passed_over[1]
    with pytest.raises(type(error)):
        plan(site, newest=True)


def test_newer_archives_without_a_disk_are_all_looked_into(site: World) -> None:
    stands(site, FIRST, SECOND, THIRD, held=HELD | {SECOND.volid: STUB, THIRD.volid: ""})
    planned = plan(site)
    assert planned.archive.volid == FIRST.volid
    assert planned.passed_over == tuple(
        f"{one.volid} holds no disk, so it was passed over" for one in (THIRD, SECOND)
    )


def test_a_retry_takes_the_archive_that_was_taken_although_another_is_proven_by_now(
    site: World,
) -> None:
    known(site, FIRST, SECOND)
    proved(site, FIRST)
    operation = open_restore(site, 108, plan(site))
    assert isinstance(operation, Operation)
    proved(site, SECOND)
    kind = KINDS["restore"]
    assert kind.retry is not None
    again = kind.retry(site, operation, kind.form.read(operation.memory))
    assert again.archive.volid == FIRST.volid
