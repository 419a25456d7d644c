"""The command tree."""

from __future__ import annotations

from typing import Annotated

import typer

from backupsvc.cli import archive, backup, catalog, demo, operations, policy, pra, prune, restore, restore_test, retention
from backupsvc.lab import commands as lab


def _version(wanted: bool) -> None:
    if wanted:
        from backupsvc import __version__

        typer.echo(f"backupsvc {__version__}")
        raise typer.Exit


app = typer.Typer(
    name="backupsvc",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Backup lifecycle and restore verification for Proxmox VE: archives that are proven, not hoped for.",
    epilog="Exit codes: 0 done and good; 1 done, and the answer is bad; 2 wrong usage or policy; 3 unreachable; 4 refused.",
)


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")] = False,
) -> None:
    pass


app.command("restore-test")(restore_test.restore_test)
app.command("restore")(restore.restore)
app.command("prune")(prune.prune)
app.command("demo")(demo.demo)
app.add_typer(backup.app, name="backup", help="Run backup jobs.")
app.add_typer(catalog.app, name="catalog", help="What archives exist, and how far each is proven.")
app.add_typer(archive.app, name="archive", help="Read archive files, without any cluster.")
app.add_typer(retention.app, name="retention", help="Try retention rules, without any cluster.")
app.add_typer(policy.app, name="policy", help="Check and show the site's policy.")
app.add_typer(pra.app, name="pra", help="Disaster recovery plan (PRA): compliance and reports.")
app.add_typer(operations.app, name="operations", help="What the service did, step by step.")
app.add_typer(lab.app, name="lab", help="The embedded cluster: a Proxmox VE stand-in over real QEMU guests.")
