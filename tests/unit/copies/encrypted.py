"""Encrypted copies for tests: keys, orders with short segments, and what lies at the target."""

from __future__ import annotations

from pathlib import Path

from pyrage import x25519

from backupsvc.copies import age
from backupsvc.copies.send import Order
from policies.segments import SegmentManifest, manifest_name, own_files, read_manifest
from tests.unit.copies.scene import BESIDE, NAME, VOLID, listed

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
