"""Decide whether this operation may stop or destroy the guest with this VMID (law 1).

A scratch copy is ours only if three independent things agree at this moment: the reserved VMID
range, a marker in the config that PVE holds, and the catalog's lease. Pure: the caller reads config
and lease, and reads them again before every effect.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from policies.model import Scratch

# Plain letters, digits and hyphens: PVE %-encodes ':' and '%' of a description in the config file
# (pve-facts 8.1).
_MARKER = "backupsvc-scratch-copy-of-operation"
_SERVICE = "backupsvc-scratch-copy-of-service"
_MARKED = re.compile(rf"{_MARKER}-(\w+)")
_SERVED = re.compile(rf"{_SERVICE}-(\w+)")

# All that a failed restore leaves behind: an empty config, or "memory: 128", with or without a lock
# (pve-facts 7.4).
_STUB_KEYS = frozenset({"memory", "lock", "digest"})


def marker(operation: str) -> str:
    """Given an operation's id, return the line that marks its scratch guest, to stand alone in the
    guest's description.
    """
    return f"{_MARKER}-{operation}"


def mark(operation: str, service: str) -> str:
    """Given an operation and the identity of the service that runs it, return the lines that mark
    its scratch guest.
    """
    return f"{marker(operation)}\n{_SERVICE}-{service}" if service else marker(operation)


def operation_of(config: Mapping[str, str]) -> str | None:
    """Given a guest's config, return the operation whose marker it bears, or None."""
    return _line(config, _MARKED)


def service_of(config: Mapping[str, str]) -> str | None:
    """Given a guest's config, return the identity of the service that made it, None if it says none
    (older versions).
    """
    return _line(config, _SERVED)


def _line(config: Mapping[str, str], wanted: re.Pattern[str]) -> str | None:
    lines = (wanted.fullmatch(line.strip()) for line in config.get("description", "").splitlines())
    return next((found[1] for found in lines if found), None)


@dataclass(frozen=True, slots=True)
class Heir:
    """An operation that removes a copy which the catalog has forgotten: it holds the lease itself,
    and needs more evidence.

    ``service`` is this service's identity, which the copy's config must bear.
    """

    operation: str
    service: str


def marked(config: Mapping[str, str], operation: str) -> bool:
    """Given a guest's config, say whether its description carries this operation's marker, as a
    whole line of its own.
    """
    lines = config.get("description", "").splitlines()
    return bool(operation) and marker(operation) in (line.strip() for line in lines)


def refusal(
    vmid: int,
    config: Mapping[str, str],
    *,
    scratch: Scratch,
    operation: str,
    lease_holder: str | None,
    heir: Heir | None = None,
) -> str | None:
    """Given a guest's config as just read back from PVE, return None if it is this operation's own
    scratch guest.

    Otherwise return the sentence that says why it must not be touched. ``lease_holder`` is the
    operation that holds the catalog's lease on that VMID, or None. With an ``heir`` it is the heir
    that must hold it.
    """
    if heir is not None:
        if not heir.service or service_of(config) != heir.service:
            return f"the config of VM {vmid} does not bear this service's identity"
        if lease_holder != heir.operation:
            return (
                f"the catalog's lease on VMID {vmid} belongs to {lease_holder or 'nobody'}, not to "
                f"operation {heir.operation}"
            )
        lease_holder = operation  # the heir's lease stands for that of the forgotten operation
    if vmid not in scratch:
        return f"VMID {vmid} is outside the scratch range {scratch.first}-{scratch.last}"
    if not marked(config, operation):
        return f"the config of VM {vmid} does not carry the marker of operation {operation}"
    if lease_holder is None:
        return (
            f"nobody holds the catalog's lease on VMID {vmid}, so operation {operation} does not "
            "either"
        )
    if lease_holder != operation:
        return (
            f"the catalog's lease on VMID {vmid} belongs to operation {lease_holder}, not to "
            f"{operation}"
        )
    return None


def is_stub(config: Mapping[str, str]) -> bool:
    """Given a guest's config, say whether it is only what a failed restore leaves: no disk, no NIC,
    no name (pve-facts 7.4).
    """
    return set(config) <= _STUB_KEYS
