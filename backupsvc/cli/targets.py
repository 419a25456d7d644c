"""Which of the policy's copy targets a command is about, and what came of a file at each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backupsvc.errors import BackupsvcError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from backupsvc.copies.snapshots import Put
    from policies.model import CopyTarget, Policy

ADD_THEM = "add the section `copies` (docs/policy.md), then `backupsvc policy check`"


def chosen(policy: Policy, names: Sequence[str], *, none: str = ADD_THEM) -> tuple[CopyTarget, ...]:
    """Given the policy and the names that were asked for (none: all), return those targets. Raise
    UsageError if the policy has none (``none`` is then the hint), or not one of those names.
    """
    known = {target.name: target for target in policy.copies}
    if not known:
        raise UsageError("the policy names no copy targets", none)
    if unknown := [name for name in names if name not in known]:
        raise UsageError(
            f"the policy has no copy target {unknown[0]}", f"its targets are: {', '.join(known)}"
        )
    return tuple(target for name, target in known.items() if not names or name in names)


def folder_target(output: Path, names: Sequence[str]) -> CopyTarget:
    """Given a folder of this machine and the targets' names that were asked for, return the folder
    as a target: from here on it is one like any other, written, read back and named the same way.
    Raise UsageError if there is no such folder, or names were given too.
    """
    from policies.model import CopyTarget, Directory

    if names:
        raise UsageError("--output goes with no --to", "leave one of them out")
    if not output.is_dir():
        raise UsageError(f"{output} is no folder", "make it first")
    return CopyTarget("output", Directory(str(output.absolute())))


def places(policy: Policy, names: Sequence[str], output: Path | None) -> tuple[CopyTarget, ...]:
    """Given the policy, the targets' names that were asked for and a folder, return where a file is
    to go: into the folder, else to those targets (no names: to all). Raise UsageError as ``chosen``
    and ``folder_target`` do.
    """
    if output is not None:
        return (folder_target(output, names),)
    none = "name a folder with --output, or add the section `copies` (docs/policy.md)"
    return chosen(policy, names, none=none)


def as_rows(
    targets: Sequence[CopyTarget],
    results: Sequence[tuple[CopyTarget, Put | BackupsvcError]],
    *,
    dry_run: bool,
) -> list[dict[str, Any]]:
    """Given the targets of a file and what came of it at each, return a row a target as the commands'
    JSON has it; of a dry run what is planned.
    """
    if dry_run:
        return [{"target": target.name, "state": "planned"} | _NOTHING for target in targets]
    return [
        {"target": target.name} | _NOTHING | put_as_dict(put, "saved") for target, put in results
    ]


# each row has every key, whatever came of it
_NOTHING: dict[str, Any] = {"file": None, "bytes": 0, "sha256": None, "reason": None, "hint": ""}


def put_as_dict(put: Put | BackupsvcError, done: str) -> dict[str, Any]:
    """Given what came of a file at a target, and the word for one that lies there now, return it
    as the commands' JSON tells it.
    """
    from backupsvc.copies.snapshots import Put

    if isinstance(put, Put):
        return {"state": done, "file": put.file, "bytes": put.size, "sha256": put.sha256}
    return {"state": "failed", "reason": put.message, "hint": put.hint}


def show_places(found: Sequence[Mapping[str, Any]], place: str) -> None:
    """Given what came of a file at each target (``target``, ``state``, ``file``, ``bytes``,
    ``reason``, ``hint``) and what its first column is called, show it, and why it does not lie at
    one.
    """
    from backupsvc.cli.output import size, table, tell_error

    rows = [
        (
            one["target"],
            one["state"],
            one["file"] or "",
            size(one["bytes"]) if one["bytes"] else "",
        )
        for one in found
    ]
    table((place, "state", "file", "size"), rows)
    for one in found:
        if one["reason"]:
            tell_error(f"{one['target']}: {one['reason']}", one["hint"] or "see `backupsvc doctor`")
