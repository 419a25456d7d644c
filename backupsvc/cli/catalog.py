"""``backupsvc catalog``: what archives exist, and how far each is proven."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from policies.model import Archive

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _group() -> None:
    pass


@app.command("list")
def list_archives(
    vmid: Annotated[int | None, typer.Option("--vmid", help="Only this guest's archives.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="What the catalog remembers, without asking the storages.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """List the archives, newest first. An archive that is remembered and no longer listed is marked missing."""
    from backupsvc.cli.session import open_service
    from backupsvc.operations.listing import observe

    with open_service() as service:
        listed = None if offline else {(a.node, a.volid) for a in observe(service, vmid)}
        archives = sorted(service.catalog.archives(vmid=vmid), key=lambda a: (-a.ctime, a.volid))
    missing = set() if listed is None else {(a.node, a.volid) for a in archives} - listed
    _print(archives, missing, as_json)


@app.command()
def sync(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """List every storage, and accept what is found: archives that are no longer there are recorded as gone."""
    from backupsvc.cli.output import emit_json, say
    from backupsvc.cli.session import open_service
    from backupsvc.operations.listing import as_dict, observe

    with open_service() as service:
        before = {(a.node, a.volid): a for a in service.catalog.archives()}
        now = {(a.node, a.volid): a for a in observe(service, complete=True)}
    new = [as_dict(now[key]) for key in now.keys() - before.keys()]
    gone = [as_dict(before[key]) for key in before.keys() - now.keys()]
    if as_json:
        emit_json({"archives": len(now), "new": new, "gone": gone})
        return
    say(f"{len(now)} archives listed, {len(new)} new, {len(gone)} gone")
    for item in gone:
        say(f"gone: {item['volid']} on {item['node']}")


def _print(archives: list[Archive], missing: set[tuple[str, str]], as_json: bool) -> None:
    from backupsvc.cli.output import emit_json, size, table
    from backupsvc.operations.listing import as_dict

    found: list[dict[str, Any]] = [as_dict(a) | {"missing": (a.node, a.volid) in missing} for a in archives]
    if as_json:
        emit_json({"archives": found})
        return
    rows = [
        (
            item["vmid"],
            item["name"],
            item["time"],
            item["node"],
            item["volid"],
            size(item["size"]),
            "MISSING" if item["missing"] else item["rung"],
            "protected" if item["protected"] else "",
        )
        for item in found
    ]
    table(("VMID", "name", "time", "node", "archive", "size", "rung", "note"), rows)
