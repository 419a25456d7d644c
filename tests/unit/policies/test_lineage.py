"""A VMID is not an identity (law 10), and an archive is the one that was recorded or it is not (law
5).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import lineage, valid_proofs, whole
from policies.compliance.facts import usable
from policies.lineage import Difference, Identity, Kind
from policies.model import (
    Archive,
    Decided,
    GuestType,
    Mark,
    Marked,
    Proof,
    PruneRules,
    Rung,
    Verdict,
)
from policies.retention import guard
from policies.sampling import next_archive

NOW_UUID, OLD_UUID = "44454c4c-0000-4000-8000-000000000105", "0b5e5e1e-0000-4000-8000-00000000001d"
TEXT = f"""#a description
name: Kanboard-Server
meta: creation-qemu=10.1.2,ctime=1700000000
scsi0: local-lvm:vm-105-disk-0,size=4G
scsi1: local-lvm:vm-105-disk-1,size=4G
smbios1: uuid={NOW_UUID.upper()},family=x
vmgenid: 5F5F5F5F-0000-4000-8000-000000000001
#qmdump#map:scsi0:drive-scsi0:local-lvm:raw:
[snap]
smbios1: uuid={OLD_UUID}
"""
MACHINE = Identity(NOW_UUID, 1700000000)


def test_a_config_tells_its_machine_and_what_was_dumped() -> None:
    found = lineage.read(TEXT)
    assert found == Identity(
        NOW_UUID, 1700000000, "5f5f5f5f-0000-4000-8000-000000000001", "Kanboard-Server", ("scsi0",)
    )
    assert lineage.read(TEXT.replace("#qmdump#map", "#x")).disks == ("scsi0", "scsi1")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "memory: 512\n",
        "smbios1: uuid\nmeta: ctime=soon\nvmgenid: 0\n",
        "meta: ctime=0,ctime=1\n",
        "meta: ctime=0\n",
        "meta: ctime=\u0663\n",
        "meta: ctime=170000000000\n",
    ],
)
def test_a_config_that_says_nothing_tells_no_machine(text: str) -> None:
    assert not lineage.read(text).known
    assert (
        lineage.another(lineage.read(text), MACHINE)
        == lineage.another(MACHINE, lineage.read(text))
        == ()
    )


@pytest.mark.parametrize(
    ("edit", "reasons"),
    [
        (("Kanboard-Server", "renamed"), []),
        (("5F5F5F5F", "6F6F6F6F"), []),
        (("#qmdump", "scsi2: local:x\n#qmdump"), []),
        ((f"smbios1: uuid={NOW_UUID.upper()}", "bios: ovmf"), []),
        (("meta: creation", "#meta: creation"), []),
        ((NOW_UUID.upper(), OLD_UUID), ["SMBIOS UUID"]),
        (("ctime=1700000000", "ctime=1600000000"), ["created on 2020-09-13"]),
    ],
    ids=[
        "renamed",
        "restored or rolled back",
        "a disk more",
        "no UUID",
        "no creation time",
        "another UUID",
        "created earlier",
    ],
)
def test_law_10_only_the_smbios_uuid_and_the_creation_time_make_another_machine(
    edit: tuple[str, str], reasons: list[str]
) -> None:
    found = lineage.another(lineage.read(TEXT.replace(*edit)), lineage.read(TEXT))
    assert len(found) == len(reasons)
    assert all(reason in text for reason, text in zip(reasons, found, strict=True))


def test_a_config_that_says_one_of_both_tells_its_machine() -> None:
    assert (
        lineage.read("meta: creation-qemu=9,ctime=7\n") == Identity(born=7)
        and Identity(born=7).known
    )
    assert lineage.read("meta: ctime=99999999999\n").born == 99999999999
    assert (
        lineage.read(f"smbios1: uuid={OLD_UUID}\n") == Identity(OLD_UUID)
        and Identity(OLD_UUID).known
    )


def test_a_generation_id_that_pve_does_not_set_is_none() -> None:
    assert [
        lineage.of(config).vmgenid
        for config in ({}, {"vmgenid": "0"}, {"vmgenid": "1"}, {"vmgenid": "5F-6"})
    ] == [
        None,
        None,
        None,
        "5f-6",
    ]
    assert lineage.changed(Identity(), lineage.read("")) == ()


def test_a_checksum_is_shown_by_its_first_twelve_digits() -> None:
    was, now = "0123456789abcdef", "fedcba9876543210"
    assert lineage.rehashed(was, now) == ("SHA-256 0123456789ab -> fedcba987654",)
    assert lineage.rehashed(None, now) == lineage.rehashed(now, now) == lineage.resized(5, 5) == ()
    assert lineage.resized(5, 6) == ("size 5 -> 6 bytes",)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (("Kanboard", "Other"), "name Kanboard-Server -> Other-Server"),
        (("name: Kanboard-Server\n", ""), "name Kanboard-Server -> none"),
        (
            ("5F5F5F5F", "6F6F6F6F"),
            "vmgenid 5f5f5f5f-0000-4000-8000-000000000001 -> 6f6f6f6f-0000-4000-8000-000000000001",
        ),
        (("map:scsi0", "map:scsi1"), "disks scsi0 -> scsi1"),
        (("ctime=17", "ctime=16"), "creation time 1700000000 -> 1600000000"),
    ],
)
def test_within_one_archive_whatever_differs_was_changed(edit: tuple[str, str], said: str) -> None:
    assert lineage.changed(lineage.read(TEXT), lineage.read(TEXT.replace(*edit))) == (said,)


def test_a_comparison_says_of_each_difference_what_it_means_and_nothing_of_what_nobody_knows() -> (
    None
):
    other = lineage.read(TEXT.replace(NOW_UUID.upper(), OLD_UUID))
    assert [one.kind for one in lineage.compare(other, lineage.read(TEXT), MACHINE)] == [
        Kind.CHANGED,
        Kind.ANOTHER,
    ]
    assert [one.kind for one in lineage.compare(other, None, MACHINE)] == [Kind.ANOTHER]
    assert lineage.compare(other, None, None) == lineage.compare(other, other, Identity()) == ()
    assert Difference(Kind.CHANGED, f"SMBIOS UUID {NOW_UUID} -> {OLD_UUID}") in lineage.compare(
        other, lineage.read(TEXT), None
    )


identities = st.builds(
    Identity,
    st.sampled_from([None, NOW_UUID, OLD_UUID]),
    st.sampled_from([None, 1, 2]),
    st.none(),
    st.text(max_size=3),
)


@given(identities, identities)
def test_law_10_what_two_sides_do_not_both_say_is_no_difference(
    one: Identity, other: Identity
) -> None:
    both = [(one.uuid, other.uuid), (one.born, other.born)]
    differ = any(mine and theirs and mine != theirs for mine, theirs in both)
    assert bool(lineage.another(one, other)) == bool(lineage.another(other, one)) == differ
    assert lineage.another(one, one) == lineage.changed(one, one) == ()


# --- what follows from it -------------------------------------------------------------------------


def archive(day: int, uuid: str | None = NOW_UUID, **more: Any) -> Archive:
    volid = f"local:backup/vzdump-qemu-105-2026_03_{day:02d}-21_00_00.vma.zst"
    made = Archive(
        volid, "clovis", "local", 105, GuestType.QEMU, day * 86400, 1 << 30, "vma.zst", uuid=uuid
    )
    return replace(made, **more)


OLD = [archive(day, OLD_UUID) for day in (1, 2)]
OWN = [archive(day) for day in (3, 4)]
UNKNOWN = archive(5, None)


def test_law_10_archives_of_an_older_machine_are_told_from_the_guests_own_and_unknown_ones_are_its_own() -> (
    None
):
    assert lineage.others([*OLD, *OWN, UNKNOWN]) == {whole.key(one) for one in OLD}
    assert lineage.others([*OLD, UNKNOWN]) == frozenset()
    assert [one.ctime for one in usable((*OLD, *OWN, UNKNOWN))] == [
        one.ctime for one in (*OWN, UNKNOWN)
    ]


def test_law_10_the_archives_of_whoever_had_the_vmid_before_are_told_by_the_config_of_who_has_it_now() -> (
    None
):
    """A VMID that was given to another guest, of which no backup was made so far."""
    archives = [*OLD, UNKNOWN]
    assert lineage.strangers(archives, Identity(NOW_UUID)) == {whole.key(one) for one in OLD}
    assert lineage.strangers(archives, Identity(OLD_UUID)) == frozenset()
    # whose config was not read, or tells nothing, makes no archive another's
    for nobody in (None, Identity(name="vm", macs=("bc:24:11:00:00:01",))):
        assert lineage.strangers(archives, nobody) == frozenset()


def test_law_10_what_people_joined_with_the_guests_own_archives_is_the_guests() -> None:
    joined, apart = Decided("0"), Decided("0", ("1",))
    own, old = replace(OWN[-1], decided=joined), [replace(one, decided=joined) for one in OLD]
    machine = Identity(NOW_UUID)
    assert lineage.strangers([*old, own], machine) == frozenset()
    # they said it of an archive whose machine nobody knows, and not of the guest
    unread = replace(UNKNOWN, decided=joined)
    assert lineage.strangers([*old, unread], machine) == {whole.key(one) for one in old}
    # what was split off is another's, though its config is the guest's
    older = replace(OWN[0], decided=Decided("1", ("0",)))
    newer = replace(OWN[-1], decided=apart)
    assert lineage.strangers([older, newer], machine) == {whole.key(older)}


def test_law_10_the_newest_backup_of_this_services_own_says_which_machine_the_guest_is() -> None:
    """Another guest's archive that somebody put there is newer, and was made by nobody."""
    swapped = archive(9, OLD_UUID)
    made = [replace(one, operation="OP") for one in OWN]
    assert lineage.others([*made, swapped]) == {whole.key(swapped)}
    assert lineage.others([*made, replace(swapped, changed="size 1 -> 2 bytes")]) == {
        whole.key(swapped)
    }


