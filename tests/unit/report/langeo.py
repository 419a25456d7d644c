"""The reference site as facts: as the document sets it up, with all that is wrong, and as it stands
once that is put right.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from policies.compliance.facts import BridgeFacts, Clocks, ClusterJob, GuestFacts, Quorum, SiteFacts
from policies.model import (
    Archive,
    CheckResult,
    CheckSpec,
    Guest,
    GuestPolicy,
    GuestType,
    Job,
    Node,
    Outcome,
    Policy,
    Proof,
    Rung,
    Scratch,
    Stage,
    Storage,
    Tier,
    Verdict,
)

PARIS = "Europe/Paris"
NAMES = {
    100: "PfSense",
    101: "Windows-Client",
    102: "Windows-Server",
    103: "Zabbix-Server",
    104: "GLPI-Server",
    105: "Kanboard-Server",
    106: "Keyclock-Server",
    107: "AD-CS-Server",
    108: "Debian-Server",
    109: "Windows-Client-Internet",
    110: "Docker-Server",
}
HOUR, DAY = 3600, 86400
GIB = 1 << 30
RIGHTS = frozenset({"VM.Audit", "VM.Backup", "VM.Allocate", "Datastore.AllocateSpace", "Sys.Audit"})
SEVEN = {
    "archives-on-guest-node",
    "job-pinned-to-node",
    "quorum-two-votes",
    "clock-drift",
    "guest-agent-missing",
    "never-proven",
    "scratch-not-isolated",
}


def at(text: str) -> int:
    """Given local time in Paris, such as ``2026-03-10 09:00``, return epoch seconds."""
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(PARIS)).timestamp())


NOW = at("2026-03-10 09:00")
NIGHTS = tuple(at(f"2026-03-{day:02d} 21:00") for day in (7, 8, 9))


def policy(**changes: Any) -> Policy:
    """The site's policy; ``changes`` replace fields."""
    guests = {
        vmid: GuestPolicy(
            vmid,
            name,
            "critical" if vmid == 108 else "standard",
            role="service",
            checks=(CheckSpec("http", "http :80/"),),
        )
        for vmid, name in NAMES.items()
    }
    whole = Policy(
        site="langeo",
        timezone=PARIS,
        language="en",
        jobs=(Job("nightly", "21:00", "local", guests=tuple(NAMES)),),
        tiers={
            "critical": Tier("critical", 36 * HOUR, 900, 2 * DAY, copies=2, depth=2),
            "standard": Tier("standard", 8 * DAY, 4 * HOUR, 7 * DAY),
        },
        guests=guests,
        scratch=Scratch(9000, 9099, bridge="vmbr9", storage="local-lvm"),
        default_tier="standard",
        source="langeo.yaml",
        digest="ab" * 32,
    )
    return replace(whole, **changes)


def archive(
    vmid: int,
    ctime: int,
    node: str = "clovis",
    *,
    size: int = GIB,
    storage: str = "local",
    shared: bool = False,
) -> Archive:
    """An archive named as vzdump names it."""
    stamp = datetime.fromtimestamp(ctime, ZoneInfo(PARIS)).strftime("%Y_%m_%d-%H_%M_%S")
    volid = f"{storage}:backup/vzdump-qemu-{vmid}-{stamp}.vma.zst"
    return Archive(
        volid, node, storage, vmid, GuestType.QEMU, ctime, size, format="vma.zst", shared=shared
    )


def proof(
    vmid: int,
    ctime: int,
    *,
    ended: int | None = None,
    verdict: Verdict = Verdict.PROVEN,
    rto: float | None = 41.5,
    reason: str = "all checks passed",
) -> Proof:
    """A restore test that ended two hours after its archive began, or when told."""
    good = verdict in (Verdict.PROVEN, Verdict.SIMULATED)
    finish = ended if ended is not None else ctime + 2 * HOUR
    item = archive(vmid, ctime)
    return Proof(
        operation=f"01TEST{vmid}{finish}",
        vmid=vmid,
        volid=item.volid,
        node="clovis",
        archive_ctime=ctime,
        verdict=verdict,
        rung=Rung.HEALTHY if good else Rung.RESTORED,
        started=finish - 60,
        ended=finish,
        rto=rto if good else None,
        stages=(Stage("restore", 12.0),),
        checks=(
            CheckResult(
                "http :80/",
                Outcome.PASSED if good else Outcome.FAILED,
                "answered in 0.2 s",
                kind="http",
            ),
        ),
        stripped=("net0: tag 10 dropped",),
        asserted=("every NIC is on vmbr9",),
        reasons=(reason,),
        scratch_vmid=9000,
        scratch_node="lge-pve02",
    )


