"""Decrypting an encrypted copy: whole or not at all, and what is said of each way to be wrong."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import resource
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backupsvc.copies import age
from backupsvc.copies.decrypt import decrypt, find, not_expected
from backupsvc.copies.send_encrypted import send_encrypted
from backupsvc.errors import ArchiveError, BackupsvcError, NoRoom, UsageError
from policies.segments import Segment
from tests.unit.copies.encrypted import (
    KEY,
    MANIFEST,
    RECIPIENTS,
    SAFE,
    SEGMENTS,
    STRANGER,
    kit,
    manifest_in,
    order,
)
from tests.unit.copies.scene import BESIDE, NAME, directory, write_archive


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """A folder with an encrypted copy, and the archive's bytes."""
    folder = tmp_path_factory.mktemp("made")
    source = write_archive(folder / "here")
    send_encrypted(source, directory(folder / "there"), order())
    return folder / "there", source.path.read_bytes()


@pytest.fixture
def there(made: tuple[Path, bytes], tmp_path: Path) -> Path:
    """A copy of that folder, to be harmed."""
    (tmp_path / "there").mkdir()
    for file in made[0].iterdir():
        os.link(file, tmp_path / "there" / file.name)
    return tmp_path / "there"


def replaced(path: Path, data: bytes) -> None:
    path.unlink(missing_ok=True)
    path.write_bytes(data)


def names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()} if folder.exists() else set()


def refusal(there: Path, error: type[BackupsvcError] = ArchiveError, *keys: Any) -> BackupsvcError:
    """What is said; nothing may be left in the folder to write to."""
    out = there.parent / "out"
    with pytest.raises(error) as told:
        decrypt(find(there / MANIFEST), kit(*keys), out)
    assert names(out) == set()
    return told.value


@pytest.mark.parametrize("key", [KEY, SAFE])
def test_law_8_each_recipient_gets_the_archive_back_with_all_that_stood_beside_it(
    made: tuple[Path, bytes], tmp_path: Path, key: Any
) -> None:
    there, content = made
    seen: list[int] = []
    found = find(there / NAME)
    done = decrypt(found, kit(STRANGER, key), tmp_path / "new" / "out", seen.append)
    out = tmp_path / "new" / "out"
    assert names(out) == {NAME, *BESIDE} and (out / NAME).read_bytes() == content
    assert {name: (out / name).read_bytes() for name in BESIDE} == BESIDE
    assert done.files[0] == out / NAME and done.recipient == str(key.to_public())
    assert sum(seen) == found.size
    assert {file.stat().st_mode & 0o777 for file in out.iterdir()} == {0o600}
    with pytest.raises(UsageError, match="exists already and is not overwritten"):
        decrypt(found, kit(key), out)


def test_a_copy_is_found_by_its_manifest_or_its_archives_name(made: tuple[Path, bytes]) -> None:
    there, _ = made
    assert find(there / MANIFEST) == find(there / NAME)
    for path, said in (
        (there / "other.vma", "has no manifest of an encrypted copy other.vma"),
        (there / "other.vma.age.json", "has no manifest"),
        (there / "none" / NAME, "cannot be listed"),
    ):
        with pytest.raises(UsageError, match=said):
            find(path)


def test_of_several_manifests_the_last_that_can_be_read_counts(there: Path) -> None:
    (there / MANIFEST).rename(there / f"{MANIFEST}~2")
    (there / MANIFEST).write_bytes(b"half of")
    assert find(there / NAME).manifest_file == f"{MANIFEST}~2"
    with pytest.raises(ArchiveError, match="is cut short"):
        find(there / MANIFEST)
    (there / f"{MANIFEST}~2").unlink()
    with pytest.raises(ArchiveError, match="is cut short"):
        find(there / NAME)


