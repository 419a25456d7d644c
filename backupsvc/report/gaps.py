"""Questions to the cluster whose failing is no end: it becomes a gap with PVE's own words, which the
report tells.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

from backupsvc.errors import PveError, PvePermissionDenied, PveUnreachable
from policies.compliance.facts import Gap
from policies.model import Guest, GuestType

if TYPE_CHECKING:
    from backupsvc.pve import Pve

T = TypeVar("T")
FAILS = (PveError, PvePermissionDenied, PveUnreachable)


class Gaps:
    """Asks, and remembers what could not be answered. ``silent``: nodes that are called online and
    did not answer, and why.
    """

    def __init__(self, answers: Callable[[str], bool]) -> None:
        """Given the question whether a node answers at all, which is put once to a node that left
        another one unanswered.
        """
        self.found: list[Gap] = []
        self.silent: dict[str, str] = {}
        self._answers = answers

    def ask(self, kind: str, subject: str, question: Callable[[], T], node: str = "") -> T | None:
        """Given a question to the cluster, return its answer, or None after noting why there is
        none.

        ``node`` is who must answer it: one that answers nothing is not asked again, and is one gap,
        whatever is asked.
        """
        # each question to it may take half a minute (pve-facts 1.6)
        if node in self.silent:
            return None
        try:
            return question()
        except FAILS as error:
            if not (
                node and isinstance(error, PveUnreachable) and self.is_silent(node, error.message)
            ):
                self.note(kind, subject, error.message)
            return None

    def is_silent(self, node: str, why: str) -> bool:
        """Given a node that left a question unanswered, and why, return whether it answers nothing
        at all; remember that.
        """
        # One question may fail where the node is well; put the plain one before all others are left
        # out.
        if self._answers(node):
            return False
        self.silent[node] = why
        self.note("node", node, why)
        return True

    def note(self, kind: str, subject: str, reason: str) -> None:
        """Remember that something is not known."""
        self.found.append(Gap(kind, subject, reason))


def config_of(pve: Pve, guest: Guest, gaps: Gaps) -> Mapping[str, str] | None:
    """Given a guest, return its configuration as its node tells it, None after noting why it does
    not.
    """
    call = pve.guests.config if guest.type is GuestType.QEMU else pve.guests.container_config
    return gaps.ask("config", str(guest.vmid), bound(call, guest.node, guest.vmid), guest.node)


def bound(call: Callable[..., T], *arguments: object, **named: object) -> Callable[[], T]:
    """Given a call and its arguments, return the question that asks so: in a loop it keeps what the
    loop had then.
    """
    return lambda: call(*arguments, **named)
