"""From a bundle back to a state directory that a service can be run with.

What is in the bundle is believed of nothing but itself: whoever can write where it lay could have put
another one there. Nothing of it is run, and a checksum that was kept elsewhere tells.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from backupsvc import setting_names
from backupsvc.copies import age
from backupsvc.copies.bundles import (
    CATALOG,
    FILES,
    KEPT,
    POLICY,
    SECRETS,
    SETTINGS,
    shell_quoted,
    unpack,
)
from backupsvc.copies.config_sets import FOLDER
from backupsvc.errors import ArchiveError, UsageError
from backupsvc.settings import Settings

ENVIRONMENT, KEYS = "backupsvc.env", "keys"
HOST, TOKEN = "BACKUPSVC_PVE__HOST", "BACKUPSVC_PVE__TOKEN"
_SETTING = re.compile(r"(BACKUPSVC_[A-Z0-9_]{1,100})=(?:'((?:[^'\n]|'\\'')*)')?")
_AGE = ".age"


@dataclass(frozen=True, slots=True)
class Opened:
    """What came of it: ``files`` in the ``folder``, the file of settings ``environment``, which
    variables have no value in it (``missing``), and the cluster's ``host`` as the bundle names it.

    ``dump``: the catalog as PostgreSQL's dump, which somebody must restore, None if it is in place.
    """

    folder: Path
    files: int
    sha256: str
    environment: Path
    host: str
    missing: tuple[str, ...]
    dump: Path | None


@dataclass(frozen=True, slots=True)
class Secrets:
    """Values of variables, and files' contents of those that name a file."""

    values: Mapping[str, str] = field(default_factory=dict)
    keys: Mapping[str, str] = field(default_factory=dict)


def open_bundle(
    bundle: Path,
    folder: Path,
    identities: age.Identities | None,
    *,
    sha256: str | None = None,
    token: str = "",
) -> Opened:
    """Given a bundle, a folder that is not there yet, and who can open what is encrypted (None:
    nobody), make a state directory of it. ``sha256`` is what the file's must be, ``token`` PVE's
    where the bundle has none.

    Raise ArchiveError if it is no bundle, was damaged or has another SHA-256, UsageError if it is
    encrypted and no identity opens it, or the folder is there; NoRoom.
    """
    try:
        with bundle.open("rb") as file:
            summed = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UsageError(
            f"{bundle} cannot be read: {error.strerror}", "name a bundle that this user may read"
        ) from None
    # before a byte of it is decrypted or unpacked
    if sha256 is not None and summed != sha256.lower():
        raise ArchiveError(
            f"{bundle} has the SHA-256 {summed}, not {sha256.lower()}",
            "it is another bundle, or was changed: take another one",
        )
    with _plain(bundle, folder, identities) as stream:
        names = unpack(stream, bundle.name, folder)
    secrets = _secrets(folder, identities)
    if token:
        # the bundle's own token wins over the one that was typed
        secrets = Secrets({TOKEN: token, **secrets.values}, secrets.keys)
    # a state directory keeps the cluster's configurations under another name than a bundle
    for name in names:
        if name.startswith(KEPT):
            (folder / FOLDER).mkdir(mode=0o700, exist_ok=True)
            (folder / name).rename(folder / FOLDER / name.removeprefix(KEPT))
    # it stays where something else lies in it: nothing is thrown away here
    with suppress(OSError):
        (folder / KEPT).rmdir()
    if (plain := folder / f"{CATALOG}.sqlite").is_file():
        plain.rename(folder / "catalog.db")
    dump = folder / f"{CATALOG}.pgdump"
    here = dump if dump.is_file() else None
    host, missing = _write_environment(folder, secrets)
    return Opened(folder, len(names), summed, folder / ENVIRONMENT, host, missing, here)


@contextmanager
def _plain(bundle: Path, folder: Path, identities: age.Identities | None) -> Iterator[BinaryIO]:
    """The bundle's bytes; of an encrypted one decrypted into a file beside the folder, which is gone
    afterwards.
    """
    if not bundle.name.endswith(_AGE):
        with bundle.open("rb") as file:
            yield file
        return
    if identities is None:
        raise UsageError(f"{bundle} is encrypted", "give --identity FILE, one of its recipients'")
    beside = folder.with_name(f".{folder.name}.decrypted")
    beside.parent.mkdir(parents=True, exist_ok=True)
    written = os.open(beside, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    # it has no name while it is there: nothing is left, however this ends
    beside.unlink()
    with os.fdopen(written, "w+b") as plain:
        try:
            with bundle.open("rb") as file:
                age.decrypt(file.read, plain.write, identities)
        except age.WrongKey:
            raise UsageError(
                f"none of the identities opens {bundle}", "take the kit of one of its recipients"
            ) from None
        except age.NotAge as error:
            raise ArchiveError(f"{bundle} {error}", "take another day's bundle") from None
        plain.seek(0)
        yield plain


def _secrets(folder: Path, identities: age.Identities | None) -> Secrets:
    sealed = folder / SECRETS
    if identities is None or not sealed.is_file():
        return Secrets()
    plain = io.BytesIO()
    try:
        with sealed.open("rb") as file:
            age.decrypt(file.read, plain.write, identities)
        told = json.loads(plain.getvalue())
        values, keys = dict(told["values"]), dict(told["keys"])
        if not all(
            # they become lines of a file that a shell reads
            isinstance(one, str) and one.isascii()
            for part in (values, keys)
            for one in part.values()
        ):
            raise ValueError
    except age.WrongKey:
        return Secrets()  # what is missing is said
    except (age.NotAge, ValueError, KeyError, TypeError):
        raise ArchiveError(
            f"{sealed} holds other things than secrets of ours", "take another day's bundle"
        ) from None
    return Secrets(values, keys)


def _write_environment(folder: Path, secrets: Secrets) -> tuple[str, tuple[str, ...]]:
    """From the bundle's settings write the file of them, for this user alone; return the cluster's
    host, and what has no value in it.
    """
    text = ""
    with suppress(OSError, UnicodeDecodeError):
        text = (folder / SETTINGS).read_text(encoding="utf-8")
    # only variables that there are, and never what a shell would run
    settings: dict[str, str | None] = {}
    for line in text.splitlines():
        if told := _SETTING.fullmatch(line):
            settings[told[1]] = None if told[2] is None else told[2].replace("'\\''", "'")
    for strange in setting_names.unknown(Settings, settings):
        del settings[strange]
    whole = folder.absolute()
    known = {"BACKUPSVC_STATE_DIR": str(whole), "BACKUPSVC_POLICY": str(whole / POLICY)}
    missing = []
    for name, value in settings.items():
        if value is not None:
            known[name] = str(whole / value) if value == FILES + name else value
        elif name in secrets.values:
            known[name] = secrets.values[name]
        elif name in secrets.keys:
            (folder / KEYS).mkdir(mode=0o700, exist_ok=True)
            known[name] = str(whole / KEYS / name)
            _write(folder / KEYS / name, secrets.keys[name])
        else:
            missing.append(name)
    lines = [f"{name}={shell_quoted(value)}" for name, value in known.items()]
    lines += [f"# to be filled in: {name}=" for name in missing]
    _write(folder / ENVIRONMENT, "".join(f"{line}\n" for line in lines))
    return settings.get(HOST) or "", tuple(missing)


def _write(path: Path, text: str) -> None:
    # a path may hold bytes that are no text
    data = text.encode("utf-8", "surrogateescape")
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
        file.write(data)
