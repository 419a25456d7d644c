"""A night's copies: opened when the guests are backed up, waited for at the night's end.

In between, retention is applied and restore tests run: a copy takes as long as the line to its
target does.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial

from backupsvc.copies.snapshots import Put
from backupsvc.engine.context import Wait
from backupsvc.errors import BackupsvcError, LeaseLost
from backupsvc.inventory import cluster_config
from backupsvc.operations.copy import (
    break_glass,
    break_glass_rehearsing,
    canaries,
    catalogs,
    configs,
)
from backupsvc.operations.copy.memory import recall as recall_copy
from backupsvc.operations.copy.opening import open_copy
from backupsvc.operations.job_run.memory import NightMemory
from backupsvc.operations.job_run.pieces import ended, open_piece
from backupsvc.operations.services import Run
from policies.copies_due import due
from policies.model import CopyTarget, OperationState

COPIES = "copy#"  # how the names of a night's copies begin
ASK_AGAIN = 30.0  # seconds between two looks at copies that run
# what ends a night, in this order (the bundle has the catalog of the night's end), with what is
# said where there is none
_PARTS = {
    "catalog": "catalog: no snapshot",
    "config": "cluster configuration: not kept",
    "bundle": "break-glass bundle: none",
}


def open_due(run: Run[NightMemory]) -> Wait | None:
    """Open a copy of each guest's newest archive to each target that has none yet, and of each one
    whose copy there was found damaged.

    One that is at work already (somebody runs it by hand) is left to whoever does.
    """
    service = run.service
    if not service.policy.copies or not run.memory.vmids:
        return None
    catalog = service.catalog
    wanted = due(
        service.policy,
        catalog.archives.find(),
        catalog.copies.find(damaged=True),
        only=run.memory.vmids,
    )
    opened, named = 0, set[str]()
    for one in wanted:
        name = f"{COPIES}{one.archive.vmid}#{one.target.name}"
        if name in named:  # beside the guest's newest one
            name += f"#{one.archive.volid}"
        named.add(name)
        # A night that opened a copy and died before it noted so finds it by its key: it may be
        # verified by now (a reason to skip it), and is this night's all the same.
        key = f"{run.operation.occurrence}#{name}"
        if name not in run.memory.children and (
            one.skip is None or catalog.operations.by_occurrence(key) is not None
        ):
            run.heartbeat()
            opened += open_piece(run, name, partial(open_copy, service, one))
    run.conclude(f"{opened} archives are being copied")
    return None


def await_all(run: Run[NightMemory]) -> Wait | None:
    """Wait until the night's copies have ended, and say what came of them."""
    copies = {id for name, id in run.memory.children.items() if name.startswith(COPIES)}
    if not copies:
        _save(run)
        return None
    if still := run.service.catalog.operations.still_open(copies):
        return Wait(f"{len(still)} archives are being copied", most=ASK_AGAIN)
    found = ended(run, COPIES)
    bad = [one for one in found if one.state is not OperationState.DONE]
    named = ", ".join(f"{one.subject} to {recall_copy(one).target}" for one in bad)
    said = f"copies: {len(found) - len(bad)} of {len(found)} verified"
    said += f", not those of {named}" if bad else ""
    memories = [recall_copy(one) for one in found]
    if removed := sum(len(one.removed) for one in memories):
        said += f"; {removed} older ones removed by the targets' keep rules"
    # one sentence a target: each guest's copy met the same refusal there
    for target, why in {one.target: one.kept_all for one in memories if one.kept_all}.items():
        said += f"; nothing removed at {target}: {why}"
    run.memory = replace(run.memory, results={**run.memory.results, "copies": said})
    _save(run)
    run.conclude(said)
    return None


def _save(run: Run[NightMemory]) -> None:
    """What ends a night that knows what came of its copies."""
    # the immutable targets that were not tried for a month; one that is not reached: next night
    for target in canaries.due(run.service):
        run.heartbeat()
        try:
            tried = canaries.try_target(run.service, target)
        except BackupsvcError as error:
            run.note("untried", target=target.name, why=error.message)
        else:
            run.note("tried", target=target.name, held=tried.held, said=tried.said)
    # last of the night's work: the catalog that is saved knows what came of all before it
    for part, none in _PARTS.items():
        if part in run.memory.results or (part != "config" and not run.service.policy.copies):
            continue
        run.heartbeat()
        try:
            said, failure = _saved(run, part)
        except LeaseLost:
            raise  # the night is another driver's by now: no target is at fault
        except BackupsvcError as error:
            # where it cannot be brought is said; the night's other work is done
            said = failure = f"{none} ({error.message})"
        run.memory = replace(run.memory, results={**run.memory.results, part: failure})
        run.note(part, said=said)
    _rehearse(run)


def _rehearse(run: Run[NightMemory]) -> None:
    """Bring back, once a month, what would be needed on the worst day; a target that is not reached
    is tried the next night.
    """
    bad = []
    for target, kinds in break_glass_rehearsing.due(run.service):
        run.heartbeat()
        try:
            trials = break_glass_rehearsing.try_target(
                run.service, target, alive=run.heartbeat, kinds=kinds
            )
        except LeaseLost:
            raise
        except BackupsvcError as error:
            run.note("unrehearsed", target=target.name, why=error.message)
            continue
        for one in trials:
            told = {"file": one.file, "state": one.state.value, "said": one.said}
            run.note("rehearsed", target=target.name, what=one.what, **told)
            bad += [] if one.good else [f"{one.what} at {target.name} {one.state}"]
    if bad:
        said = f"brought back and not good: {', '.join(bad)} (backupsvc break-glass rehearse)"
        run.memory = replace(run.memory, results={**run.memory.results, "rehearsal": said})


def _saved(run: Run[NightMemory], part: str) -> tuple[str, str]:
    """Given a part of what ends a night, bring it to every target. Return what came of that for the
    night's history, and what the night itself says of it ("": nothing).
    """
    service, targets = run.service, run.service.policy.copies
    if part == "catalog":
        found = catalogs.save(service, targets, run.heartbeat)
        bad = _failed(found)
        said = f"catalog: saved at {len(found) - len(bad)} of {len(found)} targets"
        said += f", not at {', '.join(bad)}" if bad else ""
        return said, said
    if part == "config":
        # beside the catalog, too: that is kept where the policy names no target
        kept = configs.save(service, targets, run.heartbeat)
        bad, places = _failed(kept.places), len(kept.places)
        failure = f"cluster configuration: not kept at {', '.join(bad)}" if bad else ""
        said = f"cluster configuration: kept at {places - len(bad)} of {places} places, "
        said += f"{len(kept.config.not_read)} parts not read"
        return said + (f"; {failure}" if bad else ""), failure
    config = cluster_config.read(service, run.heartbeat)
    found = break_glass.save(service, targets, config, run.heartbeat)
    bad = _failed(found)
    failure = f"break-glass bundle: not at {', '.join(bad)}" if bad else ""
    return failure or f"break-glass bundle: at {len(found)} targets", failure


def _failed(found: Iterable[tuple[CopyTarget, Put | BackupsvcError]]) -> list[str]:
    return [
        f"{target.name} ({one.message})" for target, one in found if isinstance(one, BackupsvcError)
    ]