def test_a_wrong_key_is_told_and_no_key_is_repeated(there: Path) -> None:
    said = refusal(there, UsageError, STRANGER)
    assert said.message == f"none of the identities opens {SEGMENTS[0]}"
    assert "AGE-SECRET" not in f"{said.message}{said.hint}"


def changed(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    replaced(path, bytes(data))


Harm = Callable[[Path], object]


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda there: (there / SEGMENTS[1]).unlink(), f"{SEGMENTS[1]} is missing"),
        (lambda there: (there / f"{NAME}.notes.age").unlink(), "notes.age is missing"),
        (lambda there: changed(there / SEGMENTS[1], 5), "is not as it was written"),
        (lambda there: changed(there / SEGMENTS[1], 500_000), "is not as it was written"),
        (lambda there: changed(there / SEGMENTS[2], -1), "is not as it was written"),
        (lambda there: changed(there / f"{NAME}.protected.age", -1), "is not as it was written"),
        (
            lambda there: replaced(there / SEGMENTS[0], b""),
            f"{SEGMENTS[0]} has 0 bytes, its manifest says",
        ),
        (
            lambda there: replaced(there / SEGMENTS[0], (there / SEGMENTS[0]).read_bytes() + b"x"),
            "its manifest says",
        ),
        (
            lambda there: (
                (there / SEGMENTS[0]).rename(there / "x"),
                (there / SEGMENTS[1]).rename(there / SEGMENTS[0]),
                (there / "x").rename(there / SEGMENTS[1]),
            ),
            f"{SEGMENTS[0]} (has|is not)",
        ),
    ],
)
def test_law_4_a_missing_a_changed_or_a_swapped_file_is_named_and_nothing_is_left(
    there: Path, harm: Harm, said: str
) -> None:
    harm(there)
    assert re.search(said, refusal(there).message)


def manifest_with(there: Path, change: Callable[[list[dict[str, Any]]], object]) -> None:
    lines = [json.loads(one) for one in (there / MANIFEST).read_bytes().splitlines()]
    change(lines)
    replaced(there / MANIFEST, b"".join(json.dumps(one).encode() + b"\n" for one in lines))


def test_segments_that_the_manifest_itself_swaps_are_noticed_by_the_hash_of_the_whole(
    there: Path,
) -> None:
    def swap(lines: list[dict[str, Any]]) -> None:
        one, two = dict(lines[1]), dict(lines[2])
        for key in ("size", "sha256"):
            lines[1][key], lines[2][key] = two[key], one[key]

    first, second = (there / name for name in SEGMENTS[:2])
    a, b = first.read_bytes(), second.read_bytes()
    replaced(first, b)
    replaced(second, a)
    manifest_with(there, swap)
    assert "is not what its manifest says" in refusal(there).message


def test_more_or_less_in_a_segment_than_the_manifest_says_is_noticed(there: Path) -> None:
    for length, said in ((999_999, "more comes out"), (1_000_001, "holds 1000000 bytes")):

        def move(lines: list[dict[str, Any]], length: int = length) -> None:
            lines[1]["length"] = lines[2]["start"] = length
            lines[2]["length"] = 2_000_000 - length

        manifest_with(there, move)
        assert said in refusal(there).message


def test_a_manifest_of_another_version_names_the_way_on(there: Path) -> None:
    manifest_with(there, lambda lines: lines[0].update(encrypted_copy=2))
    told = pytest.raises(ArchiveError, match="is of another version than 1")
    with told as error:
        find(there / NAME)
    assert "later" in error.value.hint


def test_a_path_in_a_manifest_leads_nowhere(there: Path) -> None:
    changes: list[Callable[[list[dict[str, Any]]], object]] = [
        lambda lines: lines[0].update(file="../../etc/cron.d/x"),
        lambda lines: lines[0].update(file="/etc/passwd"),
        lambda lines: lines[0].update(file=".."),
        lambda lines: lines[0].update(file=".bashrc"),
        lambda lines: lines[0].update(sidecars=["../x", *lines[0]["sidecars"][1:]]),
        lambda lines: lines[0].update(sidecars=["authorized_keys", *lines[0]["sidecars"][1:]]),
        lambda lines: lines[1].update(file="/etc/shadow"),
        lambda lines: lines[1].update(file="../secret.00001.age"),
    ]
    before = (there / MANIFEST).read_bytes()
    for change in changes:
        replaced(there / MANIFEST, before)
        manifest_with(there, change)
        with pytest.raises(ArchiveError):
            find(there / MANIFEST)