def storage(name: str, node: str, content: str, **changes: Any) -> Storage:
    """A storage with room."""
    whole = Storage(
        name,
        node,
        "dir",
        frozenset(content.split(",")),
        total=900 * GIB,
        used=90 * GIB,
        available=810 * GIB,
    )
    return replace(whole, **changes)


def guest(vmid: int, node: str = "clovis", **changes: Any) -> Guest:
    """A running guest of the site."""
    return replace(Guest(vmid, NAMES.get(vmid, f"new-{vmid}"), node, status="running"), **changes)


def documented() -> SiteFacts:
    """The site as the document sets it up: backed up every night, and never asked whether that is
    worth anything.
    """
    guests = tuple(
        GuestFacts(
            vmid,
            name,
            guest(vmid),
            agent=vmid != 108,
            archives=tuple(archive(vmid, night) for night in NIGHTS),
            ha_managed=vmid == 108,
        )
        for vmid, name in NAMES.items()
    )
    return SiteFacts(
        cluster="langeo",
        at=NOW,
        guests=guests,
        nodes=(Node("clovis", True), Node("lge-pve02", True)),
        storages=tuple(
            storage(name, node, content)
            for node in ("clovis", "lge-pve02")
            for name, content in (("local", "backup,iso"), ("local-lvm", "images,rootdir"))
        ),
        quorum=Quorum(clustered=True, votes=2, quorate=True),
        clocks=Clocks(
            {"clovis": 0, "lge-pve02": 3644},
            ("lge-pve02: lge-pve02 (active, detected time drift!)",),
        ),
        jobs=(
            ClusterJob("backup-langeo", True, "clovis", "local", tuple(NAMES), schedule="21:00"),
        ),
        permissions=permissions("/sdn/zones/localnetwork"),
        bridges=tuple(BridgeFacts("vmbr0", node, ("eno1",)) for node in ("clovis", "lge-pve02")),
        release="9.2.11",
    )


def put_right() -> SiteFacts:
    """The same site with every fault removed."""
    before = documented()
    guests = tuple(
        replace(
            item,
            agent=True,
            archives=tuple(
                archive(item.vmid, night, node)
                for night in NIGHTS
                for node in ("clovis", "lge-pve02")
            ),
            proofs=(proof(item.vmid, NIGHTS[-1]),),
        )
        for item in before.guests
    )
    return replace(
        before,
        guests=tuple(as_recorded(item) for item in guests),
        quorum=Quorum(clustered=True, votes=2, quorate=True, qdevice=True),
        clocks=Clocks({"clovis": 0, "lge-pve02": 1}),
        jobs=(),
        permissions=permissions("/sdn/zones/localnetwork/vmbr9"),
        bridges=(*before.bridges, *(BridgeFacts("vmbr9", node) for node in ("clovis", "lge-pve02")))
        if before.bridges
        else (),
    )


def permissions(network: str) -> Mapping[str, frozenset[str]]:
    """A token's rights, with SDN.Use on one path."""
    return {
        "/": frozenset({"Sys.Audit"}),
        "/vms": RIGHTS,
        "/storage": RIGHTS,
        network: frozenset({"SDN.Use"}),
    }


def changed(facts: SiteFacts, vmid: int, **changes: Any) -> SiteFacts:
    """The facts with one guest's fields replaced."""
    guests = tuple(
        as_recorded(replace(item, **changes)) if item.vmid == vmid else item
        for item in facts.guests
    )
    return replace(facts, guests=guests)


def as_recorded(item: GuestFacts) -> GuestFacts:
    """A guest whose archives are marked by its tests as the catalog marks them: a later failure
    withdraws a proof.
    """
    proven: dict[tuple[str, str, int], int | None] = {}
    for test in sorted(item.proofs, key=lambda test: test.ended):
        if test.verdict in (Verdict.PROVEN, Verdict.FAILED):
            proven[test.node, test.volid, test.archive_ctime] = (
                test.ended if test.verdict is Verdict.PROVEN else None
            )
    marked = (
        replace(one, proven_at=proven.get((one.node, one.volid, one.ctime), one.proven_at))
        for one in item.archives
    )
    return replace(item, archives=tuple(marked))
