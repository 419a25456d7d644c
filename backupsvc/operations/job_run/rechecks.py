"""A night's readings: archives whose turn it is are read anew when the restore tests are over, and
waited for.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from backupsvc.engine.context import Wait
from backupsvc.operations.job_run.memory import NightMemory
from backupsvc.operations.job_run.pieces import Opener, ended, wait_for
from backupsvc.operations.recheck.opening import open_recheck, readable
from backupsvc.operations.services import Run
from policies.model import OperationState
from policies.recheck_due import due

RECHECKS = "recheck#"  # how the names of a night's readings begin


def read_due(run: Run[NightMemory]) -> Wait | None:
    """Open a reading of each archive whose turn it is, of the guests of this night, and wait for
    them.
    """
    service = run.service
    if service.policy.integrity is None or not run.memory.vmids:
        return None
    if run.memory.rechecks is None:
        found = readable(service, service.catalog.archives.find())
        wanted = due(found, service.policy.integrity, run.now(), only=run.memory.vmids)
        run.memory = replace(run.memory, rechecks=tuple((one.node, one.volid) for one in wanted))
    named = {
        f"{RECHECKS}{node}#{volid}": (node, volid) for node, volid in run.memory.rechecks or ()
    }
    # what was begun is waited for, even if its archive went since
    begun = [name for name in named if name in run.memory.children]
    openers: dict[str, Opener] = dict.fromkeys(begun, lambda key, parent: None)
    if len(begun) < len(named):  # one listing for all of them, and none while they are waited for
        there = {(one.node, one.volid): one for one in service.catalog.archives.find()}
        openers |= {
            name: partial(open_recheck, service, there[place])
            for name, place in named.items()
            if name not in openers and place in there
        }
    if not openers:
        return None
    if wait := wait_for(run, openers, "archives are being read anew"):
        return wait
    pieces = ended(run, RECHECKS)
    bad = [one for one in pieces if one.state is not OperationState.DONE]
    said = f"read anew: {len(pieces) - len(bad)} of {len(pieces)} archives"
    if bad:
        guests = ", ".join(sorted({str(one.subject) for one in bad}))
        said += f", trouble with those of guests {guests}"
    run.memory = replace(run.memory, results={**run.memory.results, "rechecks": said})
    run.conclude(said)
    return None
