"""A verified copy of a held archive is a place that it lies in; what is said to be one is none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.compliance.evaluation import findings
from policies.compliance.facts import GuestFacts, SiteFacts
from policies.compliance.objectives import GuestAssessment, Objective, Status, assess
from policies.copies_due import route_of
from policies.model import Archive, ArchiveCopy, CopyTarget, Directory, PveStorage, SftpFolder
from tests.unit.report.langeo import GIB, NIGHTS, NOW, archive, changed, documented, guest, policy

LGE = CopyTarget("lge", PveStorage("lge-pve02", "local", "/var/lib/vz/dump"))
BESIDE = CopyTarget("beside", PveStorage("clovis", "usb", "/mnt/usb/dump"))
USB = CopyTarget("usb", Directory("/mnt/usb"))
OFFSITE = CopyTarget("offsite", SftpFolder("backup.example.com", 22, "copies", "/srv", ()))
ELSEWHERE = [LGE, USB, OFFSITE]
LAST = archive(108, NIGHTS[-1])


def copy_of(one: Archive, target: CopyTarget, **more: Any) -> ArchiveCopy:
    """A verified copy of an archive, as long as it is."""
    file = one.volid.rpartition("/")[2]
    made = ArchiveCopy(route_of(one, target), file, one.size, "ab", NOW, "read back", "01")
    return replace(made, **more)


def site(*copies: ArchiveCopy, **more: Any) -> SiteFacts:
    """The site as documented, all archives beside their guests; these are the copies of 108's."""
    return changed(documented(), 108, copies=copies, **more)


def assessed(facts: SiteFacts) -> GuestAssessment:
    return next(item for item in assess(facts, policy(), NOW) if item.vmid == 108)


def objective(facts: SiteFacts) -> Objective:
    return next(one for one in assessed(facts).objectives if one.name == "copies")


def beside(facts: SiteFacts) -> bool:
    """Whether it is found that the guest would be lost together with all its archives."""
    return 108 in {
        item.vmid for item in findings(facts, policy(), NOW) if item.id == "archives-on-guest-node"
    }


@pytest.mark.parametrize("target", ELSEWHERE, ids=lambda target: target.name)
def test_a_copy_elsewhere_is_a_place_and_the_guest_does_not_go_with_its_archives(
    target: CopyTarget,
) -> None:
    assert objective(site()).status is Status.BREACHED and beside(site())
    found = site(copy_of(LAST, target))
    place = "lge-pve02" if target is LGE else f"copy target {target.name}"
    assert (objective(found).status, objective(found).measured) == (Status.MET, 2)
    assert place in objective(found).reason and "clovis" in objective(found).reason
    assert assessed(found).copies == 2
    assert not beside(found)


def test_copies_at_several_targets_are_as_many_places() -> None:
    found = site(*(copy_of(LAST, target) for target in ELSEWHERE))
    assert assessed(found).copies == 4


def test_copies_of_several_nights_at_one_target_are_one_place() -> None:
    found = site(*(copy_of(archive(108, night), LGE) for night in NIGHTS))
    assert assessed(found).copies == 2


def test_the_copy_and_what_pve_lists_of_it_are_one_place() -> None:
    held = (*(archive(108, night) for night in NIGHTS), archive(108, NIGHTS[-1], "lge-pve02"))
    assert assessed(site(copy_of(LAST, LGE), archives=held)).copies == 2


def test_a_copy_on_the_guests_own_node_is_no_second_place() -> None:
    found = site(copy_of(LAST, BESIDE))
    assert (objective(found).status, objective(found).measured) == (Status.BREACHED, 1)
    assert beside(found)


