"""``python -m pvelab``, and the command ``pvelab``."""

from __future__ import annotations

import sys

from backupsvc.errors import BackupsvcError
from pvelab.commands import app


def main() -> None:
    """Run the command line. Exit codes: 0 good, 1 done and bad, 2 wrong usage, 3 unreachable."""
    try:
        app(prog_name="pvelab")
    except BackupsvcError as error:
        print(f"{error.message}\n{error.hint}".strip(), file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
