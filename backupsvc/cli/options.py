"""Options that several commands share, each worded once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from backupsvc.cli.completing import vmids

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Guests = Annotated[
    list[int] | None,
    typer.Option("--vmid", help="Only this guest; may be repeated.", autocompletion=vmids),
]
Targets = Annotated[
    list[str] | None, typer.Option("--to", help="Only to this target; may be repeated.")
]
GuestsArchives = Annotated[
    list[int] | None,
    typer.Option(
        "--vmid", help="Only this guest's archives; may be repeated.", autocompletion=vmids
    ),
]
OneGuest = Annotated[
    int | None, typer.Option("--vmid", help="Only this guest.", autocompletion=vmids)
]
IdentityFile = Annotated[
    Path | None,
    typer.Option(
        "--identity",
        metavar="FILE",
        help="A file of identities (age-keygen), - for standard input; else it is asked for, "
        "without echo.",
    ),
]
