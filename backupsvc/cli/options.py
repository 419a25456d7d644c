"""Options that several commands share, each worded once."""

from __future__ import annotations

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
