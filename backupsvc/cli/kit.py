"""The key kit of a person: identities from a file, from standard input or from a prompt; never from
the command line's words, which every process can read (law 7).
"""

from __future__ import annotations

import sys
from getpass import getpass
from pathlib import Path
from typing import TYPE_CHECKING

from backupsvc.cli.output import interactive
from backupsvc.errors import UsageError

if TYPE_CHECKING:
    from backupsvc.copies.age import Identities


def identities(file: Path | None) -> Identities:
    """Given a file of identities, ``-`` for standard input, return them; None asks on the terminal,
    without echo. Raise UsageError if there is none, or nobody to ask.
    """
    from backupsvc.copies.age import LONGEST_KIT, read_identities

    if file is None:
        if not interactive(sys.stdin):
            raise UsageError(
                "no identity was given, and there is no terminal to ask for one",
                "give --identity FILE, or --identity - to read it from standard input",
            )
        return read_identities(getpass("identity (AGE-SECRET-KEY-1...): ").encode(), "the answer")
    if str(file) == "-":
        return read_identities(sys.stdin.buffer.read(LONGEST_KIT + 1), "standard input")
    if file.name.upper().startswith("AGE-SECRET-KEY-"):
        # what was typed stands in the shell's history by now; it is not repeated here
        raise UsageError(
            "--identity takes the name of a file, not the identity itself",
            "make a new key: this one was seen by every process of this machine",
        )
    try:
        with file.open("rb") as stream:
            return read_identities(stream.read(LONGEST_KIT + 1), str(file))
    except OSError as error:
        raise UsageError(
            f"{file} cannot be read: {error.strerror}", "name a file of identities (age-keygen)"
        ) from None
