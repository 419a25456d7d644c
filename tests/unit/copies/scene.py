"""An archive to be copied, a folder to copy it to, and a target that breaks, lies, or dies at a
step that can be chosen.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import BinaryIO

from backupsvc.copies.directory import DirectoryTarget
from backupsvc.copies.send import Order, Watch, send
from backupsvc.copies.sources import LocalSource
from backupsvc.copies.target import Came, Digest, Space, Target, Writing
from policies.copy_decision import Progress
from policies.copy_manifest import manifest_name, part_name, read_manifest
from policies.model import Directory
from policies.pve.volid import parse_name

NAME = "vzdump-qemu-108-2026_03_09-21_00_02.vma.zst"
STEM = NAME.removesuffix(".vma.zst")
VOLID = f"local:backup/{NAME}"
PART, MANIFEST = part_name(NAME), manifest_name(NAME)
BESIDE = {
    f"{NAME}.notes": b"web, backupsvc 01K",
    f"{STEM}.log": b"INFO: starting\n",
    f"{NAME}.protected": b"",
}
WHOLE = {NAME, MANIFEST, *BESIDE}


def write_archive(folder: Path, size: int = 3_000_000, seed: int = 108) -> LocalSource:
    """Given a folder, write an archive of noise there with all that stands beside one."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / NAME).write_bytes(random.Random(seed).randbytes(size))
    for name, data in BESIDE.items():
        (folder / name).write_bytes(data)
    return LocalSource(folder / NAME)


def directory(folder: Path) -> DirectoryTarget:
    folder.mkdir(parents=True, exist_ok=True)
    return DirectoryTarget("usb", Directory(str(folder)))


def order(**changes: object) -> Order:
    return Order(VOLID, **({"checkpoint": 1 << 20} | changes))  # type: ignore[arg-type]


def listed(folder: Path) -> set[str]:
    """What PVE would list as archives."""
    return {file.name for file in folder.iterdir() if parse_name(file.name)}


def holds_all_or_nothing(folder: Path, content: bytes) -> bool:
    """Given a target's folder, return whether it has all of the archive under its name; fail if
    what it has is not all of it.
    """
    assert listed(folder) <= {NAME}
    there = (folder / NAME).read_bytes() if (folder / NAME).exists() else None
    assert there in (None, content)
    manifest = (
        read_manifest((folder / MANIFEST).read_bytes()) if (folder / MANIFEST).exists() else None
    )
    if manifest:
        assert there is not None and manifest.sha256 == hashlib.sha256(there).hexdigest()
    return there is not None


@dataclass
class Watched:
    """A target through which all goes, and each step of which is told to ``step`` before it is
    done.
    """

    inner: Target
    step: Callable[[str], None] = lambda said: None
    digested: list[str] = field(default_factory=list)

    @property
    def what(self) -> str:
        return self.inner.what

    def space(self) -> Space | None:
        self.step("space")
        return self.inner.space()

    def files(self) -> dict[str, int]:
        self.step("files")
        return self.inner.files()

    def read(self, name: str, offset: int = 0) -> AbstractContextManager[BinaryIO]:
        self.step(f"read {name}")
        return self.inner.read(name, offset)

    @contextmanager
    def write(self, name: str, offset: int = 0) -> Iterator[Writing]:
        self.step(f"open {name}")
        with self.inner.write(name, offset) as writing:
            yield _Steps(writing, self.step)

    def rename(self, old: str, new: str) -> None:
        self.step(f"rename {old}")
        self.inner.rename(old, new)

    def remove(self, name: str) -> None:
        self.step(f"remove {name}")
        self.inner.remove(name)

    def digest(self, name: str, came: Came) -> Digest:
        self.step(f"digest {name}")
        self.digested.append(name)
        return self.inner.digest(name, came)


@dataclass
class _Steps:
    inner: Writing
    step: Callable[[str], None]

    def write(self, data: bytes) -> None:
        half = len(data) // 2
        self.step("write")
        self.inner.write(data[:half])
        self.step("write on")
        self.inner.write(data[half:])

    def sync(self) -> None:
        self.step("sync")
        self.inner.sync()
        self.step("synced")


def killing(at: int) -> Callable[[str], None]:
    """Return a step that ends the process at its ``at``-th call, as ``kill -9`` does."""
    left = at

    def step(said: str) -> None:
        nonlocal left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1

    return step


def forked(work: Callable[[], None]) -> int:
    """Do some work in a child; return 0 if it came to its end, the signal if it was killed, 1 if it
    raised.
    """
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def killed_everywhere(
    source: LocalSource,
    folder: Path,
    open_folder: Callable[[Path], Target],
    *,
    remembers: bool = True,
    immutable: bool = False,
    every: int = 1,
) -> int:
    """Kill a copy at each ``every``-th of its steps, into a folder of its own, and finish it;
    return how often it was killed.

    ``open_folder`` opens a target in the process that uses it; ``remembers``: what an attempt
    recorded is known to the next.
    """
    content = source.path.read_bytes()
    for killed, at in enumerate(range(0, 10_000, every)):
        there, log = folder / f"there{at}", folder / f"log{at}"
        there.mkdir()

        def attempt(there: Path = there, log: Path = log, at: int = at) -> None:
            watch = Watch(record=lambda far: write_whole(log, json.dumps(asdict(far))))
            send(
                source, Watched(open_folder(there), killing(at)), order(immutable=immutable), watch
            )

        code = forked(attempt)
        whole = (
            whole_by_manifest(there, content) if immutable else holds_all_or_nothing(there, content)
        )
        if code == 0:
            assert whole
            return killed
        assert code == -signal.SIGKILL
        known = Progress(**json.loads(log.read_text())) if remembers and log.exists() else None
        made = send(source, open_folder(there), order(immutable=immutable, progress=known))
        assert (there / made.manifest.file).read_bytes() == content, f"killed at step {at}"
        if immutable:
            assert whole_by_manifest(there, content)
        else:
            assert {file.name for file in there.iterdir()} == WHOLE, f"killed at step {at}"
        if not whole:
            assert made.moved in {0, len(content), len(content) - (known.sent if known else 0)}
    raise AssertionError("it has no end")


def write_whole(path: Path, text: str) -> None:
    path.with_suffix(".new").write_text(text, encoding="utf-8")
    path.with_suffix(".new").rename(path)


def whole_by_manifest(folder: Path, content: bytes) -> bool:
    """Given an immutable target's folder, return whether a manifest speaks of a copy; fail if one
    speaks of what is not whole.
    """
    read = [
        read_manifest(file.read_bytes())
        for file in folder.iterdir()
        if file.name.startswith(MANIFEST)
    ]
    found = [one for one in read if one]
    for one in found:
        assert (folder / one.file).read_bytes() == content
    return bool(found)
