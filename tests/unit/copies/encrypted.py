"""Encrypted copies for tests: keys, orders with short segments, and what lies at the target."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

from pyrage import x25519

from backupsvc.copies import age
from backupsvc.copies.send import Order, Watch
from backupsvc.copies.send_encrypted import send_encrypted
from backupsvc.copies.sources import LocalSource
from backupsvc.copies.target import Target
from policies.copy_decision import Progress
from policies.segments import (
    SegmentManifest,
    manifest_name,
    own_files,
    read_manifest,
    unpacked,
)
from tests.unit.copies.scene import (
    BESIDE,
    NAME,
    VOLID,
    Watched,
    forked,
    killing,
    listed,
    write_whole,
)

KEY, SAFE, STRANGER = (x25519.Identity.generate() for _ in range(3))
RECIPIENTS = (str(KEY.to_public()), str(SAFE.to_public()))
SEGMENT = 1_000_000  # bytes of an archive in a segment: three in the scene's archive
SEGMENTS = [f"{NAME}.0000{number}.age" for number in (1, 2, 3)]
MANIFEST = manifest_name(NAME)
WHOLE = {*SEGMENTS, MANIFEST, *(f"{name}.age" for name in BESIDE)}


def order(**changes: object) -> Order:
    usual = {"recipients": RECIPIENTS, "segment": SEGMENT}
    return Order(VOLID, **(usual | changes))  # type: ignore[arg-type]


def kit(*keys: x25519.Identity) -> age.Identities:
    return age.Identities(list(keys or (KEY,)))


def manifest_in(folder: Path, name: str = MANIFEST) -> SegmentManifest:
    found = read_manifest((folder / name).read_bytes())
    assert isinstance(found, SegmentManifest), found
    return found


def opened(folder: Path, file: str, key: x25519.Identity = KEY) -> bytes:
    """What an encrypted file holds."""
    out = bytearray()
    with (folder / file).open("rb") as stream:
        age.decrypt(stream.read, out.extend, kit(key))
    return bytes(out)


def holds_all_or_nothing(folder: Path, content: bytes) -> bool:
    """Given a target's folder, return whether a manifest makes a copy of what is there; fail if one
    does and not all of the archive is there, or if anything of it is there that is not encrypted.
    """
    assert not listed(folder)
    files = [file.name for file in folder.iterdir()]
    assert set(files) == set(own_files(NAME, files)), "nothing else was written"
    for file in files:
        assert content[:64] not in (folder / file).read_bytes()
    manifests = [read_manifest((folder / one).read_bytes()) for one in files if MANIFEST in one]
    found = [one for one in manifests if isinstance(one, SegmentManifest)]
    for one in found:
        assert b"".join(opened(folder, part.file) for part in one.segments) == content
    return bool(found)


def killed_everywhere(
    source: LocalSource,
    folder: Path,
    open_folder: Callable[[Path], Target],
    *,
    immutable: bool = False,
) -> int:
    """Kill an encrypted copy of 250,000 bytes at each of its steps, into a folder of its own, and
    finish it; return how often it was killed. ``open_folder`` opens a target in the process that
    uses it.
    """
    content, wanted = source.path.read_bytes(), order(immutable=immutable, segment=100_000)
    for at in range(10_000):
        there, log = folder / f"there{at}", folder / f"log{at}"
        there.mkdir()

        def attempt(there: Path = there, log: Path = log, at: int = at) -> None:
            watch = Watch(record=lambda done: write_whole(log, json.dumps(asdict(done))))
            send_encrypted(source, Watched(open_folder(there), killing(at)), wanted, watch)

        code = forked(attempt)
        whole = holds_all_or_nothing(there, content)
        if code == 0:
            assert whole
            return at
        assert code == -signal.SIGKILL
        known = _recorded(log)
        kept = unpacked(NAME, known.segments) if known else []
        made = send_encrypted(source, open_folder(there), replace(wanted, progress=known))
        assert holds_all_or_nothing(there, content), f"killed at step {at}"
        found = made.manifest
        assert isinstance(found, SegmentManifest)
        if not whole:
            sizes = [(one.file, one.sha256) for one in found.segments[: len(kept)]]
            assert sizes == [(one.file, one.sha256) for one in kept], "whole segments are kept"
        if not immutable:
            assert len(list(there.iterdir())) == 3 + 3 + 1, f"killed at step {at}"
    raise AssertionError("it has no end")


def _recorded(log: Path) -> Progress | None:
    """What an attempt noted of how far it came."""
    if not log.exists():
        return None
    far = json.loads(log.read_text())
    return Progress(**far | {"recipients": tuple(far["recipients"])})
