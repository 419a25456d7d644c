"""The two generations of PVE that a lab can answer as, and the words in which they differ.

Read in the packages of both (``tests/golden/pve_texts.json`` holds the texts): 9.0 is pve-manager
9.0.11, qemu-server 9.0.23 and pve-ha-manager 5.0.5, as recorded in ``recorded_real``; 9.2 is
pve-manager 9.2.11, qemu-server 9.2.6 and pve-ha-manager 5.2.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from pvelab.errors import UsageError

_OLD_SKIP, _NEW_SKIP = (
    "skipping guest-agent 'fs-freeze', {}",
    "skipping guest filesystem freeze - {}",
)


@dataclass(frozen=True)
class Release:
    """One generation. ``name`` is what ``lab up --pve`` takes, ``qemu`` and ``machine`` what a
    running guest tells of itself.
    """

    name: str
    version: str
    repoid: str
    qemu: str
    machine: str

    @property
    def newer(self) -> bool:
        """Whether this is 9.2."""
        return self.name != "9.0"

    def skipped(self, why: str) -> str:
        """Given why no freeze is tried, return vzdump's line (the second form since qemu-server
        9.1.10).
        """
        return (_NEW_SKIP if self.newer else _OLD_SKIP).format(why)

    def agent_failed(self, vmid: int, command: str, why: str) -> str:
        """Given a command that an agent did not answer, return PVE's text (``qga`` since
        qemu-server 9.0.26).
        """
        return f"VM {vmid} {'qga' if self.newer else 'qmp'} command '{command}' failed - {why}"

    def agent_refused(self, vmid: int, command: str, why: str) -> str:
        """Given a command that an agent refused, return PVE's text (the second form since
        qemu-server 9.1.10).
        """
        return f"Agent error: {why}" if self.newer else self.agent_failed(vmid, command, why)

    def backup_refused(self, vmid: int, why: str) -> str:
        """Given why QEMU does not begin a backup, return PVE's text (the first form since
        qemu-server 9.1.7).
        """
        if self.newer:
            return f"executing QMP command to start backup failed - {why}"
        return f"VM {vmid} qmp command 'backup' failed - {why}"


RELEASES: Mapping[str, Release] = MappingProxyType(
    {
        "9.0": Release("9.0", "9.0.11", "3bf5476b8a4699e2", "10.0.2", "pc-i440fx-10.0+pve1"),
        "9.2": Release("9.2", "9.2.11", "14a22df3", "11.0.0", "pc-i440fx-11.0+pve0"),
    }
)
# the newer one, whose code the facts were read in; 9.0 is what was recorded
DEFAULT = "9.2"


def release_of(settings: Mapping[str, Any]) -> Release:
    """Given what a lab was made with, return the release that it answers as. Raise UsageError for
    one that is not known.
    """
    name = str(settings.get("release", DEFAULT))
    if name not in RELEASES:
        raise UsageError(
            f"--pve {name}: the lab does not know that release", f"one of {', '.join(RELEASES)}"
        )
    return RELEASES[name]
