"""The failover test of the reference site's own document, on a lab: the node that runs the guest is
made to fail, with and without a third vote, with and without its disk on the other node. What each
scene showed, and why nothing moved where nothing could.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from policies.ha.failovers import Failover

GUEST, FAILS, TAKES = 108, "clovis", "lge-pve02"
FACTOR = 60  # how much faster than real the waits of a lab's HA pass here


@dataclass(frozen=True, slots=True)
class Scene:
    """What the cluster has when its node fails: a QDevice's vote, and a replica on the other node."""

    third_vote: bool
    replicated: bool

    @property
    def patience(self) -> float:
        """For how many seconds an answer is waited for: twice as long as HA's waits take here, and
        where it cannot act as long as shows that it does not.
        """
        return 15.0 if self.third_vote else 6.0

    @property
    def name(self) -> str:
        """What is different in it, in words."""
        vote = "a third vote" if self.third_vote else "two votes"
        disk = "its disk replicated" if self.replicated else "its disk on its node alone"
        return f"{vote}, {disk}"


SCENES = tuple(Scene(vote, disk) for vote in (False, True) for disk in (False, True))


@dataclass(frozen=True, slots=True)
class Shown:
    """What a scene showed. ``answered`` is after how many seconds the guest's service was heard
    again, None if it was not while it was listened to (``watched`` seconds).

    ``node`` is where the cluster says that the guest is, ``state`` HA's word for it, ``failed`` how
    its starts on the other node ended that failed. ``log`` is what HA's own log says of it.
    """

    scene: Scene
    answered: float | None
    watched: float
    quorate: bool | None
    node: str | None
    state: str
    failed: tuple[str, ...] = ()
    log: Failover | None = None

    @property
    def as_expected(self) -> bool:
        """Whether HA brought the guest back where it could, and nowhere else; where it could not,
        whether what was seen is what keeps it from that.
        """
        able, back = self.scene.third_vote and self.scene.replicated, self.answered is not None
        if able or back:
            return able and back
        if self.scene.third_vote:
            return self.node == TAKES and bool(self.failed)
        return self.quorate is False


def why(shown: Shown) -> str:
    """Given what a scene showed, return in a sentence why it came to that."""
    if shown.answered is not None:
        return f"HA fenced {FAILS}, moved the guest to {shown.node} and started it from its replica"
    if shown.quorate is False:
        left = "one vote of two is left, and no quorum"
        what = "HA moves nothing, and PVE refuses every change"
        return f"{left}: {what}, a restore onto {TAKES} as well"
    if shown.node == TAKES and shown.failed:
        times = f"{len(shown.failed)} time{'s' if len(shown.failed) > 1 else ''}"
        return (
            f"HA moved it to {TAKES} without looking for its disk, which is on {FAILS}; its start "
            f"failed {times}: {shown.failed[-1]}"
        )
    return "nothing that was seen explains it: look at `ha-manager status` and the lab's log"


def refusal(*, lab: bool, hosts: Collection[str], own: Collection[str]) -> str:
    """Given whether the settings are a lab's, which hosts they lead to, and which ones the lab that
    was just started listens at, return why no node of it may be made to fail; "" if one may.
    """
    if not lab:
        return "these are no lab's settings"
    if strange := sorted(set(hosts) - set(own)):
        return f"they lead to {', '.join(strange)}, which is not the lab that was started for this"
    if not hosts:
        return "they lead nowhere"
    return ""
