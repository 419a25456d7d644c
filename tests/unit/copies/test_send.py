"""A copy into a directory: what it makes, what it makes of what it finds, and what it never
does.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from backupsvc.copies.directory import DirectoryTarget
from backupsvc.copies.send import Watch, send
from backupsvc.copies.sources import LocalSource
from backupsvc.copies.target import Space
from backupsvc.errors import (
    ArchiveError,
    BackupsvcError,
    CopyError,
    NoRoom,
    TargetMissing,
    TargetRefused,
)
from policies.copy_decision import Progress
from policies.copy_manifest import read_manifest
from tests.unit.copies.scene import (
    BESIDE,
    MANIFEST,
    NAME,
    PART,
    VOLID,
    WHOLE,
    Watched,
    directory,
    killed_everywhere,
    listed,
    order,
    write_archive,
)


class Stop(Exception):
    """Ends an attempt where a test wants it to end."""


def names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def stopping(at: str, count: int = 1) -> Callable[[str], None]:
    left = count

    def step(said: str) -> None:
        nonlocal left
        left -= said == at
        if left == 0:
            raise Stop

    return step


def interrupted(
    source: LocalSource, there: Path, at: str = "write", count: int = 3
) -> list[Progress]:
    """Copy until a step, and stop there; return what was recorded."""
    recorded: list[Progress] = []
    with pytest.raises(Stop):
        send(
            source,
            Watched(directory(there), stopping(at, count)),
            order(),
            Watch(record=recorded.append),
        )
    return recorded


def test_a_copy_is_the_archive_with_all_that_stands_beside_it(tmp_path: Path) -> None:
    source, there, recorded = write_archive(tmp_path / "here"), tmp_path / "there", list[Progress]()
    made = send(source, directory(there), order(), Watch(record=recorded.append))
    content = (tmp_path / "here" / NAME).read_bytes()
    assert names(there) == WHOLE and (there / NAME).read_bytes() == content
    assert {name: (there / name).read_bytes() for name in BESIDE} == BESIDE
    assert made.manifest == read_manifest((there / MANIFEST).read_bytes())
    assert (made.manifest.volid, made.manifest.file, made.manifest.size) == (VOLID, NAME, 3_000_000)
    assert made.manifest.sha256 == hashlib.sha256(content).hexdigest()
    assert (made.moved, made.litter, made.how) == (
        3_000_000,
        (),
        "read back after its cache was dropped",
    )
    assert [one.sent for one in recorded] == [1 << 20, 2 << 20, 3_000_000]
    assert (there / NAME).stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (1 << 20) + 1])
def test_a_copy_may_have_any_length(tmp_path: Path, size: int) -> None:
    source = write_archive(tmp_path / "here", size)
    assert send(source, directory(tmp_path / "there"), order()).manifest.size == size
    assert (tmp_path / "there" / NAME).read_bytes() == (tmp_path / "here" / NAME).read_bytes()


def test_what_does_not_stand_beside_the_archive_is_not_made(tmp_path: Path) -> None:
    source = write_archive(tmp_path / "here")
    for name in BESIDE:
        (tmp_path / "here" / name).unlink()
    made = send(source, directory(tmp_path / "there"), order())
    assert names(tmp_path / "there") == {NAME, MANIFEST} and made.manifest.sidecars == ()


def test_a_second_copy_moves_nothing(tmp_path: Path) -> None:
    source, target = write_archive(tmp_path / "here"), directory(tmp_path / "there")
    first, watched = send(source, target, order()), Watched(target)
    again = send(source, watched, order())
    assert (again.moved, again.how, again.manifest) == (
        0,
        "its manifest matches",
        first.manifest,
    ) and not watched.digested


def test_law_4_a_name_is_given_only_to_what_was_read_back(tmp_path: Path) -> None:
    source, there, said = write_archive(tmp_path / "here"), tmp_path / "there", list[str]()
    target = Watched(directory(there), said.append)
    send(source, target, order())
    renamed = said.index(f"rename {PART}")
    assert said.index(f"digest {PART}") < renamed < said.index(f"open {MANIFEST}")
    assert all(said.index(f"open {name}") < renamed for name in BESIDE), (
        "what stands beside it is there first"
    )
    assert said.index("synced") < said.index(f"digest {PART}")


# --- going on -------------------------------------------------------------------------------------


def test_a_copy_that_was_interrupted_goes_on_where_it_was_recorded_to_be(tmp_path: Path) -> None:
    source, there = write_archive(tmp_path / "here"), tmp_path / "there"
    known = interrupted(source, there)[-1]
    assert known.sent == 2 << 20 and listed(there) == set()
    made = send(source, directory(there), order(progress=known))
    assert made.moved == 3_000_000 - (2 << 20) and names(there) == WHOLE
    assert (there / NAME).read_bytes() == (tmp_path / "here" / NAME).read_bytes()


@pytest.mark.parametrize("changes", [None, {"volid": "other"}, {"sha256": "0" * 64}])
def test_a_part_of_which_nothing_or_something_else_is_known_is_removed(
    tmp_path: Path, changes: dict[str, str] | None
) -> None:
    source, there = write_archive(tmp_path / "here"), tmp_path / "there"
    known = interrupted(source, there)[-1]
    other = None if changes is None else replace(known, **changes)  # type: ignore[arg-type]
    made = send(source, directory(there), order(progress=other))
    assert made.moved == 3_000_000 and names(there) == WHOLE


def test_a_part_that_lost_bytes_or_in_which_a_byte_flipped_is_sent_anew(tmp_path: Path) -> None:
    hurts: list[Callable[[bytes], bytes]] = [
        lambda data: data[: 1 << 20],
        lambda data: bytes([data[0] ^ 1]) + data[1:],
    ]
    for number, hurt in enumerate(hurts):
        source, there = write_archive(tmp_path / "here"), tmp_path / f"there{number}"
        known = interrupted(source, there)[-1]
        (there / PART).write_bytes(hurt((there / PART).read_bytes()))
        made = send(source, directory(there), order(progress=known))
        assert (
            made.moved >= 3_000_000
            and (there / NAME).read_bytes() == (tmp_path / "here" / NAME).read_bytes()
        )


def test_an_archive_that_changed_between_two_attempts_is_sent_anew(tmp_path: Path) -> None:
    source, there = write_archive(tmp_path / "here"), tmp_path / "there"
    known = interrupted(source, there)[-1]
    before = (tmp_path / "here" / NAME).stat()
    write_archive(tmp_path / "here", seed=109)
    # nothing but its bytes tells
    os.utime(tmp_path / "here" / NAME, (before.st_atime, before.st_mtime))
    made = send(source, directory(there), order(progress=known))
    assert (
        made.moved == 3_000_000
        and (there / NAME).read_bytes() == (tmp_path / "here" / NAME).read_bytes()
    )


def test_an_archive_that_is_there_without_a_manifest_is_read_back_before_it_counts(
    tmp_path: Path,
) -> None:
    source, there = write_archive(tmp_path / "here"), tmp_path / "there"
    interrupted(source, there, f"open {MANIFEST}", 1)
    assert listed(there) == {NAME}
    watched = Watched(directory(there))
    made = send(source, watched, order())
    assert (made.moved, watched.digested) == (0, [NAME]) and names(there) == WHOLE


# --- what has its name already --------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"another guest's", bytes(3_000_000)])
def test_what_has_the_archives_name_is_never_overwritten(tmp_path: Path, content: bytes) -> None:
    source, there = write_archive(tmp_path / "here"), tmp_path / "there"
    there.mkdir()
    (there / NAME).write_bytes(content)
    with pytest.raises(CopyError, match="is there already") as refused:
        send(source, directory(there), order())
    assert "nothing was overwritten" in refused.value.hint
    assert names(there) == {NAME} and (there / NAME).read_bytes() == content


def test_notes_that_were_left_there_are_replaced(tmp_path: Path) -> None:
    source, there = write_archive(tmp_path / "here"), tmp_path / "there"
    there.mkdir()
    (there / f"{NAME}.notes").write_bytes(b"half of th")
    send(source, directory(there), order())
    assert (there / f"{NAME}.notes").read_bytes() == BESIDE[f"{NAME}.notes"]


# --- faults ---------------------------------------------------------------------------------------


def test_a_byte_that_flips_on_the_targets_disk_ends_in_an_error_and_no_archive(
    tmp_path: Path,
) -> None:
    source, there = write_archive(tmp_path / "here"), tmp_path / "there"

    def flip(said: str) -> None:
        if said == f"digest {PART}":
            with (there / PART).open("r+b") as file:
                file.seek(1_234_567)
                byte = file.read(1)
                file.seek(1_234_567)
                file.write(bytes([byte[0] ^ 1]))

    with pytest.raises(CopyError, match="does not hold what was sent to it") as told:
        send(source, Watched(directory(there), flip), order())
    assert "memtest" in told.value.hint and names(there) == set()


def test_a_target_that_wrote_less_than_it_said_ends_in_an_error_and_no_archive(
    tmp_path: Path,
) -> None:
    source, there = write_archive(tmp_path / "here"), tmp_path / "there"

    def cut(said: str) -> None:
        if said == f"digest {PART}":
            os.truncate(there / PART, 2_999_999)

    with pytest.raises(CopyError, match=r"2999999 bytes with SHA-256 .* sent were 3000000"):
        send(source, Watched(directory(there), cut), order())
    assert names(there) == set()


def test_an_archive_that_changes_in_mid_copy_ends_in_an_error_and_no_archive(
    tmp_path: Path,
) -> None:
    changes: list[Callable[[Path], object]] = [
        lambda path: os.truncate(path, 3_000_001),
        lambda path: os.truncate(path, 2_500_000),
        lambda path: os.utime(path, (1, 1)),
    ]
    for number, change in enumerate(changes):
        source, there = write_archive(tmp_path / "here"), tmp_path / f"there{number}"
        done: list[str] = []

        def step(
            said: str, change: Callable[[Path], object] = change, done: list[str] = done
        ) -> None:
            if said == "write on" and not done:
                done.append(said)
                change(tmp_path / "here" / NAME)

        with pytest.raises(ArchiveError, match="changed while it was copied"):
            send(source, Watched(directory(there), step), order())
        assert names(there) == set()


def test_an_archive_that_goes_in_mid_copy_ends_in_an_error_and_no_archive(tmp_path: Path) -> None:
    source, there = write_archive(tmp_path / "here"), tmp_path / "there"

    def step(said: str) -> None:
        if said == "write on":
            (tmp_path / "here" / NAME).unlink(missing_ok=True)

    with pytest.raises(ArchiveError, match="is not there"):
        send(source, Watched(directory(there), step), order())
    assert names(there) == set()
    with pytest.raises(ArchiveError, match="is not there"):
        send(source, directory(there), order())


def test_an_archive_that_is_not_what_was_recorded_of_it_is_not_copied(tmp_path: Path) -> None:
    source, there = write_archive(tmp_path / "here"), tmp_path / "there"
    with pytest.raises(ArchiveError, match="is not what was recorded of it"):
        send(source, directory(there), order(sha256="ab" * 32))
    assert names(there) == set()
    good = hashlib.sha256((tmp_path / "here" / NAME).read_bytes()).hexdigest()
    assert send(source, directory(there), order(sha256=good)).manifest.sha256 == good


def test_where_it_does_not_fit_nothing_is_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, there = write_archive(tmp_path / "here"), tmp_path / "there"
    room = Space(3_000_000 + 999_999, 100_000_000)  # a hundredth stays free
    monkeypatch.setattr(DirectoryTarget, "space", lambda self: room)
    with pytest.raises(
        NoRoom, match=r"2\.9 MiB are to come, 3\.8 MiB of 95\.4 MiB are free"
    ) as told:
        send(source, directory(there), order())
    assert told.value.exit_code == 4 and names(there) == set()
    monkeypatch.setattr(DirectoryTarget, "space", lambda self: replace(room, free=room.free + 1))
    assert send(source, directory(there), order()).moved == 3_000_000


def test_a_target_that_does_not_tell_its_room_is_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DirectoryTarget, "space", lambda self: None)
    assert (
        send(write_archive(tmp_path / "here"), directory(tmp_path / "there"), order()).moved
        == 3_000_000
    )


@pytest.mark.parametrize(
    ("number", "error", "what"),
    [
        (errno.ENOSPC, NoRoom, "has no room"),
        (errno.EDQUOT, NoRoom, "has no room"),
        (errno.EACCES, TargetRefused, "does not let us write"),
        (errno.EROFS, TargetRefused, "does not let us write"),
        (errno.ESTALE, TargetMissing, "has gone while we write"),
        (errno.EFBIG, CopyError, "takes no file that large"),
        (errno.EIO, CopyError, "failed to write"),
    ],
)
def test_a_fault_of_the_disk_is_told_in_words_and_leaves_no_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, error: type[Exception], what: str
) -> None:
    source, there, real = write_archive(tmp_path / "here"), tmp_path / "there", os.pwrite

    def pwrite(file: int, data: bytes, offset: int) -> int:
        if offset >= 1 << 20:
            raise OSError(number, os.strerror(number))
        return real(file, data, offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    with pytest.raises(error, match=what) as told:
        send(source, directory(there), order())
    assert (
        str(there) in str(told.value) and isinstance(told.value, BackupsvcError) and told.value.hint
    )
    assert names(there) <= {PART} and (error is not NoRoom or names(there) == set()), (
        "what was written of it is not in the way"
    )


def test_a_system_that_takes_few_bytes_at_once_gets_them_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, data, offset: real(file, data[:300_001], offset))
    source = write_archive(tmp_path / "here")
    send(source, directory(tmp_path / "there"), order())
    assert (tmp_path / "there" / NAME).read_bytes() == (tmp_path / "here" / NAME).read_bytes()
    monkeypatch.setattr(os, "pwrite", lambda file, data, offset: 0)
    with pytest.raises(CopyError, match="takes no more bytes"):
        send(source, directory(tmp_path / "other"), order())


def test_a_file_that_somebody_else_begins_at_the_same_time_is_left_to_them(tmp_path: Path) -> None:
    source, there = write_archive(tmp_path / "here"), tmp_path / "there"

    def step(said: str) -> None:
        if said == f"open {PART}":
            (there / PART).write_bytes(b"theirs")

    with pytest.raises(CopyError, match="File exists"):
        send(source, Watched(directory(there), step), order())
    assert (there / PART).read_bytes() == b"theirs"


# --- killed ---------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("remembers", [True, False])
def test_law_9_a_copy_killed_at_any_step_is_whole_or_not_there_and_the_next_finishes_it(
    tmp_path: Path, remembers: bool
) -> None:
    assert (
        killed_everywhere(
            write_archive(tmp_path / "here"), tmp_path, directory, remembers=remembers
        )
        > 40
    )


@pytest.mark.slow
def test_law_9_a_copy_to_an_immutable_folder_killed_at_any_step_counts_by_its_manifest_alone(
    tmp_path: Path,
) -> None:
    assert (
        killed_everywhere(write_archive(tmp_path / "here"), tmp_path, directory, immutable=True)
        > 30
    )


@pytest.mark.parametrize("half", [MANIFEST, f"{NAME}.notes"])
def test_what_was_written_in_half_at_an_immutable_target_is_litter_beside_its_whole(
    tmp_path: Path, half: str
) -> None:
    source, there = write_archive(tmp_path / "here"), tmp_path / "there"
    there.mkdir()
    (there / half).write_bytes(b"hal")
    made = send(source, directory(there), order(immutable=True))
    assert names(there) == {*WHOLE, f"{half}~2"} and (there / half).read_bytes() == b"hal"
    if half != MANIFEST:
        assert (
            dict(made.manifest.sidecars)[half] == f"{half}~2"
            and (there / f"{half}~2").read_bytes() == BESIDE[half]
        )
    assert send(source, directory(there), order(immutable=True)).litter == (half,)
