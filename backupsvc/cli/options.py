"""Options that several commands share, each worded once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from backupsvc.cli.completing import vmids

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
# of commands that ask before they begin: a program that reads JSON cannot be asked
AsJsonUnasked = Annotated[
    bool, typer.Option("--json", help="Print one JSON object; implies --yes.")
]
JsonNotText = Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")]
Yes = Annotated[
    bool,
    typer.Option("--yes", "-y", help="Do not ask; without a terminal nothing is done otherwise."),
]
DryRunOfPlan = Annotated[
    bool,
    typer.Option("--dry-run", help="Say what would be done, and what keeps it from being done."),
]
DryRunOfReading = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be read; read nothing.")
]
OutputFolder = Annotated[
    Path | None,
    typer.Option("--output", metavar="FOLDER", help="Into a folder of this machine instead."),
]
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
GuestThatHadIt = Annotated[
    int, typer.Argument(metavar="VMID", min=100, help="The guest that had it.")
]
BySetOf = Annotated[
    str | None,
    typer.Option("--at", metavar="DATE", help="By the set of that date, as `show` takes it."),
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
