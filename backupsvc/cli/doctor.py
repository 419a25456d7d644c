"""``backupsvc doctor``: is everything there that the service leans on; and ``--role``: the least
that its token needs.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from backupsvc.cli.options import AsJson

OnlyRole = Annotated[
    bool,
    typer.Option("--role", help="Print the pveum commands for the least rights; asks no cluster."),
]
RestoreBridges = Annotated[
    list[str] | None,
    typer.Option(
        "--restore",
        metavar="BRIDGE",
        help="With --role: a second token that may use this production bridge.",
    ),
]
RestoreStorages = Annotated[
    list[str] | None,
    typer.Option(
        "--disks", help="With --restore: a storage of production disks, if not scratch.storage."
    ),
]
CopyBridge = Annotated[
    str | None,
    typer.Option(
        "--bridge", help="With --role: the bridge for copies, if the policy names none (vmbr9)."
    ),
]
PrunedStorages = Annotated[
    list[str] | None,
    typer.Option(
        "--prunes",
        metavar="STORAGE",
        help="With --role: a storage with a retention of its own.",
    ),
]
Release = Annotated[
    int,
    typer.Option("--pve", min=8, max=9, help="With --role: the major release of Proxmox VE."),
]


def doctor(
    role: OnlyRole = False,
    restore: RestoreBridges = None,
    disks: RestoreStorages = None,
    bridge: CopyBridge = None,
    prunes: PrunedStorages = None,
    pve: Release = 9,
    as_json: AsJson = False,
) -> None:
    """Look at settings, policy, catalog, cluster, rights, storages, isolation, clocks and ways in;
    each with the next action.

    Exit code 0 with warnings at most, else that of the first failure: 1 wrong, 2 settings or
    policy, 3 unreachable, 4 refused.
    """
    if role:
        _print_role(restore or [], disks or [], bridge, prunes or [], pve, as_json)
        return
    from backupsvc.cli.output import emit_json, say, table
    from backupsvc.cli.session import open_service
    from backupsvc.doctor import checks as health

    with open_service() as service:
        lines = health.examine(service)
    code = health.exit_code(lines)
    if as_json:
        keys = ("name", "status", "detail", "action")
        told = [{key: getattr(line, key) for key in keys} for line in lines]
        emit_json({"healthy": code == 0, "lines": told, "exit_code": code})
        raise typer.Exit(code)
    rows = [(line.name, line.status, line.detail.partition("\n")[0]) for line in lines]
    table(("what", "status", "seen"), rows)
    for line in lines:
        if line.action:
            first, *more = line.detail.splitlines()
            say()
            say(f"{line.status}: {line.name}: {first}")
            for sentence in more:
                say(f"  {sentence}")
            for step in line.action.splitlines():
                say(f"  -> {step}")
    raise typer.Exit(code)


def _print_role(
    restore: list[str],
    disks: list[str],
    bridge: str | None,
    prunes: list[str],
    release: int,
    as_json: bool,
) -> None:
    """Print what creates the least rights of the token, and of one that may use the bridges
    ``restore``.
    """
    from backupsvc.bootstrap import open_service
    from backupsvc.cli.output import emit_json, say
    from policies import role as rights

    with open_service() as service:
        policy = service.policy
    needs = rights.on_release(rights.everyday(policy, pruning=prunes, bridge=bridge), release)
    homes = disks or [name for name in (policy.scratch.storage,) if name]
    again = rights.restoring(policy, bridges=restore, disks=homes) if restore else ()
    held = rights.holders(needs, rights.on_release(again, release))
    optional = rights.on_release((*rights.optional(policy), *rights.reporting()), release)
    notes, commands = [*rights.notes(policy, bridge)], rights.commands(held)
    if restore and not homes:
        notes.append(
            "the restore token may make disks nowhere: name the storages of production disks with "
            "--disks"
        )
    if as_json:
        holders = [
            {
                "name": holder.name,
                "grants": {path: list(privs) for path, privs in holder.grants.items()},
                "why": [asdict(need) for need in holder.needs],
            }
            for holder in held
        ]
        found = {"pve": release, "holders": holders, "commands": list(commands), "notes": notes}
        emit_json(found | {"optional": [asdict(need) for need in optional]})
        return
    # commands that can be pasted into a root shell of a node, so all else is a comment of a shell
    for note in notes:
        say(f"# note: {note}")
    for need in sorted(set(held[0].needs), key=lambda need: (need.path, need.privilege)):
        say(f"# {need.path} {need.privilege}: {need.why}")
    for need in optional:
        say(f"# optional, and in none of the roles below: {need.path} {need.privilege}: {need.why}")
    for line in commands:
        say(line)
