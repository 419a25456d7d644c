"""`archive files` and `archive copy-out` as their users meet them, over archives that the lab's own
writer made.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from backports.zstd import CompressionParameter, ZstdFile
from typer.testing import CliRunner

from backupsvc.cli.archive import app
from backupsvc.errors import ArchiveError, BackupsvcError, UsageError
from pvelab.guests.vma_writer import Source, write_vma
from tests.unit.archives.filesystems import made
from tests.unit.archives.filesystems.made import EXTENT, MIB, Lv

pytestmark = pytest.mark.slow
FILES = made.some_files() | made.sparse_file()
NAME = "vzdump-qemu-108-2026_03_10-21_00_03.vma.zst"


def archive(path: Path, **disks: Path) -> Path:
    lines = "".join(f"#qmdump#map:{name}:drive-{name}:local:raw:\n" for name in disks)
    with ZstdFile(path, "w", options={CompressionParameter.checksum_flag: 1}) as file:
        write_vma(
            file.write,
            uuid=bytes(16),
            ctime=1_773_086_402,
            configs={"qemu-server.conf": lines.encode()},
            sources=[Source(f"drive-{n}", disk, disk.stat().st_size) for n, disk in disks.items()],
        )
    return path


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of a guest with ext4 in a GPT partition on one disk, and in LVM over both."""
    home = tmp_path_factory.mktemp("guest")
    source = made.write_tree(home / "source", FILES)
    root = made.ext(home / "root", source, size=10 * MIB)
    data = root.read_bytes()
    half = len(data) // EXTENT // 2
    paths = [home / "pv", home / "scsi1"]
    made.lvm(
        paths, 200, [Lv("root", data, [([(0, 7)], half), ([(1, 1)], len(data) // EXTENT - half)])]
    )
    disk = made.partitioned(home / "scsi0", "gpt", [made.fat(home / "efi", source), paths[0]])
    return archive(home / NAME, scsi0=disk, scsi1=paths[1])


def run(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, [str(word) for word in words])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout


def answer(*words: object) -> Any:
    return json.loads(run(*words, "--json")[1])


def test_the_volumes_of_all_disks_are_listed(guest: Path) -> None:
    found = answer("files", guest)
    assert [
        (one["disk"], one["volume"], one["place"], one["filesystem"], one["readable"])
        for one in found["volumes"]
    ] == [
        ("scsi0", 1, "gpt", "vfat", True),
        ("scsi0", 2, "gpt", "LVM", False),
        ("scsi0", 3, "lvm", "ext4", True),
        ("scsi1", 1, "disk", "LVM", False),
    ]
    assert found["entries"] is None and found["path"] is None
    said = run("files", guest)[1]
    assert "vg/root" in said and "part-1" in said


def test_a_folder_is_listed(guest: Path) -> None:
    found = answer("files", guest, "/etc", "--volume", 3)
    assert [(one["name"], one["type"], one["size"]) for one in found["entries"]] == [
        ("empty", "file", 0),
        ("größe ☃ 漢字.conf", "file", len(FILES["etc/größe ☃ 漢字.conf"])),
        ("hosts", "file", 20),
    ]
    assert found["volume"]["name"] == "vg/root" and found["volume"]["journal_pending"] is False
    assert found["entries"][0]["mtime"].endswith("Z") and found["entries"][0]["mode"] == "0644"
    said = run("files", guest, "etc", "--disk", "scsi0", "--volume", 1)[1]
    assert "größe ☃ 漢字.conf" in said


@pytest.mark.parametrize("volume", [1, 3])
def test_all_that_is_copied_is_byte_for_byte_what_the_guest_had(
    volume: int, guest: Path, tmp_path: Path
) -> None:
    (tmp_path / "work").mkdir()
    code, said = run(
        "copy-out", guest, "/etc", "/srv", tmp_path / "out", "--volume", volume, "--work-dir",
        tmp_path / "work",
    )  # fmt: skip
    assert code == 0 and f"{len(FILES)} files" in said
    found = {
        str(path.relative_to(tmp_path / "out")): path.read_bytes()
        for path in (tmp_path / "out").rglob("*")
        if path.is_file()
    }
    assert found == FILES and not list((tmp_path / "work").iterdir())


def test_one_disk_alone_is_enough_for_what_lies_on_it_alone(guest: Path, tmp_path: Path) -> None:
    done = answer("copy-out", guest, "/etc/hosts", tmp_path / "out", "--disk", "scsi0")
    assert [one["path"] for one in done["files"]] == ["/etc/hosts"]
    assert done["volume"]["volume"] == 1
    with pytest.raises(UsageError, match="another disk"):
        run("files", guest, "/", "--disk", "scsi0", "--volume", 3)


def test_which_volume_is_meant_must_be_said_where_there_are_several(guest: Path) -> None:
    with pytest.raises(UsageError, match="2 volumes") as caught:
        run("files", guest, "/")
    assert "--disk scsi0 --volume 1, --disk scsi0 --volume 3" in caught.value.hint
    with pytest.raises(UsageError, match="no volume 9"):
        run("files", guest, "/", "--volume", 9)
    with pytest.raises(UsageError, match="no file system"):
        run("files", guest, "/", "--disk", "scsi1")


def test_a_dry_run_tells_what_would_be_copied(guest: Path, tmp_path: Path) -> None:
    words = ("copy-out", guest, "/srv", tmp_path / "out", "--volume", 3)
    told = answer(*words, "--dry-run")
    assert told["dry_run"] is True and not (tmp_path / "out").exists()
    done = answer(*words)
    assert {key: done[key] for key in done if key not in ("dry_run", "schema")} == {
        key: told[key] for key in told if key not in ("dry_run", "schema")
    }


def test_an_archive_that_is_cut_or_flipped_is_refused_and_leaves_nothing(
    guest: Path, tmp_path: Path
) -> None:
    data = bytearray(guest.read_bytes())
    work = tmp_path / "work"
    work.mkdir()
    flipped = data.copy()
    flipped[len(data) // 2] ^= 1
    for number, hurt in enumerate((data[:-100], flipped)):
        path = tmp_path / str(number) / NAME
        path.parent.mkdir()
        path.write_bytes(hurt)
        for words in (("files", path), ("copy-out", path, "/etc", tmp_path / "out")):
            with pytest.raises(ArchiveError, match="not intact"):
                run(*words, "--work-dir", work, "--disk", "scsi0")
    assert not list(work.iterdir()) and not (tmp_path / "out").exists()


def test_what_cannot_be_copied_is_exit_1_and_the_rest_is_copied(tmp_path: Path) -> None:
    source = made.write_tree(tmp_path / "source", {"a\x1b": b"1", "a\\x1b": b"2", "b": b"3"})
    disk = made.ext(tmp_path / "drive-scsi0.raw", source)
    (source / "in").mkdir()
    for name in ("a\x1b", "a\\x1b", "b"):
        (source / name).rename(source / "in" / name)
    (source / "in" / "link").symlink_to("b")
    disk = made.ext(disk, source)
    code, said = run("copy-out", disk, "/in", tmp_path / "out")
    assert code == 1 and "NOT copied: /in/a" in said and "that name is there already" in said
    assert r"under another name: /in/a\x1b as a\x1b" in said
    assert "left out: /in/link: a symlink to b" in said
    assert (tmp_path / "out" / "in" / "b").read_bytes() == b"3"


def test_a_file_system_that_was_in_use_is_told(tmp_path: Path) -> None:
    source = made.write_tree(tmp_path / "source", {"a": b"1"})
    disk = made.ext(tmp_path / "drive-scsi0.raw", source)
    made.run("debugfs", "-w", "-R", "feature needs_recovery", disk)
    done = CliRunner().invoke(app, ["copy-out", str(disk), "/a", str(tmp_path / "out")])
    assert done.exit_code == 0 and "what was written last may be missing" in done.stderr
    assert answer("files", disk, "/")["volume"]["journal_pending"] is True


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("copy-out", "{guest}", "{tmp}/out"), "needs a path"),
        (("copy-out", "{guest}", "/etc", "{guest}"), "is no folder"),
        (("files", "{tmp}/none.vma"), "cannot be read"),
        (("files", "{guest}", "--work-dir", "{tmp}/none"), "cannot? be written|can be written"),
        (("files", "{guest}", "--disk", "ide7"), "no disk ide7"),
    ],
)
def test_wrong_use_is_exit_2_with_what_to_do(
    words: tuple[str, ...], said: str, guest: Path, tmp_path: Path
) -> None:
    with pytest.raises(BackupsvcError, match=said) as caught:
        run(*(word.format(guest=guest, tmp=tmp_path) for word in words))
    assert caught.value.exit_code == 2 and caught.value.hint
    assert not list(tmp_path.iterdir())


def test_without_the_readers_it_says_what_to_install(
    guest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from backupsvc.archives.filesystems import reader

    # -S leaves out what was installed
    command = [*reader.COMMAND[:1], "-I", "-S", *reader.COMMAND[2:]]
    monkeypatch.setattr(reader.Reader.__init__, "__defaults__", (None, command))
    with pytest.raises(UsageError) as caught:
        run("files", guest)
    assert caught.value.hint == "pip install 'backupsvc[files]'"
