"""``backupsvc catalog config``: the cluster's configuration, kept each night as text, for the day
when a node is built anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from backupsvc.cli.groups import Named
from backupsvc.cli.options import AsJson, BySetOf, GuestThatHadIt, OutputFolder, Targets
from backupsvc.cli.put_back import put_back

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from backupsvc.bootstrap import Service
    from backupsvc.operations.surroundings import Found
    from policies.cluster_config import ConfigSet
    from policies.model import CopyTarget

DryRun = Annotated[bool, typer.Option("--dry-run", help="Say where it would go; read nothing.")]
Date = Annotated[
    str,
    typer.Argument(
        metavar="DATE",
        help="A day (its last set, in the site's time zone), a time such as 20260309T200000Z, or "
        "`latest`.",
    ),
]
File = Annotated[
    str | None, typer.Argument(metavar="[FILE]", help="One file, such as storage.cfg.")
]
AsVmid = Annotated[
    int | None,
    typer.Option("--as", metavar="VMID", min=100, help="The VMID that it has or gets now."),
]
Node = Annotated[
    str | None, typer.Option("--node", help="Where it is to lie, if it lies nowhere yet.")
]

app = typer.Typer(cls=Named, no_args_is_help=True)


@app.callback()
def _group() -> None:
    pass


@app.command()
def keep(
    to: Targets = None,
    output: OutputFolder = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Read the cluster's configuration and keep it as text beside the catalog and at the copy
    targets. The workers do so every night. No secret is kept, and what the token may not read is
    said.

    Exit 1 if it does not lie at one of them.

    Example: backupsvc catalog config keep --output /root
    """
    from backupsvc.cli.output import emit_json, say
    from backupsvc.cli.session import open_service
    from backupsvc.cli.targets import chosen, folder_target, put_as_dict, show_places
    from backupsvc.operations.copy.configs import HERE, save

    with open_service() as service:
        # without targets it is kept beside the catalog all the same
        targets: tuple[CopyTarget, ...] = ()
        if output is not None:
            targets = (folder_target(output, to or []),)
        elif to or service.policy.copies:
            targets = chosen(service.policy, to or [])
        names = ([] if output else [HERE]) + [one.name for one in targets]
        kept = None if dry_run else save(service, targets, beside_catalog=output is None)
    places = [_NOWHERE | {"target": name, "state": "planned"} for name in names]
    if kept is not None:
        places = [
            _NOWHERE | {"target": target.name} | put_as_dict(put, "kept")
            for target, put in kept.places
        ]
    told = _what_is_missing(kept.config) if kept is not None else _NOTHING_MISSING
    files = len(kept.config.files) if kept is not None else 0
    if as_json:
        emit_json({"places": places, "files": files, **told, "dry_run": dry_run})
    else:
        show_places(places, "place")
        if kept is None:
            say("nothing was read")
        else:
            say(f"{files} files")
            _show_missing(told)
    raise typer.Exit(1 if any(one["state"] == "failed" for one in places) else 0)


@app.command("list")
def list_sets(as_json: AsJson = False) -> None:
    """List the configurations that are kept beside the catalog, newest first.

    Exit 1 if one of them cannot be read any more.
    """
    from backupsvc.cli.output import emit_json, say, size, table, tell
    from backupsvc.cli.session import open_service
    from backupsvc.clock import iso
    from backupsvc.copies.config_sets import kept_in, read
    from backupsvc.errors import ArchiveError

    with open_service() as service:
        kept = kept_in(service.settings.state_dir)
    found: list[dict[str, Any]] = []
    for at, path in sorted(kept.items(), reverse=True):
        one: dict[str, Any] = {"time": iso(at), "file": path.name, "bytes": None, "files": None}
        one |= {"not_read": None, "in_part": None, "reason": None}
        try:
            config = read(path)
            one |= {"bytes": path.stat().st_size, "files": len(config.files)}
            one |= {"not_read": len(config.not_read), "in_part": len(config.in_part)}
        except ArchiveError as error:
            one["reason"] = error.message
        except OSError as error:  # another process put newer ones there meanwhile
            one["reason"] = str(error.strerror)
        found.append(one)
    if as_json:
        emit_json({"sets": found})
    else:
        rows = [
            (
                one["time"],
                one["files"],
                one["not_read"],
                one["in_part"],
                size(one["bytes"]) if one["bytes"] is not None else None,
            )
            for one in found
        ]
        table(("time", "files", "not read", "in part", "size"), rows)
        for one in found:
            if one["reason"]:
                tell(f"backupsvc: {one['reason']}")
        if not found:
            say("none is kept yet: `backupsvc catalog config keep`")
    raise typer.Exit(1 if any(one["reason"] for one in found) else 0)


