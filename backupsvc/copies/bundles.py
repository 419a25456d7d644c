"""A bundle for the day when all else is gone: a plain tar of files, packed, the last of which has the
checksums of all others. What is opened is taken for hostile: it may come from a target.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import tarfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO, BinaryIO

from backports import zstd

from backupsvc.copies.members import must_be_ours
from backupsvc.copies.target import CHUNK, Alive
from backupsvc.errors import ArchiveError, NoRoom, UsageError

SUMS = "SHA256SUMS"
# what is where in a bundle; the catalog's name goes on with .sqlite or .pgdump
CATALOG, POLICY, SETTINGS, SECRETS = "catalog", "policy.yaml", "settings.env", "secrets.age"
CLUSTER, KEPT, FILES = "cluster/", "kept/", "files/"
MOST_FILES = 200_000
MOST_SUMS = 64 << 20  # bytes
SPARE = 64 << 20  # bytes of a disk that are left alone: the service itself may live there
_SUM = re.compile(r"([0-9a-f]{64})  (\S.*)")
# its own checksum as well: it tells of what was cut off or changed on the way
_CHECKED: dict[int, int] = {zstd.CompressionParameter.checksum_flag: 1}
# what a stranger's file may ask for of our memory: 128 MiB
_NARROW: dict[int, int] = {zstd.DecompressionParameter.window_log_max: 27}


def shell_quoted(value: str) -> str:
    """Given a variable's value, return it as it stands in a file of settings: one word, whatever it
    holds.
    """
    return "'" + value.replace("'", "'\\''") + "'"


def pack(entries: Iterable[tuple[str, bytes | Path]], to: Path, alive: Alive) -> None:
    """Given names with what they hold (bytes, or a file), write the bundle. Raise OSError as the disk
    does. ``alive`` is called again and again meanwhile.
    """
    sums: list[str] = []
    with (
        zstd.open(to, "wb", options=_CHECKED) as stream,
        tarfile.open(fileobj=stream, mode="w|", format=tarfile.GNU_FORMAT) as tar,
    ):
        for name, held in entries:
            if isinstance(held, Path):
                with held.open("rb") as file:
                    _add(tar, name, file, held.stat().st_size, sums, alive)
            else:
                _add(tar, name, io.BytesIO(held), len(held), sums, alive)
        text = "".join(sums).encode()
        _add(tar, SUMS, io.BytesIO(text), len(text), [], alive)


def _add(
    tar: tarfile.TarFile, name: str, file: BinaryIO, size: int, sums: list[str], alive: Alive
) -> None:
    member = tarfile.TarInfo(name)
    # all else is fixed: no time, no owner
    member.size, member.mode = size, 0o600
    reading = _Summed(file, alive)
    tar.addfile(member, reading)
    sums.append(f"{reading.sha256.hexdigest()}  {name}\n")


class _Summed(io.RawIOBase):
    """A file that is hashed while it is read."""

    def __init__(self, file: BinaryIO, alive: Alive) -> None:
        self._file, self._alive, self.sha256 = file, alive, hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        self._alive()
        data = self._file.read(size)
        self.sha256.update(data)
        return data


def unpack(stream: BinaryIO, what: str, into: Path) -> tuple[str, ...]:
    """Given a bundle's bytes, its name and a folder that is not there yet, write its files there for
    this user alone and return their names; nothing is left there unless all of them are as their
    checksums say.

    Raise ArchiveError if it is no bundle or was damaged, NoRoom if it does not fit, UsageError if
    the folder cannot be made.
    """
    try:
        into.mkdir(mode=0o700, parents=True)
    except OSError as error:
        raise UsageError(
            f"{into} cannot be made: {error.strerror}", "name a folder that is not there yet"
        ) from None
    try:
        found = _write_all(stream, into)
    except (zstd.ZstdError, tarfile.TarError, EOFError, ValueError, KeyError) as error:
        _remove(into)
        raise ArchiveError(
            f"{what} is no bundle, or was damaged: {error or type(error).__name__}",
            "take another day's, or the one at another copy target",
        ) from None
    except BaseException:
        _remove(into)
        raise
    return found


def _write_all(stream: BinaryIO, into: Path) -> tuple[str, ...]:
    summed: dict[str, str] = {}
    told: dict[str, str] | None = None
    with (
        zstd.open(stream, "rb", options=_NARROW) as plain,
        tarfile.open(fileobj=plain, mode="r|") as tar,
    ):
        for member in tar:
            if told is not None:
                raise ValueError(f"{SUMS} is not the last in it")
            must_be_ours(member, summed, MOST_FILES)
            file = tar.extractfile(member)
            if file is None:
                raise ValueError(f"{member.name!r} is no file")
            if member.name == SUMS:
                text, told = file.read(MOST_SUMS + 1), {}
                if len(text) > MOST_SUMS:
                    raise ValueError(f"{SUMS} is larger than any of ours")
                for line in text.decode().splitlines():
                    if not (one := _SUM.fullmatch(line)):
                        raise ValueError(f"{SUMS} has another form")
                    told[one[2]] = one[1]
                continue
            # what its name leads through, for this user alone
            folder = into
            for part in member.name.split("/")[:-1]:
                folder /= part
                if folder.is_file():
                    raise ValueError(f"a file in it is in another one: {member.name}")
                folder.mkdir(mode=0o700, exist_ok=True)
            summed[member.name] = _write(file, member.size, into / member.name)
        # the end of what was packed has its checksum
        while rest := plain.read(CHUNK):
            if rest.strip(b"\0"):
                raise ValueError("it goes on after its end")
    if told != summed:
        raise ValueError("its files are not those that its checksums name")
    return tuple(summed)


def _write(source: IO[bytes], size: int, path: Path) -> str:
    """Write one file and return the SHA-256 of its bytes."""
    sha256 = hashlib.sha256()
    free = shutil.disk_usage(path.parent).free
    if size > free - SPARE:
        raise NoRoom(
            f"{path} takes {size} bytes, and {free} are free, of which {SPARE} are left alone",
            "open it where there is more room",
        )
    left = size
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
        while left > 0 and (data := source.read(min(left, CHUNK))):
            file.write(data)
            sha256.update(data)
            left -= len(data)
    if left:
        raise ValueError(f"{path.name} is cut off")
    return sha256.hexdigest()


def _remove(folder: Path) -> None:
    with suppress(OSError):
        shutil.rmtree(folder)
