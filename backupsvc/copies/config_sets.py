"""A kept configuration as a file: a plain tar of text files, packed. Equal content gives equal
bytes, and what is read back is taken for hostile: it may come from a target.
"""

from __future__ import annotations

import io
import os
import re
import tarfile
from collections.abc import Mapping
from pathlib import Path

from backports import zstd

from backupsvc.copies.members import must_be_ours
from backupsvc.copies.snapshots import CONFIG, taken_at
from backupsvc.errors import ArchiveError, CopyError
from policies.amounts import size as amount
from policies.cluster_config import ConfigSet

FOLDER = "config"  # of the state directory
SAID = "not-read.txt"  # what was not read, and what in part
MOST_FILES, MOST_BYTES = 50_000, 32 * 1024 * 1024  # of one set, in all
_LINE = re.compile(r"(not read|in part): ([^:]+): (.*)")
# what our own files need is far below
_NARROW: dict[int, int] = {zstd.DecompressionParameter.window_log_max: 24}
_CHECKED: dict[int, int] = {zstd.CompressionParameter.checksum_flag: 1}


def pack(kept: ConfigSet) -> bytes:
    """Given a configuration, return it as a file's bytes. Raise CopyError if it is too large to be
    read again.
    """
    said = "".join(
        f"{word}: {path}: {why}\n"
        for word, told in (("not read", kept.not_read), ("in part", kept.in_part))
        for path, why in sorted(told.items())
    )
    texts = {SAID: said} | dict(kept.files)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, text in sorted(texts.items()):
            data = text.encode()
            member = tarfile.TarInfo(name)
            # all else is fixed too: no time, no owner
            member.size, member.mode = len(data), 0o600
            tar.addfile(member, io.BytesIO(data))
    if len(texts) > MOST_FILES or packed.tell() > MOST_BYTES:
        raise CopyError(
            f"the cluster's configuration is too large to be kept: {len(texts)} files, "
            f"{amount(packed.tell())}",
            "look whose notes or rules are that large",
        )
    return zstd.compress(packed.getvalue(), options=_CHECKED)


def unpack(data: bytes, what: str) -> ConfigSet:
    """Given a file's bytes and its name, return the configuration in it. Raise ArchiveError if it
    is none, or larger than one that was kept.
    """
    texts: dict[str, str] = {}
    try:
        with zstd.open(io.BytesIO(data), "rb", options=_NARROW) as packed:
            plain = packed.read(MOST_BYTES + 1)
        if len(plain) > MOST_BYTES:
            raise ValueError("it is larger than any that was kept")
        with tarfile.open(fileobj=io.BytesIO(plain), mode="r:") as tar:
            for member in tar:
                must_be_ours(member, texts, MOST_FILES)
                file = tar.extractfile(member)
                text = file.read(MOST_BYTES).decode() if file else ""
                if len(text.encode()) != member.size:
                    raise ValueError(f"{member.name} is cut off")
                texts[member.name] = text
        found: dict[str, dict[str, str]] = {"not read": {}, "in part": {}}
        for line in texts.pop(SAID).splitlines():
            if not (told := _LINE.fullmatch(line)):
                raise ValueError(f"{SAID} has another form")
            found[told[1]][told[2]] = told[3]
    except (zstd.ZstdError, tarfile.TarError, EOFError, ValueError, KeyError, OSError) as error:
        raise ArchiveError(
            f"{what} is no kept configuration: {error or type(error).__name__}",
            "take another day's (`backupsvc catalog config list`), or the one at a copy target",
        ) from None
    return ConfigSet(texts, found["not read"], found["in part"])


def folder_of(state_dir: Path) -> Path:
    """Given the state directory, return where sets lie, for this user alone; made if it is not
    there. Raise CopyError if it cannot be.
    """
    folder = state_dir / FOLDER
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # made by hand, it may be open to others
        folder.chmod(0o700)
    except OSError as error:
        raise CopyError(
            f"{folder} cannot be made: {error.strerror}",
            "correct the rights of BACKUPSVC_STATE_DIR",
        ) from None
    return folder


def kept_in(state_dir: Path) -> Mapping[int, Path]:
    """Given the state directory, return the sets that lie there by their times (epoch seconds),
    oldest first. Raise CopyError if the folder cannot be listed.
    """
    folder = state_dir / FOLDER
    try:
        names = [path.name for path in folder.iterdir()]
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise CopyError(
            f"{folder} cannot be listed: {error.strerror}", "correct its rights"
        ) from None
    found = {at: name for name in names if (at := taken_at(name, CONFIG)) is not None}
    return {at: folder / name for at, name in sorted(found.items())}


def read(path: Path) -> ConfigSet:
    """Given a set's file, return the configuration in it. Raise ArchiveError if it cannot be
    read.
    """
    try:
        # a link would lead to a file that nobody kept
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(file, "rb") as opened:
            data = opened.read(MOST_BYTES + 1)
    except OSError as error:
        raise ArchiveError(
            f"{path} cannot be read: {error.strerror}", "look at its rights and its disk"
        ) from None
    return unpack(data, path.name)