@app.command()
def show(date: Date, file: File = None, as_json: AsJson = False) -> None:
    """Show what was kept on a day: its files, or one of them as it stands there.

    Examples: backupsvc catalog config show latest; backupsvc catalog config show 2026-03-09
    guests/qemu-108.conf
    """
    from backupsvc.cli.output import emit_json, say, table
    from backupsvc.cli.session import open_service
    from backupsvc.clock import iso
    from backupsvc.errors import UsageError

    with open_service() as service:
        at, config = _chosen(service, date)
    files = {path: text for path, text in sorted(config.files.items()) if file in (None, path)}
    if file is not None and not files:
        if why := config.why_not_read(file):
            hint = "give the token the right, keep anew"
            raise UsageError(f"{file} was not read then: {why}", hint)
        hint = f"`backupsvc catalog config show {date}` lists its files"
        raise UsageError(f"the configuration of {date} has no file {file}", hint)
    told = _what_is_missing(config)
    if as_json:
        # the text itself only where it was asked for: a set may be large
        rows = [
            {"file": path, "bytes": len(text.encode()), "text": text if file else None}
            for path, text in files.items()
        ]
        emit_json({"time": iso(at), "files": rows, **told})
    elif file is not None:
        for line in files[file].split("\n")[:-1]:
            say(line)
        if why := config.why_in_part(file):
            say(f"# in part: {why}")
    else:
        table(("file", "bytes"), [(path, len(text.encode())) for path, text in files.items()])
        _show_missing(told)


@app.command()
def diff(older: Date, newer: Date, as_json: AsJson = False) -> None:
    """Show what of the configuration differs between two days, line by line. What one of them did
    not read is said, and is neither added nor removed.

    Exit 0 if nothing differs, 1 if something does.

    Example: backupsvc catalog config diff 2026-03-08 latest
    """
    from backupsvc.cli.output import emit_json, say
    from backupsvc.cli.session import open_service
    from backupsvc.clock import iso
    from policies import config_diff

    with open_service() as service:
        (before, old), (after, new) = _chosen(service, older), _chosen(service, newer)
    found = config_diff.diff(old, new)
    unseen = _sentences(config_diff.not_compared(old, new))
    if as_json:
        rows = [
            {
                "file": one.file,
                "change": str(one.change),
                "added": list(one.added),
                "removed": list(one.removed),
                "said": one.said or None,
            }
            for one in found
        ]
        head = {"older": iso(before), "newer": iso(after)}
        emit_json({**head, "differences": rows, "not_compared": unseen})
    else:
        for one in found:
            say(f"{one.change}: {one.file}" + (f" ({one.said})" if one.said else ""))
            for sign, lines in (("-", one.removed), ("+", one.added)):
                for line in lines:
                    say(f"  {sign} {line}")
        if not found:
            say(f"nothing differs between {iso(before)} and {iso(after)}")
        for line in _by_reason(unseen):
            say(f"not compared: {line}")
    # as diff(1) answers
    raise typer.Exit(1 if found else 0)


