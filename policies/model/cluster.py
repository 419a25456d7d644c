"""What the cluster consists of: guests, nodes and storages, as PVE lists them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class GuestType(StrEnum):
    """What PVE calls the two kinds of guest."""

    QEMU = "qemu"
    LXC = "lxc"

    # as a string's, in C: Enum's own is a call in Python for each archive of each grouping
    __hash__ = str.__hash__


@dataclass(frozen=True, slots=True)
class Guest:
    """A VM or container as /cluster/resources lists it; memory and disk are its configured maxima
    in bytes.
    """

    vmid: int
    name: str
    node: str
    type: GuestType = GuestType.QEMU
    status: str = "unknown"
    template: bool = False
    tags: tuple[str, ...] = ()
    max_memory: int = 0
    max_disk: int = 0
    ha_state: str | None = None
    pool: str | None = None
    lock: str | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """A cluster node; memory in bytes, 0 if not known. ``online`` is what the answering node
    believes.

    ``unknown``: PVE's own status of it is ``unknown``, because its pvestatd reports nothing;
    ``online`` is then whether the node itself answered when it was asked.
    """

    name: str
    online: bool
    max_memory: int = 0
    memory: int = 0
    max_cpu: int = 0
    unknown: bool = False


@dataclass(frozen=True, slots=True)
class Storage:
    """A storage as one node sees it. ``prune`` is the retention that PVE itself applies there (""
    when none is set).
    """

    name: str
    node: str
    type: str
    content: frozenset[str]
    shared: bool = False
    active: bool = True
    enabled: bool = True
    total: int = 0
    used: int = 0
    available: int = 0
    prune: str = ""


@dataclass(frozen=True, slots=True)
class SeenStorages:
    """The storages as every node that could be asked sees them.

    ``silent`` are the nodes that are called online and did not say theirs, each with why: what
    those hold is not known, which is not the same as nothing (law 4). Of those ``refused`` PVE
    itself said that it failed, which may pass.
    """

    storages: tuple[Storage, ...]
    silent: Mapping[str, str] = field(default_factory=dict)
    refused: frozenset[str] = frozenset()

    @property
    def passing(self) -> str:
        """What PVE said where it failed itself, "" if nowhere."""
        return "; ".join(self.silent[node] for node in sorted(self.refused))
