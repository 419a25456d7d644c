"""Encryption to public keys, in age's format: the only importer of pyrage.

Streams go through; nothing is held but the piece at hand. Identities, the secret keys, are in no
message and in no log (law 7).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, cast

import pyrage
from pyrage import x25519

from backupsvc.errors import UsageError

Read = Callable[[int], bytes]  # at most so many bytes; none at the end
Write = Callable[[bytes], object]

LONGEST_HEADER = 16 * 1024  # bytes; pyrage takes the longer the more there is to read of it
LONGEST_KIT = 64 * 1024  # bytes of a file of identities
_END_OF_HEADER = b"\n--- "


class WrongKey(Exception):
    """None of the identities opens it."""


class NotAge(Exception):
    """It is no file of age, or not as it was written; the text says which, after its name."""


def encrypt(read: Read, write: Write, recipients: Sequence[str]) -> None:
    """Given where plain bytes come from, where encrypted ones go and to whom, encrypt all of them.
    Raise what ``read`` and ``write`` raise.
    """
    with _Pipe(read, write).told() as pipe:
        keys = [x25519.Recipient.from_str(one) for one in recipients]
        pyrage.encrypt_io(cast(Any, pipe), cast(Any, pipe), keys)


def decrypt(read: Read, write: Write, identities: Identities) -> str:
    """Given where encrypted bytes come from, where plain ones go and the identities, decrypt all of
    them; return the public key of the identity that opened them. What was written when this raises
    was not necessarily all.

    Raise WrongKey, NotAge, and what ``read`` and ``write`` raise.
    """
    begun = io.BytesIO()
    while (left := LONGEST_HEADER - begun.tell()) > 0 and (data := read(left)):
        begun.write(data)
    head = begun.getvalue()
    if _END_OF_HEADER not in head:
        raise NotAge("is no file of age")
    for key in identities.keys:
        # it is only the beginning: whether all is well is told by all of it
        with suppress(NotAge):
            try:
                with _decrypting():
                    pyrage.decrypt_io(io.BytesIO(head), io.BytesIO(), [key])
            except WrongKey:
                continue
        break
    else:
        raise WrongKey
    begun.seek(0)  # what was read already is read once more, then the rest
    with _Pipe(lambda size: begun.read(size) or read(size), write).told() as pipe, _decrypting():
        pyrage.decrypt_io(cast(Any, pipe), cast(Any, pipe), [key])
    return str(key.to_public())


@contextmanager
def _decrypting() -> Iterator[None]:
    """Raise what pyrage says of a file as one of the two errors."""
    try:
        yield
    except pyrage.DecryptError as error:
        if "matching" in str(error):
            raise WrongKey from None
        raise NotAge("is no file of age that can be read") from None
    except OSError:
        raise NotAge("holds other bytes than were encrypted") from None


class Identities:
    """Secret keys. Neither they nor their text show in any form of this."""

    def __init__(self, keys: list[x25519.Identity]) -> None:
        self.keys = keys

    def recipients(self) -> list[str]:
        """Return the public keys, as a policy names them."""
        return [str(key.to_public()) for key in self.keys]


def read_identities(text: bytes, where: str) -> Identities:
    """Given what a file of identities holds (as ``age-keygen`` writes one) and its name for a
    reader, return them. Raise UsageError if it holds none; nothing of it is repeated.
    """
    hint = "give a file as `age-keygen -o FILE` writes it: AGE-SECRET-KEY-1..., one a line"
    if len(text) > LONGEST_KIT:
        raise UsageError(f"{where} is too long for a file of identities", hint)
    lines = [line.strip() for line in text.decode("ascii", "replace").splitlines()]
    found = []
    for number, line in enumerate(lines, 1):
        if line and not line.startswith("#"):
            try:
                found.append(x25519.Identity.from_str(line))
            except pyrage.IdentityError:
                raise UsageError(f"line {number} of {where} is no identity of age", hint) from None
    if not found:
        raise UsageError(f"{where} holds no identity of age", hint)
    return Identities(found)


class _Pipe:
    """What pyrage reads from and writes to. It makes a text of what is raised within, so the first
    such error is kept, and raised once pyrage has returned.
    """

    def __init__(self, read: Read, write: Write) -> None:
        self._read, self._write = read, write
        self._fault: BaseException | None = None

    def read(self, size: int) -> bytes:
        """Return up to so many bytes."""
        with self._kept():
            return self._read(size)

    def write(self, data: bytes) -> int:
        """Take bytes, all of them."""
        with self._kept():
            self._write(data)
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    @contextmanager
    def _kept(self) -> Iterator[None]:
        if self._fault is not None:
            raise OSError("it has failed already")
        try:
            yield
        except BaseException as error:
            self._fault = error
            raise

    @contextmanager
    def told(self) -> Iterator[_Pipe]:
        """Yield it; raise afterwards what was raised within one of its own functions."""
        try:
            yield self
        except Exception:
            if self._fault is None:
                raise
        if self._fault is not None:
            raise self._fault
