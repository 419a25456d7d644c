"""An encrypted copy into a directory: what it makes, what it keeps at a resume, and what it never
does.
"""

from __future__ import annotations

import errno
import hashlib
import os
import resource
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backupsvc.copies.decrypt import decrypt, find
from backupsvc.copies.send import Watch
from backupsvc.copies.send_encrypted import send_encrypted
from backupsvc.copies.sources import LocalSource
from backupsvc.copies.target import Space
from backupsvc.errors import ArchiveError, CopyError, NoRoom, TargetRefused
from policies.copy_decision import Progress
from policies.copy_manifest import part_name
from policies.segments import segment_name
from tests.unit.copies.encrypted import (
    KEY,
    MANIFEST,
    RECIPIENTS,
    SAFE,
    SEGMENT,
    SEGMENTS,
    STRANGER,
    WHOLE,
    holds_all_or_nothing,
    killed_everywhere,
    kit,
    manifest_in,
    opened,
    order,
)
from tests.unit.copies.scene import (
    BESIDE,
    NAME,
    VOLID,
    Watched,
    directory,
    forked,
    listed,
    write_archive,
)


class Stop(Exception):
    """Ends an attempt where a test wants it to end."""


def names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def interrupted(source: LocalSource, there: Path, at: str, **changes: object) -> list[Progress]:
    """Copy until a step, and stop there; return what was recorded."""
    recorded: list[Progress] = []

    def step(said: str) -> None:
        if said == at:
            raise Stop

    with pytest.raises(Stop):
        target = Watched(directory(there), step)
        send_encrypted(source, target, order(**changes), Watch(record=recorded.append))
    return recorded


def flipped(path: Path, at: int = 1000) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_a_copy_is_segments_and_what_stands_beside_the_archive_each_for_every_recipient(
    tmp_path: Path,
) -> None:
    source, there, recorded = write_archive(tmp_path / "here"), tmp_path / "there", list[Progress]()
    made = send_encrypted(source, directory(there), order(), Watch(record=recorded.append))
    content = source.path.read_bytes()
    assert names(there) == WHOLE and not listed(there)
    found = manifest_in(there)
    assert made.manifest == found
    assert (found.volid, found.file, found.size) == (VOLID, NAME, 3_000_000)
    assert (found.sha256, found.recipients) == (hashlib.sha256(content).hexdigest(), RECIPIENTS)
    for key in (KEY, SAFE):
        assert b"".join(opened(there, one.file, key) for one in found.segments) == content
        assert {name: opened(there, one.file, key) for name, one in found.sidecars} == BESIDE
    assert all(
        (one.size, one.sha256)
        == (len(data := (there / one.file).read_bytes()), hashlib.sha256(data).hexdigest())
        for one in found.segments
    )
    assert [one.sent for one in recorded] == [1_000_000, 2_000_000, 3_000_000]
    assert made.how == "encrypted; each segment read back after its cache was dropped"
    assert made.moved == sum(found.files().values())
    assert {file.stat().st_mode & 0o777 for file in there.iterdir()} == {0o640}


def test_law_7_nothing_of_the_archive_and_nothing_of_its_notes_is_readable_there(
    tmp_path: Path,
) -> None:
    (tmp_path / "here").mkdir()
    magic, name = b"\x28\xb5\x2f\xfd", b"srv-of-the-accounting"
    (tmp_path / "here" / NAME).write_bytes((magic + b"VMA\x00" + name) * 50_000)
    (tmp_path / "here" / f"{NAME}.notes").write_bytes(name)
    source, there = LocalSource(tmp_path / "here" / NAME), tmp_path / "there"
    send_encrypted(source, directory(there), order())
    for file in there.iterdir():
        data = file.read_bytes()
        assert name not in data and b"VMA\x00" + name not in data and magic + b"VMA" not in data
        assert file.name == MANIFEST or data.startswith(b"age-encryption.org/v1\n")


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 70_000), st.integers(0, 3), st.integers(-2, 2))
def test_whatever_the_length_all_of_it_arrives(
    tmp_path_factory: pytest.TempPathFactory, length: int, whole: int, more: int
) -> None:
    folder, size = tmp_path_factory.mktemp("any"), max(0, length * whole + more)
    source = write_archive(folder / "here", size)
    found = send_encrypted(source, directory(folder / "there"), order(segment=length)).manifest
    assert found == manifest_in(folder / "there") and found.size == size
    there = manifest_in(folder / "there")
    assert all(one.length <= length for one in there.segments)
    content = b"".join(opened(folder / "there", one.file) for one in there.segments)
    assert content == source.path.read_bytes()