@app.command()
def surroundings(
    vmid: GuestThatHadIt,
    at: BySetOf = None,
    as_vmid: AsVmid = None,
    node: Node = None,
    as_json: AsJson = False,
) -> None:
    """Show what a guest had around it when the configuration was kept last with it in it, and is
    missing now: HA, backup and replication jobs, pool, rights, firewall; each with the commands
    that put it back. Changes nothing.

    Exit 0 only if nothing is missing and all of it could be told.

    Example: backupsvc catalog config surroundings 108
    """
    from backupsvc.cli.output import emit_json
    from backupsvc.cli.session import open_service
    from backupsvc.clock import iso
    from backupsvc.operations.surroundings import as_dict, of

    with open_service() as service:
        kept_at = None if at is None else time_of(service, at)
        found = of(service, vmid, node=node, as_vmid=as_vmid, at=kept_at)
    if as_json:
        emit_json(
            {
                "vmid": vmid,
                "as_vmid": vmid if as_vmid is None else as_vmid,
                "kept_at": None if found.kept_at is None else iso(found.kept_at),
                "why_none": found.why_none,
                "items": [as_dict(one) for one in found.items],
                "notes": list(found.notes),
            }
        )
    else:
        _show(found, vmid)
    raise typer.Exit(0 if found.whole else 1)


def _show(found: Found, vmid: int) -> None:
    from backupsvc.cli.output import say
    from backupsvc.clock import iso
    from policies.surroundings import to_do

    for note in found.notes:
        say(f"passed over: {note}")
    if found.why_none is not None:
        say(f"nothing can be told: {found.why_none}")
        return
    say(f"guest {vmid} by the configuration of {iso(found.kept_at or 0)}")
    for one in found.items:
        word = "missing" if to_do(one) else "note" if one.known else "not known"
        say(f"{word}: {one.what}: {one.detail}")
        for command in one.commands:
            say(f"  {command}")
    if found.whole:
        say("nothing is missing")


app.command("put-back")(put_back)

_NOWHERE: dict[str, Any] = {
    "target": None,
    "state": None,
    "file": None,
    "bytes": 0,
    "sha256": None,
    "reason": None,
    "hint": "",
}
_NOTHING_MISSING: dict[str, Any] = {"not_read": [], "in_part": []}


def _sentences(said: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"file": path, "reason": why} for path, why in sorted(said.items())]


def _what_is_missing(config: ConfigSet) -> dict[str, Any]:
    return {"not_read": _sentences(config.not_read), "in_part": _sentences(config.in_part)}


def _show_missing(told: Mapping[str, Any]) -> None:
    from backupsvc.cli.output import say

    for word, key in (("not read", "not_read"), ("in part", "in_part")):
        for line in _by_reason(told[key]):
            say(f"{word}: {line}")
    if told["not_read"] or told["in_part"]:
        say("  -> what the token lacks for more: docs/operating.md, the cluster's configuration")


def _by_reason(said: Sequence[Mapping[str, Any]]) -> list[str]:
    """The files of each reason in one line: one right that is lacking keeps many from being read."""
    found: dict[str, list[str]] = {}
    for one in said:
        found.setdefault(one["reason"], []).append(one["file"])
    return [f"{', '.join(files)}: {why}" for why, files in found.items()]


def _chosen(service: Service, said: str) -> tuple[int, ConfigSet]:
    """The set that a date means, and when it was kept."""
    from backupsvc.copies.config_sets import kept_in, read

    at = time_of(service, said)
    return at, read(kept_in(service.settings.state_dir)[at])


def time_of(service: Service, said: str) -> int:
    """Given what a person calls a date, return when the set was kept that it means (epoch seconds).
    Raise UsageError if none was.
    """
    from backupsvc.clock import iso
    from backupsvc.copies.config_sets import kept_in
    from backupsvc.errors import UsageError
    from policies.config_dates import pick
    from policies.model import PolicyError

    kept = kept_in(service.settings.state_dir)
    try:
        # on the day when a node is rebuilt the policy may not be there yet
        at = pick(said, kept, service.policy.timezone if service.settings.policy else "UTC")
    except PolicyError as error:
        hint = "write a day like 2026-03-09, a time like 20260309T200000Z, or latest"
        raise UsageError(error.message, hint) from None
    if at is None:
        known = f"the newest is of {iso(max(kept))}" if kept else "none is kept yet"
        hint = f"{known}: see `backupsvc catalog config list`"
        if not kept:
            hint = "keep one now: `backupsvc catalog config keep`"
        raise UsageError(f"no configuration of {said} is kept here", hint)
    return at