@pytest.mark.parametrize(
    "other",
    [
        copy_of(LAST, LGE, size=GIB - 1),
        copy_of(archive(108, NIGHTS[0] - 1), LGE),
        copy_of(replace(LAST, node="third"), LGE),
        copy_of(archive(108, NIGHTS[-1], storage="big"), LGE),
        copy_of(replace(LAST, shared=True), LGE),
    ],
    ids=[
        "of another size",
        "of an archive that is gone",
        "of another node's archive",
        "of another storage's archive",
        "of a shared storage's archive",
    ],
)
def test_what_is_no_copy_of_a_held_archives_very_bytes_is_no_place(other: ArchiveCopy) -> None:
    found = site(other)
    assert (objective(found).status, objective(found).measured) == (Status.BREACHED, 1)
    assert beside(found)


@pytest.mark.parametrize("changes", [{"size": 0}, {"changed": "size"}, {"holds_disk": False}])
def test_law_10_a_copy_of_what_cannot_be_restored_from_is_no_place(changes: dict[str, Any]) -> None:
    bad = replace(LAST, **changes)
    found = site(copy_of(bad, LGE), archives=(archive(108, NIGHTS[0]), bad))
    assert assessed(found).copies == 1 and beside(found)


def test_a_copy_of_an_older_backup_does_not_count_for_the_two_newest() -> None:
    found = site(copy_of(archive(108, NIGHTS[0]), LGE))
    assert (objective(found).status, objective(found).measured) == (Status.BREACHED, 1)
    assert not beside(found), "yet that night outlives the node"
    yesterday = site(copy_of(archive(108, NIGHTS[-2]), LGE))
    assert objective(yesterday).status is Status.MET, "tonight's may still be on its way"


def test_the_copy_of_an_archive_that_is_out_of_reach_outlives_its_node_and_is_not_measured() -> (
    None
):
    found = site(copy_of(LAST, LGE), archives=(), unreachable=(LAST,))
    assert not beside(found)
    assert assessed(found).copies == 0


def test_a_copy_of_an_archive_on_a_shared_storage_is_its_second_place() -> None:
    shared = archive(108, NIGHTS[-1], storage="nas", shared=True)
    found = site(copy_of(shared, USB), archives=(shared,))
    assert assessed(found).copies == 2
    assert "storage nas" in objective(found).reason


# --- whatever was copied --------------------------------------------------------------------------

NODES = ("clovis", "lge-pve02", "third")
ARCHIVES = st.lists(
    st.builds(
        archive,
        st.just(108),
        st.sampled_from(NIGHTS),
        st.sampled_from(NODES),
        size=st.integers(1, 2),
        shared=st.booleans(),
    ),
    max_size=5,
)
COPIES = st.lists(
    st.builds(
        lambda one, target, size: copy_of(one, target, size=size),
        st.builds(archive, st.just(108), st.sampled_from(NIGHTS), st.sampled_from(NODES)),
        st.sampled_from((LGE, BESIDE, USB, OFFSITE)),
        st.integers(1, 2),
    ),
    max_size=6,
)


@given(ARCHIVES, COPIES)
def test_copies_only_ever_add_places_to_backups_that_are_held(
    held: list[Archive], copies: list[ArchiveCopy]
) -> None:
    bare = GuestFacts(108, "Debian-Server", guest(108), archives=tuple(held))
    without, within = bare.places(held), replace(bare, copies=tuple(copies)).places(held)
    assert set(within) == set(without) == {one.ctime for one in held}
    for start, places in within.items():
        assert places >= without[start]
        added = places - without[start]
        assert added <= {copy.route.place for copy in copies}
        for place in added:
            assert any(
                copy.route.place == place
                and (copy.route.node, copy.route.volid, copy.size)
                == ("" if one.shared else one.node, one.volid, one.size)
                for copy in copies
                for one in held
                if one.ctime == start
            )


@given(COPIES)
def test_without_any_archive_copies_are_no_places(copies: list[ArchiveCopy]) -> None:
    lone = GuestFacts(108, "Debian-Server", guest(108), copies=tuple(copies))
    assert lone.places(()) == {}
    assert assessed(site(*copies, archives=())).copies == 0
