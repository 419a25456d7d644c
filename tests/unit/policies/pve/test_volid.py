"""Volume ids, and archive names as PVE reads them (pve-facts 5.1)."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.model import GuestType
from policies.pve import volid as reader
from policies.pve.volid import ArchiveName, Names, file_of, is_volid, parse_archive, storage_of

PARIS = ZoneInfo("Europe/Paris")


def parse_name(file: str) -> ArchiveName:
    found = reader.parse_name(file)
    assert found and found.file == file
    return found


def parse_volid(volid: str) -> ArchiveName:
    found = parse_archive(volid)
    assert found and volid.endswith(found.file)
    return found


def test_the_parts_of_a_volid_are_its_storage_and_its_file() -> None:
    volid = "local:backup/vzdump-qemu-108-2026_03_09-21_00_02.vma.zst"
    assert (storage_of(volid), file_of(volid)) == (
        "local",
        "vzdump-qemu-108-2026_03_09-21_00_02.vma.zst",
    )
    assert [
        is_volid(text) for text in (volid, "local-lvm:vm-108-disk-0", "none", "/dev/sdb", "")
    ] == [
        True,
        True,
        False,
        False,
        False,
    ]


def test_a_standard_name_tells_guest_kind_time_and_format() -> None:
    name = parse_name("vzdump-qemu-108-2026_03_09-21_00_02.vma.zst")
    assert (name.vmid, name.type, name.extension, name.standard) == (
        108,
        GuestType.QEMU,
        "vma.zst",
        True,
    )
    assert name.time == datetime(2026, 3, 9, 21, 0, 2)
    assert name.ctime(PARIS) == 1773086402


def test_a_volid_tells_what_its_files_name_tells() -> None:
    name = parse_volid("local:backup/vzdump-lxc-200-2026_03_09-21_00_02.tar.gz")
    assert (name.file, name.type) == ("vzdump-lxc-200-2026_03_09-21_00_02.tar.gz", GuestType.LXC)


@pytest.mark.parametrize(
    "extension", ["tgz", "tar", "vma", "tar.gz", "vma.lzo", "tar.zst", "vma.bz2"]
)
def test_every_extension_of_pve_is_known(extension: str) -> None:
    assert parse_name(f"vzdump-qemu-100-2026_01_01-00_00_00.{extension}").extension == extension


def test_an_openvz_archive_is_standard_but_of_no_kind_that_lives_today() -> None:
    name = parse_name("vzdump-openvz-101-2013_01_01-00_00_00.tar.gz")
    assert (name.vmid, name.type, name.standard) == (101, None, True)
    assert name.kind == "openvz"


def test_a_renamed_archive_may_still_tell_its_kind_which_makes_it_nobodys_all_the_same() -> None:
    kinds = {
        file: parse_name(file).kind
        for file in ("vzdump-lxc-x.tgz", "x.tgz", "vzdump-qemu-108-2026_13_09-21_00_02.vma")
    }
    assert list(kinds.values()) == ["lxc", None, None]
    assert {parse_name(file).type for file in kinds} == {None}


@pytest.mark.parametrize(
    "name",
    [
        "before-upgrade.vma.zst",
        "vzdump-qemu-108-2026_03_09-21_00_02-keep.vma.zst",
        "vzdump-qemu-99-2026_03_09-21_00_02.vma.zst",
        "vzdump-qemu-0108-2026_03_09-21_00_02.vma.zst",
        "vzdump-qemu-108-2026_02_30-21_00_02.vma.zst",
        "vzdump-qemu-108-2026_03_09-21_00_02.x.vma.zst",
    ],
)
def test_a_renamed_archive_is_listed_but_is_nobodys(name: str) -> None:
    parsed = parse_name(name)
    assert (parsed.standard, parsed.vmid, parsed.time, parsed.ctime(PARIS)) == (
        False,
        None,
        None,
        None,
    )
    assert parsed.extension == "vma.zst"


@pytest.mark.parametrize(
    "name", ["notes.txt", "vzdump-qemu-108-2026_03_09-21_00_02.log", "x.vma.xz", "dump/x.vma", ""]
)
def test_what_pve_would_not_list_is_refused(name: str) -> None:
    assert reader.parse_name(name) is None


@pytest.mark.parametrize(
    "volid",
    [
        "local",
        "backup/x.vma",
        "local:images/x.vma",
        ":backup/x.vma",
        "local:iso/a.iso",
        "pbs:backup/vm/108/x",
    ],
)
def test_a_volid_of_something_else_is_refused(volid: str) -> None:
    assert parse_archive(volid) is None


def test_the_hour_that_autumn_repeats_counts_as_the_first_one() -> None:
    # 2026-10-25 02:30 happens twice in Paris: at 00:30 UTC (summer time) and at 01:30 UTC.
    assert parse_name("vzdump-qemu-108-2026_10_25-02_30_00.vma.zst").ctime(PARIS) == 1792888200


def test_the_hour_that_spring_leaves_out_moves_forward() -> None:
    # 2026-03-29 02:30 never happens in Paris; PVE's timelocal makes it 03:30 summer time, 01:30
    # UTC.
    assert parse_name("vzdump-qemu-108-2026_03_29-02_30_00.vma.zst").ctime(PARIS) == 1774747800


def test_a_backup_server_names_the_time_in_utc() -> None:
    name = parse_volid("pbs:backup/vm/108/2026-03-09T20:00:02Z")
    assert (name.vmid, name.type, name.extension) == (108, GuestType.QEMU, "pbs-vm")
    assert name.ctime(PARIS) == name.ctime(ZoneInfo("Asia/Tokyo")) == 1773086402
    container = parse_volid("pbs:backup/ct/200/2026-03-09T20:00:02Z")
    assert (container.type, container.extension) == (GuestType.LXC, "pbs-ct")
    assert parse_archive("pbs:backup/ct/200/2026-02-30T20:00:02Z") is None


@pytest.mark.parametrize("zone", ["Europe/Paris", "Australia/Lord_Howe", "Pacific/Apia", "UTC"])
@given(
    # around changes of each clock, whole days that Apia and half hours that Lord Howe left out
    st.sampled_from(["2026_03_29", "2026_10_25", "2026_10_04", "2026_04_05", "2011_12_30"]),
    st.lists(st.tuples(st.integers(0, 24), st.integers(0, 60), st.integers(0, 60)), min_size=1),
)
def test_the_beginning_of_a_backup_is_what_its_whole_name_says(
    zone: str, day: str, times: list[tuple[int, int, int]]
) -> None:
    place = ZoneInfo(zone)
    names = Names(place)
    for hour, minute, second in times:
        file = f"vzdump-qemu-108-{day}-{hour:02}_{minute:02}_{second:02}.vma.zst"
        ctime = parse_name(file).ctime(place)
        began = names.began(f"local:backup/{file}")
        if ctime is None:
            assert began is None
        else:
            local = datetime.fromtimestamp(ctime, place)
            assert began == ("qemu", "108", ctime, local.replace(minute=0, second=0))


@pytest.mark.parametrize("name", ["old.vma.zst", "vzdump-qemu-108-2026_02_30-21_00_02.vma"])
def test_a_name_without_a_time_tells_no_beginning(name: str) -> None:
    assert Names(PARIS).began(f"local:backup/{name}") is None


@pytest.mark.parametrize("time", ["0001_01_01-00_00_07", "9999_12_31-23_59_59"])
def test_a_time_that_lies_before_or_after_all_days_in_utc_is_no_beginning(time: str) -> None:
    zones = [ZoneInfo("Europe/Paris"), ZoneInfo("America/New_York")]
    found = [Names(zone).began(f"local:backup/vzdump-lxc-108-{time}.tar") for zone in zones]
    assert None in found
