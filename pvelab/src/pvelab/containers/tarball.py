"""Container archives: a tar stream as vzdump's tar makes it, written from trees and unpacked into
them (PVE/LXC/Create.pm).

The configuration comes first (``./etc/vzdump/pct.conf``, ``pct.fw``), owners are numbers, and the
stream fills whole records.
"""

from __future__ import annotations

import fnmatch
import io
import os
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

from pvelab.containers.trees import Tree
from pvelab.guests.archive_config import READERS
from pvelab.guests.compression import CompressorFailed, Decompressed, Sink
from pvelab.kernel import LabError

CONFIG_FOLDER = "./etc/vzdump"
_CONFIGS = (f"{CONFIG_FOLDER}/pct.conf", f"{CONFIG_FOLDER}/vps.conf")
# what vzdump leaves out unless stdexcludes=0
STANDARD_EXCLUDES = ("./tmp/?*", "./var/tmp/?*", "./var/run/?*.pid")
_CHUNK = 1024 * 1024


class TarFailed(Exception):
    """The tar program gave up: ``lines`` are what it (and its decompressor) printed."""

    def __init__(self, *lines: str) -> None:
        super().__init__(lines[-1])
        self.lines = lines


@dataclass
class Counted:
    """A stream between two programs: counts its bytes and tells ``watch`` how many they are so
    far.
    """

    stream: Sink | Decompressed
    watch: Callable[[int], None]
    total: int = 0

    def write(self, data: bytes) -> int:
        """Hand some bytes on."""
        cast(Sink, self.stream).write(data)
        self._count(len(data))
        return len(data)

    def read(self, size: int) -> bytes:
        """Take some bytes."""
        data = cast(Decompressed, self.stream).read(size)
        self._count(len(data))
        return data

    def _count(self, size: int) -> None:
        self.total += size
        self.watch(self.total)


def write_tar(
    sink: Sink,
    configs: Mapping[str, bytes],
    trees: Mapping[str, Tree],
    excluded: tuple[str, ...],
    watch: Callable[[int], None],
) -> int:
    """Given configurations and the trees by where they are mounted, write the archive; return the
    bytes written, all records.
    """
    counted = Counted(sink, watch)
    with tarfile.open(fileobj=cast(BinaryIO, counted), mode="w|", format=tarfile.GNU_FORMAT) as tar:
        for name, content in configs.items():
            entry = tarfile.TarInfo(f"{CONFIG_FOLDER}/{name}")
            entry.size, entry.mode = len(content), 0o644
            tar.addfile(entry, io.BytesIO(content))
        for place, tree in trees.items():
            base = "." + place.rstrip("/")
            for inside, path in _walk(tree.root, ".", base, excluded):
                entry = tar.gettarinfo(path, arcname=base + inside[1:])
                entry.uid, entry.gid, entry.mode = tree.owner(inside, path.lstat())
                # names of this machine mean nothing in a container
                entry.uname = entry.gname = ""
                if entry.isreg():
                    with path.open("rb") as file:
                        tar.addfile(entry, file)
                else:
                    tar.addfile(entry)
    return counted.total


def _walk(
    path: Path, name: str, base: str, excluded: tuple[str, ...]
) -> Iterator[tuple[str, Path]]:
    """Yield a file's name and path, then what is below it, by name; nothing of what is left out.

    ``base`` stands before a name in the archive, which is what the patterns are held against.
    """
    full = base + name[1:]
    # what mkfs makes in every file system is left out wherever it lies
    if full.endswith("/lost+found") or any(fnmatch.fnmatchcase(full, one) for one in excluded):
        return
    yield name, path
    if path.is_dir() and not path.is_symlink():
        for child in sorted(path.iterdir()):
            yield from _walk(child, f"{name}/{child.name}", base, excluded)