def test_a_link_a_pipe_or_a_folder_in_the_place_of_a_file_is_not_followed(there: Path) -> None:
    (there / SEGMENTS[0]).rename(there / "elsewhere")
    (there / SEGMENTS[0]).symlink_to(there / "elsewhere")
    assert "cannot be read" in refusal(there).message
    (there / SEGMENTS[0]).unlink()
    os.mkfifo(there / SEGMENTS[0])
    assert "is no file" in refusal(there).message
    (there / SEGMENTS[0]).unlink()
    (there / SEGMENTS[0]).mkdir()
    assert "is no file" in refusal(there).message
    (there / MANIFEST).rename(there / "m")
    os.mkfifo(there / MANIFEST)
    with pytest.raises(ArchiveError, match="is no file"):
        find(there / MANIFEST)


def test_an_absurd_size_is_refused_before_anything_is_written(there: Path) -> None:
    huge = 1 << 42

    def swell(lines: list[dict[str, Any]]) -> None:
        lines[0]["size"] = 2_000_000 + huge
        lines[3] |= {"length": huge, "size": huge + 1}

    manifest_with(there, swell)
    assert f"its manifest says {huge + 1}" in refusal(there).message
    (there / SEGMENTS[2]).unlink()
    (there / SEGMENTS[2]).touch()
    os.truncate(there / SEGMENTS[2], huge + 1)  # all of it a hole
    assert "has no room: 4.0 TiB are to come" in refusal(there, NoRoom).message


def test_a_folder_without_room_is_told_beforehand(
    there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(there)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=3_000_000))
    assert "has no room" in refusal(there, NoRoom).message


def test_a_write_that_fails_is_told_and_leaves_nothing(there: Path) -> None:
    (there.parent / "out").mkdir()
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    usual = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, limit[1]))
        said = refusal(there).message
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, usual)
    assert f"was not decrypted into {there.parent / 'out'}: File too large" in said


def test_what_comes_under_the_name_meanwhile_is_not_overwritten(there: Path) -> None:
    out = there.parent / "out"

    def appears(count: int) -> None:
        (out / NAME).write_bytes(b"mine")

    with pytest.raises(UsageError, match="is not overwritten"):
        decrypt(find(there / NAME), kit(), out, appears)
    assert names(out) == {NAME} and (out / NAME).read_bytes() == b"mine"


