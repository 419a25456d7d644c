"""What is around the guest that is replaced passes to the new one, and comes back: what is seen of it
beforehand, and the steps that have HA leave one of the two alone and move the rest.

HA lets go of the old guest before that is shut down, and gets the new one last, once that serves. Each
wish is written down before it is made, so that whoever comes after a crash gives back what was taken.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from backupsvc.engine.context import Wait
from backupsvc.errors import (
    OperationFailed,
    PveError,
    PvePermissionDenied,
    PveUnreachable,
    Refused,
    Unreachable,
)
from backupsvc.inventory.cluster_config import Part, read
from backupsvc.inventory.listing import FAILS
from backupsvc.operations import surroundings
from backupsvc.operations.put_back import asking
from backupsvc.operations.put_back.steps import Around, anew, go_through
from backupsvc.operations.replace.memory import ReplaceMemory
from backupsvc.operations.replace.pair import change, pair
from backupsvc.operations.services import Cluster, Run
from policies import replace_guard
from policies.cluster_config import ConfigSet
from policies.config_sources import GUESTS
from policies.replace_guard import Act, Power
from policies.restore_verdict import IN_WORDS, Health
from policies.surroundings import FILES, Call, Kind, Surrounding, moving, putting_back
from policies.surroundings.asked import where
from policies.surroundings.putting_back import Ended, Standing

LET_GO = 180.0  # seconds that HA's manager has to let go of a guest; a round of it takes ten
CONSOLE = "Sys.Console"  # on /: what a wish to HA needs (pve-facts 8.8)


@dataclass(frozen=True, slots=True)
class Surrounded:
    """What is around a guest: the part of the configuration that is about it, and what the other one
    lacks of it. ``why_none`` says why that is not known.
    """

    then: ConfigSet | None = None
    things: tuple[Surrounding, ...] = ()
    why_none: str = ""


def seen(service: Cluster, old: int, new: int, node: str, archive: str) -> Surrounded:
    """Given the guest that is there, the VMID and the node to which the text of a configuration in an
    archive is restored, return what passes to that one. What cannot be read hinders nothing.
    """
    try:
        now = read(service, part=Part(FILES, frozenset({old})))
    except FAILS as error:
        return Surrounded(why_none=error.message)
    then = moving.about(now, old)
    if where(then, old) is None:
        # the list of guests is one of those that may fail alone
        unread = now.why_not_read(GUESTS.file) or f"guest {old} is not in the list of guests"
        return Surrounded(why_none=unread)
    return Surrounded(then, moving.forth(then, now, old, new, node=node, archive=archive))


def lacking_back(service: Cluster, memory: ReplaceMemory, new: int) -> Surrounded:
    """Given what a replacement remembers, return what the old guest lacks when it comes back."""
    if memory.around is None:
        return Surrounded(why_none="what was around it before is not known")
    try:
        now = read(service, part=Part(putting_back.files_of(Kind.BACKUP), frozenset({memory.old})))
    except FAILS as error:
        return Surrounded(memory.around, why_none=error.message)
    return Surrounded(memory.around, moving.back(memory.around, now, memory.old, new))


def foreseen(service: Cluster, thing: Surrounding) -> Ended | None:
    """Given a thing, return why it will be left to a person; None if it will be done."""
    if not thing.calls:
        return putting_back.without_calls(thing)
    held = asking.held(service, thing.rights, retries=False)
    return putting_back.may(thing, thing.calls, held)


def require_wish(service: Cluster, vmid: int, why: str) -> None:
    """Raise PvePermissionDenied unless the token may tell HA to leave a guest alone."""
    pve = service.restore_pve
    if CONSOLE not in pve.cluster.permissions_at("/"):
        raise PvePermissionDenied(
            f"HA manages guest {vmid}: {why}, and {pve.token_id} lacks {CONSOLE} on / to have it left "
            "alone",
            f"as root on a node: `ha-manager set vm:{vmid} --state {moving.IGNORED}`, then give the "
            "command anew",
        )


# --- the steps ------------------------------------------------------------------------------------


def hold(run: Run[ReplaceMemory]) -> Wait | None:
    """Have HA leave the old guest alone, if it manages it: it would start it again."""
    memory, both = run.memory, pair(run)
    state = both.old().ha
    if memory.held is None:
        if not moving.managed(state):
            return None
        require_wish(run.service, memory.old, "it would start it again beside the new one")
        run.memory = memory = replace(memory, held=state)
        run.note("intent", what=f"have HA leave guest {memory.old} alone, which is to be {state}")
    if moving.managed(state):
        both.hold_old()
    return _let_go(run, memory.old)


def _let_go(run: Run[ReplaceMemory], vmid: int) -> Wait | None:
    if not run.service.pve.ha.in_hand(f"vm:{vmid}"):
        return None
    # from when HA was told, not from when the step was entered: a driver may have died between
    told = f"{run.operation.step}: told HA"
    run.enter(told)
    if run.passed(told) < LET_GO:
        return Wait(f"HA is letting go of guest {vmid}", most=2.0)
    raise OperationFailed(
        f"HA has not let go of guest {vmid} in {LET_GO:g} s",
        "see `ha-manager status`: without a master nothing is let go",
        operation=run.id,
    )


def move(run: Run[ReplaceMemory]) -> Wait | None:
    """Let pass to the new guest what was around the old one, thing by thing, as far as the token may;
    HA gets it last, and only if it serves.
    """
    memory = run.memory
    then = memory.around
    if then is None:
        run.conclude("what is around it is not known, and was not moved")
        return None

    def look(kind: Kind) -> surroundings.Now:
        return surroundings.anew_since(
            run.service,
            kind,
            then,
            memory.old,
            run.vmid,
            lambda now: moving.forth(then, now, memory.old, run.vmid, archive=""),
        )

    def call(one: Call, digest: str | None) -> None:
        if one.path == "cluster/ha/resources":
            pair(run).require_arming()
        run.service.restore_pve.surroundings.put_back(one, run.vmid, digest)

    return go_through(
        run,
        Around(lambda kind: anew(run, lambda: look(kind)), lambda now: _standing(run), call),
    )


def _standing(run: Run[ReplaceMemory]) -> Standing:
    """How the new guest stands before HA gets it."""
    judged, doubt = run.memory.judged, ""
    try:
        both = pair(run).look()
    except (PveError, Refused, Unreachable) as error:
        # the node of the old guest may be lost by now: no reason to call the new one bad
        alone = isinstance(error, PveUnreachable) and error.node
        if not alone and asking.passes(error, retries=run.retries):
            raise
        return Standing(None, doubt=f"how the two stand is not known: {error.message}")
    if judged is None or judged.health not in (Health.RUNNING, Health.SIMULATED):
        doubt = IN_WORDS[judged.health] if judged else "nobody knows how it fares"
    elif why := replace_guard.refusal(Act.ARM_NEW, both.old.side, both.new.side):
        doubt = why
    running = {Power.RUNNING: True, Power.STOPPED: False}.get(both.new.side.power)
    return Standing(running, both.new.config.get("lock", ""), doubt)


def release(run: Run[ReplaceMemory]) -> Wait | None:
    """On the way back: have HA leave the new guest alone, if it manages it."""
    found = pair(run).new()
    if found.side.power is Power.ABSENT:
        return None
    if moving.managed(found.ha):
        require_wish(run.service, run.vmid, "it would start it again beside the old one")
        run.note("intent", what=f"have HA leave guest {run.vmid} alone")
        pair(run).hold_new()
    return _let_go(run, run.vmid) if found.ha is not None else None


def jobs_back(run: Run[ReplaceMemory]) -> Wait | None:
    """On the way back that was asked for: put the old guest back into the backup jobs."""
    memory, then = run.memory, run.memory.around
    if then is None or memory.undo_of is None:
        return None

    def look(kind: Kind) -> surroundings.Now:
        return surroundings.anew_since(
            run.service,
            kind,
            then,
            memory.old,
            memory.old,
            lambda now: moving.back(then, now, memory.old, run.vmid),
        )

    return go_through(
        run,
        Around(
            lambda kind: anew(run, lambda: look(kind)),
            lambda now: Standing(None),
            lambda one, digest: run.service.restore_pve.surroundings.put_back(
                one, memory.old, digest
            ),
        ),
    )


def arm_again(run: Run[ReplaceMemory]) -> None:
    """On the way back, at its end: let HA keep the old guest as it did. What a person set meanwhile
    is left, and what is not there any more is said.
    """
    memory = run.memory
    found, sid, left = pair(run).old(), f"vm:{memory.old}", ""
    if memory.held is None:
        if found.ha == moving.IGNORED:
            said = f"HA leaves guest {memory.old} alone, as it did before: if it is to manage it, "
            left = f"{said}`ha-manager set {sid} --state started`"
            run.memory = replace(memory, left=(*memory.left, left))
        return
    if found.side.power is Power.ABSENT:
        left = f"guest {memory.old} is gone, or another machine: HA was to leave {sid} alone"
    elif found.ha is None:
        left = f"HA has {sid} no longer: `ha-manager add {sid} --state {memory.held}`"
    if left:
        run.memory = replace(memory, left=(*memory.left, left))
    elif not moving.managed(found.ha):
        held = memory.held
        # said before it is tried: where it fails a person has the command
        said = f"HA leaves guest {memory.old} alone: `ha-manager set {sid} --state {held}`"
        others = tuple(one for one in memory.left if one != said)
        run.memory = replace(memory, left=(*others, said))
        change(
            run,
            lambda: pair(run).arm_old(held),
            lambda: moving.managed(pair(run).old().ha),
        )
        run.memory = replace(run.memory, left=others)
