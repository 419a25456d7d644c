"""``python -m pvelab``, and the command ``pvelab``."""

from __future__ import annotations

import json
import sys

from pvelab.commands import app
from pvelab.errors import PvelabError


def main() -> None:
    """Run the command line. Exit codes: 0 good, 1 done and bad, 2 wrong usage, 3 unreachable."""
    try:
        app(prog_name="pvelab")
    except PvelabError as error:
        if "--json" in sys.argv:
            print(
                json.dumps(
                    {
                        "error": {
                            "message": error.message,
                            "hint": error.hint,
                            "exit_code": error.exit_code,
                        }
                    }
                )
            )
        print(f"pvelab: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"  -> {error.hint}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