def test_law_10_the_last_archive_of_the_present_machine_is_not_given_up_for_those_of_an_older_one() -> (
    None
):
    marked = [Marked(one, Mark.KEEP, ("x",)) for one in OLD] + [
        Marked(one, Mark.REMOVE, ("y",)) for one in OWN
    ]
    found = guard(
        marked, in_use=(), listed_before=None, now=40 * 86400, rules=PruneRules(1.0)
    ).marked
    assert [one.mark for one in found] == [Mark.KEEP, Mark.KEEP, Mark.REMOVE, Mark.KEEP]
    assert "last archive" in found[-1].reasons[-1]


def test_law_3_a_changed_archive_is_neither_the_last_nor_the_newest_proven_one() -> None:
    bad = archive(4, changed="size 1 -> 2 bytes", proven_at=None)
    good = archive(3, proven_at=5)
    marked = [Marked(good, Mark.REMOVE, ("y",)), Marked(bad, Mark.KEEP, ("x",))]
    found = guard(
        marked, in_use=(), listed_before=None, now=40 * 86400, rules=PruneRules(1.0)
    ).marked
    assert found[0].mark is Mark.KEEP and "newest proven" in found[0].reasons[-1]
    assert whole.hollow([good, bad]) == {whole.key(bad)}
    assert usable((good, bad)) == (good,)


