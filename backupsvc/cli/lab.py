"""``backupsvc lab``: the commands of pvelab, the embedded cluster, in this service's directory,
with its words and exit codes.

pvelab is a distribution of its own, and may be missing where only the service is installed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer

from backupsvc.cli.groups import Named
from backupsvc.errors import BackupsvcError, OperationFailed, Unreachable, UsageError

_OURS: dict[int, type[BackupsvcError]] = {
    UsageError.exit_code: UsageError,
    Unreachable.exit_code: Unreachable,
}
# how pvelab names what its reader is to use, and how it is called here
_WORDS = (("`pvelab ", "`backupsvc lab "), ("PVELAB_DIR", "BACKUPSVC_STATE_DIR"))


@contextmanager
def lab_errors() -> Iterator[None]:
    """Whatever the lab raises within is raised as an error of this service, with the same exit
    code.

    Raise UsageError if the lab is not installed.
    """
    try:
        from pvelab.errors import PvelabError
    except ModuleNotFoundError:
        raise UsageError(
            "the lab is not installed here", "`pip install ./pvelab` in this service's repository"
        ) from None
    try:
        yield
    except PvelabError as error:
        kind = _OURS.get(error.exit_code, OperationFailed)
        raise kind(_in_our_words(error.message), _in_our_words(error.hint)) from error


def _in_our_words(text: str) -> str:
    for theirs, ours in _WORDS:
        text = text.replace(theirs, ours)
    return text


class _Forwarded(Named):
    """The group whose commands are pvelab's: they find the lab where the service looks for it, and
    know the site's policy.
    """

    def invoke(self, ctx: Any) -> Any:
        from backupsvc.settings import lab_policy, lab_settings_file

        with lab_errors():
            # pvelab knows nothing of our settings, and finds its lab by the environment alone
            os.environ["PVELAB_DIR"] = str(lab_settings_file().parent)
            os.environ.setdefault("PVELAB_POLICY", str(lab_policy()))
            return super().invoke(ctx)


app = typer.Typer(cls=_Forwarded, no_args_is_help=True, add_completion=False)
try:
    from pvelab.commands import app as _theirs
except ModuleNotFoundError:  # said when one of its commands is called
    pass
else:
    app.registered_callback = _theirs.registered_callback
    app.registered_commands = _theirs.registered_commands
    app.registered_groups = _theirs.registered_groups