def test_a_second_copy_moves_nothing_and_reads_no_segment(tmp_path: Path) -> None:
    source, target = write_archive(tmp_path / "here"), directory(tmp_path / "there")
    send_encrypted(source, target, order())
    watched = Watched(target)
    again = send_encrypted(source, watched, order())
    assert (again.moved, again.how, watched.digested) == (0, "its manifest matches", [])


def test_law_4_the_manifest_comes_last_and_each_segment_is_read_back_before_the_next(
    tmp_path: Path,
) -> None:
    source, said = write_archive(tmp_path / "here"), list[str]()
    send_encrypted(source, Watched(directory(tmp_path / "there"), said.append), order())
    steps = [one for one in said if one.startswith(("open", "digest", "rename", "synced"))]
    files = [*SEGMENTS, *(f"{name}.age" for name in BESIDE)]
    each = [step for file in files for step in (f"open {file}", "synced", f"digest {file}")]
    assert steps == [*each, f"open {MANIFEST}", "synced"]


# --- going on -------------------------------------------------------------------------------------


@pytest.mark.parametrize("immutable", [False, True])
def test_whole_segments_are_kept_at_a_resume_and_half_a_one_is_written_anew(
    tmp_path: Path, immutable: bool
) -> None:
    source, there = write_archive(tmp_path / "here"), tmp_path / "there"

    stops = 0

    def step(said: str) -> None:
        nonlocal stops
        stops += said == "write on"
        if stops == 3:
            raise Stop

    recorded: list[Progress] = []
    with pytest.raises(Stop):
        target = Watched(directory(there), step)
        send_encrypted(source, target, order(immutable=immutable), Watch(record=recorded.append))
    kept = {name: (there / name).read_bytes() for name in SEGMENTS[:2]}
    assert names(there) == set(SEGMENTS) and recorded[-1].sent == 2_000_000
    watched = Watched(directory(there))
    made = send_encrypted(source, watched, order(progress=recorded[-1], immutable=immutable))
    assert {name: (there / name).read_bytes() for name in SEGMENTS[:2]} == kept
    assert watched.digested[:2] == SEGMENTS[:2], "what is kept is read back there first"
    third = f"{SEGMENTS[2]}~2" if immutable else SEGMENTS[2]
    assert made.moved == sum(
        size for file, size in manifest_in(there).files().items() if file not in SEGMENTS[:2]
    )
    assert manifest_in(there).segments[2].file == third
    again = send_encrypted(source, directory(there), order(immutable=immutable))
    assert again.litter == ((SEGMENTS[2],) if immutable else ())
    assert holds_all_or_nothing(there, source.path.read_bytes())


def test_a_kept_segment_in_which_a_byte_flipped_is_written_anew_and_the_others_are_kept(
    tmp_path: Path,
) -> None:
    source, there = write_archive(tmp_path / "here"), tmp_path / "there"
    known = interrupted(source, there, f"open {SEGMENTS[2]}")[-1]
    second = (there / SEGMENTS[1]).read_bytes()
    flipped(there / SEGMENTS[0])
    recorded: list[Progress] = []
    watch = Watch(record=recorded.append)
    send_encrypted(source, directory(there), order(progress=known), watch)
    assert (there / SEGMENTS[1]).read_bytes() == second
    # what was recorded before is not forgotten while the first one is mended
    assert [one.sent for one in recorded] == [2_000_000, 3_000_000]
    assert holds_all_or_nothing(there, source.path.read_bytes())