def proof(of: Archive) -> Proof:
    return Proof("op", 105, of.volid, of.node, of.ctime, Verdict.PROVEN, Rung.HEALTHY, 1, 2)


@pytest.mark.parametrize(
    "spoilt",
    [{"changed": "size 1 -> 2 bytes"}, {"uuid": OLD_UUID}],
    ids=["changed", "another machine"],
)
def test_law_5_a_proof_ends_with_the_archive_that_it_is_of(spoilt: dict[str, Any]) -> None:
    proven = archive(3, proven_at=2)
    assert valid_proofs.valid_proofs([proof(proven)], [proven, archive(4)]) == (proof(proven),)
    assert valid_proofs.valid_proofs([proof(proven)], [replace(proven, **spoilt), archive(4)]) == ()


def test_law_10_an_archive_that_tells_only_when_its_machine_was_made_bears_witness_too() -> None:
    young, old = archive(4, None, born=1700000000), archive(3, None, born=1600000000)
    assert lineage.present([old, young]) == Identity(None, 1700000000)
    assert lineage.present([old, replace(young, changed="size 1 -> 2 bytes")]) == Identity(
        None, 1600000000
    )
    assert lineage.present([archive(3, None)]) is None
    assert lineage.others([old, young]) == {whole.key(old)}


def test_law_10_files_of_which_no_guest_is_known_are_no_machine_of_one_another() -> None:
    assert lineage.others([archive(3, OLD_UUID, vmid=None), archive(4, vmid=None)]) == frozenset()


def test_what_a_difference_means_is_kept_by_these_words() -> None:
    assert [kind.value for kind in Kind] == ["another", "changed"]


@pytest.mark.parametrize(
    "spoilt",
    [{"changed": "size 1 -> 2 bytes"}, {"uuid": OLD_UUID}],
    ids=["changed", "another machine"],
)
def test_no_scheduled_test_takes_an_archive_that_is_known_not_to_be_the_guests_own(
    spoilt: dict[str, Any],
) -> None:
    newest = archive(4, operation="OP", proven_at=None)
    choice = next_archive([replace(archive(5), **spoilt), newest], [], now=40 * 86400, seed="s")
    assert choice.archive == newest
    assert any("changed" in why or "another machine" in why for why in choice.reasons)
