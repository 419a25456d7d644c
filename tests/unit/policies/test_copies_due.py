"""Which archives are copied to which targets, and why the others are not."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import whole
from policies.copies_due import DueCopy, due, route_of
from policies.model import (
    Archive,
    ArchiveCopy,
    CopyRoute,
    CopyTarget,
    Directory,
    GuestPolicy,
    GuestType,
    Policy,
    PveStorage,
    Scratch,
    SftpFolder,
    Tier,
)
from policies.pve.volid import file_of

UUID, OTHER = "44454c4c-0000-4000-8000-000000000105", "0b5e5e1e-0000-4000-8000-00000000001d"
LGE = CopyTarget("lge", PveStorage("lge-pve02", "local", "/var/lib/vz/dump"))
CLOVIS = CopyTarget("clovis", PveStorage("clovis", "local", "/var/lib/vz/dump"))
USB = CopyTarget("usb", Directory("/mnt/usb"))
OFFSITE = CopyTarget(
    "offsite", SftpFolder("backup.example.com", 22, "copies", "/srv/copies", ("ssh-ed25519 AAAA",))
)
TIERS = {
    "gold": Tier("gold", 36 * 3600, 900, 86400),
    "iron": Tier("iron", 8 * 86400, 3600, 86400),
}
THERE = "a verified copy is there already"


def policy(*targets: CopyTarget, gold: tuple[int, ...] = ()) -> Policy:
    guests = {vmid: GuestPolicy(vmid, "", "gold") for vmid in gold}
    scratch = Scratch(9000, 9009)
    return Policy("s", "UTC", "en", (), TIERS, guests, scratch, "iron", copies=targets)


def archive(vmid: int | None = 105, ctime: int = 9, node: str = "clovis", **more: Any) -> Archive:
    storage = more.get("storage", "local")
    made = Archive(
        f"{storage}:backup/vzdump-qemu-{vmid}-{ctime}.vma.zst",
        node,
        storage,
        vmid,
        GuestType.QEMU,
        ctime,
        100,
    )
    return replace(made, **more)


def copy_of(one: Archive, target: CopyTarget, **more: Any) -> ArchiveCopy:
    """A verified copy of an archive, as long as it is."""
    route = route_of(one, target)
    made = ArchiveCopy(route, one.volid.rpartition("/")[2], one.size, "ab", 99, "read back", "01")
    return replace(made, **more)


def chosen(found: tuple[DueCopy, ...]) -> list[Archive]:
    return [one.archive for one in found]


def told(found: tuple[DueCopy, ...]) -> list[tuple[str, str, str | None]]:
    return [(one.archive.node, one.target.name, one.skip) for one in found]


# --- which archive --------------------------------------------------------------------------------


def test_of_each_guest_the_newest_archive_is_copied_to_each_target() -> None:
    held = [archive(ctime=5), archive(ctime=9), archive(106, 7), archive(106, 3)]
    found = due(policy(USB, OFFSITE), held)
    assert [(one.archive.vmid, one.archive.ctime, one.target, one.skip) for one in found] == [
        (105, 9, USB, None),
        (105, 9, OFFSITE, None),
        (106, 7, USB, None),
        (106, 7, OFFSITE, None),
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"size": 0},
        {"changed": "size 100 -> 90 bytes"},
        {"holds_disk": False},
        {"uuid": OTHER, "operation": None},
        {"vmid": None},
    ],
    ids=["empty", "changed", "without any disk", "of another machine", "without a VMID"],
)
def test_law_10_what_is_not_the_guests_whole_archive_is_worth_no_copy(
    changes: dict[str, Any],
) -> None:
    good = archive(ctime=5, uuid=UUID, operation="01", holds_disk=True)
    newer = replace(archive(ctime=9, uuid=UUID, holds_disk=True), **changes)
    assert chosen(due(policy(USB), [newer, good])) == [good]
    assert chosen(due(policy(USB), [good, newer])) == [good]


@pytest.mark.parametrize("changes", [{"size": 0}, {"changed": "size"}, {"vmid": None}])
def test_where_nothing_is_good_nothing_is_copied(changes: dict[str, Any]) -> None:
    assert due(policy(USB), [replace(archive(), **changes)]) == ()


def test_an_archive_without_a_disk_is_copied_where_the_guest_has_no_other() -> None:
    alone = archive(holds_disk=False)
    assert chosen(due(policy(USB), [alone])) == [alone]


def test_without_targets_or_without_archives_nothing_is_due() -> None:
    assert due(policy(), [archive()]) == ()
    assert due(policy(USB), []) == ()


# --- in which order, and for whom -----------------------------------------------------------------


def test_the_strictest_tier_goes_first_and_within_it_the_lowest_vmid() -> None:
    held = [archive(vmid) for vmid in (101, 104, 102, 103)]
    found = due(policy(USB, gold=(103, 104)), held)
    assert [one.archive.vmid for one in found] == [103, 104, 101, 102]


def test_guests_and_targets_can_be_chosen() -> None:
    held, site = [archive(vmid) for vmid in (101, 102, 103)], policy(USB, LGE, OFFSITE)
    found = due(site, held, only=(101, 103), targets=("offsite", "usb"))
    assert [(one.archive.vmid, one.target.name) for one in found] == [
        (101, "usb"),
        (101, "offsite"),
        (103, "usb"),
        (103, "offsite"),
    ]
    assert due(site, held, only=(999,)) == () == due(site, held, targets=("gone",))


# --- what is there already ------------------------------------------------------------------------


def test_a_verified_copy_is_not_made_again() -> None:
    one = archive()
    found = due(policy(USB, OFFSITE), [one], [copy_of(one, USB)])
    assert told(found) == [("clovis", "usb", THERE), ("clovis", "offsite", None)]


def test_whoever_wants_to_look_again_looks_at_every_target() -> None:
    one = archive()
    found = due(policy(USB, LGE), [one], [copy_of(one, USB), copy_of(one, LGE)], again=True)
    assert told(found) == [("clovis", "usb", None), ("clovis", "lge", None)]


def test_a_copy_is_known_by_its_folder_whatever_its_target_is_called_and_would_be_lost_with() -> (
    None
):
    one = archive()
    renamed = copy_of(one, replace(USB, name="disk"))
    nas = CopyTarget("nas", PveStorage("lge-pve02", "nas", "/mnt/pve/nas/dump"))
    made = copy_of(one, nas)
    shared = replace(made, route=replace(made.route, place="storage nas"))
    found = due(policy(USB, nas), [one], [renamed, shared])
    assert [item.skip for item in found] == [THERE, THERE]


@pytest.mark.parametrize(
    "other",
    [
        lambda one: copy_of(one, USB, size=101),
        lambda one: copy_of(replace(one, node="lge-pve02"), USB),
        lambda one: copy_of(archive(ctime=5), USB),
        lambda one: copy_of(one, replace(USB, place=Directory("/mnt/other"))),
        lambda one: copy_of(one, OFFSITE),
    ],
    ids=["of another size", "of another node", "of an older one", "in another folder", "elsewhere"],
)
def test_a_copy_of_other_bytes_or_at_another_place_leaves_the_archive_due(other: Any) -> None:
    one = archive()
    assert told(due(policy(USB), [one], [other(one)])) == [("clovis", "usb", None)]


def test_an_archive_that_lies_in_the_targets_own_storage_is_not_copied_onto_itself() -> None:
    found = due(policy(LGE, USB), [archive(node="lge-pve02")])
    assert told(found) == [
        ("lge-pve02", "lge", "the archive itself lies on local of lge-pve02"),
        ("lge-pve02", "usb", None),
    ]


@pytest.mark.parametrize(
    "elsewhere",
    [archive(), archive(node="lge-pve02", storage="big")],
    ids=["on another node", "in another storage of that node"],
)
def test_an_archive_in_no_targets_storage_is_copied(elsewhere: Archive) -> None:
    assert [one.skip for one in due(policy(LGE), [elsewhere])] == [None]


def test_of_an_archive_and_its_copy_beside_it_in_the_listing_the_archive_is_copied() -> None:
    one, copy = archive(), archive(node="lge-pve02")
    for held in permutations((one, copy)):
        assert told(due(policy(LGE, USB), held)) == [
            ("clovis", "lge", None),
            ("clovis", "usb", None),
        ]


def test_a_copy_that_outlived_its_archive_is_copied_in_its_place() -> None:
    found = due(policy(LGE, USB), [archive(ctime=5), archive(ctime=9, node="lge-pve02")])
    assert [one.archive.ctime for one in found] == [9, 9]
    assert [one.skip is None for one in found] == [False, True]


@pytest.mark.parametrize(("origin", "target"), [("clovis", LGE), ("lge-pve02", CLOVIS)])
def test_two_nodes_that_are_each_others_target_do_not_copy_a_copy_back(
    origin: str, target: CopyTarget
) -> None:
    pair = {node: archive(node=node) for node in ("clovis", "lge-pve02")}
    known = [copy_of(pair[origin], target)]
    for held in permutations(pair.values()):
        for again in (False, True):
            found = due(policy(CLOVIS, LGE, USB), held, known, again=again)
            assert {one.archive.node for one in found} == {origin}
            skips = {one.target.name: one.skip for one in found}
            assert skips[target.name] == (None if again else THERE)
            assert skips["usb"] is None
            (itself,) = set(skips) - {target.name, "usb"}
            assert "the archive itself lies on" in str(skips[itself])


def test_an_archive_in_another_storage_of_a_targets_node_is_copied_and_not_its_copy() -> None:
    one, copy = archive(node="lge-pve02", storage="big"), archive(node="lge-pve02")
    for held in permutations((one, copy)):
        assert chosen(due(policy(LGE), held)) == [one]


# --- shared storages ------------------------------------------------------------------------------


def test_an_archive_on_a_shared_storage_is_copied_whichever_node_lists_it() -> None:
    seen = [archive(node=node, storage="nas", shared=True) for node in ("clovis", "lge-pve02")]
    known = [copy_of(seen[0], LGE)]
    assert known[0].route.node == ""
    for one in seen:
        assert [item.skip for item in due(policy(LGE), [one])] == [None]
        assert [item.skip for item in due(policy(LGE), [one], known)] == [THERE]
    assert len(due(policy(LGE), seen)) == 1


@pytest.mark.parametrize("node", ["clovis", "lge-pve02"])
def test_a_target_on_the_shared_storage_that_has_the_archive_gets_no_copy(node: str) -> None:
    nas = CopyTarget("nas", PveStorage("lge-pve02", "nas", "/mnt/pve/nas/dump"))
    found = due(policy(nas), [archive(node=node, storage="nas", shared=True)])
    assert [one.skip for one in found] == ["the archive itself lies on nas of lge-pve02"]


def test_a_local_archive_is_copied_and_not_its_copy_on_a_shared_storage() -> None:
    nas = CopyTarget("nas", PveStorage("lge-pve02", "nas", "/mnt/pve/nas/dump"))
    pair = archive(), archive(storage="nas", shared=True)
    for held in permutations(pair):
        assert chosen(due(policy(nas), held)) == [pair[0]]


# --- the route ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "folder", "place"),
    [
        (LGE, "lge-pve02:/var/lib/vz/dump", "lge-pve02"),
        (USB, "/mnt/usb", "copy target usb"),
        (OFFSITE, "sftp://backup.example.com:22/srv/copies", "copy target offsite"),
    ],
)
def test_a_route_names_what_would_be_lost_with_the_copy(
    target: CopyTarget, folder: str, place: str
) -> None:
    one = archive()
    route = CopyRoute(target.name, folder, place, "clovis", one.volid, 105)
    assert route_of(one, target) == route
    assert route.archive == ("clovis", one.volid)


# --- whatever is listed ---------------------------------------------------------------------------

ARCHIVES = st.lists(
    st.builds(
        lambda vmid, ctime, node, more: archive(vmid, ctime, node, **more),
        st.sampled_from((None, 101, 102, 103)),
        st.integers(0, 4),
        st.sampled_from(("clovis", "lge-pve02", "third")),
        st.fixed_dictionaries(
            {},
            optional={
                "size": st.integers(0, 2),
                "changed": st.sampled_from(("", "size")),
                "holds_disk": st.sampled_from((None, True, False)),
                "uuid": st.sampled_from((UUID, OTHER)),
                "operation": st.just("01"),
                "shared": st.booleans(),
            },
        ),
    ),
    max_size=8,
    unique_by=lambda one: ("" if one.shared else one.node, one.volid),
)
TARGETS = st.lists(st.sampled_from((LGE, CLOVIS, USB, OFFSITE)), unique=True)


@given(ARCHIVES, TARGETS, st.data())
def test_each_guest_has_one_archive_at_each_target_and_the_order_of_the_listing_is_no_matter(
    held: list[Archive], targets: list[CopyTarget], data: st.DataObject
) -> None:
    site = policy(*targets, gold=(102,))
    found = due(site, held)
    pairs = [(one.archive.vmid, one.target.name) for one in found]
    assert len(pairs) == len(set(pairs)) and None not in {vmid for vmid, _ in pairs}
    assert len(pairs) == len({vmid for vmid, _ in pairs}) * len(targets)
    assert all(one.archive.size > 0 and not one.archive.changed for one in found)
    if len({(one.vmid, one.ctime) for one in held}) == len(held):  # else lineage may tie
        assert due(site, data.draw(st.permutations(held))) == found


@given(ARCHIVES, TARGETS)
def test_when_all_that_was_due_is_copied_and_listed_nothing_is_due_any_more(
    held: list[Archive], targets: list[CopyTarget]
) -> None:
    site = policy(*targets)
    made = [one for one in due(site, held) if one.skip is None]
    known = {whole.key(one): one for one in held}
    for one in made:
        if isinstance(place := one.target.place, PveStorage):
            volid = f"{place.storage}:backup/{file_of(one.archive.volid)}"
            there = replace(
                one.archive, node=place.node, storage=place.storage, volid=volid, shared=False
            )
            known.setdefault(whole.key(there), there)
    copies = [copy_of(one.archive, one.target) for one in made]
    for listed in (held, list(known.values())):
        assert [one for one in due(site, listed, copies) if one.skip is None] == []


def test_law_3_a_damaged_copy_is_none_and_its_archive_is_copied_again() -> None:
    newest, older, oldest = archive(ctime=9), archive(ctime=8), archive(ctime=7)
    wanted = policy(USB, LGE)

    def made(one: Archive, damaged: str = "") -> ArchiveCopy:
        route = route_of(one, USB)
        return ArchiveCopy(route, file_of(one.volid), one.size, "ab", 1, "", "", damaged=damaged)

    there = [made(newest), made(older, "torn"), made(oldest)]
    found = due(wanted, [oldest, older, newest], there)
    assert [(one.archive, one.target, one.skip) for one in found] == [
        (newest, USB, THERE),
        (newest, LGE, None),
        (older, USB, None),
    ]
    assert [one.archive for one in due(wanted, [older, newest], there, again=True)] == [
        newest,
        newest,
        older,
    ]
    assert due(wanted, [newest], [made(newest, "torn")], targets=["usb"])[0].skip is None
    # the bytes of one that is unfit are worth no copy
    bad = replace(older, damaged="torn")
    assert [one.archive for one in due(wanted, [bad, newest], there)] == [newest, newest]
