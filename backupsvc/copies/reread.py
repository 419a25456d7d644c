"""Read a copy anew where it lies, and say whether it is still what was verified there.

What it is held against stands in the catalog: a plain copy's SHA-256, and of an encrypted one the
manifest, which has that of each segment.
"""

from __future__ import annotations

from dataclasses import dataclass

from backupsvc.clock import Clock
from backupsvc.copies.pace import Pace
from backupsvc.copies.small import content
from backupsvc.copies.target import Alive, Came, Digest, Target
from backupsvc.errors import TargetMissing
from policies import segments
from policies.copy_manifest import MOST, attempts, manifest_name, read_manifest
from policies.model import ArchiveCopy
from policies.pve.volid import file_of
from policies.segments import SegmentManifest


@dataclass(frozen=True, slots=True)
class Reread:
    """What was found: how it was read, "" if it need not be, and what is wrong with the copy, "" if
    nothing is.
    """

    how: str
    problem: str


def reread(
    target: Target, copy: ArchiveCopy, bandwidth: int | None, clock: Clock, alive: Alive
) -> Reread:
    """Given a target and a copy that was verified there, read it; ``bandwidth`` in KiB/s, for what
    comes back over the line. ``alive`` is called again and again.

    Raise TargetMissing if the folder is empty, as it is where a disk is not mounted, and what the
    target raises: then nothing is known of the copy.
    """
    files = target.files()
    if not files:
        raise TargetMissing(
            f"nothing at all lies in {target.what}",
            "is its disk mounted? If all there was removed: `backupsvc copy sync`",
        )
    pace = Pace(bandwidth, clock, alive)

    def came(count: int) -> None:
        pace.sent(count)
        alive()

    if copy.encrypted:
        return _encrypted(target, copy, files, came)
    # by the listing first: a file of another size need not be read to its end
    if problem := _unlike(copy.file, copy.size, files):
        return Reread("", problem)
    # without a manifest that speaks of it the file is no copy, whatever it holds
    names = attempts(manifest_name(file_of(copy.route.volid)), files)
    wanted = copy.route.volid, copy.file, copy.size, copy.sha256
    told = (read_manifest(content(target, name, MOST)) for name in names)
    if not any(one and (one.volid, one.file, one.size, one.sha256) == wanted for one in told):
        problem = f"the manifest of {copy.file} is not there any more"
        if names:
            problem = f"{names[-1]} speaks of another copy, or cannot be read"
        return Reread("", problem)
    found = target.digest(copy.file, came)
    return Reread(found.how, _differs(copy.file, copy.size, copy.sha256, found))


def _unlike(file: str, size: int, files: dict[str, int]) -> str:
    if file not in files:
        return f"{file} is not there any more"
    if files[file] != size:
        return f"{file} has {files[file]} bytes, verified were {size}"
    return ""


def _differs(file: str, size: int, sha256: str, found: Digest) -> str:
    if (found.size, found.sha256) == (size, sha256):
        return ""
    return (
        f"{file} holds {found.size} bytes with SHA-256 {found.sha256} ({found.how}), verified were "
        f"{size} with {sha256}"
    )


def _encrypted(target: Target, copy: ArchiveCopy, files: dict[str, int], came: Came) -> Reread:
    wanted = copy.route.volid, copy.file, copy.size, copy.sha256, copy.segments
    manifests = []
    how, problem = "", f"the manifest of the encrypted copy of {copy.file} is not there any more"
    for name in attempts(segments.manifest_name(copy.file), files):
        told = segments.read_manifest(content(target, name, segments.MOST))
        if not isinstance(told, SegmentManifest):
            problem = f"{name} {told.why}"
            continue
        packed = segments.packed(told.segments, hashes=False)
        if (told.volid, told.file, told.size, told.sha256, packed) == wanted:
            manifests.append(told)
        else:
            problem = f"{name} speaks of another copy than the catalog does"
    read: dict[str, Digest] = {}
    # more than one if somebody put another one beside ours: ours is the one that holds
    for manifest in manifests:
        parts = [*manifest.segments, *(one for _, one in manifest.sidecars)]
        # sizes first: of what is not all there nothing need be read
        problem = next(filter(None, (_unlike(one.file, one.size, files) for one in parts)), "")
        for one in parts:
            if problem:
                break
            if one.file not in read:
                read[one.file] = target.digest(one.file, came)
            problem = _differs(one.file, one.size, one.sha256, read[one.file])
        if not problem:
            break
    if read:
        how = f"each segment {next(iter(read.values())).how}"
    return Reread(how, problem)
