"""What a drill showed, and what it did not."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from policies.ha.drill import RELOCATE
from policies.ha.drill_measure import Measured


class Worth(StrEnum):
    """What a measurement is worth. UNKNOWN: it is not sure that it is this guest's. SIMULATED: the
    guest is only modelled.
    """

    MEASURED = "measured"
    UNKNOWN = "unknown"
    SIMULATED = "simulated"


@dataclass(frozen=True, slots=True)
class Drilled:
    """How a drill ended. ``went``: the guest was at rest on the other node; ``answered``: its
    service was heard there; ``home``: it is back, None: it is not known where it is.

    ``lost``: its node was lost meanwhile. ``stranger``: the MAC of another machine that answered.
    """

    how: str
    went: bool
    answered: bool
    home: bool | None
    out: Measured
    back: Measured
    simulated: bool = False
    lost: bool = False
    stranger: str = ""

    @property
    def interruption(self) -> float:
        """Seconds without its service, both ways together."""
        return round(self.out.interruption + self.back.interruption, 3)

    @property
    def longest_gap(self) -> float:
        """Seconds: the longest time without a good answer."""
        return max(self.out.longest_gap, self.back.longest_gap)

    @property
    def unwatched(self) -> float:
        """Seconds in which nobody listened, so that nothing is known of them."""
        return round(self.out.unwatched + self.back.unwatched, 3)

    @property
    def at_least(self) -> bool:
        """Whether the interruption may have been longer."""
        return self.out.at_least or self.back.at_least or self.unwatched > 0

    @property
    def worth(self) -> Worth:
        """What the measurement is worth."""
        if self.simulated:
            return Worth.SIMULATED
        return Worth.UNKNOWN if self.doubts else Worth.MEASURED

    @property
    def doubts(self) -> tuple[str, ...]:
        """Why what was heard says nothing of this guest, or not all."""
        found = []
        if not self.went:
            found.append("it did not get to the other node")
        elif not self.answered:
            found.append("its service was not heard on the other node")
        if self.lost:
            found.append("its node was lost meanwhile: HA moved it for that")
        if self.stranger:
            found.append(f"another machine (MAC {self.stranger}) answered at its address")
        if self.how == RELOCATE and self.went and self.out.samples and not self.out.failed:
            found.append(
                "its service answered all the while, though it was stopped and started: something "
                "else answers there too"
            )
        return tuple(found)

    @property
    def well(self) -> bool:
        """Whether it went, was heard there, is back, and nothing speaks against what was heard. Of
        a guest that is only modelled nothing is well.
        """
        return self.home is True and self.worth is Worth.MEASURED
