"""What can be reached, and what cannot: unreachable is not gone, unknown is not offline (law 4).

An archive is only gone when its storage was listed completely without it; a guest of a node that does not answer is neither
running nor stopped, and its VMID is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from policies import i18n, whole
from policies.model import Archive, Node

OFFLINE, UNKNOWN, SILENT = "offline", "unknown", "silent"
MOST_NAMED = 20  # guests that one sentence names

Place = tuple[str, str]  # (node, storage); the node is "" on a shared storage


def down(nodes: Iterable[Node], silent: Mapping[str, str] = MappingProxyType({})) -> dict[str, str]:
    """Given nodes, and those that were called online and did not answer, return how each that cannot be asked is known to be so.

    OFFLINE: the cluster's members say it. UNKNOWN: they do not, its status is unknown, and it did not answer. SILENT: called
    online, and it did not answer.
    """
    told = {node.name: UNKNOWN if node.unknown else OFFLINE for node in nodes if not node.online}
    return told | {name: SILENT for name in silent if name not in told}


def place(archive: Archive) -> Place:
    """Given an archive, return the place that must be listed to see whether it is there."""
    return (whole.key(archive)[0], archive.storage)


def in_words(where: Place) -> str:
    """Given a place, return how a sentence names it."""
    return f"storage {where[1]} of {where[0]}" if where[0] else f"the shared storage {where[1]}"


def was_listed(archive: Archive, looked: Collection[Place]) -> bool:
    """Given an archive that the catalog knows and the places that were listed completely, return whether it was looked for.

    A storage that is shared by now, or no longer is, was looked at under its new place.
    """
    names = {place(archive), (archive.node, archive.storage), ("", archive.storage)}
    return not names.isdisjoint(looked)


def unlisted(known: Iterable[Archive], looked: Collection[Place]) -> tuple[Archive, ...]:
    """Given the archives that the catalog knows and the places that were listed completely, return those not looked for."""
    return tuple(archive for archive in known if not was_listed(archive, looked))


def named(names: Sequence[object], language: str) -> str:
    """Given names, return them in one line; of very many only the first, and how many more there are."""
    shown = i18n.names(names[:MOST_NAMED])
    more = len(names) - MOST_NAMED
    return shown if more <= 0 else f"{shown} {i18n.reason('more', language, count=more)}"


@dataclass(frozen=True, slots=True)
class Rest:
    """What is left when a node does not answer. ``alive``: the nodes that answer; ``quorate`` None: not known.

    ``restorable``: the node's guests with their newest archive within reach, by VMID; ``lost``: whether some have none;
    ``managed``: those that HA manages, as it names them (``vm:108``).
    """

    alive: Sequence[str]
    quorate: bool | None = None
    restorable: Sequence[tuple[int, Archive]] = ()
    lost: bool = False
    managed: Sequence[str] = ()


def way_on(node: str, rest: Rest, language: str, when: Callable[[int], str]) -> tuple[str, ...]:
    """Given a node that cannot be asked, what is left, and how times are written, return what a human does, in order.

    Nothing is restored before somebody has seen that the node is off: a guest must never run twice. Nothing is said of quorum
    where nothing could be restored with it.
    """

    def step(key: str, **values: object) -> str:
        return i18n.reason(f"way.{key}", language, node=node, **values)

    steps = [step("seen"), step("back")]
    if not rest.alive:
        return tuple(steps)
    if rest.restorable and rest.quorate is False:
        steps.append(step("quorum", alive=rest.alive[0]))
        steps += [step("ha", commands="; ".join(f"ha-manager remove {sid}" for sid in rest.managed))] if rest.managed else []
    if rest.restorable:
        steps.append(step("free", alive=rest.alive[0]))
    for where, found in _by_node(rest).items():
        told = [i18n.reason("way.guest", language, vmid=vmid, when=when(one.ctime), volid=one.volid) for vmid, one in found]
        vmid = found[0][0] if len(found) == 1 else "VMID"
        steps.append(step("restore", command=f"`backupsvc restore {vmid} --node {where}`", guests=named(told, language)))
    return (*steps, step("none")) if rest.lost else tuple(steps)


def _by_node(rest: Rest) -> dict[str, list[tuple[int, Archive]]]:
    """The guests by the node on which each archive can be read; a shared one from any that lives."""
    found: dict[str, list[tuple[int, Archive]]] = {}
    for vmid, archive in rest.restorable:
        where = rest.alive[0] if archive.shared and archive.node not in rest.alive else archive.node
        found.setdefault(where, []).append((vmid, archive))
    return found
