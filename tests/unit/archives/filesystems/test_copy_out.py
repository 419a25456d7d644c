"""Files out of disks that the file systems' own tools made, byte for byte; and out of disks that
were made to harm.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from backupsvc.archives.filesystems.blocks import Disk
from backupsvc.archives.filesystems.copy_out import MAX_DEPTH, Copied, copy_out, find, listing
from backupsvc.archives.filesystems.reader import Reader
from backupsvc.archives.filesystems.told import Entry, Volume
from backupsvc.errors import ArchiveError, NoRoom, UsageError

from . import made
from .made import EXTENT, MIB, Lv, noise

pytestmark = pytest.mark.slow
FILES = made.some_files() | made.sparse_file()


@contextmanager
def opened(*paths: Path, size: int | None = None) -> Iterator[Reader]:
    descriptors = [os.open(path, os.O_RDONLY) for path in paths]
    disks = [
        Disk(path.name, descriptor, size or path.stat().st_size)
        for path, descriptor in zip(paths, descriptors, strict=True)
    ]
    try:
        with Reader(disks) as reader:
            yield reader
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def readable(reader: Reader) -> Volume:
    [found] = [one for one in reader.volumes() if one.readable]
    return found


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


def all_of(path: Path, target: Path) -> Copied:
    with opened(path) as reader:
        return copy_out(reader, readable(reader), ["/"], target)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.write_tree(tmp_path_factory.mktemp("source"), FILES)


EXT = {
    "ext2": ("ext2",),
    "ext3": ("ext3",),
    "ext4": ("ext4",),
    "ext4-1k": ("ext4", "-b", "1024", "-O", "^metadata_csum,^64bit"),
}


@pytest.mark.parametrize("name", EXT)
def test_all_files_of_ext_come_out_as_they_are(name: str, source: Path, tmp_path: Path) -> None:
    kind, *options = EXT[name]
    done = all_of(made.ext(tmp_path / "disk", source, *options, kind=kind), tmp_path / "out")
    assert content(tmp_path / "out") == FILES
    assert not done.problems and not done.renamed and done.size == sum(map(len, FILES.values()))


def test_small_files_that_ext4_keeps_in_their_inodes_come_out_too(tmp_path: Path) -> None:
    files = {str(size): noise(size, size) for size in (0, 1, 59, 60, 61, 130, 156, 157, 5000)}
    source = made.write_tree(tmp_path / "source", files)
    done = all_of(
        made.ext(tmp_path / "disk", source, "-O", "inline_data", "-I", "256"), tmp_path / "out"
    )
    assert content(tmp_path / "out") == files and not done.problems


@pytest.mark.parametrize(
    "options", [(), ("-F", "32", "-s", "1"), ("-F", "16", "-s", "1", "-n", "LABEL")]
)
def test_all_files_of_fat_come_out_as_they_are(
    options: tuple[str, ...], source: Path, tmp_path: Path
) -> None:
    size = 40 * MIB if "32" in options else 8 * MIB
    done = all_of(made.fat(tmp_path / "disk", source, *options, size=size), tmp_path / "out")
    assert content(tmp_path / "out") == FILES and not done.problems


def test_all_files_of_ntfs_come_out_as_they_are(tmp_path: Path) -> None:
    done = all_of(made.ntfs(tmp_path / "disk", FILES), tmp_path / "out")
    assert content(tmp_path / "out") == FILES and not done.problems


def test_all_files_of_xfs_come_out_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "contents").mkdir()
    many = {f"many/file-{number:04d}": b"%d" % number for number in range(300)}
    path = made.xfs(
        tmp_path / "disk",
        FILES | many,
        tmp_path / "contents",
        "device b--644 0 0 8 1\nlink l--777 0 0 /etc/passwd",
    )
    done = all_of(path, tmp_path / "out")
    expected = {name.replace(" ", "."): data for name, data in (FILES | many).items()}
    assert content(tmp_path / "out") == expected and not done.problems
    assert [one for one, _ in done.skipped] == ["/device", "/link"]


def test_space_of_xfs_that_was_never_written_is_zeros(tmp_path: Path) -> None:
    (tmp_path / "contents").mkdir()
    files = {"junk": b"JUNK" * 20_000, "kept": b"kept" * 20_000}
    path = made.xfs(tmp_path / "disk", files, tmp_path / "contents")
    with opened(path) as reader:
        number = next(
            one.id for one in listing(reader, readable(reader), "/") if one.name == "junk"
        )
    # as the kernel marks what was set aside: an extent that is not written
    made.run("xfs_db", "-x", "-c", f"inode {number}", "-c", "write u3.bmx[0].extentflag 1", path)
    done = all_of(path, tmp_path / "out")
    assert content(tmp_path / "out") == files | {"junk": bytes(80_000)} and not done.problems


@pytest.mark.parametrize("label", ["gpt", "dos"])
def test_each_partition_is_a_volume_of_its_own(label: str, source: Path, tmp_path: Path) -> None:
    ext4, fat = made.ext(tmp_path / "a", source), made.fat(tmp_path / "b", source)
    swap = made.blank(tmp_path / "c", MIB)
    made.run("mkswap", swap)
    disk = made.partitioned(tmp_path / "disk", label, [ext4, swap, fat])
    with opened(disk) as reader:
        first, second, third = reader.volumes()
        assert [first.filesystem, second.filesystem, third.filesystem] == ["ext4", "swap", "vfat"]
        assert (first.readable, second.readable, third.readable) == (True, False, True)
        for volume in (first, third):
            out = tmp_path / "out" / str(volume.number)
            copy_out(reader, volume, ["/"], out)
            assert content(out) == FILES


def test_a_logical_volume_over_two_disks_one_of_them_partitioned_is_read(
    source: Path, tmp_path: Path
) -> None:
    data = made.ext(tmp_path / "root", source, size=10 * MIB).read_bytes()
    half = len(data) // EXTENT // 2
    rest = len(data) // EXTENT - half
    one, two = tmp_path / "one", tmp_path / "two"
    made.lvm([one, two], 200, [Lv("root", data, [([(0, 7)], half), ([(1, 1)], rest)])])
    disk = made.partitioned(tmp_path / "disk", "gpt", [two])
    with opened(one, disk) as reader:
        volume = readable(reader)
        assert (volume.disk, volume.place, volume.name) == ("one", "lvm", "vg/root")
        copy_out(reader, volume, ["/"], tmp_path / "out")
    assert content(tmp_path / "out") == FILES


def test_a_file_of_a_tebibyte_with_holes_takes_no_time_and_no_room(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    with (source / "huge").open("wb") as file:
        file.truncate(2**40)
        file.seek(2**39 + 5)
        file.write(b"here")
    done = all_of(made.ext(tmp_path / "disk", source), tmp_path / "out")
    copied = tmp_path / "out" / "huge"
    assert not done.problems and copied.stat().st_size == 2**40
    assert copied.stat().st_blocks * 512 < MIB
    with copied.open("rb") as file:
        file.seek(2**39)
        assert file.read(20) == bytes(5) + b"here" + bytes(11)


def test_space_that_was_set_aside_and_never_written_is_zeros(tmp_path: Path) -> None:
    source = made.write_tree(tmp_path / "source", {"junk": b"JUNK" * (2 * MIB)})
    path = made.ext(tmp_path / "disk", source, size=12 * MIB)
    for request in ("rm junk", "write /dev/null set-aside", "fallocate set-aside 0 1800",
                    "sif set-aside size 7000000"):  # fmt: skip
        made.run("debugfs", "-w", "-R", request, path)
    done = all_of(path, tmp_path / "out")
    assert content(tmp_path / "out") == {"set-aside": bytes(7_000_000)} and not done.problems


def test_paths_are_copied_under_their_own_names_and_with_their_times(
    source: Path, tmp_path: Path
) -> None:
    (source / "etc" / "hosts").chmod(0o4755)
    os.utime(source / "etc" / "hosts", (1_700_000_000, 1_700_000_000))
    path = made.ext(tmp_path / "disk", source)
    with opened(path) as reader:
        done = copy_out(reader, readable(reader), ["/etc", "srv/exact"], tmp_path / "new" / "out")
    assert sorted(content(tmp_path / "new" / "out")) == sorted(
        [name for name in FILES if name.startswith("etc/")] + ["exact"]
    )
    hosts = tmp_path / "new" / "out" / "etc" / "hosts"
    assert hosts.stat().st_mtime == 1_700_000_000
    assert stat.S_IMODE(hosts.stat().st_mode) == 0o700, "what was setuid is only run by its owner"
    assert stat.S_IMODE(hosts.parent.stat().st_mode) == 0o700
    assert (
        done.folders == 1 and ("/srv/exact", str(tmp_path / "new/out/exact"), 65536) in done.files
    )


def test_a_path_may_lie_in_another(source: Path, tmp_path: Path) -> None:
    path = made.ext(tmp_path / "disk", source)
    deep = "srv/level 0/level 1"
    with opened(path) as reader:
        done = copy_out(reader, readable(reader), [deep, "/srv"], tmp_path / "out")
    end = "/".join(f"level {number}" for number in range(1, 20)) + "/end"
    assert not done.problems and (tmp_path / "out" / end).read_bytes() == b"deep\n"
    assert (tmp_path / "out" / "srv" / "level 0" / end).read_bytes() == b"deep\n"


def test_a_dry_run_tells_the_same_and_writes_nothing(source: Path, tmp_path: Path) -> None:
    path = made.ext(tmp_path / "disk", source)
    with opened(path) as reader:
        volume = readable(reader)
        foreseen = copy_out(reader, volume, ["/srv"], tmp_path / "out", dry_run=True)
        assert not (tmp_path / "out").exists()
        assert copy_out(reader, volume, ["/srv"], tmp_path / "out") == foreseen


def test_nothing_is_overwritten(source: Path, tmp_path: Path) -> None:
    path = made.ext(tmp_path / "disk", source)
    out = tmp_path / "out"
    out.mkdir()
    (out / "etc").symlink_to(tmp_path / "nowhere")
    with opened(path) as reader:
        with pytest.raises(UsageError, match="exists already"):
            copy_out(reader, readable(reader), ["/etc"], out)
        with pytest.raises(UsageError, match="two of the paths"):
            copy_out(reader, readable(reader), ["/srv/exact", "srv//exact"], out)
    assert [one.name for one in out.iterdir()] == ["etc"]


def test_a_path_that_is_not_there_or_a_link_is_told_with_what_to_do(tmp_path: Path) -> None:
    source = made.write_tree(tmp_path / "source", {"run/log": b"x"})
    (source / "var").symlink_to("run")
    path = made.ext(tmp_path / "disk", source)
    with opened(path) as reader:
        volume = readable(reader)
        for wanted, said in (
            ("/nowhere", "no /nowhere on volume 1 of disk"),
            ("/run/log/x", "/run/log is no folder"),
            ("/var/log", "symlink to run"),
        ):
            with pytest.raises(UsageError, match=said) as caught:
                find(reader, volume, wanted)
            assert caught.value.hint
        with pytest.raises(UsageError, match="symlink to run, which is not copied"):
            copy_out(reader, volume, ["/var"], tmp_path / "out")
        assert [one.name for one in listing(reader, volume, "/run/log")] == ["log"]
    assert not (tmp_path / "out").exists()


def test_letters_of_either_case_name_a_file_where_the_guest_makes_no_difference(
    tmp_path: Path,
) -> None:
    path = made.ntfs(tmp_path / "disk", {"Users/Ann/Report.TXT": b"x"})
    with opened(path) as reader:
        parts, _ = find(reader, readable(reader), "users/ANN/report.txt")
    assert parts == ("Users", "Ann", "Report.TXT")


def test_what_windows_keeps_behind_a_reparse_point_is_no_zeros(tmp_path: Path) -> None:
    path = made.blank(tmp_path / "disk", 16 * MIB)
    made.run("mkntfs", "-q", "-F", "-s", "512", path)
    compressed = struct.pack("<IHH", 0x80000017, 16, 0) + bytes(16)  # IO_REPARSE_TAG_WOF
    with made.Ntfs(path) as volume:
        volume.file("notepad.exe", bytes(4096), reparse=compressed)
        volume.file("plain", b"plain")
    done = all_of(path, tmp_path / "out")
    assert content(tmp_path / "out") == {"plain": b"plain"}
    assert [path for path, _ in done.problems] == ["/notepad.exe"]


def test_a_file_system_that_was_in_use_says_so(source: Path, tmp_path: Path) -> None:
    path = made.ext(tmp_path / "disk", source)
    with opened(path) as reader:
        assert reader.replay(readable(reader)) is False
    made.run("debugfs", "-w", "-R", "feature needs_recovery", path)
    with opened(path) as reader:
        assert reader.replay(readable(reader)) is True


def test_a_disk_that_is_cut_short_gives_no_file_that_is_not_whole(tmp_path: Path) -> None:
    files = {f"{number:02d}": noise(200_000, number) for number in range(40)}
    source = made.write_tree(tmp_path / "source", files)
    path = made.ext(tmp_path / "disk", source, "-b", "1024")
    with opened(path, size=5 * MIB) as reader:
        done = copy_out(reader, readable(reader), ["/"], tmp_path / "out")
    found = content(tmp_path / "out")
    assert 0 < len(found) < len(files) and done.problems
    assert all(files[name] == data for name, data in found.items())


@pytest.mark.parametrize("name", [b"../../x", b"/etc/xx", b"..\0\0\0\0\0", b"\x1b[2J\n\n\n"])
def test_a_name_that_leads_out_or_acts_is_written_out(name: bytes, tmp_path: Path) -> None:
    source = made.write_tree(tmp_path / "source", {"AAAAAAA": b"evil", "plain": b"good"})
    path = made.ext(tmp_path / "disk", source, "-O", "^metadata_csum,^dir_index")
    data = path.read_bytes()
    assert data.count(b"AAAAAAA") == 1
    path.write_bytes(data.replace(b"AAAAAAA", name))
    done = all_of(path, tmp_path / "a" / "b" / "out")
    assert (tmp_path / "a" / "b" / "out" / "plain").read_bytes() == b"good"
    assert {one.name for one in tmp_path.iterdir()} == {"source", "disk", "a"}
    assert [one.name for one in (tmp_path / "a" / "b").iterdir()] == ["out"]
    left = [one for one in (tmp_path / "a" / "b" / "out").iterdir() if one.name != "lost+found"]
    assert all(one.is_file() and not one.is_symlink() for one in left)
    assert done.renamed or len(done.files) == 1


# --- what no tool makes: a reader that says it ---------------------------------------------------


class Says:
    """A reader of a volume that holds what it is told: folders by their number."""

    def __init__(self, folders: Mapping[int | None, list[Entry]], data: bytes = b"12345") -> None:
        self.folders, self.data = folders, data

    def entries(self, volume: Volume, folder: int | None = None) -> list[Entry]:
        return self.folders[folder]

    def content(self, volume: Volume, file: Entry) -> Iterator[bytes | int]:
        yield self.data


VOLUME = Volume("scsi0", 1, "disk", "", 4096, "ext4", True, None, "")


def entry(
    name: str, kind: str = "file", id: int = 1, size: int = 5, target: str | None = None
) -> Entry:
    return Entry(name, kind, id, size, None, 0o6777, target, "")


def told(folders: Mapping[int | None, list[Entry]], target: Path, data: bytes = b"12345") -> Copied:
    return copy_out(Says(folders, data), VOLUME, ["/"], target)  # type: ignore[arg-type]


def test_a_folder_in_itself_comes_to_an_end(tmp_path: Path) -> None:
    done = told({None: [entry("a", "folder", 7)], 7: [entry("b", "folder", 7)]}, tmp_path / "out")
    assert [path for path, _ in done.problems] == ["/a/b"]


def test_folders_that_go_deeper_and_deeper_come_to_an_end(tmp_path: Path) -> None:
    class Deep(Says):
        def entries(self, volume: Volume, folder: int | None = None) -> list[Entry]:
            return [entry("d", "folder", (folder or 0) + 1)]

    done = copy_out(Deep({}), VOLUME, ["/"], tmp_path / "out")  # type: ignore[arg-type]
    assert done.folders == MAX_DEPTH and len(done.problems) == 1


def test_two_names_that_become_one_overwrite_nothing(tmp_path: Path) -> None:
    twice = [entry("x", id=1), entry("x", id=2), entry("a\x1b", id=3), entry("a\\x1b", id=4)]
    done = told({None: [entry("in", "folder", 9)], 9: twice}, tmp_path / "out")
    assert len(done.files) == 2 and [path for path, _ in done.problems] == ["/in/x", "/in/a\\x1b"]
    assert sorted(one.name for one in (tmp_path / "out" / "in").iterdir()) == ["a\\x1b", "x"]


def test_a_link_that_is_put_in_the_way_meanwhile_is_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()

    class Plants(Says):
        def entries(self, volume: Volume, folder: int | None = None) -> list[Entry]:
            if folder == 7:
                (tmp_path / "out" / "a").symlink_to(outside)
            return super().entries(volume, folder)

    says = Plants({None: [entry("a", "folder", 7)], 7: [entry("x")]})
    done = copy_out(says, VOLUME, ["/"], tmp_path / "out")  # type: ignore[arg-type]
    assert [path for path, _ in done.problems] == ["/a"] and not list(outside.iterdir())


def test_a_file_larger_than_any_is_told_and_the_rest_is_copied(tmp_path: Path) -> None:
    done = told({None: [entry("huge", size=2**63 - 1), entry("x")]}, tmp_path / "out")
    assert [path for path, _ in done.problems] == ["/huge"] and len(done.files) == 1
    assert [one.name for one in (tmp_path / "out").iterdir()] == ["x"]


def test_where_there_is_no_room_it_stops_and_leaves_no_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from backupsvc.archives.filesystems import landing

    monkeypatch.setattr(landing, "RESERVE", 2**62)
    monkeypatch.setattr(
        os, "fstatvfs", lambda _: os.statvfs_result([1, 1, 10, 1, 0, 1, 1, 1, 1, 1, 1][:10])
    )
    with pytest.raises(NoRoom):
        told({None: [entry("x")]}, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_more_than_can_be_told_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from backupsvc.archives.filesystems import copy_out as module

    monkeypatch.setattr(module, "MAX_ENTRIES", 3)
    with pytest.raises(ArchiveError, match="more than 3"):
        told({None: [entry(str(number)) for number in range(5)]}, tmp_path / "out")
