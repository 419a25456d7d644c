"""What a human does, step by step, about a node that does not answer and the guests that were on
it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from policies.i18n.sentences import Listed, Moment, Sentence
from policies.model import Archive


@dataclass(frozen=True, slots=True)
class Remains:
    """What is left when a node does not answer. ``alive``: the nodes that answer; ``quorate`` None:
    not known.

    ``restorable``: the node's guests with their newest archive within reach, by VMID; ``lost``:
    whether some have none; ``managed``: those that HA manages, as it names them (``vm:108``).
    """

    alive: Sequence[str]
    quorate: bool | None = None
    restorable: Sequence[tuple[int, Archive]] = ()
    lost: bool = False
    managed: Sequence[str] = ()


def recovery_steps(node: str, remains: Remains) -> tuple[Sentence, ...]:
    """Given a node that cannot be asked and what is left, return what a human does, in order.

    Nothing is restored before somebody has seen that the node is off: a guest must never run twice.
    Nothing is said of quorum where nothing could be restored with it.
    """

    def step(key: str, **values: object) -> Sentence:
        return Sentence(f"way.{key}", {"node": node, **values})

    steps = [step("seen"), step("back")]
    if not remains.alive:
        return tuple(steps)
    # without quorum PVE refuses every restore (pve-facts 9.3)
    if remains.restorable and remains.quorate is False:
        steps.append(step("quorum", alive=remains.alive[0]))
        if remains.managed:
            # HA moves by itself what it manages, as soon as the rest has quorum
            commands = "; ".join(f"ha-manager remove {sid}" for sid in remains.managed)
            steps.append(step("ha", commands=commands))
    if remains.restorable:
        steps.append(step("free", alive=remains.alive[0]))
    by_node: dict[str, list[tuple[int, Archive]]] = {}
    for vmid, archive in remains.restorable:
        # a shared archive can be read from any node that lives
        elsewhere = archive.shared and archive.node not in remains.alive
        where = remains.alive[0] if elsewhere else archive.node
        by_node.setdefault(where, []).append((vmid, archive))
    for where, found in by_node.items():
        told = [
            Sentence("way.guest", {"vmid": vmid, "when": Moment(one.ctime), "volid": one.volid})
            for vmid, one in found
        ]
        which = found[0][0] if len(found) == 1 else "VMID"
        command = f"`backupsvc restore {which} --node {where}`"
        steps.append(step("restore", command=command, guests=Listed(told)))
    return (*steps, step("none")) if remains.lost else tuple(steps)
