"""From the files of an encrypted copy back to the archive: each file is held against its hash, the
whole against the archive's, and only then has it the archive's name.

It asks for no catalog, no Redis and no policy: this is what is left when all of them are gone. What
the files say is believed of nothing but themselves: whoever can write there can put another archive
there, encrypted to the same public keys. Only a SHA-256 that was kept elsewhere tells.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkstemp
from typing import BinaryIO

from backupsvc.copies import age
from backupsvc.errors import ArchiveError, NoRoom, UsageError
from policies.amounts import size as amount
from policies.copy_manifest import attempts
from policies.segments import (
    MANIFEST_END,
    MOST,
    Segment,
    SegmentManifest,
    Unreadable,
    manifest_name,
    read_manifest,
)

Open = Callable[[str], AbstractContextManager[BinaryIO]]
Came = Callable[[int], None]  # told how many encrypted bytes were read since
_PIECE = 1 << 20
TAKE_ANOTHER = "take another copy, or the archive itself"


@dataclass(frozen=True, slots=True)
class Copy:
    """An encrypted copy in a folder of this machine; ``manifest_file`` is its manifest's name."""

    folder: Path
    manifest_file: str
    manifest: SegmentManifest

    @property
    def size(self) -> int:
        """Return how many encrypted bytes it has."""
        return sum(self.manifest.files().values())


@dataclass(frozen=True, slots=True)
class Decrypted:
    """An archive that was decrypted, and what stood beside it. ``recipient`` is the public key of
    the identity that opened it.
    """

    files: tuple[Path, ...]
    recipient: str
    seconds: float


def find(path: Path) -> Copy:
    """Given the path of a manifest, or an archive's name in the folder of its encrypted copy, return
    the copy. Raise UsageError if there is none, ArchiveError if its manifest cannot be read.
    """
    folder = path.parent
    try:
        there = {one.name for one in os.scandir(folder)}
    except OSError as error:
        raise UsageError(
            f"{folder} cannot be listed: {error.strerror}", "name a folder of this machine"
        ) from None
    base = path.name.partition(MANIFEST_END)[0]
    # at an immutable target the last attempt is the one that came to its end
    names = [path.name] if path.name != base else attempts(manifest_name(base), there)[::-1]
    if not names or names[0] not in there:
        raise UsageError(
            f"{folder} has no manifest of an encrypted copy {path.name}",
            f"name a file that ends in {MANIFEST_END}, or the archive that it was made from",
        )
    faults = []
    for name in names:
        with _open_in(folder)(name) as file:
            found = read_manifest(file.read(MOST + 1))
        if not isinstance(found, Unreadable):
            return Copy(folder, name, found)
        faults.append(f"{name} {found.why}")
    later = "of another version" in faults[0]
    hint = "use the release that wrote it, or a later one" if later else TAKE_ANOTHER
    raise ArchiveError(f"{folder}: {'; '.join(faults)}", hint)


def not_expected(copy: Copy, sha256: str) -> None:
    """Raise ArchiveError if the copy is not that of the archive with this SHA-256."""
    if copy.manifest.sha256 != sha256.strip().lower():
        raise ArchiveError(
            f"{copy.manifest_file} speaks of an archive with SHA-256 {copy.manifest.sha256}, "
            f"expected is {sha256.strip().lower()}",
            "it is a copy of another archive, or somebody put another one in its place",
        )


def foresee(copy: Copy, output: Path) -> list[Path]:
    """Given a copy and a folder, return the files that decrypting it would make there. Raise
    UsageError if one is there already, ArchiveError if a file of the copy is missing or has another
    size, NoRoom if they do not fit.
    """
    opener = _open_in(copy.folder)
    for file, size in copy.manifest.files().items():
        with opener(file) as stream:
            _must_have(file, os.fstat(stream.fileno()).st_size, size)
    return _free(copy.manifest, output)


