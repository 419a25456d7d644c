"""The command line: parse, call, render; no decisions. Heavy modules are imported inside the
commands that need them.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line. Exit codes: 0 good, 1 done and bad, 2 wrong usage, 3 unreachable, 4
    refused, 130 interrupted.
    """
    from backupsvc import garbage

    garbage.seldom()
    from backupsvc.cli.app import build
    from backupsvc.cli.output import fail, guard
    from backupsvc.errors import BackupsvcError

    guard()
    as_json = "--json" in sys.argv
    try:
        build(sys.argv[1:])()
    except BackupsvcError as error:
        sys.exit(fail(error.message, error.hint, error.exit_code, as_json=as_json))
    except ValueError as error:
        # only where it may be one: `--help` must not wait for the model
        from policies.model import PolicyError

        if not isinstance(error, PolicyError):
            raise
        sys.exit(
            fail(
                str(error),
                "correct the policy; `backupsvc policy check` says whether it is right",
                2,
                as_json=as_json,
            )
        )
