"""What an archive holds, and which archives must not stand for a whole one."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from policies import whole
from policies.model import Archive, GuestType


def archive(second: int, *, holds: bool | None = None, vmid: int = 105, size: int = 161) -> Archive:
    volid = f"local:{vmid}-{second}"
    return Archive(
        volid,
        "clovis",
        "local",
        vmid,
        GuestType.QEMU,
        second,
        size,
        format="vma.zst",
        holds_disk=holds,
    )


def test_only_vzdumps_own_list_says_that_a_disk_was_dumped() -> None:
    assert whole.holds_disk("memory: 1\nscsi0: local:x\n#qmdump#map:scsi0:drive-scsi0:local:raw:\n")
    assert not whole.holds_disk("memory: 1\nscsi0: local:x,backup=0\n")
    assert not whole.holds_disk("memory: 128\n")
    assert not whole.holds_disk("")


def test_a_description_cannot_name_a_disk() -> None:
    assert not whole.holds_disk("#%23qmdump#map%3Ascsi0%3A\nmemory: 128\n")


def test_an_archive_without_a_disk_is_hollow_beside_one_that_may_hold_some() -> None:
    good, unknown, bad = archive(1, holds=True), archive(2), archive(3, holds=False)
    assert whole.hollow([good, bad]) == {whole.key(bad)}
    assert whole.hollow([unknown, bad]) == {whole.key(bad)}


def test_a_guest_whose_archives_all_hold_no_disk_has_no_hollow_ones() -> None:
    assert whole.hollow([archive(1, holds=False), archive(2, holds=False)]) == frozenset()


def test_another_guests_archives_say_nothing() -> None:
    assert whole.hollow([archive(1, holds=False), archive(2, holds=True, vmid=106)]) == frozenset()


def test_an_empty_file_is_hollow_beside_any_other() -> None:
    assert whole.hollow([archive(1), archive(2, size=0)]) == {whole.key(archive(2, size=0))}


@given(
    st.lists(
        st.tuples(st.sampled_from([True, False, None]), st.integers(0, 2), st.integers(105, 106)),
        max_size=8,
    )
)
def test_law_3_a_guest_that_has_an_archive_always_has_one_that_is_not_hollow(
    rows: list[tuple[bool | None, int, int]],
) -> None:
    made = [
        archive(n, holds=holds, vmid=vmid, size=size) for n, (holds, size, vmid) in enumerate(rows)
    ]
    hollow = whole.hollow(made)
    for vmid in {item.vmid for item in made}:
        assert any(whole.key(item) not in hollow for item in made if item.vmid == vmid)
    assert not any(whole.key(item) in hollow for item in made if item.holds_disk and item.size > 0)


disks = st.sets(st.sampled_from(["ide0", "scsi0", "scsi1", "sata2", "virtio3", "tpmstate0"]))


@given(disks, disks, disks)
def test_law_5_a_config_and_a_header_agree_only_if_both_name_the_same_disks(
    named: set[str], dumped: set[str], header: set[str]
) -> None:
    text = "".join(
        [f"{disk}: a:b\n" for disk in named]
        + [f"#qmdump#map:{disk}:drive-{disk}:a:raw:\n" for disk in dumped]
    )
    assert (whole.contradictions(text, {f"drive-{disk}" for disk in header}) == ()) is (
        named <= dumped == header
    )


def sized(*sizes: int, proven: int | None = None) -> list[Archive]:
    made = [archive(second, size=size) for second, size in enumerate(sizes, 1)]
    return [replace(item, proven_at=1) if item.ctime == proven else item for item in made]


def test_law_3_an_archive_that_collapsed_does_not_stand_for_a_whole_one_unless_it_was_proven() -> (
    None
):
    made = sized(1000, 1000, 1000, 400)
    assert whole.collapsed(made) == {whole.key(made[-1])}
    assert whole.collapsed(sized(1000, 1000, 1000, 400, proven=4)) == frozenset()
    assert whole.collapsed(sized(1000, 1000, 1000, 501)) == frozenset()


def test_a_guest_that_really_became_smaller_is_believed_in_the_end_and_a_young_one_has_no_usual_size() -> (
    None
):
    made = sized(1000, 1000, 1000, 400, 400, 400, 400, 400)
    assert whole.key(made[3]) in whole.collapsed(made) and whole.key(
        made[-1]
    ) not in whole.collapsed(made)
    assert whole.collapsed(sized(1000, 10)) == frozenset()


def test_another_guests_archives_and_hollow_ones_say_nothing_of_what_is_usual() -> None:
    assert whole.collapsed([*sized(1000, 1000), archive(3, vmid=106, size=10)]) == frozenset()
    assert (
        whole.collapsed(
            [
                archive(1, holds=False, size=9999),
                archive(2, holds=False, size=9999),
                archive(3, size=10),
            ]
        )
        == set()
    )


@given(st.lists(st.integers(0, 1000), max_size=12))
def test_law_3_a_guest_that_has_an_archive_always_has_one_that_did_not_collapse(
    sizes: list[int],
) -> None:
    made = sized(*sizes)
    assert not any(sizes) or len(whole.collapsed(made)) < sum(size > 0 for size in sizes)


def usual(*before: int, format: str = "vma.zst") -> tuple[int, int] | None:
    newest = archive(99, size=1)
    return whole.usual([replace(one, format=format) for one in sized(*before)], newest)


def test_what_is_usual_is_the_median_of_the_last_seven_of_the_same_format() -> None:
    assert usual(1000, 1000) == (2, 1000)
    assert usual(5, 5, 5, *[1000] * 3, *[2000] * 4) == (7, 2000)
    assert usual(9000, 1, 1, 1, 9000, 9000, 9000, 9000) == (7, 9000)
    assert usual(1, 1) == (2, 1)


def test_of_one_archive_or_of_another_format_or_of_empty_files_nothing_is_usual() -> None:
    assert usual(1000) is None
    assert usual(1000, 1000, 1000, format="vma.lzo") is None
    assert usual(1000, 0, 0) is None


def test_half_of_the_usual_size_has_not_collapsed_and_an_empty_file_is_another_matter() -> None:
    assert whole.collapsed(sized(1000, 1000, 500)) == frozenset()
    assert whole.collapsed(sized(1000, 1000, 0)) == frozenset()
    one_byte = sized(1000, 1000, 1)
    assert whole.collapsed(one_byte) == {whole.key(one_byte[-1])}
