"""The cluster's configuration, read for keeping: one call a list, one a guest and more for its
firewall; what is not told is said with PVE's reason, and no dead node is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field

from backupsvc.errors import (
    BackupsvcError,
    PveAnswerUnreadable,
    PveError,
    PvePermissionDenied,
    PveUnreachable,
)
from backupsvc.pve import Pve
from backupsvc.services import Cluster
from policies import config_sources
from policies.cluster_config import ConfigSet, Source, in_part, reads_all, written
from policies.config_text import NoText, names_in, text_of
from policies.model import Guest, GuestType, Node
from policies.pve import texts

# what keeps one file from being read, and no other
_FAILS = (PveError, PvePermissionDenied, PveUnreachable, PveAnswerUnreadable)
_NOT_THERE = 501  # what PVE answers to a call that this release does not have
_NO_CALL = "this Proxmox VE has no such call"
_OFFLINE = "the node is offline, or does not answer"


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the configuration: these lists of the cluster, by their files, where each guest is,
    and what is told of these guests, with their ``firewall`` or without it.
    """

    files: Container[str]
    vmids: Container[int]
    firewall: bool = True


def read(
    service: Cluster, alive: Callable[[], None] = lambda: None, part: Part | None = None
) -> ConfigSet:
    """Given the service, return the cluster's configuration as far as its token may read it; with
    ``part`` only that, and the set says nothing of the rest. ``alive`` is called again and again
    meanwhile; what it raises ends the work.

    Raise Unreachable or Refused if the cluster does not answer, or not this token: then there is
    nothing to keep.
    """
    pve = service.pve
    # asked first: without these nothing is known of what there is
    reading = _Reading(pve, pve.configuration.propagated(), service.policy.scratch, alive)
    nodes = pve.cluster.nodes()
    if part is None:
        reading.all_of(config_sources.CLUSTER)
        for node in nodes:
            reading.node(node)
    else:
        reading.all_of(one for one in config_sources.CLUSTER if one.file in part.files)
    reading.guests({node.name for node in nodes if node.online}, part)
    return ConfigSet(reading.files, reading.not_read, reading.in_part)


@dataclass
class _Reading:
    """One look, and what came of it so far. ``scratch`` are VMIDs of copies: they are left out."""

    pve: Pve
    held: Mapping[str, frozenset[str]]
    scratch: Container[int]
    alive: Callable[[], None]
    files: dict[str, str] = field(default_factory=dict)
    not_read: dict[str, str] = field(default_factory=dict)
    in_part: dict[str, str] = field(default_factory=dict)
    no_firewall: bool = False  # whether this PVE tells nothing of guests' firewalls

    def all_of(self, sources: Iterable[Source]) -> None:
        for source in sources:
            self.one(source)

    def one(self, source: Source) -> bool:
        """Read one list or object, and what is to be read of each of its rows; return whether it
        was told.
        """
        self.alive()
        try:
            answer: object = self.pve.configuration.read(source.path, source.params)
            text = text_of(source, answer, self.scratch)
            names = names_in(source, answer) if source.each else ()
        except (*_FAILS, NoText) as error:
            # a PVE that has no groups any more refuses so: they have become rules
            migrated = isinstance(error, PveError) and texts.HA_GROUPS_MIGRATED.search(error.text)
            if not migrated:
                self.not_read[source.file] = _reason(error)
                if source.each:
                    self.not_read[source.each.folder] = f"{source.file} was not read"
            return False
        if text:  # what is empty is as good as not there
            self.files[source.file] = text
        self._if_in_part(source, source.each.folder if source.each else source.file)
        if source.each:
            self.all_of(source.each.at(name=name) for name in names)
        return True

    def _if_in_part(self, source: Source, folder: str) -> None:
        if source.sees_all and not reads_all(source.sees_all, self.held):
            why = in_part(source.sees_all)
            self.in_part |= {source.file: why, folder: why}

    def node(self, node: Node) -> None:
        """Read what is a node's own."""
        sources = config_sources.node_sources(node.name)
        if node.online:
            self.all_of(sources)
        else:
            self.not_read[sources[0].folder] = _OFFLINE

    def guests(self, online: Container[str], part: Part | None) -> None:
        """Read where every guest is, and there its configuration and firewall, of those guests if
        a part is asked for.
        """
        source = config_sources.GUESTS
        try:
            guests = [one for one in self.pve.cluster.guests() if one.vmid not in self.scratch]
        except _FAILS as error:
            self.not_read |= {
                source.file: _reason(error),
                config_sources.GUESTS_FOLDER: _reason(error),
            }
            return
        rows = [{"type": str(one.type), "vmid": one.vmid, "node": one.node} for one in guests]
        self.files |= {source.file: text_of(source, rows)} if rows else {}
        self._if_in_part(source, config_sources.GUESTS_FOLDER)
        for guest in guests:
            if part is not None and guest.vmid not in part.vmids:
                continue
            config, *firewall = config_sources.guest_sources(
                str(guest.type), guest.node, guest.vmid
            )
            below = firewall[0].folder
            if guest.node not in online:
                self.not_read |= {config.file: f"{guest.node}: {_OFFLINE}", below: _OFFLINE}
            elif not self._config(guest, config):
                # it has moved, or its node fails: what else is asked there is told no better
                self.not_read[below] = f"{config.file} was not read"
            elif part is not None and not part.firewall:
                continue
            elif self.no_firewall:
                self.not_read[below] = _NO_CALL
            elif self.one(firewall[0]):
                self.all_of(firewall[1:])
            elif why := self.not_read.pop(firewall[0].file, ""):
                # who refuses the first of a guest's firewall refuses all of it
                self.not_read[below] = why
                self.no_firewall = why == _NO_CALL

    def _config(self, guest: Guest, source: Source) -> bool:
        if guest.type is not GuestType.QEMU:
            return self.one(source)
        self.alive()
        try:
            found = self.pve.guests.config(guest.node, guest.vmid)
            self.files[source.file] = text_of(source, found)
        except (*_FAILS, NoText) as error:
            self.not_read[source.file] = _reason(error)
            return False
        return True


def _reason(error: Exception) -> str:
    """Why something was not read, in a line that does not name the host that was asked: another
    night another one may be.
    """
    if isinstance(error, PveError):
        said = _NO_CALL if error.status == _NOT_THERE else error.text or error.message
    elif isinstance(error, PvePermissionDenied):
        said = error.message.partition(": ")[2] or error.message
    elif isinstance(error, PveUnreachable):
        said = f"node {error.node} does not answer" if error.node else "nobody answered"
    elif isinstance(error, BackupsvcError):
        said = "the answer is none of Proxmox VE's"
    else:
        said = f"the answer has another form: {error}"
    return written(said)
