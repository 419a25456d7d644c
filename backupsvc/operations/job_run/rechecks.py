"""A night's readings: archives, and copies at their targets, whose turn it is are read anew when the
restore tests are over, and waited for.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from backupsvc.engine.context import Wait
from backupsvc.operations.copy_recheck.memory import recall as recall_copy
from backupsvc.operations.copy_recheck.opening import open_copy_recheck, out_of_reach
from backupsvc.operations.job_run.memory import NightMemory
from backupsvc.operations.job_run.pieces import Opener, ended, wait_for
from backupsvc.operations.recheck.opening import open_recheck, readable
from backupsvc.operations.services import Run
from policies import copy_recheck_due
from policies.model import ArchiveCopy, CopyTarget, OperationState
from policies.recheck_due import due

RECHECKS = "recheck#"  # how the names of a night's readings of archives begin
COPY_RECHECKS = "copy-recheck#"  # and of copies


def read_due(run: Run[NightMemory]) -> Wait | None:
    """Open a reading of each archive whose turn it is, of the guests of this night, and of each of
    their copies, and wait for them.
    """
    service, rules, only = run.service, run.service.policy.integrity, run.memory.vmids
    if rules is None or not only:
        return None
    # chosen once a night, the copies within what the archives leave of the night's bytes
    if run.memory.rechecks is None:
        wanted = due(
            readable(service, service.catalog.archives.find()), rules, run.now(), only=only
        )
        left = rules.budget - sum(one.size for one in wanted)
        overdue = [
            (copy, target)
            for copy, target in _readable_copies(run)
            if copy_recheck_due.is_due(copy, rules, run.now(), only)
        ]
        # a target that does not answer is asked next night, and no copy elsewhere waits for it
        silent = out_of_reach(service, (target for _, target in overdue), run.heartbeat)
        copies = [copy for copy, target in overdue if target.name not in silent]
        chosen = copy_recheck_due.due(copies, rules, run.now(), left=left, only=only)
        run.memory = replace(
            run.memory,
            rechecks=tuple((one.node, one.volid) for one in wanted),
            copy_rechecks=tuple((one.route.folder, *one.route.archive) for one in chosen),
            unasked={name: error.message for name, error in silent.items()},
        )
    openers = _openers(run)
    if openers and (wait := wait_for(run, openers, "archives and copies are being read anew")):
        return wait
    if said := _said(run):
        told = "; ".join(said)
        run.memory = replace(run.memory, results={**run.memory.results, "rechecks": told})
        run.conclude(told)
    return None


def _readable_copies(run: Run[NightMemory]) -> list[tuple[ArchiveCopy, CopyTarget]]:
    found = run.service.catalog.copies.find(damaged=True)
    return copy_recheck_due.readable(found, run.service.policy.copies)


def _openers(run: Run[NightMemory]) -> dict[str, Opener]:
    """What opens the readings that were chosen, of archives and of copies."""
    service, memory = run.service, run.memory
    archives = {f"{RECHECKS}{node}#{volid}": (node, volid) for node, volid in memory.rechecks or ()}
    copies = {f"{COPY_RECHECKS}{'#'.join(one)}": one for one in memory.copy_rechecks}
    # what was begun is waited for, even if what it reads went since
    begun = [name for name in (*archives, *copies) if name in memory.children]
    openers: dict[str, Opener] = dict.fromkeys(begun, lambda key, parent: None)
    # one listing for all of them, and none while they are waited for
    if archives.keys() - openers.keys():
        there = {(one.node, one.volid): one for one in service.catalog.archives.find()}
        openers |= {
            name: partial(open_recheck, service, there[place])
            for name, place in archives.items()
            if name not in openers and place in there
        }
    if copies.keys() - openers.keys():
        found = {
            (one.route.folder, *one.route.archive): (one, at) for one, at in _readable_copies(run)
        }
        openers |= {
            name: partial(open_copy_recheck, service, *found[place])
            for name, place in copies.items()
            if name not in openers and place in found
        }
    return openers


def _said(run: Run[NightMemory]) -> list[str]:
    """What came of the archives, and of the copies."""
    said = []
    if pieces := ended(run, RECHECKS):
        bad = [one for one in pieces if one.state is not OperationState.DONE]
        guests = ", ".join(sorted({str(one.subject) for one in bad}))
        trouble = f", trouble with those of guests {guests}" if bad else ""
        said.append(f"read anew: {len(pieces) - len(bad)} of {len(pieces)} archives{trouble}")
    if pieces := ended(run, COPY_RECHECKS):
        bad = [one for one in pieces if one.state is not OperationState.DONE]
        named = ", ".join(f"{one.subject} at {recall_copy(one).target}" for one in bad)
        trouble = f", trouble with those of {named}" if bad else ""
        said.append(f"copies read anew: {len(pieces) - len(bad)} of {len(pieces)}{trouble}")
    return said + [f"none at {name} ({why})" for name, why in run.memory.unasked.items()]
