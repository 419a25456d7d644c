"""A copy that was found damaged is made anew: the bytes that replace it are read back before it
goes, and killed anywhere, nothing but a whole copy is ever called one.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from backupsvc.copies.send import Order, Verified, Watch, send
from backupsvc.copies.send_encrypted import send_encrypted
from backupsvc.copies.sources import LocalSource
from backupsvc.errors import CopyError
from policies import segments
from policies.copy_decision import Progress
from policies.copy_manifest import Manifest
from policies.model import DamagedCopy
from policies.segments import SegmentManifest
from tests.unit.copies import encrypted
from tests.unit.copies.scene import (
    MANIFEST,
    NAME,
    WHOLE,
    Watched,
    directory,
    forked,
    killing,
    order,
    write_archive,
    write_whole,
)
from tests.unit.copies.test_reread import cut, flip

Way = Callable[..., Verified]
PLAIN = DamagedCopy(NAME, "", "torn")


def small(tmp_path: Path, size: int = 300_000) -> LocalSource:
    return write_archive(tmp_path / "here", size)


def sealed(made: Verified) -> DamagedCopy:
    assert isinstance(made.manifest, SegmentManifest)
    return DamagedCopy(NAME, segments.packed(made.manifest.segments, hashes=False), "torn")


def orders(is_sealed: bool) -> Callable[..., Order]:
    if not is_sealed:
        return lambda **more: order(**({"checkpoint": 100_000} | more))
    return lambda **more: encrypted.order(**({"segment": 100_000} | more))


def plain_text(folder: Path, manifest: Manifest | SegmentManifest) -> bytes:
    if isinstance(manifest, SegmentManifest):
        return b"".join(encrypted.opened(folder, one.file) for one in manifest.segments)
    return (folder / manifest.file).read_bytes()


def test_a_damaged_copy_is_replaced_and_until_then_left_alone(tmp_path: Path) -> None:
    source, there = small(tmp_path), tmp_path / "there"
    send(source, directory(there), order())
    flip(there / NAME)
    bad = (there / NAME).read_bytes()
    seen: list[bool] = []

    def step(said: str) -> None:
        if said.startswith("digest"):
            seen.append((there / NAME).read_bytes() == bad)

    made = send(source, Watched(directory(there), step), order(damaged=PLAIN))
    assert seen == [True], "it was there when the bytes that replace it were read back"
    assert made.moved == 300_000 and (there / NAME).read_bytes() == source.path.read_bytes()
    assert {one.name for one in there.iterdir()} == WHOLE


@pytest.mark.parametrize("harm", [cut, Path.unlink])
def test_one_that_is_short_or_gone_is_replaced(
    tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    source, there = small(tmp_path), tmp_path / "there"
    send(source, directory(there), order())
    harm(there / NAME)
    send(source, directory(there), order(damaged=PLAIN))
    assert (there / NAME).read_bytes() == source.path.read_bytes()


def test_at_an_immutable_target_it_gets_a_number_and_the_last_one_counts(tmp_path: Path) -> None:
    source, there = small(tmp_path), tmp_path / "there"
    send(source, directory(there), order(immutable=True))
    flip(there / NAME)
    bad = (there / NAME).read_bytes()
    made = send(source, directory(there), order(immutable=True, damaged=PLAIN))
    assert made.manifest.file == f"{NAME}~2" and (there / NAME).read_bytes() == bad
    assert set(made.litter) == {NAME, MANIFEST}
    again = send(source, directory(there), order(immutable=True))
    assert (again.manifest.file, again.moved) == (f"{NAME}~2", 0)


def test_a_damaged_encrypted_copy_is_replaced_segment_beside_segment(tmp_path: Path) -> None:
    source, there, wanted = small(tmp_path), tmp_path / "there", orders(True)
    damaged = sealed(send_encrypted(source, directory(there), wanted()))
    flip(there / encrypted.SEGMENTS[1])
    made = send_encrypted(source, directory(there), wanted(damaged=damaged))
    assert plain_text(there, made.manifest) == source.path.read_bytes()
    assert isinstance(made.manifest, SegmentManifest)
    left = {one.name for one in there.iterdir()}
    assert left == {*made.manifest.files(), encrypted.MANIFEST}, "nothing of the old one is left"
    again = send_encrypted(source, directory(there), wanted())
    assert again.moved == 0


def test_at_an_immutable_target_the_last_encrypted_one_counts(tmp_path: Path) -> None:
    source, there, wanted = small(tmp_path), tmp_path / "there", orders(True)
    damaged = sealed(send_encrypted(source, directory(there), wanted(immutable=True)))
    flip(there / encrypted.SEGMENTS[1])
    before = {one.name: one.read_bytes() for one in there.iterdir()}
    made = send_encrypted(source, directory(there), wanted(immutable=True, damaged=damaged))
    assert {name: (there / name).read_bytes() for name in before} == before
    again = send_encrypted(source, directory(there), wanted(immutable=True))
    assert again.manifest == made.manifest and again.moved == 0
    assert plain_text(there, made.manifest) == source.path.read_bytes()


def test_a_manifest_that_rotted_is_replaced_with_what_it_spoke_of(tmp_path: Path) -> None:
    source, there, wanted = small(tmp_path), tmp_path / "there", orders(True)
    damaged = sealed(send_encrypted(source, directory(there), wanted()))
    cut(there / encrypted.MANIFEST)
    made = send_encrypted(source, directory(there), wanted(damaged=damaged))
    assert plain_text(there, made.manifest) == source.path.read_bytes()


def test_until_another_one_is_whole_nothing_of_the_damaged_one_goes(tmp_path: Path) -> None:
    source, there, wanted = small(tmp_path), tmp_path / "there", orders(True)
    damaged = sealed(send_encrypted(source, directory(there), wanted()))
    before = {one.name for one in there.iterdir()}
    seen: list[bool] = []

    def step(said: str) -> None:
        if said.startswith("digest"):
            seen.append(before <= {one.name for one in there.iterdir()})

    send_encrypted(source, Watched(directory(there), step), wanted(damaged=damaged))
    assert len(seen) > 3 and all(seen)


@pytest.mark.parametrize("changed", [{"volid": "local:backup/another"}, {"sha256": "cd" * 32}])
def test_a_strangers_manifest_is_not_overwritten(tmp_path: Path, changed: dict[str, str]) -> None:
    source, there, wanted = small(tmp_path), tmp_path / "there", orders(True)
    damaged = sealed(send_encrypted(source, directory(there), wanted()))
    ours = encrypted.manifest_in(there)
    stranger = replace(ours, **changed).text()  # type: ignore[arg-type]
    (there / encrypted.MANIFEST).write_bytes(stranger)
    with pytest.raises(CopyError, match="another archive"):
        send_encrypted(source, directory(there), wanted(damaged=damaged, sha256=ours.sha256))
    assert (there / encrypted.MANIFEST).read_bytes() == stranger


def test_a_plain_file_is_not_taken_for_a_damaged_encrypted_copy(tmp_path: Path) -> None:
    source, there = small(tmp_path), tmp_path / "there"
    there.mkdir()
    (there / NAME).write_bytes(b"somebody's")
    with pytest.raises(CopyError, match="is there already"):
        send(source, directory(there), order(damaged=DamagedCopy(NAME, "9 9", "torn")))
    assert (there / NAME).read_bytes() == b"somebody's"


@pytest.mark.slow
@pytest.mark.parametrize("immutable", [False, True])
@pytest.mark.parametrize("is_sealed", [False, True])
def test_killed_at_any_step_it_is_made_anew_by_the_next_attempt(
    tmp_path: Path, is_sealed: bool, immutable: bool
) -> None:
    source, wanted = small(tmp_path), orders(is_sealed)
    way: Way = send_encrypted if is_sealed else send
    content = source.path.read_bytes()
    for at in range(1000):
        there, log = tmp_path / f"there{at}", tmp_path / f"log{at}"
        first = way(source, directory(there), wanted(immutable=immutable))
        damaged = sealed(first) if is_sealed else PLAIN
        flip(there / (encrypted.SEGMENTS[0] if is_sealed else NAME))
        usual = {"immutable": immutable, "damaged": damaged}

        def attempt(
            there: Path = there, log: Path = log, at: int = at, usual: dict[str, object] = usual
        ) -> None:
            watch = Watch(record=lambda far: write_whole(log, json.dumps(asdict(far))))
            way(source, Watched(directory(there), killing(at)), wanted(**usual), watch)

        code = forked(attempt)
        if code == 0:
            assert at > 10
            return
        assert code == -signal.SIGKILL
        known = _read(log)
        made = way(source, directory(there), wanted(progress=known, **usual))
        assert plain_text(there, made.manifest) == content, f"killed at step {at}"
        if not immutable:
            left = {one.name for one in there.iterdir()}
            expected = (
                {*made.manifest.files(), encrypted.MANIFEST}
                if isinstance(made.manifest, SegmentManifest)
                else WHOLE
            )
            assert left == expected, f"killed at step {at}"
        assert way(source, directory(there), wanted(immutable=immutable)).moved == 0
    raise AssertionError("it has no end")


def _read(log: Path) -> Progress | None:
    if not log.exists():
        return None
    found = json.loads(log.read_text())
    return Progress(**(found | {"recipients": tuple(found["recipients"])}))
