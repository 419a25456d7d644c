"""Which archive a lost guest is brought back from: the newest that is proven, and all else is said."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.lineage import Identity
from policies.model import Archive, GuestType, Proof, Rung, Verdict
from policies.model.signs import Suspicion, SuspicionKind
from policies.restore_choice import Alternative, Asked, Bar, Choice, Known, decide

DAY, NOW = 86400, 1_773_200_000
UUID, OTHER = "11111111-2222-4333-8444-555555555555", "99999999-2222-4333-8444-555555555555"
ODD = (Suspicion(SuspicionKind.SEALED, "drive-scsi0", 0.1, 0.9, "local:backup/x"),)


def archive(days_ago: int, **more: Any) -> Archive:
    values: dict[str, Any] = {
        "node": "clovis", "storage": "local", "vmid": 108, "type": GuestType.QEMU,
        "ctime": NOW - days_ago * DAY, "size": 1000, "holds_disk": True, "uuid": UUID,
    }  # fmt: skip
    return Archive(f"local:backup/vzdump-qemu-108-{days_ago}.vma.zst", **(values | more))


def proven(days_ago: int, **more: Any) -> Archive:
    return archive(days_ago, **({"proven_at": NOW - days_ago * DAY + 3600} | more))


def test_of(of: Archive, verdict: Verdict = Verdict.PROVEN, **more: Any) -> Proof:
    ended = of.ctime + 3600
    made = Proof("op", 108, of.volid, of.node, of.ctime, verdict, Rung.HEALTHY, ended - 60, ended)
    return replace(made, **more)


test_of.__test__ = False  # type: ignore[attr-defined]


def chosen(
    *archives: Archive,
    asked: Asked | None = None,
    tests: tuple[Proof, ...] | None = None,
    **more: Any,
) -> Choice:
    """The choice among archives; each that is proven has its proof."""
    beyond = more.get("beyond", ())
    if tests is None:
        tests = tuple(test_of(one) for one in (*archives, *beyond) if one.proven_at)
    return decide(Known(108, archives, NOW, proofs=tests, **more), asked or Asked())


def taken(choice: Choice) -> Archive | None:
    return choice.chosen.archive if choice.chosen else None


def row(choice: Choice, of: Archive) -> Alternative:
    return next(one for one in choice.alternatives if one.archive == of)


def test_the_newest_proven_archive_is_taken_and_what_is_newer_is_named_with_its_age() -> None:
    found = chosen(archive(0), archive(1), proven(2), proven(3))
    assert taken(found) == proven(2) and found.cautions == ()
    state = "is newer, and not proven: no restore of it was tested: take it with"
    assert found.passed_over == (
        f"{archive(0).volid}, backed up 0 s ago, {state} --newest or --archive {archive(0).volid}",
        f"{archive(1).volid}, backed up 1 d ago, {state} --archive {archive(1).volid}",
    )
    assert [(one.archive, one.chosen, one.proof is not None) for one in found.alternatives] == [
        (archive(0), False, False),
        (archive(1), False, False),
        (proven(2), True, True),
        (proven(3), False, True),
    ]
    assert row(found, proven(3)).why == "proven 2 d 23 h ago (rung healthy)"


def test_where_nothing_is_proven_the_newest_is_taken_and_that_is_said() -> None:
    found = chosen(archive(2), archive(1))
    assert taken(found) == archive(1) and found.passed_over == ()
    assert found.cautions == (
        f"{archive(1).volid}, backed up 1 d ago, is not proven: no restore of it was tested",
        "no restore of any archive of guest 108 is proven",
    )


def test_the_newest_is_taken_if_that_is_asked_for_and_the_proven_one_is_named() -> None:
    found = chosen(archive(1), proven(2), asked=Asked(newest=True))
    assert taken(found) == archive(1) and found.passed_over == ()
    assert found.cautions[1] == (
        f"the proven archive nearest to it is {proven(2).volid}, backed up 2 d ago: take it with "
        f"--archive {proven(2).volid}"
    )
    assert taken(chosen(archive(1, damaged="torn"), proven(2), asked=Asked(newest=True))) == proven(
        2
    )


def test_a_moment_means_the_newest_until_then_and_the_nearest_proven_one_is_named() -> None:
    there = (proven(1), archive(3), archive(4), proven(8))
    found = chosen(*there, asked=Asked(latest=NOW - 3 * DAY + 10))
    assert taken(found) == archive(3) and found.passed_over == ()
    assert f"is {proven(1).volid}, backed up 1 d ago: take it with" in found.cautions[1]
    assert row(found, proven(1)).bar is Bar.LATER
    near = chosen(*there, proven(5), asked=Asked(latest=NOW - 3 * DAY))
    assert f"is {proven(1).volid}" in near.cautions[1], "of two as near the newer one"


def test_what_was_named_is_taken_whatever_speaks_against_it_and_nothing_else_is() -> None:
    bad = archive(1, changed="size 1 -> 2 bytes")
    found = chosen(archive(0), bad, proven(2), asked=Asked(volid=bad.volid))
    assert taken(found) == bad and found.passed_over == ()
    assert found.chosen and found.chosen.why.startswith("was changed since it was recorded (size")
    for gone in (replace(bad, size=0), None):
        there = (archive(0), gone) if gone else (archive(0),)
        assert taken(chosen(*there, asked=Asked(volid=bad.volid))) is None
    beyond = chosen(archive(0), beyond=(bad,), asked=Asked(volid=bad.volid))
    assert taken(beyond) is None
    assert taken(chosen(bad, asked=Asked(volid=bad.volid, latest=bad.ctime - 1))) is None


@pytest.mark.parametrize(
    ("spoilt", "bar", "said"),
    [
        ({"changed": "size 1 -> 2 bytes"}, Bar.CHANGED, "was changed since it was recorded"),
        ({"damaged": "cluster 7 is torn"}, Bar.DAMAGED, "is damaged (cluster 7 is torn)"),
        ({"holds_disk": False}, Bar.DISKLESS, "holds no disk"),
    ],
)
def test_law_5_what_is_spoilt_is_passed_over_and_its_proof_counts_for_nothing(
    spoilt: dict[str, Any], bar: Bar, said: str
) -> None:
    bad = proven(1, **spoilt)
    found = chosen(bad, proven(2))
    assert taken(found) == proven(2) and row(found, bad).bar is bar
    assert said in found.passed_over[0] and found.passed_over[0].endswith("so it was passed over")
    assert taken(chosen(bad, archive(2))) == archive(2)
    assert taken(chosen(bad)) is None


def test_an_empty_file_is_no_archive_and_is_shown_as_what_it_is() -> None:
    found = chosen(archive(1, size=0), archive(2))
    assert taken(found) == archive(2) and found.passed_over == ()
    assert row(found, archive(1, size=0)).against == "is an empty file"


def test_law_10_an_older_machines_archive_is_not_taken_however_well_it_is_proven() -> None:
    old = proven(2, uuid=OTHER)
    found = chosen(archive(1), old, machine=Identity(UUID))
    assert taken(found) == archive(1) and not found.contested
    assert row(found, old).bar is Bar.FOREIGN and row(found, old).proof is None
    assert found.cautions[1] == "no restore of any archive of guest 108 is proven"
    # nobody says which machine the guest is: the newest archive does
    assert taken(chosen(archive(1), old)) == archive(1)


def test_law_10_where_another_machines_archive_is_the_newest_nobody_guesses() -> None:
    newer = archive(1, uuid=OTHER)
    found = chosen(newer, proven(2), machine=Identity(UUID))
    assert found.contested and taken(found) == proven(2)
    assert found.passed_over == (
        f"{newer.volid} is of another machine that had this VMID: only --archive {newer.volid} takes it",
    )
    # that it lies elsewhere makes it no other VMID's
    elsewhere = replace(newer, node="lge")
    asked = Asked(node="clovis")
    assert chosen(elsewhere, proven(2), machine=Identity(UUID), asked=asked).contested
    container = archive(1, type=GuestType.LXC, uuid=None)
    assert chosen(container, proven(2)).contested
    assert not chosen(container).contested
    alone = chosen(newer, machine=Identity(UUID))
    assert taken(alone) is None and not alone.contested and alone.newest


def test_a_proven_archive_that_is_newer_and_out_of_reach_is_named_as_that() -> None:
    beyond = proven(1, node="lge")
    why = {("lge", "local"): "node lge is offline"}
    found = chosen(proven(2), beyond=(beyond,), why=why)
    assert taken(found) == proven(2)
    assert found.passed_over == (
        f"{beyond.volid} is newer, proven and out of reach (node lge is offline), so it was passed "
        "over",
    )
    unproven = chosen(proven(2), beyond=(archive(1, node="lge"), archive(0, node="x", size=0)))
    assert unproven.passed_over == (
        f"{archive(1).volid} is newer and out of reach (its storage is not listed), so it was "
        "passed over",
    )


def test_where_the_only_proven_one_is_out_of_reach_that_is_said_of_the_one_that_is_taken() -> None:
    beyond = proven(3, node="lge")
    found = chosen(archive(1), beyond=(beyond,), why={("lge", "local"): "node lge is offline"})
    assert taken(found) == archive(1)
    assert found.cautions[1].endswith("which is out of reach (node lge is offline)")
    # one within reach is the better way, however much older it is
    both = chosen(archive(1), proven(9), beyond=(beyond,), asked=Asked(newest=True))
    assert proven(9).volid in both.cautions[1]


def test_a_test_that_failed_is_told_of_the_archive_that_it_was_of() -> None:
    failed = archive(1)
    test = test_of(failed, Verdict.FAILED, reasons=("the guest does not boot",))
    found = chosen(failed, proven(2), tests=(test, test_of(proven(2))))
    assert taken(found) == proven(2) and found.cautions == ()
    assert (
        "not proven: its restore test of 23 h ago ended failed: the guest does not boot"
        in found.passed_over[0]
    )
    # it is gone by now, and speaks against the older backup all the same
    gone = chosen(proven(2), tests=(test, test_of(proven(2))))
    assert gone.cautions == (
        "a restore test of a backup at least as new failed 23 h ago: the guest does not boot",
    )
    bare = chosen(proven(2), tests=(replace(test, reasons=()), test_of(proven(2))))
    assert bare.cautions[0].endswith("failed 23 h ago")
    # a failure of the archive itself takes its proof away
    since = replace(test_of(proven(2), Verdict.FAILED), ended=NOW - 5)
    assert taken(chosen(proven(2), archive(1), tests=(test_of(proven(2)), since))) == archive(1)


def test_what_a_test_came_to_is_told_where_it_proved_nothing() -> None:
    def state(of: Archive, *tests: Proof, **more: Any) -> str:
        return row(chosen(of, tests=tests, **more), of).state

    one = archive(1)
    assert state(one, test_of(one, Verdict.SKIPPED)).endswith("no restore of it was tested")
    assert state(one, test_of(one, Verdict.INCONCLUSIVE)).endswith("ended inconclusive")
    booted = proven(1)
    assert state(booted, test_of(booted, rung=Rung.BOOTED)).endswith(
        "reached rung booted, and healthy is wanted"
    )
    assert state(booted, test_of(booted, rung=Rung.BOOTED), rung=Rung.BOOTED).startswith("proven ")
    assert state(one, test_of(one)).endswith("counts no more, for it was changed or replaced since")
    assert "no restore of it" in state(one, replace(test_of(one), archive_ctime=1)), "another file"
    assert "no restore of it" in state(one, replace(test_of(one), node="lge"))
    shared = proven(1, shared=True)
    assert state(shared, replace(test_of(shared), node="lge")).startswith("proven ")


def test_law_5_on_a_simulated_cluster_nothing_is_proven_and_that_is_said() -> None:
    found = chosen(archive(1), proven(2), simulated=True)
    assert taken(found) == archive(1)
    assert found.cautions == (
        f"{archive(1).volid}, backed up 1 d ago, is not proven: the cluster is simulated, and "
        "nothing there proves anything",
    )


def test_a_suspicious_archive_is_said_to_be_that_and_a_proven_one_that_is_not_is_named() -> None:
    found = chosen(proven(1, suspicious=ODD), proven(2))
    assert taken(found) == proven(1, suspicious=ODD)
    assert "is suspicious" in found.cautions[0]
    assert f"not suspicious is {proven(2).volid}, backed up 2 d ago" in found.cautions[1]
    assert len(chosen(proven(1, suspicious=ODD)).cautions) == 1
    newer = chosen(archive(1, suspicious=ODD), proven(2))
    assert "is newer and suspicious (" in newer.passed_over[0]
    named = chosen(proven(1, suspicious=ODD), proven(2), asked=Asked(volid=proven(1).volid))
    assert len(named.cautions) == 1


def test_what_the_node_cannot_read_is_passed_over_unless_there_is_nothing_else() -> None:
    here, there = archive(2), proven(1, node="lge")
    found = chosen(there, here, asked=Asked(node="clovis"))
    assert taken(found) == here
    assert "lies on lge, in a storage that clovis does not share" in found.passed_over[0]
    assert taken(chosen(there, asked=Asked(node="clovis"))) == there
    assert taken(chosen(replace(there, shared=True), here, asked=Asked(node="clovis"))) == replace(
        there, shared=True
    )
    twin = replace(archive(1), node="lge")
    assert taken(chosen(twin, archive(1), asked=Asked(node="clovis", volid=twin.volid))) == archive(
        1
    )


def test_of_no_archive_at_all_nothing_is_chosen() -> None:
    assert chosen() == Choice(None, (), None)


ARCHIVES = st.lists(
    st.builds(
        lambda day, bars: (proven if bars.pop("proven") else archive)(day, **bars),
        st.integers(0, 40),
        st.fixed_dictionaries(
            {
                "proven": st.booleans(),
                "changed": st.sampled_from(["", "", "size 1 -> 2 bytes"]),
                "damaged": st.sampled_from(["", "", "torn"]),
                "holds_disk": st.sampled_from([True, None, False]),
                "uuid": st.sampled_from([UUID, UUID, None, OTHER]),
                "size": st.sampled_from([1000, 1000, 0]),
                "node": st.sampled_from(["clovis", "lge"]),
            }
        ),
    ),
    unique_by=lambda one: (one.node, one.volid),
    max_size=8,
)


@given(ARCHIVES, ARCHIVES, st.sampled_from([None, Identity(UUID)]), st.booleans())
def test_whatever_is_there_only_what_is_sound_is_taken_unnamed_and_nothing_vanishes(
    listed: list[Archive], beyond: list[Archive], machine: Identity | None, simulated: bool
) -> None:
    places = {(one.node, one.volid) for one in listed}
    out = tuple(one for one in beyond if (one.node, one.volid) not in places)
    found = chosen(*listed, beyond=out, machine=machine, simulated=simulated)
    assert len(found.alternatives) == len(listed) + len(out)
    assert sum(one.chosen for one in found.alternatives) == (found.chosen is not None)
    usable = [one for one in found.alternatives if one.bar is None]
    assert (found.chosen is None) == (not usable)
    if found.chosen:
        mine = found.chosen
        assert mine.archive in listed and not mine.archive.unfit and mine.archive.size > 0
        assert mine.archive.holds_disk is not False
        assert machine is None or mine.archive.uuid in (None, machine.uuid)
        best = [one for one in usable if one.proof] or usable
        assert mine.archive.ctime == max(one.archive.ctime for one in best)
        assert bool(mine.proof) != any("is not proven" in said for said in found.cautions)
        assert not (simulated and mine.proof)
        # all that is newer and could be taken is named
        for one in usable:
            if one.archive.ctime > mine.archive.ctime:
                assert any(one.archive.volid in said for said in found.passed_over)
