"""What is asked of the cluster before something is put back: what the token may do, and how the
guest stands before HA gets it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from backupsvc.engine.executor import trouble_of
from backupsvc.engine.memory import MemoryUnreadable
from backupsvc.errors import BackupsvcError, LawRefused, PveError, PveNotFound, Refused, Unreachable
from backupsvc.operations.put_back.memory import PutBackMemory
from backupsvc.operations.restore import twins
from backupsvc.operations.restore.memory import recall as recall_restore
from backupsvc.operations.services import Cluster
from backupsvc.operations.surroundings import Now
from policies import lineage
from policies.model import Operation, OperationState
from policies.restore_verdict import IN_WORDS, is_well
from policies.surroundings import Call, Kind, Right, Surrounding, putting_back
from policies.surroundings.asked import where
from policies.surroundings.putting_back import Ended, Standing
from policies.workflow import Trouble


def passes(error: BackupsvcError, *, retries: bool) -> bool:
    """Given what a question failed with, and whether it would be asked again soon, return whether
    that is worth it.
    """
    trouble = trouble_of(error)
    return trouble is Trouble.UNAVAILABLE or (trouble is Trouble.TRANSIENT and retries)


def held(
    service: Cluster, rights: Iterable[Right], *, retries: bool
) -> dict[str, frozenset[str] | None]:
    """Given what calls need, return what the token holds at each of the paths at this moment, None
    where PVE does not say. Raise what may pass, while ``retries``.
    """
    found: dict[str, frozenset[str] | None] = {}
    for path in dict.fromkeys(one.path for one in rights):
        try:
            # PVE alone knows what pools give and what does not propagate
            found[path] = service.restore_pve.cluster.permissions_at(path)
        except (PveError, Refused, Unreachable) as error:
            if passes(error, retries=retries):
                raise
            found[path] = None
    return found


def digest(service: Cluster, call: Call, *, retries: bool) -> str | None:
    """Given a call, return the digest of what it changes where PVE looks at one, None where it does
    not, or tells none. Raise what may pass, while ``retries``.
    """
    try:
        return service.restore_pve.surroundings.digest(call)
    except (PveError, Refused) as error:
        if passes(error, retries=retries):
            raise
        return None


def standing_if_known(
    service: Cluster, memory: PutBackMemory, vmid: int, now: Now, *, retries: bool
) -> Standing:
    """Given a guest and what was just read around it, return how it stands before HA gets it. Raise
    what may pass, while ``retries``.
    """
    try:
        return _standing(service, memory, vmid, now)
    except (PveError, Refused) as error:
        if passes(error, retries=retries):
            raise
        return Standing(None, doubt=f"how it stands is not known: {error.message}")


def left_to_hands(
    service: Cluster,
    thing: Surrounding,
    calls: Sequence[Call],
    standing: Callable[[], Standing],
    *,
    retries: bool,
) -> Ended | None:
    """Given a thing, the calls that would put it back, and what tells how its guest stands, return
    why they are left to a person, None where they may be made. Raise what may pass, while
    ``retries``.
    """
    if end := putting_back.may(thing, calls, held(service, thing.rights, retries=retries)):
        return end
    if thing.kind is not Kind.HA_RESOURCE:
        return None
    # HA starts and stops what it is given by itself, so how the guest stands decides last
    return putting_back.arming(thing, standing())


def _standing(service: Cluster, memory: PutBackMemory, vmid: int, now: Now) -> Standing:
    row = where(now.config, vmid)
    if row is None or not (node := row.get("node")):
        return Standing(None)
    try:
        seen = service.restore_pve.surroundings.running(node, row.word, vmid)
    except PveNotFound:  # it moved in this moment
        return Standing(None)
    text = now.config.files.get(f"guests/{row.word}-{vmid}.conf", "")
    return Standing(seen.running, seen.lock, _doubt(service, memory, vmid, text))


def _doubt(service: Cluster, memory: PutBackMemory, vmid: int, text: str) -> str:
    """Why the guest may not be well, or not be the only one of its kind; "" if nothing says so."""
    if service.restore_pve.cluster.status().quorate is False:
        return "the cluster has no quorum"
    for restore in service.catalog.operations.find(kind="restore", subject=vmid, limit=1):
        if restore.created >= memory.kept_at and (why := _ended_badly(restore)):
            return f"its restore {restore.id} did not end well: {why}"
    try:
        unknown = twins.meeting(
            service, memory.vmid, vmid, lineage.read(text), "that its configuration was kept of"
        )
    except LawRefused as refused:
        return f"it may not be alone: {refused.message}"
    return "; ".join(unknown)


def _ended_badly(restore: Operation) -> str:
    if restore.state is not OperationState.DONE:
        return restore.error or str(restore.state)
    try:
        judged = recall_restore(restore).judged
    except MemoryUnreadable as error:
        return error.message
    if judged is None or is_well(judged):
        return ""
    return "; ".join((IN_WORDS[judged.health], *judged.reasons))