def extract_pct(path: Path) -> str:
    """Return the raw configuration in a container's archive. Raise LabError 500 in PVE's words if
    there is none.
    """
    try:
        with (
            Decompressed(path, str(path)) as stream,
            tarfile.open(fileobj=cast(BinaryIO, stream), mode="r|") as tar,
        ):
            for entry in tar:
                if "./" + entry.name.removeprefix("./") in _CONFIGS:
                    content = tar.extractfile(entry)
                    return content.read().decode("utf-8", "replace") if content else ""
    except (tarfile.TarError, CompressorFailed):
        # tar's own complaint goes to the node's journal, PVE says what follows
        pass
    raise LabError(500, "ERROR: archive contains no configuration file\n")


@dataclass
class Unpacked:
    """What unpacking did: ``total`` bytes read, and what could not be made (tar's lines)."""

    total: int = 0
    complaints: list[str] = field(default_factory=list)


def unpack(path: Path, trees: Mapping[str, Tree], watch: Callable[[int], None]) -> Unpacked:
    """Given an archive and the trees by where they are mounted, fill them. Raise TarFailed with
    tar's lines if it is damaged.
    """
    result = Unpacked()
    with Decompressed(path, str(path)) as stream:
        counted = Counted(stream, watch)
        try:
            with tarfile.open(fileobj=cast(BinaryIO, counted), mode="r|") as tar:
                for entry in tar:
                    if not f"./{entry.name.removeprefix('./')}".startswith(CONFIG_FOLDER):
                        _put(tar, entry, trees, result)
        except tarfile.TarError as error:
            raise _broken(stream, "tar: Unexpected EOF in archive") from error
        while counted.read(_CHUNK):
            """tar reads to the last record."""
        if stream.failure:
            raise _broken(stream, "tar: Unexpected EOF in archive")
    for tree in trees.values():
        tree.save()
    result.total = counted.total
    return result


def _broken(stream: Decompressed, text: str) -> TarFailed:
    printed = [stream.failure] if stream.failure else []
    return TarFailed(*printed, text, "tar: Error is not recoverable: exiting now")


def _put(
    tar: tarfile.TarFile, entry: tarfile.TarInfo, trees: Mapping[str, Tree], result: Unpacked
) -> None:
    tree, inside = _place(entry.name, trees)
    target = tree.root / inside
    linked = _place(entry.linkname, trees)[1] if entry.islnk() else "."
    # neither a member nor what it links to may lead out of the container
    root = tree.root.resolve()
    if any(
        ".." in Path(name).parts
        or not (name == "." or (root / name).parent.resolve().is_relative_to(root))
        for name in (inside, linked)
    ):
        result.complaints.append(f"tar: {entry.name}: Cannot open: Permission denied")
        return
    if not (entry.isdir() or entry.isreg() or entry.issym() or entry.islnk()):
        result.complaints.append(f"tar: {entry.name}: Cannot mknod: Operation not permitted")
        return
    if entry.isdir():
        target.mkdir(parents=True, exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        # nothing is written through a link that an earlier member made
        target.unlink(missing_ok=True)
    if entry.issym():
        target.symlink_to(entry.linkname)
    elif entry.islnk():
        os.link(tree.root / linked, target, follow_symlinks=False)
    elif entry.isreg():
        content = tar.extractfile(entry)
        with target.open("wb") as file:
            while content and (chunk := content.read(_CHUNK)):
                file.write(chunk)
    if not entry.issym():
        tree.owners[inside] = (entry.uid, entry.gid, entry.mode)


def _place(member: str, trees: Mapping[str, Tree]) -> tuple[Tree, str]:
    """Given a member's name, return the tree that it belongs to, the one mounted nearest, and its
    ``./path`` there.
    """
    name = "/" + member.removeprefix(".").strip("/")
    place = max((p for p in trees if name == p or name.startswith(p.rstrip("/") + "/")), key=len)
    inside = "." + name.removeprefix(place.rstrip("/"))
    return trees[place], "." if inside == "./" else inside


READERS["tar"] = extract_pct
