"""Whose archive a restore test is about, asked before anything is restored: another machine's is
its own fault (law 10).
"""

from __future__ import annotations

from dataclasses import replace

from backupsvc.errors import PveError
from backupsvc.operations import identity
from backupsvc.operations.restore_test.memory import RestoreTestMemory, Whose
from backupsvc.operations.services import Run
from policies import lineage
from policies.causes import Blame, Cause
from policies.model import Archive


def refuse_changed(run: Run[RestoreTestMemory], archive: Archive) -> None:
    """Raise PveError, with the archive to blame, if it is known to have been changed since it was
    recorded.
    """
    if archive.changed:
        raise _wrong(run, archive, [identity.was_changed(archive)])


def require(run: Run[RestoreTestMemory], archive: Archive, text: str) -> None:
    """Given a restore test's archive and the config in it, raise PveError unless it is its guest's,
    and as it was recorded.
    """
    known = identity.lineage_of(run.service, run.service.pve, run.vmid, besides=archive)
    found = Whose(
        lineage.read(text), known.identity if known.source else None, known.source or None
    )
    run.memory = replace(run.memory, identity=found)
    if said := identity.differences(run.service, archive, text, known):
        raise _wrong(run, archive, said)
    # a guest that is gone, and of which nothing was recorded, must be testable all the same (law 8)
    if not known.source:
        run.say(
            f"nothing tells which machine guest {run.vmid} is, so the archive is taken for its own"
        )


def _wrong(run: Run[RestoreTestMemory], archive: Archive, said: list[str]) -> PveError:
    """Remember what speaks against the archive as its own fault, and return the error to raise."""
    run.memory = replace(run.memory, wrong=tuple(said), blame=Blame(Cause.ARCHIVE))
    hint = (
        f"see what is known of it with `backupsvc catalog show {archive.volid}`, and back guest "
        f"{run.vmid} up again"
    )
    return PveError("; ".join(said), hint)