def test_a_file_system_without_hard_links_will_do(
    there: Path, made: tuple[Path, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    decrypt(find(there / NAME), kit(), tmp_path / "out")
    assert (tmp_path / "out" / NAME).read_bytes() == made[1]
    assert names(tmp_path / "out") == {NAME, *BESIDE}


def test_what_somebody_else_encrypted_to_the_same_keys_is_told_by_a_hash_from_elsewhere(
    there: Path, made: tuple[Path, bytes]
) -> None:
    own = hashlib.sha256(made[1]).hexdigest()
    not_expected(find(there / NAME), f" {own.upper()} ")
    with pytest.raises(ArchiveError, match="expected is ab"):
        not_expected(find(there / NAME), "ab" * 32)


# --- identities -----------------------------------------------------------------------------------


def test_law_7_what_is_no_identity_is_told_by_its_line_and_never_repeated() -> None:
    text = f"# created by me\n# public key: {RECIPIENTS[0]}\n\n{KEY}\n"
    assert age.read_identities(text.encode(), "kit").recipients() == [RECIPIENTS[0]]
    mistyped = str(KEY)[:-1] + ("Q" if str(KEY)[-1] != "Q" else "P")
    for wrong, said in (
        (f"{text}{mistyped}", "line 5 of kit is no identity"),
        ("# nothing", "kit holds no identity"),
        ("x" * (age.LONGEST_KIT + 1), "kit is too long"),
        (RECIPIENTS[0], "line 1 of kit is no identity"),
    ):
        with pytest.raises(UsageError, match=said) as told:
            age.read_identities(wrong.encode(), "kit")
        shown = f"{told.value.message}{told.value.hint}{told.value.__cause__}"
        assert mistyped not in shown and str(KEY) not in shown
    assert str(KEY) not in repr(kit()) and "AGE-SECRET" not in str(vars(kit()))


# --- hostile files --------------------------------------------------------------------------------


def mutant(data: bytes, dice: random.Random) -> bytes:
    """A few bytes changed, taken out or put in, mostly where a header would be."""
    found = bytearray(data)
    for _ in range(dice.randint(1, 3)):
        at = dice.randrange(min(len(found), dice.choice((300, len(found)))) or 1)
        match dice.randrange(3):
            case 0 if found:
                found[at] ^= 1 << dice.randrange(8)
            case 1:
                del found[at : at + dice.randint(1, 40)]
            case _:
                found[at:at] = dice.randbytes(dice.randint(1, 40))
    return bytes(found)


@pytest.mark.slow
def test_no_mutant_of_a_copy_passes_with_other_content_nor_ends_but_in_an_error(
    tmp_path: Path,
) -> None:
    source = write_archive(tmp_path / "here", 2_500)
    content, out, dice = source.path.read_bytes(), tmp_path / "out", random.Random(11)
    there = tmp_path / "there"
    send_encrypted(source, directory(there), order(segment=1000))
    files = {file.name: file.read_bytes() for file in there.iterdir()}
    out.mkdir()
    for _ in range(1500):
        name = dice.choice([*files, MANIFEST, MANIFEST, MANIFEST])
        (there / name).write_bytes(mutant(files[name], dice))
        try:
            decrypt(find(there / MANIFEST), kit(), out)
        except (ArchiveError, UsageError, NoRoom):
            assert names(out) == set()
        else:
            # a volid or a recipient says nothing of the content
            assert name == MANIFEST and (out / NAME).read_bytes() == content
            for file in out.iterdir():
                file.unlink()
        (there / name).write_bytes(files[name])
    assert names(tmp_path) == {"here", "there", "out"} and set(files) == names(there)


def test_a_header_of_age_without_an_end_is_refused_at_once(there: Path) -> None:
    data = b"age-encryption.org/v1\n" + b"-> a b\n\n" * 120_000
    replaced(there / SEGMENTS[0], data)

    def say(lines: list[dict[str, Any]]) -> None:
        lines[1] |= {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        lines[1]["length"] = lines[2]["start"] = 950_000
        lines[2]["length"] = 1_050_000

    manifest_with(there, say)
    manifest_with(there, lambda lines: lines[2].update(size=1_060_000))
    replaced(there / SEGMENTS[1], bytes(1_060_000))
    assert "is no file of age" in refusal(there).message


def test_a_file_of_another_copy_in_its_place_is_noticed(there: Path, tmp_path: Path) -> None:
    """Another night's segment, encrypted to the same keys: opened by them, and not this archive."""
    other = write_archive(tmp_path / "other", seed=5)
    send_encrypted(other, directory(tmp_path / "others"), order())
    data = (tmp_path / "others" / SEGMENTS[0]).read_bytes()
    replaced(there / SEGMENTS[0], data)
    found = manifest_in(tmp_path / "others").segments[0]
    assert isinstance(found, Segment)
    manifest_with(there, lambda lines: lines[1].update(size=found.size, sha256=found.sha256))
    assert "is not what its manifest says" in refusal(there).message
