"""What `restore --replace --json` and `operations undo --json` say."""

from __future__ import annotations

from typing import Any

from backupsvc.operations.memories import error_as_dict
from backupsvc.operations.put_back.result import ends_of, item
from backupsvc.operations.replace.memory import ReplaceMemory, recall
from backupsvc.operations.replace.planning import ReplacePlan
from backupsvc.operations.restore.result import plan_as_dict, restore_outcome
from policies.model import Operation, OperationState
from policies.surroundings.model import Kind
from policies.surroundings.moving import IGNORED

UNKNOWN_JOBS = (
    "whether a backup job of PVE names guest {old} is not known, and none is changed: {why}"
)


def steps_in_words(memory: ReplaceMemory, new: int, held: str | None = None) -> list[str]:
    """Given what a replacement is to do, and the state that HA keeps the old guest in, return a
    sentence for each step, in order.
    """
    old = memory.old
    hold = f"HA, which keeps guest {old} {held}, is told to leave it alone (state {IGNORED})"
    how = "; then it is switched off" if memory.force_stop else "; if it does not, all goes back"
    return [
        f"guest {old} is backed up by job {memory.job}, and that archive is kept from prune meanwhile",
        f"{memory.archive.volid} is restored as {new}: the same machine, all links down, not at boot",
        f"guest {new} is started beside it and asked what needs no network",
        *([hold] if held else []),
        f"guest {old} is shut down within {memory.patience} s{how}",
        f"guest {old} gets onboot=0 and its links down; it stays, with its disks",
        f"only then guest {new} gets its links and its onboot, and is asked by all its checks",
        f"if anything fails before that has ended, guest {old} is brought back as it was",
        f"then what is around guest {old} passes to {new} as far as the token may, HA last and only if "
        f"{new} serves",
        f"the policy is yours to change: its job {memory.job} saves {old}, and {new} only if it is in it",
    ]


def plan_for_json(plan: ReplacePlan, new: int) -> dict[str, Any]:
    """Given a plan, return it as ``restore --replace --dry-run --json`` prints it."""
    memory = plan.memory
    return plan_as_dict(plan.restore) | {
        "overrides": dict(memory.overrides),
        "replaces": {
            "vmid": memory.old,
            "name": memory.old_name,
            "node": memory.old_node,
            "by": new,
            "job": memory.job,
            "type": plan.word,
            "accept_unchecked": memory.accept_unchecked,
            "force_stop": memory.force_stop,
            "steps": steps_in_words(memory, new, plan.held),
        },
        "surroundings": [
            *_held(memory.old, plan.held, "planned"),
            *(item(thing, end) for thing, end in plan.things),
        ],
        "surroundings_kept_at": None,
        "surroundings_unknown": memory.around_unknown or None,
    }


def _held(old: int, state: str | None, action: str) -> list[dict[str, Any]]:
    """That HA leaves the old guest alone, as one of the things around it."""
    if state is None:
        return []
    sid = f"vm:{old}"
    detail = f"HA leaves it alone, which was to be {state}; it keeps its place there"
    about = {"kind": str(Kind.HA_RESOURCE), "name": sid, "what": f"{Kind.HA_RESOURCE} {sid}"}
    command = f"ha-manager set {sid} --state {IGNORED}"
    return [about | {"action": action, "detail": detail, "commands": [command], "left": False}]


def moved(operation: Operation, memory: ReplaceMemory) -> list[dict[str, Any]]:
    """Given an ended replacement, or undoing, return what became of each thing around the guest;
    nothing where the two were not switched, for then nothing was moved.
    """
    if memory.undo_of is None and memory.judged is None:
        return []
    held = memory.held if memory.undo_of is None else None
    return [
        *_held(memory.old, held, "done"),
        *(item(thing, end) for thing, end in ends_of(memory.pieces)),
    ]


def replace_outcome(operation: Operation) -> dict[str, Any]:
    """Given an ended replacement, return what ``restore --replace --json`` prints. ``switched``: the
    new guest is in the place of the old one; ``touched``: the old one was, or was about to be, shut
    down.
    """
    memory, book = recall(operation), operation.book
    return restore_outcome(operation, memory) | {
        "replaced": {
            "vmid": memory.old,
            "name": memory.old_name,
            "node": memory.old_node,
            "by": operation.subject,
            "safety_backup": memory.safety,
            "safety_archive": memory.saved.volid if memory.saved else None,
            "typed_by": memory.typed_by or None,
            "checks_before": [
                {"name": one.name, "outcome": str(one.outcome), "detail": one.detail}
                for one in memory.before
            ],
            "touched": memory.cut,
            "switched": memory.judged is not None,
            "left": list(memory.left),
            "way_back_error": error_as_dict(book.cleanup_error),
        },
        "surroundings": moved(operation, memory),
        "surroundings_kept_at": None,
        "surroundings_unknown": unknown(memory),
        "error": error_as_dict(book.error or book.cleanup_error),
    }


def unknown(memory: ReplaceMemory) -> str | None:
    """Given what a replacement, or an undoing, remembers, return why what is around the guest is not
    known, None if it is.
    """
    if memory.around_unknown:
        return memory.around_unknown
    return "it was not looked at" if memory.around is None else None


def undo_as_dict(id: str, new: int, memory: ReplaceMemory) -> dict[str, Any]:
    """Given the replacement that is to be undone, return what is said of it beforehand."""
    return {
        "undoes": id,
        "original": memory.old,
        "name": memory.old_name,
        "vmid": new,
        "force_stop": memory.force_stop,
        "steps": undo_in_words(new, memory),
        "surroundings": [item(one.thing, None) for one in memory.pieces],
        "surroundings_unknown": unknown(memory),
    }


def undo_in_words(new: int, memory: ReplaceMemory) -> list[str]:
    """Given the replacement that is to be undone, return a sentence for each step, in order."""
    how = "; then it is switched off" if memory.force_stop else ""
    starts = "and is started" if memory.ran else "and is not started, as it was off"
    if not memory.cut:
        starts = "which it never lost"
    return [
        f"HA is told to leave guest {new} alone, if it manages it (state {IGNORED})",
        f"guest {new} gets its links down and onboot=0, and is shut down within "
        f"{memory.patience} s{how}",
        f"what was written into guest {new} since the replacement stays there, and nowhere else",
        f"guest {memory.old} gets its links and its onboot as they were, {starts}",
        *(f"{one.thing.what}: {one.thing.detail}" for one in memory.pieces),
        *([UNKNOWN_JOBS.format(old=memory.old, why=why)] if (why := unknown(memory)) else []),
        *([f"HA keeps guest {memory.old} {memory.held} again"] if memory.held else []),
        f"all else that guest {new} got stays: its pool, rights, rules and replication",
    ]


def undo_outcome(operation: Operation) -> dict[str, Any]:
    """Given an ended undoing, return what ``operations undo --json`` prints."""
    memory, book = recall(operation), operation.book
    return {
        "operation": operation.id,
        "undoes": memory.undo_of,
        "original": memory.old,
        "name": memory.old_name,
        "vmid": operation.subject,
        "state": str(operation.state),
        "back": operation.state is OperationState.DONE,
        "left": list(memory.left),
        "surroundings": moved(operation, memory),
        "surroundings_unknown": unknown(memory),
        "error": error_as_dict(book.error or book.cleanup_error),
    }
