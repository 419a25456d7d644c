"""Keep a guest from running twice: say why the original of one that is to be brought back may still be
alive, and which words of a person set that aside.

A node that does not answer may still run its guests: nobody hears of fencing that has not come
about. Who answers at the guest's address may be the guest. Both stop a start until somebody who has
seen that the original is off says so in words: a "yes" is typed too fast.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from policies import reach
from policies.restore_silence import Look
from policies.silence import Verdict


@dataclass(frozen=True, slots=True)
class Doubt:
    """A reason for which the original may be alive: ``key`` tells it from others, ``said`` is the
    sentence.
    """

    key: str
    said: str


@dataclass(frozen=True, slots=True)
class Confirmation:
    """Who said, when (epoch seconds) and with which words, that the original is off. ``doubts`` is
    what was known then, and set aside by it.
    """

    by: str
    at: int
    words: str
    doubts: tuple[Doubt, ...] = ()


def words(vmid: int) -> str:
    """Given a guest, return the words that confirm that it is off."""
    return f"{vmid} is off"


def fits(typed: str | None, vmid: int) -> bool:
    """Given what somebody wrote, return whether these are the words for that guest."""
    return typed is not None and typed.strip() == words(vmid)


def doubts(vmid: int, down: Mapping[str, str], looks: Iterable[Look]) -> tuple[Doubt, ...]:
    """Given a guest, the nodes that cannot be asked (``policies.reach``) and what was found at its
    addresses, return why it may be alive.
    """
    silent = [
        Doubt(
            of_node(node),
            f"node {node} {'is offline' if how == reach.OFFLINE else 'does not answer'}: whether "
            f"guest {vmid} still runs there is not known",
        )
        for node, how in sorted(down.items())
    ]
    return (
        *silent,
        *(
            Doubt(
                f"address {look.address.ip}",
                f"somebody answers at {look.address.ip}, an address of guest {vmid} "
                f"({look.address.known_from}): {look.found.words}",
            )
            for look in looks
            # an address that could not be asked is told elsewhere: it is no sign of life
            if look.found.verdict is Verdict.ANSWERED
        ),
    )


def of_node(node: str) -> str:
    """Given a node that cannot be asked, return the key of the doubt that it is."""
    return f"node {node}"


def unconfirmed(found: Iterable[Doubt], given: Confirmation | None) -> tuple[Doubt, ...]:
    """Given doubts and a confirmation (None: there is none), return the doubts that it does not set
    aside: what came up after it was given is news to whoever gave it.
    """
    known = {one.key for one in given.doubts} if given else set()
    return tuple(one for one in found if one.key not in known)


def back(given: Iterable[str], down: Iterable[str]) -> tuple[str, ...]:
    """Given the nodes that were silent at the start and those that are now, return a sentence for
    each that has come back since: the original may have come back with it.
    """
    now = set(down)
    return tuple(
        f"node {node}, which was silent before the start, answers again: the original may run there"
        for node in sorted(set(given) - now)
    )


def quorum_steps(node: str, down: Sequence[str]) -> tuple[str, ...]:
    """Given a node that answers and those that do not, return what a person does when they have lost
    quorum, in order. None of it is ever done by this service.
    """
    lost = ", ".join(down)
    return (
        f"best: bring {lost} back; its vote is quorum again",
        "if the cluster has a QDevice (`pvecm status` shows it): bring that back, its vote suffices "
        "as well; one can only be set up while there is quorum (`pvecm qdevice setup ADDRESS`)",
        f"if {lost} is lost: see on the spot that it is OFF (power, not network alone), then on "
        f"{node}: pvecm expected 1",
        f"the danger of that step: if {lost} still runs, both go on by themselves, and each may start "
        "the same guests and change /etc/pve in its own way; so nobody does it before that power is "
        "off, and it is never done from here",
    )