def decrypt(
    copy: Copy, identities: age.Identities, output: Path, came: Came = lambda count: None
) -> Decrypted:
    """Given a copy in a folder of this machine, identities and a folder, decrypt it there; return
    what came of it.

    Raise as ``foresee`` and ``decrypt_files`` do; then nothing is left there.
    """
    output.mkdir(parents=True, exist_ok=True)
    foresee(copy, output)
    return decrypt_files(copy.manifest, _open_in(copy.folder), identities, output, came)


def decrypt_files(
    manifest: SegmentManifest,
    opener: Open,
    identities: age.Identities,
    output: Path,
    came: Came = lambda count: None,
) -> Decrypted:
    """Given a manifest, how to open each of its files, identities and a folder, decrypt the archive
    and what stood beside it into that folder; return what came of it.

    Raise UsageError if none of the identities opens it, or a file of that name is there already;
    ArchiveError if anything is not what the manifest says; NoRoom. Then nothing is left there.
    """
    began = time.monotonic()
    _free(manifest, output)
    with ExitStack() as undo:
        try:
            written = _Written(output, manifest.file, undo)
            recipient = ""
            for one in manifest.segments:
                recipient = _one(one, opener, identities, written, came)
            if (written.size, written.hashed.hexdigest()) != (manifest.size, manifest.sha256):
                raise ArchiveError(
                    f"{manifest.file} is not what its manifest says: {written.size} bytes with "
                    f"SHA-256 {written.hashed.hexdigest()} came out, {manifest.size} with "
                    f"{manifest.sha256} went in",
                    TAKE_ANOTHER,
                )
            all_written = [written]
            for name, one in manifest.sidecars:
                all_written.append(beside := _Written(output, name, undo))
                _one(one, opener, identities, beside, came)
            # what stands beside it first: from the archive's name on all of it is there
            files = [one.name_it() for one in reversed(all_written)]
        except OSError as error:
            raise ArchiveError(
                f"{manifest.file} was not decrypted into {output}: {error.strerror}",
                "check the room and the rights there",
            ) from None
        undo.pop_all()
    return Decrypted(tuple(reversed(files)), recipient, time.monotonic() - began)


def _one(
    wanted: Segment, opener: Open, identities: age.Identities, written: _Written, came: Came
) -> str:
    """Decrypt one file; return the public key of the identity that opened it."""
    written.most = written.size + wanted.length
    with opener(wanted.file) as stream:
        cipher = _Cipher(stream, wanted.size, came)
        recipient, fault = "", ""
        try:
            recipient = age.decrypt(cipher.read, written.write, identities)
        except age.WrongKey:
            fault = "wrong key"
        except age.NotAge as error:
            fault = str(error)
        # a byte that changed in it explains what age says of it
        while cipher.read(_PIECE):
            pass
    _must_have(wanted.file, cipher.size, wanted.size)
    if cipher.hashed.hexdigest() != wanted.sha256:
        raise ArchiveError(
            f"{wanted.file} is not as it was written: its SHA-256 is "
            f"{cipher.hashed.hexdigest()}, the manifest says {wanted.sha256}",
            TAKE_ANOTHER,
        )
    if fault == "wrong key":
        raise UsageError(
            f"none of the identities opens {wanted.file}",
            "give the identity of one of the recipients that its manifest names",
        )
    if fault or written.size != written.most:
        said = fault or f"holds {written.size - written.most + wanted.length} bytes of the archive"
        raise ArchiveError(f"{wanted.file} {said}, unlike what its manifest says", TAKE_ANOTHER)
    return recipient


def _must_have(file: str, size: int, wanted: int) -> None:
    if size != wanted:
        raise ArchiveError(
            f"{file} has {size} bytes, its manifest says {wanted}: it is not all there, or another",
            TAKE_ANOTHER,
        )


