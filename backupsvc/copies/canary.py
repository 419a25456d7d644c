"""Try to overwrite and to delete a file at a target: whoever takes over this service can do what it
can.

The file is the service's own and holds nothing. What counts is not what the target answers but what
lies there afterwards: a server may refuse in words and do it, or agree and do nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from backupsvc.copies.target import Target
from backupsvc.errors import BackupsvcError, CopyError, TargetRefused

NAME = "backupsvc-canary.txt"
TEXT = (
    b"This file belongs to backupsvc, which tries once a month whether it can overwrite or delete "
    b"it.\nIt must not be able to: copies are only safe here if nobody with its key can harm them."
    b"\n"
)


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of it. ``said``: what the target answered, for the evidence."""

    overwritten: bool
    deleted: bool
    said: str


def try_harm(target: Target) -> Tried:
    """Given a target, put the canary there if it is not, try to overwrite it and to delete it, once
    each, and return what could be done.

    Only a refusal counts as one. Raise CopyError if another file has the canary's name, and what
    else went wrong (a full disk, a fault of the server, the way to it): then nothing is known. What
    was harmed by then is returned all the same.
    """
    if NAME not in target.files():
        with target.write(NAME) as writing:
            writing.write(TEXT)
            writing.sync()
    before = _content(target)
    if before not in (TEXT, _changed(TEXT)):
        raise CopyError(
            f"{target.what} has a file {NAME} that this service did not write",
            "see what it is; it was left alone, so whether copies can be harmed is not known",
        )
    try:
        # not from its first byte: there a target opens new files only
        with target.write(NAME, 1) as writing:
            writing.write(_changed(before)[1:9])
            writing.sync()
        answers = ["overwriting it: no objection"]
    except TargetRefused as refused:
        answers = [f"overwriting it: {refused.message}"]
    overwritten = _content(target) != before
    try:
        target.remove(NAME)
        answers.append("deleting it: no objection")
    except TargetRefused as refused:
        answers.append(f"deleting it: {refused.message}")
    except BackupsvcError as error:
        if not overwritten:
            raise
        return Tried(True, False, "; ".join((*answers, f"deleting it: not known: {error.message}")))
    return Tried(overwritten, NAME not in target.files(), "; ".join(answers))


def _changed(content: bytes) -> bytes:
    """Given the canary, return it with eight bytes changed; done twice it is as it was."""
    return content[:1] + bytes(byte ^ 1 for byte in content[1:9]) + content[9:]


def _content(target: Target) -> bytes:
    with target.read(NAME) as stream:
        return stream.read(len(TEXT) + 1)
