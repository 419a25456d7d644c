"""The files of a copy beside its archive, and the manifest that makes it one.

PVE lists a file as an archive by how its name ends (pve-facts 5.1); none of these names ends so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from policies.pve.volid import EXTENSION

FORMAT = 1
MANIFEST_END = ".copy.json"
MOST = 64 * 1024  # bytes of a manifest; a longer one is none
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NUMBER = r"(?:~([2-9]|[1-9][0-9]{1,5}))?"
_NAME = re.compile(r"[^/\x00-\x1f]{1,255}")


@dataclass(frozen=True, slots=True)
class Manifest:
    """What makes the bytes in ``file`` a copy of the archive ``volid``: as many bytes, with this
    SHA-256, were read back there.

    ``sidecars``: which file there holds what stood beside the archive, by the name that PVE has for
    it.
    """

    volid: str
    file: str
    size: int
    sha256: str
    sidecars: tuple[tuple[str, str], ...] = ()

    def text(self) -> bytes:
        """Return it as it is written: one line of JSON, whole only if its end is there."""
        found = {
            "copy": FORMAT,
            "volid": self.volid,
            "file": self.file,
            "size": self.size,
            "sha256": self.sha256,
        }
        return json.dumps(found | {"sidecars": dict(self.sidecars)}).encode() + b"\n"


def read_manifest(text: bytes) -> Manifest | None:
    """Given what a manifest's file holds, return it, None if that is none, cut short, or of a later
    release.
    """
    try:
        found = json.loads(text) if len(text) <= MOST and text.endswith(b"\n") else None
    except (ValueError, RecursionError):
        return None
    # another release may mean something else by the same keys
    if not isinstance(found, Mapping) or found.get("copy") != FORMAT:
        return None
    volid, file, size, sha256, sidecars = (
        found.get(key) for key in ("volid", "file", "size", "sha256", "sidecars")
    )
    if not (
        isinstance(volid, str)
        and _is_name(file)
        and isinstance(sha256, str)
        and _SHA256.fullmatch(sha256)
    ):
        return None
    if (
        # True is an int to isinstance
        type(size) is not int
        or size < 0
        or not isinstance(sidecars, Mapping)
        or not all(map(_is_name, sidecars.values()))
    ):
        return None
    return Manifest(
        volid,
        str(file),
        size,
        sha256,
        tuple((str(name), str(there)) for name, there in sidecars.items()),
    )


def part_name(name: str) -> str:
    """Given an archive's name, return under which one it is written until it is whole."""
    return f".{name}.part"


def manifest_name(name: str) -> str:
    """Given an archive's name, return its manifest's."""
    return f"{name}{MANIFEST_END}"


def sidecar_names(name: str) -> tuple[str, ...]:
    """Given an archive's name, return those of the files that PVE has beside it: notes, log,
    protection (pve-facts 5.3).
    """
    return f"{name}.notes", f"{EXTENSION.sub('', name)}.log", f"{name}.protected"


def numbered(name: str, number: int) -> str:
    """Given a name and a number from 1, return the name that is tried then, where those before it
    cannot be had back.
    """
    return name if number == 1 else f"{name}~{number}"


def attempts(name: str, files: Iterable[str]) -> list[str]:
    """Given a name and those of files, return the files that have it, numbered or not, in the order
    in which they were tried.
    """
    found = {
        int(there[1] or 1): file
        for file in files
        if (there := re.fullmatch(re.escape(name) + _NUMBER, file))
    }
    return [found[number] for number in sorted(found)]


def _is_name(value: object) -> bool:
    """Whether a value is the name of a file in the folder itself, not a path out of it."""
    return isinstance(value, str) and bool(_NAME.fullmatch(value)) and value not in (".", "..")
