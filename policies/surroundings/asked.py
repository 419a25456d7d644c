"""What is asked of a guest's surroundings: the kept configuration and the one of now, side by side."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from policies.cluster_config import ConfigSet
from policies.config_sources import GUESTS
from policies.surroundings.model import Action, Call, Kind, Right, Surrounding, for_hands, unknown
from policies.surroundings.sections import Section, Taken, sections


@dataclass(frozen=True, slots=True)
class Asked:
    """A guest of the kept set ``then`` (``vmid``, ``type``: qemu or lxc) as ``as_vmid`` of now.
    ``node``: where it lies or is to lie, None if nobody knows; ``archive``: the text of the
    configuration that it was or is restored with, None if it is not known.
    """

    then: ConfigSet
    now: ConfigSet
    vmid: int
    as_vmid: int
    type: str
    node: str | None = None
    archive: str | None = None

    @property
    def sid(self) -> str:
        """What HA calls it now."""
        return self._sid(self.as_vmid)

    @property
    def old_sid(self) -> str:
        """What HA called it then."""
        return self._sid(self.vmid)

    def _sid(self, vmid: int) -> str:
        return f"{'ct' if self.type == 'lxc' else 'vm'}:{vmid}"

    @property
    def exists(self) -> bool | None:
        """Whether a guest is under its VMID now, None if that is not known."""
        return exists(self.now, self.as_vmid)

    def before(self, file: str) -> tuple[Section, ...]:
        """The rows of a list as they were."""
        return sections(self.then.files.get(file, ""))

    def after(self, file: str) -> tuple[Section, ...]:
        """The rows of a list as they are."""
        return sections(self.now.files.get(file, ""))

    def untold(self, kind: Kind, file: str, *, found: bool) -> Iterator[Surrounding]:
        """Given a list and whether the guest was found in what was kept of it, say if there may
        have been more.
        """
        why = self.then.why_not_read(file)
        # where the guest was found, a list that was read in part has told of it
        if why is None and not found:
            why = self.then.why_in_part(file)
        if why is not None:
            yield unknown(kind, "", f"what it had is not known, it was not read then: {why}")

    def unseen(self, kind: Kind, name: str, file: str) -> Surrounding | None:
        """Given something that is not to be found in a list of now, return what is said if it may
        be there all the same, None if it is missing.
        """
        why = self.now.why_not_read(file)
        why = self.now.why_in_part(file) if why is None else why
        if why is None:
            return None
        return unknown(kind, name, f"it had it; whether it still does is not known: {why}")


def exists(config: ConfigSet, vmid: int) -> bool | None:
    """Given a configuration, return whether a guest is under a VMID there, None if that was not
    read.
    """
    if where(config, vmid) is not None:
        return True
    why = config.why_not_read(GUESTS.file) or config.why_in_part(GUESTS.file)
    return None if why else False


def where(config: ConfigSet, vmid: int) -> Section | None:
    """Given a configuration, return the row of the guest under a VMID, None if none is told."""
    rows = sections(config.files.get(GUESTS.file, ""))
    return next((row for row in rows if row.name == str(vmid)), None)


def missing(
    kind: Kind, name: str, detail: str, calls: tuple[Call, ...], taken: Taken, *rights: Right
) -> Surrounding:
    """Given what is missing and the calls that put it back, return it with what they leave out; as
    something to be done by hand if they would then do something else.
    """
    if taken.lost:
        lost = f"{', '.join(taken.lost)}: not kept, or no text that a command can hold"
        return for_hands(
            kind, name, f"{detail}; put it back by hand, no command would do the same ({lost})"
        )
    if taken.by_hand:
        detail += f"; to be set by hand: {', '.join(taken.by_hand)}"
    return Surrounding(kind, name, Action.COMMAND, detail, calls, rights, taken.by_hand)


NOTHING = Taken((), (), ())