def _free(manifest: SegmentManifest, output: Path) -> list[Path]:
    """The files that will be made. Raise UsageError if one is there, NoRoom if they do not fit."""
    names = [manifest.file, *(name for name, _ in manifest.sidecars)]
    for name in names:
        if os.path.lexists(output / name):
            raise _exists(output / name)
    needed = manifest.size + sum(one.length for _, one in manifest.sidecars)
    # the folder may be one that is still to be made
    there = next(one for one in (output, *output.absolute().parents) if one.is_dir())
    free = shutil.disk_usage(there).free
    if free < needed:
        raise NoRoom(
            f"{output} has no room: {amount(needed)} are to come, {amount(free)} are free",
            "name another folder with --output",
        )
    return [output / name for name in names]


def _exists(path: Path) -> UsageError:
    return UsageError(f"{path} exists already and is not overwritten", "name another folder")


def _open_in(folder: Path) -> Open:
    """How files in a folder of this machine are opened: no links, and nothing but files."""

    @contextmanager
    def opener(name: str) -> Iterator[BinaryIO]:
        try:
            # of a pipe the opening alone would wait for ever
            number = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            raise ArchiveError(f"{folder / name} is missing", TAKE_ANOTHER) from None
        except OSError as error:
            raise ArchiveError(
                f"{folder / name} cannot be read: {error.strerror}", "look at its rights"
            ) from None
        # before it is made a file of Python's: of a folder that cannot be
        if not stat.S_ISREG(os.fstat(number).st_mode):
            os.close(number)
            raise ArchiveError(f"{folder / name} is no file", TAKE_ANOTHER)
        with os.fdopen(number, "rb", buffering=0) as file:
            try:
                yield file
            except OSError as error:
                raise ArchiveError(
                    f"{folder / name} cannot be read: {error.strerror}", "look at that disk"
                ) from None

    return opener


class _Cipher:
    """Encrypted bytes as they are read, hashed, and one more at most than there should be."""

    def __init__(self, stream: BinaryIO, most: int, came: Came) -> None:
        self._stream, self._most, self._came = stream, most, came
        self._piece, self._at = b"", 0
        self.size, self.hashed = 0, hashlib.sha256()

    def read(self, size: int) -> bytes:
        """Return up to so many bytes; none at the end."""
        if self._at == len(self._piece):
            want = min(_PIECE, self._most + 1 - self.size)
            self._piece, self._at = (self._stream.read(want) if want > 0 else b""), 0
            self.size += len(self._piece)
            self.hashed.update(self._piece)
            self._came(len(self._piece))
        found = self._piece[self._at : self._at + size]
        self._at += len(found)
        return found


class _Written:
    """A file under a temporary name, hashed as it is written; ``most`` bytes may be in it."""

    def __init__(self, folder: Path, name: str, undo: ExitStack) -> None:
        self._to = folder / name
        number, temporary = mkstemp(prefix=f".{name}.", suffix=".part", dir=folder)
        self._temporary = Path(temporary)
        undo.callback(self._forget)
        self._file = os.fdopen(number, "wb")
        self._named = False
        self.size, self.most, self.hashed = 0, 0, hashlib.sha256()

    def write(self, data: bytes) -> None:
        """Add bytes, as long as they are not more than there may be."""
        self.size += len(data)
        if self.size > self.most:
            raise ArchiveError(
                f"more comes out of a file of {self._to.name} than its manifest says", TAKE_ANOTHER
            )
        try:
            self._file.write(data)
        except OSError as error:  # not a fault of what is read meanwhile
            raise ArchiveError(
                f"{self._to.name} was not decrypted into {self._to.parent}: {error.strerror}",
                "check the room and the rights there",
            ) from None
        self.hashed.update(data)

    def name_it(self) -> Path:
        """Give it its name, never one that is taken; return that."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        try:
            self._to.hardlink_to(self._temporary)
            self._temporary.unlink()
        except FileExistsError:
            raise _exists(self._to) from None
        except OSError:  # not every file system has hard links
            if os.path.lexists(self._to):
                raise _exists(self._to) from None
            self._temporary.rename(self._to)
        self._named = True
        return self._to

    def _forget(self) -> None:
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            (self._to if self._named else self._temporary).unlink()
