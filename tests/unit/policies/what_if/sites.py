"""The reference site with what its guests need and what its nodes have to spare."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from policies.compliance.facts import SiteFacts
from policies.ha.facts import Replica
from policies.model import Node
from policies.needs import Needs, Volume
from policies.what_if.decide import GuestAfter, WhatIf, decide
from policies.what_if.loss import Loss
from tests.unit.report.langeo import GIB, NOW, guest, policy, put_right

SHA = "ab" * 32


def disk(volid: str, size: int | None, key: str = "scsi0") -> Volume:
    """A disk that a backup holds."""
    return Volume(key, volid, size=size)


def replica(target: str, last_sync: int | None, error: str = "") -> Replica:
    """What a replication of 108 keeps on a node."""
    return Replica("108-0", 108, target, True, last_sync, int(bool(error)), error)


NEEDS = Needs((disk("local-lvm:vm-1-disk-0", 16 * GIB),), bridges=("vmbr0",))
CLOVIS = Loss(frozenset({"clovis"}))


def site() -> SiteFacts:
    """Eleven guests of 2 GiB on clovis, each proven there, with a copy of the same bytes on
    lge-pve02, which has 40 GiB of memory to spare.
    """
    facts = put_right()
    guests = tuple(
        replace(
            item,
            guest=guest(item.vmid, max_memory=2 * GIB),
            needs=NEEDS,
            archives=tuple(replace(one, sha256=SHA) for one in item.archives),
        )
        for item in facts.guests
    )
    nodes = tuple(
        Node(name, True, max_memory=64 * GIB, memory=24 * GIB) for name in ("clovis", "lge-pve02")
    )
    return replace(facts, guests=guests, nodes=nodes)


def with_guests(facts: SiteFacts, **changes: Any) -> SiteFacts:
    """The facts with fields of every guest replaced."""
    return replace(facts, guests=tuple(replace(item, **changes) for item in facts.guests))


def asked(
    facts: SiteFacts,
    loss: Loss = CLOVIS,
    replicas: Iterable[Replica] = (),
    now: int = NOW,
    **changes: Any,
) -> WhatIf:
    """The answer; ``changes`` are of the policy."""
    return decide(facts, policy(**changes), replicas, loss, now)


def of(found: WhatIf, vmid: int = 108) -> GuestAfter:
    """What is said of one guest."""
    return next(one for one in found.guests if one.vmid == vmid)