@pytest.mark.parametrize(
    "change",
    [
        {"recipients": (RECIPIENTS[0],)},
        {"recipients": (RECIPIENTS[1], RECIPIENTS[0])},
        {"recipients": (*RECIPIENTS, str(STRANGER.to_public()))},
        {"segment": SEGMENT // 2},
    ],
)
def test_segments_for_other_recipients_or_of_another_length_do_not_count(
    tmp_path: Path, change: dict[str, object]
) -> None:
    source, there = write_archive(tmp_path / "here"), tmp_path / "there"
    known = interrupted(source, there, f"open {SEGMENTS[2]}")[-1]
    before = {(there / name).read_bytes() for name in SEGMENTS[:2]}
    made = send_encrypted(source, directory(there), order(progress=known, **change))
    after = {file.read_bytes() for file in there.iterdir()}
    assert not before & after and made.manifest == manifest_in(there)
    assert manifest_in(there).recipients == change.get("recipients", RECIPIENTS)
    assert holds_all_or_nothing(there, source.path.read_bytes())


def test_an_archive_that_changed_between_two_attempts_is_sent_anew(tmp_path: Path) -> None:
    source, there = write_archive(tmp_path / "here"), tmp_path / "there"
    known = interrupted(source, there, f"open {SEGMENTS[2]}")[-1]
    before = source.path.stat()
    write_archive(tmp_path / "here", seed=109)
    # nothing but its bytes tells
    os.utime(source.path, (before.st_atime, before.st_mtime))
    send_encrypted(source, directory(there), order(progress=known))
    assert names(there) == WHOLE and holds_all_or_nothing(there, source.path.read_bytes())


def test_the_rest_of_a_plain_copy_is_removed_and_its_progress_counts_for_nothing(
    tmp_path: Path,
) -> None:
    source, there = write_archive(tmp_path / "here"), tmp_path / "there"
    there.mkdir()
    (there / part_name(NAME)).write_bytes(source.path.read_bytes()[:1_000_000])
    plain = hashlib.sha256(source.path.read_bytes()[:1_000_000]).hexdigest()
    known = Progress(VOLID, 3_000_000, source.stat().modified, part_name(NAME), 1_000_000, plain)
    send_encrypted(source, directory(there), order(progress=known))
    assert names(there) == WHOLE


@pytest.mark.slow
@pytest.mark.parametrize("immutable", [False, True])
def test_law_9_a_copy_killed_at_any_step_is_whole_by_its_manifest_or_none(
    tmp_path: Path, immutable: bool
) -> None:
    source = write_archive(tmp_path / "here", 250_000)
    assert killed_everywhere(source, tmp_path, directory, immutable=immutable) > 40


# --- what has its name already --------------------------------------------------------------------


def test_a_whole_copy_of_another_archive_or_of_a_later_release_is_left_alone(
    tmp_path: Path,
) -> None:
    source, there = write_archive(tmp_path / "here"), tmp_path / "there"
    send_encrypted(source, directory(there), order())
    before = {file.name: file.read_bytes() for file in there.iterdir()}
    other = write_archive(tmp_path / "other", seed=7)
    for changes in ({"volid": f"nas:backup/{NAME}"}, {"sha256": "ab" * 32}):
        with pytest.raises(CopyError, match="of another archive has the name"):
            send_encrypted(other, directory(there), replace(order(), **changes))  # type: ignore[arg-type]
    (there / SEGMENTS[0]).unlink()
    with pytest.raises(CopyError, match=r"speaks of another archive, local:backup"):
        send_encrypted(other, directory(there), replace(order(), volid=f"nas:backup/{NAME}"))
    text = before[MANIFEST].replace(b'"encrypted_copy": 1', b'"encrypted_copy": 2')
    (there / MANIFEST).write_bytes(text)
    with pytest.raises(CopyError, match="another release may have written that copy"):
        send_encrypted(source, directory(there), order())
    assert names(there) == set(before) - {SEGMENTS[0]}


def test_a_copy_that_lost_a_segment_is_made_anew_its_manifest_first(tmp_path: Path) -> None:
    source, there, said = write_archive(tmp_path / "here"), tmp_path / "there", list[str]()
    send_encrypted(source, directory(there), order())
    (there / SEGMENTS[1]).unlink()
    send_encrypted(source, Watched(directory(there), said.append), order())
    removed = [one for one in said if one.startswith("remove")]
    assert removed[0] == f"remove {MANIFEST}" and names(there) == WHOLE
    assert holds_all_or_nothing(there, source.path.read_bytes())


def test_a_copy_for_other_recipients_stays_one_and_says_so(tmp_path: Path) -> None:
    source, there = write_archive(tmp_path / "here"), tmp_path / "there"
    send_encrypted(source, directory(there), order())
    made = send_encrypted(source, directory(there), order(recipients=(RECIPIENTS[0],)))
    assert made.moved == 0 and "to other recipients than the policy names now" in made.reasons[0]
    assert isinstance(made.manifest, type(manifest_in(there)))


# --- faults ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("immutable", [False, True])
def test_a_byte_that_flips_on_the_targets_disk_ends_in_an_error_and_no_manifest(
    tmp_path: Path, immutable: bool
) -> None:
    source, there = write_archive(tmp_path / "here"), tmp_path / "there"

    def flip(said: str) -> None:
        if said == f"digest {SEGMENTS[1]}":
            flipped(there / SEGMENTS[1])

    with pytest.raises(CopyError, match="does not hold what was sent to") as told:
        target = Watched(directory(there), flip)
        send_encrypted(source, target, order(immutable=immutable))
    assert "memtest" in told.value.hint
    assert names(there) == set(SEGMENTS[: 2 if immutable else 1])


def test_a_manifest_that_does_not_hold_what_was_written_ends_in_an_error(tmp_path: Path) -> None:
    source, there = write_archive(tmp_path / "here"), tmp_path / "there"

    def flip(said: str) -> None:
        if said == f"read {MANIFEST}":
            flipped(there / MANIFEST, 5)

    with pytest.raises(CopyError, match=f"does not hold what was written to {MANIFEST}"):
        send_encrypted(source, Watched(directory(there), flip), order())


def test_a_segment_that_goes_before_the_manifest_is_written_is_noticed(tmp_path: Path) -> None:
    source, there = write_archive(tmp_path / "here"), tmp_path / "there"

    def gone(said: str) -> None:
        if said == f"open {NAME}.protected.age":
            (there / SEGMENTS[0]).unlink()

    with pytest.raises(CopyError, match=f"does not list {SEGMENTS[0]} as it was written"):
        send_encrypted(source, Watched(directory(there), gone), order())
    assert MANIFEST not in names(there)


def test_an_archive_that_changes_in_mid_copy_ends_in_an_error_and_leaves_nothing(
    tmp_path: Path,
) -> None:
    changes: list[Callable[[Path], object]] = [
        lambda path: os.truncate(path, 3_000_001),
        lambda path: os.truncate(path, 2_500_000),
        lambda path: os.truncate(path, 2_000_000),
        lambda path: os.utime(path, (1, 1)),
        lambda path: path.unlink(),
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

        with pytest.raises(ArchiveError, match=r"changed while it was copied|is not there"):
            send_encrypted(source, Watched(directory(there), step), order())
        assert names(there) == set(), number


def test_an_archive_that_is_not_what_was_recorded_of_it_is_not_copied(tmp_path: Path) -> None:
    source, there = write_archive(tmp_path / "here"), tmp_path / "there"
    with pytest.raises(ArchiveError, match="is not what was recorded of it"):
        send_encrypted(source, directory(there), order(sha256="ab" * 32))
    assert names(there) == set()


def test_a_full_target_is_told_before_anything_is_sent_or_leaves_nothing_behind(
    tmp_path: Path,
) -> None:
    source, there = write_archive(tmp_path / "here"), tmp_path / "there"

    class Small(Watched):
        def space(self) -> Space:
            return Space(2_999_999, 100)

    with pytest.raises(NoRoom, match="are to come"):
        send_encrypted(source, Small(directory(there)), order())

    def full(said: str) -> None:
        if said == f"digest {SEGMENTS[1]}":
            raise NoRoom("it is full")

    with pytest.raises(NoRoom):
        send_encrypted(source, Watched(directory(there), full), order())
    assert names(there) == set()
    known = interrupted(source, there, f"open {SEGMENTS[2]}")[-1]

    class Enough(Watched):
        def space(self) -> Space:
            return Space(1_010_000, 100)

    send_encrypted(source, Enough(directory(there)), order(progress=known))
    assert names(there) == WHOLE, "what is there already takes no more room"


def test_what_the_target_raises_while_age_writes_is_raised_as_it_was(tmp_path: Path) -> None:
    source, there = write_archive(tmp_path / "here"), tmp_path / "there"

    def refuse(said: str) -> None:
        if said == "write on":
            raise OSError(errno.EROFS, "Read-only file system")

    with pytest.raises(TargetRefused, match="Read-only file system"):
        send_encrypted(source, Watched(directory(there), refuse), order())


def test_a_heartbeat_that_lost_its_lease_ends_the_copy(tmp_path: Path) -> None:
    def lost() -> None:
        raise Stop

    with pytest.raises(Stop):
        target = directory(tmp_path / "there")
        send_encrypted(write_archive(tmp_path / "here"), target, order(), Watch(alive=lost))


def test_an_archive_beyond_measure_has_longer_segments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("policies.segments.MOST_SEGMENTS", 2)
    source, there = write_archive(tmp_path / "here", 250), tmp_path / "there"
    send_encrypted(source, directory(there), order(segment=100))
    assert [one.length for one in manifest_in(there).segments] == [200, 50]
    assert manifest_in(there).segments[1].file == segment_name(NAME, 2)


@pytest.mark.slow
def test_a_segment_is_never_held_in_memory_neither_there_nor_back(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / NAME).touch()
    os.truncate(tmp_path / "here" / NAME, 200 << 20)

    def both_ways() -> None:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        source, there = LocalSource(tmp_path / "here" / NAME), tmp_path / "there"
        send_encrypted(source, directory(there), order(segment=1 << 30))
        decrypt(find(there / NAME), kit(), tmp_path / "out")
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40 * 1024  # KiB

    assert forked(both_ways) == 0 and (tmp_path / "out" / NAME).stat().st_size == 200 << 20


def test_law_5_no_segment_is_sent_again_under_a_name_that_an_older_manifest_speaks_of(
    tmp_path: Path,
) -> None:
    source, there = write_archive(tmp_path / "here"), tmp_path / "there"
    send_encrypted(source, directory(there), order(immutable=True))
    (there / SEGMENTS[0]).unlink()

    def step(said: str) -> None:
        if said.startswith("digest"):
            raise Stop

    with pytest.raises(Stop):
        send_encrypted(source, Watched(directory(there), step), order(immutable=True))
    # Encrypted again it holds other bytes, now and then as many (age's headers vary in length):
    # under the lost one's name the manifest would speak of it.
    assert SEGMENTS[0] not in names(there) and f"{SEGMENTS[0]}~2" in names(there)
    send_encrypted(source, directory(there), order(immutable=True))
    decrypt(find(there / NAME), kit(KEY), tmp_path / "out")
    assert (tmp_path / "out" / NAME).read_bytes() == source.path.read_bytes()
