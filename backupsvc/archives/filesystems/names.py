"""Names from a guest's disk, as names of files of ours."""

from __future__ import annotations

from collections.abc import Sequence

from backupsvc.visible import one_line

NAME_MAX = 255  # bytes


def landing_name(name: str) -> str:
    """Given a name of one folder's entry, return the name that its copy gets: the same one, unless
    it would act on a terminal, lead elsewhere, or be too long.

    What is no UTF-8 stands in both as half surrogate pairs; no file of ours gets such a name.
    """
    safe = one_line(name).replace("/", "\\x2f")
    if safe in ("", ".", ".."):
        safe = safe.replace(".", "\\x2e") or "unnamed"
    data = safe.encode("utf-8", "backslashreplace")
    if len(data) <= NAME_MAX:
        return data.decode()
    # cut between two characters, with room for what a person adds
    return data[: NAME_MAX - 15].decode("utf-8", "ignore") + "~"


def parts_of(path: str) -> tuple[str, ...]:
    """Given a path in a guest, return its parts; one from the root or not is the same."""
    return tuple(part for part in path.split("/") if part not in ("", "."))


def shown(parts: Sequence[str]) -> str:
    """Given the parts of a path in a guest, return it as it is told."""
    return "/" + "/".join(parts)
