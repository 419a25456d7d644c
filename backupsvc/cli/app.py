"""The command tree. Only the part that is asked for is loaded: a verification must not wait for the
report's commands.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated

import typer

from backupsvc.cli.groups import Named, first_sentence, say_whole

GROUPS = {
    "backup": ("backupsvc.cli.backup", "Run backup jobs."),
    "catalog": ("backupsvc.cli.catalog", "What archives exist, and how far each is proven."),
    "copy": ("backupsvc.cli.copy", "Copies of archives off their node."),
    "archive": ("backupsvc.cli.archive", "Read archive files; acknowledge suspicious archives."),
    "retention": ("backupsvc.cli.retention", "Try retention rules, without any cluster."),
    "policy": ("backupsvc.cli.policy", "Check and show the site's policy."),
    "ha": ("backupsvc.cli.ha", "High availability: would it take guests over, and backups follow?"),
    "pra": ("backupsvc.cli.pra", "Disaster recovery plan (PRA): compliance and reports."),
    "operations": ("backupsvc.cli.operations", "What the service did, step by step."),
    "break-glass": (
        "backupsvc.cli.break_glass",
        "A bundle with all that is needed where nothing else is left.",
    ),
    "lab": (
        "backupsvc.cli.lab",
        "The embedded cluster: a Proxmox VE stand-in over real QEMU guests.",
    ),
}
COMMANDS = {
    "restore-test": ("backupsvc.cli.restore_test", "restore_test"),
    "restore": ("backupsvc.cli.restore", "restore"),
    "recover": ("backupsvc.cli.recover", "recover"),
    "prune": ("backupsvc.cli.prune", "prune"),
    "gate": ("backupsvc.cli.gate", "gate"),
    "what-if": ("backupsvc.cli.what_if", "what_if"),
    "doctor": ("backupsvc.cli.doctor", "doctor"),
    "serve": ("backupsvc.cli.serve", "serve"),
    "demo": ("backupsvc.cli.demo", "demo"),
}


def build(words: Sequence[str] = ()) -> typer.Typer:
    """Given the command line's words, return the tree, or only the branch that the first word
    names.
    """
    first = words[0] if words else ""
    # the shell's completion may ask for any name
    whole = first not in GROUPS | COMMANDS or any(name.endswith("_COMPLETE") for name in os.environ)
    app = typer.Typer(
        name="backupsvc",
        cls=Named,
        no_args_is_help=True,
        # its tracebacks show the values of variables, and one may be a secret (law 7)
        pretty_exceptions_enable=False,
        # a help text is plain: brackets in it are brackets
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
        help="Backup lifecycle and restore verification for Proxmox VE: archives that are proven, "
        "not hoped for.",
        epilog="Exit codes: 0 done and good; 1 done, and the answer is bad; 2 wrong usage or "
        "policy; 3 unreachable; 4 refused.",
    )
    app.callback()(_root)
    for name, (module, function) in COMMANDS.items():
        if whole or name == first:
            command = getattr(import_module(module), function)
            app.command(name, short_help=first_sentence(command.__doc__))(command)
    for name, (module, sentence) in GROUPS.items():
        if whole or name == first:
            group = import_module(module).app
            say_whole(group)
            own = group.info.cls if isinstance(group.info.cls, type) else Named
            app.add_typer(group, name=name, cls=own, help=sentence, short_help=sentence)
    return app


def _version(wanted: bool) -> None:
    if wanted:
        from backupsvc import __version__
        from backupsvc.cli.output import say

        say(f"backupsvc {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass
