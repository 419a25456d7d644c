"""Small files at a target: notes, logs, manifests."""

from __future__ import annotations

from backupsvc.copies.target import Target
from backupsvc.errors import CopyError
from policies.copy_decision import free_name
from policies.copy_manifest import attempts


def content(target: Target, file: str, most: int) -> bytes:
    """Given a file at a target, return what it holds, and no more than one byte beyond what it may
    hold.
    """
    with target.read(file) as stream:
        return stream.read(most + 1)


def put(target: Target, name: str, data: bytes, *, immutable: bool) -> str:
    """Have a small file there with these bytes; return its name there, which at an immutable target
    may be a later one. Raise CopyError if it holds others afterwards.
    """
    files = target.files()
    same = [one for one in attempts(name, files) if files[one] == len(data)]
    # an earlier attempt may have written it
    if there := next((one for one in same if content(target, one, len(data)) == data), None):
        return there
    if name in files and not immutable:
        target.remove(name)
        files.pop(name)
    file = free_name(name, files)
    with target.write(file) as writing:
        writing.write(data)
        writing.sync()
    if content(target, file, len(data)) != data:
        raise CopyError(
            f"{target.what} does not hold what was written to {file}",
            "examine its disk, then copy again",
        )
    return file
