"""Say what a restore will come to before anything happens: which NICs find their bridge, what will
differ from the guest as it was archived, and how long it takes by what was measured.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from policies.i18n import names
from policies.model import PolicyError, Proof, Verdict
from policies.pve import guest_config, property_string
from policies.pve.volid import storage_of

_DEVICE = re.compile(r"(hostpci|usb)\d+")
_ISO = ":iso/"
_MEASURED = ("restore", "boot")  # the stages of a restore test that a restore has as well


@dataclass(frozen=True, slots=True)
class Place:
    """Where a guest is restored to. ``storage`` takes all disks, None: each goes to where it was.

    ``origin`` is the node that it was backed up on, ``bridges`` are the node's; None where that is
    not known. ``media`` are the ISO images on those of the node's storages that could be listed, by
    storage.
    """

    node: str
    storage: str | None = None
    origin: str | None = None
    bridges: Collection[str] | None = None
    media: Mapping[str, Collection[str]] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class NicAhead:
    """A NIC of the guest. ``bridge`` is "" if its line names none; ``there``: whether the node has
    that bridge, None where that is not known.
    """

    nic: str
    bridge: str
    there: bool | None


def nics_ahead(config: Mapping[str, str], bridges: Collection[str] | None) -> tuple[NicAhead, ...]:
    """Given the archived config and the bridges of the node (None: not known), return each NIC with
    its bridge, by key. A line that cannot be read is PVE's to judge.
    """
    found = []
    for key, value in guest_config.nics(config):
        try:
            bridge = guest_config.parse_nic(value).bridge or ""
        except PolicyError:
            bridge = ""
        there = bridge in bridges if bridge and bridges is not None else None
        found.append(NicAhead(key, bridge, there))
    return tuple(found)


def differs(config: Mapping[str, str], place: Place) -> tuple[str, ...]:
    """Given the archived config and where it is restored to, return a sentence for each thing in
    which the guest will differ from what it was when it was backed up.
    """
    said: list[str] = []
    if place.origin and place.origin != place.node:
        said.append(f"it was backed up on {place.origin}, and comes back on {place.node}")
    said += (
        f"{key} was on storage {disk.storage}, and comes back on {place.storage}"
        for key, disk in sorted(guest_config.dumped_disks(config).items())
        if place.storage and disk.storage != place.storage
    )
    said += left_out(config)
    # of a node's bridges PVE leaves out, without a word, those that the token has no right to
    said += (
        f"{one.nic} was on bridge {one.bridge}, which {place.node} does not have, or the token may "
        "not see"
        for one in nics_ahead(config, place.bridges)
        if one.there is False
    )
    for key, file in _isos(config):
        listed = place.media.get(storage_of(file))
        # of a storage that could not be listed nothing is said
        if listed is not None and file not in listed:
            said.append(
                f"{key} held the medium {file}, which is not on {place.node}: the guest may not "
                "start until it is taken out"
            )
    for key in filter(_DEVICE.fullmatch, sorted(config)):
        try:
            mapped = property_string.parse(config[key], default="host").get("mapping")
        except PolicyError:
            continue  # PVE's to judge, as a NIC's line
        if mapped:
            said.append(
                f"{key} is whatever device the mapping {mapped} names on {place.node}; if it names "
                "none there, the guest does not start"
            )
    if config.get("vmgenid", "0") != "0":
        said.append("its vmgenid is a new one, by which a guest sees that it was set back")
    return tuple(said)


def left_out(config: Mapping[str, str]) -> tuple[str, ...]:
    """Given the config in an archive, return a sentence for each disk of the guest that the archive
    does not hold.
    """
    wanted = guest_config.disks_to_dump(config)
    return tuple(
        f"disk {disk} is not in the archive "
        f"({'it was not dumped' if disk in wanted else 'excluded from the backup: backup=0'}), so "
        "the guest comes back without it"
        for disk in guest_config.missing_disks(config, config)
    )


def media_storages(config: Mapping[str, str]) -> list[str]:
    """Given a guest's config, return the storages that its ISO images lie on, by name."""
    return sorted({storage_of(file) for _, file in _isos(config)})


def _isos(config: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for key, value in guest_config.drives(config):
        file = guest_config.drive(value).get("file", "")
        if guest_config.is_cdrom(value) and _ISO in file:
            yield key, file


def missing_bridges(nics: Iterable[NicAhead]) -> str:
    """Given NICs, return those whose bridge is surely not there, in words, "" if there are none."""
    return names(f"{one.nic} on {one.bridge}" for one in nics if one.there is False)


@dataclass(frozen=True, slots=True)
class Measured:
    """How many ``seconds`` a restore takes, as the restore test ``operation`` measured it that ended
    at ``at`` (epoch seconds).
    """

    seconds: float
    at: int
    operation: str


def expected(proofs: Iterable[Proof], own: Proof | None, *, start: bool) -> Measured | None:
    """Given a guest's restore tests, the proof of the very archive (None: there is none), and
    whether the guest is started, return what was measured, None if nothing was.

    The archive's own proof comes before the latest of any other of the guest's archives. A test
    that failed, or on a simulated cluster, measured nothing.
    """
    wanted = _MEASURED if start else _MEASURED[:1]
    good = [one for one in proofs if one.verdict is Verdict.PROVEN]
    ordered = ([own] if own else []) + sorted(good, key=lambda one: -one.ended)
    for proof in ordered:
        stages = {stage.name: stage.seconds for stage in proof.stages}
        if all(name in stages for name in wanted):
            seconds = round(sum(stages[name] for name in wanted), 1)
            return Measured(seconds, proof.ended, proof.operation)
    return None
